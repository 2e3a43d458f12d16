"""Scores of the common test set, as `ppcmi evaluate` has them: in each image's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harness.data import BenchmarkData, TestImage, seen_by
from harness.plan import Scanner
from ppcmi_sf.flips import predict_flips
from ppcmi_sf.imaging import assemble, labels_from_grid
from ppcmi_sf.metrics import score_case
from ppcmi_sf.study import StudySpec

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
METRICS = {"dice": "dice", "iou": "iou", "hd95": "hd95_mm", "asd": "asd_mm"}
DIGITS = 5


def score_sites(
    study: StudySpec, data: BenchmarkData, sites: Iterable[str], predictor: Callable[[str], Predict]
) -> list[dict[str, Any]]:
    """Let sites segment the test set as their scanners show it; a row per site, case, class.

    A predictor that is the same object for two sites with the same scanner is asked once.
    """
    done: dict[tuple[int, str], list[dict[str, Any]]] = {}
    rows, held = [], []
    for site in sites:
        predict = predictor(site)
        held.append(predict)  # so that no other object gets its id
        key = (id(predict), repr(data.scanners[site]))
        if key not in done:
            done[key] = [
                row
                for image in data.test
                for row in _scores(study, image, predict, data.scanners[site])
            ]
        rows.extend({"site": site} | row for row in done[key])
    return rows


def _scores(
    study: StudySpec, image: TestImage, predict: Predict, scanner: Scanner | None
) -> list[dict[str, Any]]:
    """A row for each class; ``dice_flips`` is that of the average over mirror images."""
    planes = torch.from_numpy(seen_by(scanner, image.planes))
    looks = predict_flips(lambda part: torch.from_numpy(predict(part.numpy())), planes, study)
    once = _score(study, image, looks[0].numpy())
    flipped = _score(study, image, looks.mean(dim=0).numpy())
    return [one | {"dice_flips": other["dice"]} for one, other in zip(once, flipped, strict=True)]


def _score(
    study: StudySpec, image: TestImage, probabilities: npt.NDArray[np.float32]
) -> list[dict[str, Any]]:
    planes = [labels_from_grid(one, image.fit) for one in probabilities]
    labels = assemble(planes, image.fit, image.truth.shape)
    names = [item.name for item in study.classes]
    return [
        {"case": image.name, "group": image.group, "class": score.class_name}
        | {short: round(getattr(score, long), DIGITS) for short, long in METRICS.items()}
        for score in score_case(labels, image.truth, names, image.spacing)
    ]
