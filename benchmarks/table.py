"""Markdown table of a real-data run: every site's and the central U-Net's test scores.

    python benchmarks/table.py OUT

OUT is what real_data.sh wrote. The last column is the mean difference of Dice to the U-Net on the
same cases, with a 95 % interval (bootstrap over patients, 10 000 draws, seed 0).
"""

from __future__ import annotations

import csv
import statistics
import sys
from pathlib import Path

from harness.statistics import mean_sd, paired_difference

METRICS = (("dice", 3), ("hd95_mm", 2), ("asd_mm", 2))


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Scores by case name (studies of one structure)."""
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {row["case"]: {name: float(row[name]) for name, _ in METRICS} for row in rows}


def read_groups(path: Path) -> dict[str, str]:
    """Patient by case name."""
    with path.open(newline="") as handle:
        return {Path(row["file"]).stem: row["group"] for row in csv.DictReader(handle)}


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1])
    groups = read_groups(folder / "split" / "test" / "manifest.csv")
    names = ("north", "south", "west", "unet")
    scores = {name: read_scores(folder / f"scores-{name}.csv") for name in names}
    reference = {case: row["dice"] for case, row in scores["unet"].items()}
    print("| | Dice | HD95 px | ASD px | cases | Dice against the U-Net |")
    print("|---|---|---|---|---|---|")
    for name, rows in scores.items():
        cells = []
        for metric, digits in METRICS:
            cells.append(mean_sd([row[metric] for row in rows.values()], digits))
        label = "central U-Net" if name == "unet" else f"site {name}"
        own = {case: row["dice"] for case, row in rows.items()}
        last = "" if name == "unet" else paired_difference(own, reference, groups)
        print(f"| {label} | {' | '.join(cells)} | {len(rows)} | {last} |")
    sites = [row["dice"] for name in names[:-1] for row in scores[name].values()]
    print(f"\nMean Dice over the sites: {statistics.mean(sites):.3f}")


if __name__ == "__main__":
    main()
