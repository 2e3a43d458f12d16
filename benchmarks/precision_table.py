"""Table of benchmarks/precision.sh: bytes a query, Dice, and the loss against float32 by case.

python benchmarks/precision_table.py OUT/precision
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

SITES = ("north", "south", "west")
PRECISIONS = ("float32", "float16", "int8")


def dice_of(folder: Path) -> dict[str, float]:
    """Dice by case and class."""
    with (folder / "scores.csv").open(newline="") as handle:
        return {
            f"{row['case']} {row['class_name']}": float(row["dice"])
            for row in csv.DictReader(handle)
        }


def largest_file(folder: Path) -> int:
    """Bytes of the largest bundle in a folder."""
    return max(path.stat().st_size for path in folder.glob("*.ppcmi"))


def main() -> None:
    """Read the scores and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print("| | query, bytes | reply, bytes | " + " | ".join(f"site {s}" for s in SITES), end="")
    print(" | mean Dice | loss against float32 | largest loss of a case |")
    print("|---" * (len(SITES) + 6) + "|")
    before = {site: dice_of(folder / "float32" / site) for site in SITES}
    for precision in PRECISIONS:
        now = {site: dice_of(folder / precision / site) for site in SITES}
        means = [float(np.mean(list(now[site].values()))) for site in SITES]
        losses = [before[site][case] - now[site][case] for site in SITES for case in before[site]]
        sizes = [
            max(largest_file(folder / precision / site / kind) for site in SITES)
            for kind in ("queries", "replies")
        ]
        cells = [str(size) for size in sizes] + [f"{mean:.4f}" for mean in means]
        cells += [f"{np.mean(means):.4f}", f"{np.mean(losses):+.5f} ± {np.std(losses):.5f}"]
        print(f"| {precision} | " + " | ".join(cells) + f" | {max(losses):.4f} |")


if __name__ == "__main__":
    main()
