"""Split a data set by group into sites and a common test set, as folders of links.

    python benchmarks/split_sites.py DATA OUT --sites 3 --test 0.2 --seed 0

Writes OUT/<site>/{images,masks,manifest.csv} and OUT/test/…; no patient (group)
is in two of them.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from harness.data import SITE_NAMES
from ppcmi_sf.data import Case, find_cases, split_by_group


def write_part(folder: Path, cases: Sequence[Case]) -> None:
    """Link the cases' files into a folder of the plain layout."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["file", "group"])
        for case in cases:
            assert case.mask is not None
            for kind, source in (("images", case.image), ("masks", case.mask)):
                link = folder / kind / source.name
                link.unlink(missing_ok=True)
                link.symlink_to(source.resolve())
            table.writerow([case.image.name, case.group])


def main() -> None:
    """Read the arguments and split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--test", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cases = find_cases(arguments.data, need_masks=True)
    share = (1 - arguments.test) / arguments.sites
    fractions = [arguments.test] + [share] * arguments.sites
    names = ("test", *SITE_NAMES[: arguments.sites])
    for name, part in zip(names, split_by_group(cases, fractions, arguments.seed), strict=True):
        write_part(arguments.out / name, part)
        print(f"{name}: {len(part)} images of {len({case.group for case in part})} groups")


if __name__ == "__main__":
    main()
