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

import numpy as np

DRAWS = 10_000
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


def difference(own: dict[str, float], other: dict[str, float], groups: dict[str, str]) -> str:
    """Mean paired difference and its interval, resampling patients."""
    by_group: dict[str, list[float]] = {}
    for case, value in own.items():
        by_group.setdefault(groups[case], []).append(value - other[case])
    parts = [np.array(values) for values in by_group.values()]
    rng = np.random.default_rng(0)
    means = [
        np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))]).mean()
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{np.concatenate(parts).mean():+.3f} [{low:+.3f}, {high:+.3f}]"


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
            values = [row[metric] for row in rows.values()]
            mean, spread = statistics.mean(values), statistics.stdev(values)
            cells.append(f"{mean:.{digits}f} ± {spread:.{digits}f}")
        label = "central U-Net" if name == "unet" else f"site {name}"
        own = {case: row["dice"] for case, row in rows.items()}
        last = "" if name == "unet" else difference(own, reference, groups)
        print(f"| {label} | {' | '.join(cells)} | {len(rows)} | {last} |")
    sites = [row["dice"] for name in names[:-1] for row in scores[name].values()]
    print(f"\nMean Dice over the sites: {statistics.mean(sites):.3f}")


if __name__ == "__main__":
    main()
