"""Layouts of data sets: a folder in, cases out. One file for each layout."""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.data.cases import Case, missing_mask
from ppcmi_sf.data.layouts import folder as _folder
from ppcmi_sf.data.layouts import fumpe, msd, nerve, psfh
from ppcmi_sf.data.layouts._found import Found, Layout
from ppcmi_sf.data.listing import mask_for, masks_in, visible
from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.imaging import case_name, is_supported

LAYOUTS: dict[str, Layout] = {
    "psfh": psfh.LAYOUT,
    "msd": msd.LAYOUT,
    "fumpe": fumpe.LAYOUT,
    "folder": _folder.LAYOUT,
    "nerve": nerve.LAYOUT,
}
"""By name, in the order in which ``auto`` tries them."""

AUTO = "auto"


def find_cases(
    folder: Path, *, layout: str = AUTO, masks: Path | None = None, need_masks: bool = False
) -> list[Case]:
    """Find the cases of a folder; see :func:`find_cases_with_problems`.

    Raises
    ------
    PPCMIError
        Also the first problem that concerns one case only.
    """
    cases, problems = find_cases_with_problems(
        folder, layout=layout, masks=masks, need_masks=need_masks
    )
    if problems:
        raise problems[0][1]
    return cases


def find_cases_with_problems(
    folder: Path, *, layout: str = AUTO, masks: Path | None = None, need_masks: bool = False
) -> tuple[list[Case], list[tuple[str, PPCMIError]]]:
    """Find the cases of a folder, and which of them cannot be used.

    Parameters
    ----------
    folder
        A data set, a folder of images, or a single image.
    layout
        A name of :data:`LAYOUTS`, or ``auto`` to go by what lies in the folder.
    masks
        The folder of the masks (or, for a single image, its mask) when it is not
        where the layout has it.
    need_masks
        Whether every case must have a mask.

    Returns
    -------
    cases
        Sorted by name; with ``need_masks`` only those that have a mask.
    problems
        Case name and what is wrong with it, sorted by name: a missing mask (with
        ``need_masks``), a row of ``manifest.csv`` that names a missing file or no group, a name
        that is no text.

    Raises
    ------
    InputFileError
        There is no such folder, no image in it, two images of one case name, or
        a ``manifest.csv`` that is no table, lacks a column or names a file twice.
    PPCMIError
        The layout is unknown.
    """
    folder = Path(folder)
    masks = Path(masks) if masks is not None else None
    if folder.is_file():
        found = _single(folder, masks)
    else:
        found = _choose(folder, layout).find(folder, masks, need_masks)
    if not found.cases and not found.problems:
        raise InputFileError(
            folder,
            "there are no images in this folder.",
            hint="Give a folder of images, or one with images/ and masks/ in it.",
        )
    cases = _unique(found.cases)
    nameless = [(case.name, _not_text(case)) for case in cases if not _is_text(case)]
    cases = [case for case in cases if _is_text(case)]
    problems = [*found.problems, *nameless]
    if need_masks:
        problems += [(case.name, missing_mask(case)) for case in cases if case.mask is None]
        cases = [case for case in cases if case.mask is not None]
    return cases, sorted(problems, key=lambda problem: problem[0])


def _choose(folder: Path, name: str) -> Layout:
    """Take the layout of this name, or the first one that the folder looks like."""
    visible(folder)  # refuses a folder that is not there, before anything else is said about it
    if name == AUTO:
        fitting = (layout for layout in LAYOUTS.values() if layout.matches(folder))
        return next(fitting, LAYOUTS["folder"])
    if name not in LAYOUTS:
        raise PPCMIError(
            f"There is no layout '{name}'.", hint=f"Choose one of: {AUTO}, {', '.join(LAYOUTS)}."
        )
    if name != "folder" and not LAYOUTS[name].matches(folder):
        raise InputFileError(
            folder,
            f"does not look like the layout '{name}' ({LAYOUTS[name].description}).",
            hint="Check the path, or leave the layout out to have it found.",
        )
    return LAYOUTS[name]


def _single(image: Path, mask: Path | None) -> Found:
    """One image file as a data set of one case."""
    if not is_supported(image):
        raise InputFileError(image, "not an image of a known kind.", hint="Convert it to NIfTI.")
    name = case_name(image)
    if mask is not None and mask.is_dir():
        mask = mask_for(name, masks_in(mask))
    return Found([Case(name, image, mask)])


def _is_text(case: Case) -> bool:
    """Whether the registry can note its path; a Linux file may have any bytes for a name."""
    try:
        str(case.image.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_text(case: Case) -> InputFileError:
    return InputFileError(
        case.image,
        "its name, or that of a folder it lies in, has bytes that are no UTF-8 text.",
        hint="Rename it; it may come from a computer with other letters (convmv can do many).",
    )


def _unique(cases: list[Case]) -> list[Case]:
    """Sort by name; refuse a name that two cases have."""
    by_name: dict[str, Case] = {}
    for case in cases:
        if case.name in by_name:
            raise InputFileError(
                case.image,
                f"its case name '{case.name}' is also that of {by_name[case.name].image}.",
                hint="Case names must differ; rename one of the two.",
            )
        by_name[case.name] = case
    return [by_name[name] for name in sorted(by_name)]
