"""A data set on the network grid: sites' slices and the common test set, split by group."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from harness.plan import SITE_NAMES, DataSet, Plan, Scanner, SitePlan
from ppcmi_sf.data import (
    DEMO_SITES,
    Case,
    find_cases_with_problems,
    load_case_mask,
    split_by_group,
    write_phantom_folder,
)
from ppcmi_sf.errors import PPCMIError, TrainingError
from ppcmi_sf.imaging import GridFit, fit_to_grid, iter_grid_slices, read_image
from ppcmi_sf.progress import run
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.dataset import (
    SiteData,
    choose_validation_groups,
    load_site_data,
)

Failures = list[tuple[str, PPCMIError]]


@dataclass(frozen=True)
class TestImage:
    """An image of the test part, on the network grid, with its true mask in its own grid.

    Attributes
    ----------
    planes
        float32 ``(N, C, H, W)``, one for each slice.
    truth
        Class indices, of the image's own shape.
    spacing
        mm, or 1 for each axis where the file does not say.
    """

    name: str
    group: str
    planes: npt.NDArray[np.float32]
    fit: GridFit
    truth: npt.NDArray[np.uint8]
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class BenchmarkData:
    """What every row of a run trains and is scored on.

    Attributes
    ----------
    sites
        Site name to its training and validation slices, as its scanner makes them.
    scanners
        Site name to its scanner.
    digest
        Of everything that is trained on, for the cache.
    failures
        Cases that could not be read, and why: they are in no part.
    """

    sites: Mapping[str, SiteData]
    scanners: Mapping[str, Scanner | None]
    test: Sequence[TestImage]
    digest: str
    failures: Failures

    def only(self, names: Sequence[str]) -> BenchmarkData:
        """Some of the sites."""
        return replace(self, sites={name: self.sites[name] for name in names})


def base_study(plan: Plan, dataset: DataSet, **fields: object) -> StudySpec:
    """The study of a data set; ``fields`` are a row's own."""
    wanted: dict[str, object] = {
        "name": f"{plan.name} {dataset.name}",
        "modality": dataset.modality,
        "classes": make_classes(list(dataset.classes)),
        "image_size": plan.image_size,
    }
    if dataset.normalization is not None:
        wanted["normalization"] = dataset.normalization
    return StudySpec.model_validate(wanted | fields)


def site_plans(plan: Plan, count: int | None) -> tuple[SitePlan, ...]:
    """The sites of a run: the plan's, or ``count`` alike."""
    if count is None and not isinstance(plan.sites, int):
        return plan.sites
    number = count if count is not None else plan.sites
    assert isinstance(number, int)
    return tuple(SitePlan(name=name) for name in SITE_NAMES[:number])


def cases_of(dataset: DataSet, root: Path, scratch: Path) -> tuple[list[Case], Failures]:
    """Find the cases of a data set, and which of them cannot be used.

    Phantoms are drawn once, into ``scratch``.
    """
    if dataset.phantoms is None:
        assert dataset.path is not None
        return find_cases_with_problems(root / dataset.path, need_masks=True)
    wanted = dataset.phantoms
    folder = scratch / f"phantoms-{wanted.per_style}-{wanted.size}-{wanted.seed}"
    size = (wanted.size, wanted.size)
    cases: list[Case] = []
    problems: Failures = []
    for style in DEMO_SITES:
        if not (folder / style.name).is_dir():
            run(
                write_phantom_folder(
                    folder / style.name, style, wanted.per_style, wanted.seed, size
                )
            )
        found, wrong = find_cases_with_problems(folder / style.name, need_masks=True)
        cases += found
        problems += wrong
    return cases, problems


def load_data(
    plan: Plan, dataset: DataSet, cases: Sequence[Case], count: int | None
) -> BenchmarkData:
    """Split by group into test part and sites, and read everything onto the grid.

    Raises
    ------
    PPCMIError
        There are fewer groups than parts, or nothing of a part can be read.
    """
    study, sites = base_study(plan, dataset), site_plans(plan, count)
    fractions = [plan.test_fraction, 1 - plan.test_fraction]
    test, training = split_by_group(cases, fractions, plan.split_seed)
    if plan.development:
        test, training = split_by_group(training, fractions, plan.split_seed + 1)
    weights = [site.weight for site in sites]
    parts = split_by_group(training, [w / sum(weights) for w in weights], plan.split_seed)
    data = {
        site.name: _site_data(plan, study, part, site.scanner)
        for site, part in zip(sites, parts, strict=True)
    }
    images, unread = _test_images(study, test)
    digest = hashlib.sha256()
    for name, one in data.items():
        digest.update(name.encode())
        digest.update(one.signature().encode())
    return BenchmarkData(
        data,
        {site.name: site.scanner for site in sites},
        images,
        digest.hexdigest(),
        [*unread, *(failure for one in data.values() for failure in one.failures)],
    )


def seen_by(scanner: Scanner | None, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a scanner makes of images ``(N, C, H, W)`` in [0, 1]; always the same."""
    if scanner is None or len(images) == 0:
        return images
    tensor = torch.from_numpy(images)
    size = tensor.shape[-2:]
    if scanner.resolution < 1:
        small = [max(1, round(side * scanner.resolution)) for side in size]
        tensor = functional.interpolate(tensor, size=small, mode="area")
        tensor = functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)
    tensor = scanner.gain * tensor.clamp(0, 1) ** scanner.gamma + scanner.offset
    return tensor.clamp(0, 1).numpy()


def joining_site(data: BenchmarkData) -> str:
    """The site that joins in rows of a new site: the last."""
    return list(data.sites)[-1]


def divide_slices(data: SiteData, count: int) -> tuple[SiteData, SiteData]:
    """Some of a site's training slices, and the others; the validation part is in both.

    The order depends on nothing, so the first 10 are the first 5 and 5 more.
    """
    order = np.random.default_rng(0).permutation(len(data.training))
    first, rest = (data.training.take(np.sort(part)) for part in (order[:count], order[count:]))
    return replace(data, training=first), replace(data, training=rest)


def _site_data(
    plan: Plan, study: StudySpec, cases: Sequence[Case], scanner: Scanner | None
) -> SiteData:
    apart = choose_validation_groups(cases, plan.validation_fraction, plan.split_seed)
    data = run(load_site_data(cases, study, validation_groups=apart))
    parts = [
        replace(part, images=seen_by(scanner, part.images.astype(np.float32)).astype(np.float16))
        for part in (data.training, data.validation)
    ]
    return SiteData(parts[0], parts[1], data.failures)


def _test_images(study: StudySpec, cases: Sequence[Case]) -> tuple[list[TestImage], Failures]:
    """The test part, and what of it could not be read."""
    images: list[TestImage] = []
    failures: Failures = []
    for case in cases:
        try:
            images.append(_test_image(study, case))
        except PPCMIError as error:
            failures.append((case.name, error))
    if not images:
        raise TrainingError("No case of the test part could be read.", hint=str(failures[0][1]))
    return images, failures


def _test_image(study: StudySpec, case: Case) -> TestImage:
    image = read_image(case.image, channel_axis=case.channel_axis)
    fit = fit_to_grid(image.geometry, study)
    geometry = image.geometry
    return TestImage(
        name=case.name,
        group=case.group,
        planes=np.stack(list(iter_grid_slices(image, study, fit))).astype(np.float32),
        fit=fit,
        truth=load_case_mask(case, study.class_count, geometry),
        spacing=geometry.spacing if geometry.has_physical_size else (1.0,) * len(geometry.shape),
    )
