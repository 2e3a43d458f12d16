"""Masks over test images, as each site of a run sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.data import BenchmarkData, TestImage, seen_by
from harness.scoring import Predict
from ppcmi_sf.figures import overlay, save_rows
from ppcmi_sf.imaging import mask_to_grid
from ppcmi_sf.study import StudySpec

PATIENTS = 5


def draw_sites(
    path: Path,
    study: StudySpec,
    data: BenchmarkData,
    sites: Iterable[str],
    predictor: Callable[[str], Predict],
) -> None:
    """Write a PNG: the true masks of some test images, and below them each site's.

    The images are chosen before anything is known of the masks: of the first patients in the test
    part the first image each. Of a volume it is the middle slice.
    """
    chosen = first_of_each_group(data.test, PATIENTS)
    colors = [item.color for item in study.classes]
    true = [overlay(_plane(one)[0, 0], _truth(study, one), colors) for one in chosen]
    rows = [("true", true)]
    for site in sites:
        predict = predictor(site)
        seen = [seen_by(data.scanners[site], _plane(one)) for one in chosen]
        labels = [predict(plane)[0].argmax(axis=0).astype(np.uint8) for plane in seen]
        pictures = [overlay(a[0, 0], b, colors) for a, b in zip(seen, labels, strict=True)]
        rows.append((site, pictures))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_rows(path, [f"patient {number + 1}" for number in range(len(chosen))], rows)


def first_of_each_group(images: Sequence[TestImage], count: int) -> list[TestImage]:
    """The first image of each of the first groups."""
    first: dict[str, TestImage] = {}
    for image in images:
        first.setdefault(image.group, image)
    return list(first.values())[:count]


def _middle(image: TestImage) -> int:
    return len(image.planes) // 2


def _plane(image: TestImage) -> npt.NDArray[np.float32]:
    middle = _middle(image)
    return image.planes[middle : middle + 1]


def _truth(study: StudySpec, image: TestImage) -> npt.NDArray[np.uint8]:
    return mask_to_grid(image.truth, image.fit, study.class_count)[_middle(image)]
