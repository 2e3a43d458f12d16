"""Markdown table of a real-data run: every site's and the central U-Net's test scores.

    python benchmarks/table.py OUT

OUT is what real_data.sh wrote. A case's score is the mean over its classes. The last column is the
mean difference of Dice to the U-Net on the same cases, with a 95 % interval (bootstrap over
patients, widened for few of them, seed 0); it is empty when that run was made without the U-Net.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.statistics import mean_sd, paired_difference
from ppcmi_sf.data import Case, find_cases
from ppcmi_sf.imaging import read_image

SITES = ("north", "south", "west")
METRICS = (("dice", 3), ("hd95_mm", 2), ("asd_mm", 2))


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Scores by case name, the mean over the classes of a case."""
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    by_case: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_case.setdefault(row["case"], []).append(row)
    return {
        case: {name: statistics.mean(float(row[name]) for row in same) for name, _ in METRICS}
        for case, same in by_case.items()
    }


def unit_of(cases: Sequence[Case]) -> str:
    """Unit of the distances, as `ppcmi evaluate` has it: of a file with no pixel size, pixels."""
    masks = [case.mask for case in cases if case.mask is not None]
    sized = {read_image(mask).geometry.has_physical_size for mask in masks}
    return " or ".join({True: "mm", False: "px"}[known] for known in sorted(sized, reverse=True))


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1])
    cases = find_cases(folder / "split" / "test", need_masks=True)
    groups, unit = {case.name: case.group for case in cases}, unit_of(cases)
    files = {name: folder / f"scores-{name}.csv" for name in (*SITES, "unet")}
    if not files["unet"].is_file():  # UNET_EPOCHS=0
        del files["unet"]
    scores = {name: read_scores(file) for name, file in files.items()}
    reference = {case: row["dice"] for case, row in scores.get("unet", {}).items()}
    print(f"| | Dice | HD95 {unit} | ASD {unit} | cases | Dice against the U-Net |")
    print("|---|---|---|---|---|---|")
    for name, rows in scores.items():
        cells = []
        for metric, digits in METRICS:
            cells.append(mean_sd([row[metric] for row in rows.values()], digits))
        label = "central U-Net" if name == "unet" else f"site {name}"
        own = {case: row["dice"] for case, row in rows.items()}
        last = "" if name == "unet" else paired_difference(own, reference, groups) or ""
        print(f"| {label} | {' | '.join(cells)} | {len(rows)} | {last} |")
    sites = [row["dice"] for name in SITES for row in scores[name].values()]
    print(f"\nMean Dice over the sites: {statistics.mean(sites):.3f}")


if __name__ == "__main__":
    main()
