"""The privacy-agnostic ceiling: a MONAI U-Net trained centrally on all sites' raw images.

    python benchmarks/central_unet.py SPLIT --study study.yaml --out OUT --epochs 60

SPLIT is what split_sites.py wrote. The U-Net sees the same network grid, the
same augmentation and the same validation patients as the sites, and its masks
are written to OUT/masks in the grid of the test files, so that `ppcmi evaluate`
scores both alike. accuracy.py trains the same U-Net for a budget of time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from harness.scoring import Predict
from harness.unet import UNetTask
from ppcmi_sf.data import Case, find_cases
from ppcmi_sf.device import choose_device
from ppcmi_sf.imaging import (
    assemble,
    fit_to_grid,
    iter_grid_slices,
    labels_from_grid,
    read_image,
    write_mask,
)
from ppcmi_sf.progress import Progress, run
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import choose_validation_groups, load_site_data
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.loop import fit

VALIDATION_FRACTION = 0.15  # the default of `ppcmi site train`


def write_masks(cases: Sequence[Case], study: StudySpec, predict: Predict, out: Path) -> None:
    """Segment images and write their masks, each in the grid of its file."""
    for case in cases:
        image = read_image(case.image, channel_axis=case.channel_axis)
        grid = fit_to_grid(image.geometry, study)
        planes = [
            labels_from_grid(predict(plane[None])[0], grid)
            for plane in iter_grid_slices(image, study, grid)
        ]
        write_mask(assemble(planes, grid, image.geometry.shape), image.geometry, out, case.name)


def main() -> None:
    """Train on all sites, then write the test set's masks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    study, device, started = StudySpec.load(arguments.study), choose_device(), time.monotonic()
    sites = sorted(folder for folder in arguments.split.iterdir() if folder.name != "test")
    data = []
    for site in sites:
        cases = find_cases(site, need_masks=True)
        apart = choose_validation_groups(cases, VALIDATION_FRACTION, arguments.seed)
        data.append(run(load_site_data(cases, study, validation_groups=apart)))
    options = FitOptions(
        epochs=arguments.epochs,
        batch_size=8,
        learning_rate=2e-3,
        seed=arguments.seed,
    )
    task = UNetTask(
        study, [d.training for d in data], [d.validation for d in data], options, device
    )
    shown = 0.0

    def show(step: Progress) -> None:
        nonlocal shown
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{shown - started:.0f} s {step.message} {step.values}", flush=True)

    report = run(fit(task, options), show)
    print(
        f"Trained in {time.monotonic() - started:.0f} s, {report.epochs} epochs, "
        f"{sum(p.numel() for p in task.model.parameters())} parameters"
    )
    write_masks(find_cases(arguments.split / "test"), study, task.predict, arguments.out / "masks")
    print(f"Masks: {arguments.out / 'masks'}")


if __name__ == "__main__":
    main()
