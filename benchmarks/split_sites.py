"""Split a data set by group into sites and a common test set, as folders of links.

    python benchmarks/split_sites.py DATA OUT --sites 3 --test 0.2 --seed 0

Writes OUT/<site>/{images,masks,manifest.csv} and OUT/test/…; no patient (group)
is in two of them. Images of PSFH, whose third axis holds colours, stay in that
layout: image_mha and label_mha. An OUT that holds another split is refused.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.data import SITE_NAMES
from ppcmi_sf.data import Case, find_cases, split_by_group
from ppcmi_sf.data.layouts.psfh import COLOUR_AXIS
from ppcmi_sf.errors import InputFileError, PPCMIError

PLAIN = ("images", "masks")
PSFH = ("image_mha", "label_mha")  # the layout tells that an axis holds colours


def links_of(cases: Sequence[Case]) -> dict[Path, Path]:
    """What each link of a part points to; a link is given below the part's folder."""
    links: dict[Path, Path] = {}
    for case in cases:
        assert case.mask is not None
        folders = PSFH if case.channel_axis == COLOUR_AXIS else PLAIN
        for folder, source in zip(folders, (case.image, case.mask), strict=True):
            links[Path(folder) / source.name] = source.resolve()
    return links


def require_no_other_split(out: Path, parts: Mapping[str, Sequence[Case]]) -> None:
    """Refuse to mix two splits: links that stay would put test patients into a site.

    Raises
    ------
    InputFileError
        OUT holds something in a folder of images or masks that this split does not put there.
    """
    wanted = {
        out / name / link: source
        for name, part in parts.items()
        for link, source in links_of(part).items()
    }
    for folder in (*PLAIN, *PSFH):
        for there in sorted(out.glob(f"*/{folder}/*")):
            if wanted.get(there) != there.resolve():
                raise InputFileError(
                    there,
                    "it is not of this split, and would mix patients of two splits.",
                    hint=f"Give another folder for the split, or delete {out} first.",
                )


def write_part(folder: Path, cases: Sequence[Case]) -> None:
    """Link the cases' files into a folder that `find_cases` reads."""
    for link, source in links_of(cases).items():
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(source)
    with (folder / "manifest.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["file", "group"])
        table.writerows([case.image.name, case.group] for case in cases)


def split(data: Path, out: Path, sites: int, test: float, seed: int) -> None:
    """Split a data set; say how large the parts are.

    Raises
    ------
    PPCMIError
        The data set cannot be read or split so, or OUT holds another split.
    """
    if not 1 <= sites <= len(SITE_NAMES):
        raise PPCMIError(
            f"{sites} sites: there are names for 1 to {len(SITE_NAMES)}.",
            hint="Ask for fewer sites.",
        )
    fractions = [test] + [(1 - test) / sites] * sites
    cases = split_by_group(find_cases(data, need_masks=True), fractions, seed)
    parts = dict(zip(("test", *SITE_NAMES[:sites]), cases, strict=True))
    require_no_other_split(out, parts)
    for name, part in parts.items():
        write_part(out / name, part)
        print(f"{name}: {len(part)} images of {len({case.group for case in part})} groups")


def main() -> None:
    """Read the arguments and split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--test", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        split(arguments.data, arguments.out, arguments.sites, arguments.test, arguments.seed)
    except PPCMIError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
