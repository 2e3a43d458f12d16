"""``manifest.csv``: which images belong to one patient."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ppcmi_sf.errors import InputFileError, PPCMIError

MANIFEST = "manifest.csv"


def read_manifest(
    folder: Path, images: dict[str, Path]
) -> tuple[dict[str, str], list[tuple[str, PPCMIError]]]:
    """Read the groups of the images of a folder.

    The file has the columns ``file`` (an image's file name, alone or as
    ``images/name``, with or without its suffix) and ``group``, in any case of
    letters; others are ignored. An image without a row is a group of its own.

    Parameters
    ----------
    folder
        Where ``manifest.csv`` may lie.
    images
        Images by case name.

    Returns
    -------
    groups
        Group by case name; none at all when there is no manifest. It is ``""`` where the row
        does not give it: such an image may be of any patient, and cannot be used.
    problems
        Rows that name a file which is not among the images, and rows without a group.

    Raises
    ------
    InputFileError
        The file is no such table, lacks a column, or names an image twice.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}, []
    # Without its suffix, too: taken for a missing file, its image would be a patient of its own,
    # and the patient's other images might be on the other side of a split.
    names = {name: name for name in images} | {image.name: name for name, image in images.items()}
    groups: dict[str, str] = {}
    problems: list[tuple[str, PPCMIError]] = []
    seen: dict[str, int] = {}
    for line, (file, group) in _rows(path):
        case = names.get(file, file)
        if case in seen:
            raise InputFileError(
                path,
                f"'{file}' appears twice, in lines {seen[case]} and {line}.",
                hint="Delete one of the two lines.",
            )
        seen[case] = line
        if file in names:
            groups[names[file]] = group
            if not group:
                problems.append((names[file], _no_group(path, line, file)))
        else:
            error = InputFileError(
                path,
                f"line {line} names '{file}', which is missing.",
                hint="Add that image, or delete the line.",
            )
            problems.append((file, error))
    return groups, problems


def _no_group(path: Path, line: int, file: str) -> InputFileError:
    return InputFileError(
        path,
        f"line {line} does not say which patient (group) '{file}' is of.",
        hint="Fill in the group, or delete the line if no other image is of that patient.",
    )


def _rows(path: Path) -> list[tuple[int, tuple[str, str]]]:
    """Line number, file name and group of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or []]
            _require_columns(path, reader.fieldnames)
            return [
                (reader.line_num, (_file_name(row["file"]), (row.get("group") or "").strip()))
                for row in reader
                if row["file"]
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(
            path, "cannot be read as a CSV table.", hint="Save it as CSV in UTF-8, with commas."
        ) from error


def _require_columns(path: Path, names: Sequence[str]) -> None:
    if "file" not in names:
        raise InputFileError(
            path,
            "the column 'file' is missing.",
            hint="The first line must name the columns, with commas: file,group",
        )
    if "group" not in names:
        # Never taken for 'every image a patient of its own': a column 'patient' would be
        # passed over, and the patient's images would land in training and test part both.
        raise InputFileError(
            path,
            f"the column 'group' is missing; there are: {', '.join(filter(None, names))}.",
            hint="Give the column that names each image's patient the name 'group'. If no patient "
            "has several images, no table is needed: take manifest.csv out of the folder.",
        )


def _file_name(value: str) -> str:
    """Take the bare name of a file that may be given as ``images/name``."""
    return value.strip().replace("\\", "/").removeprefix("./").removeprefix("images/")
