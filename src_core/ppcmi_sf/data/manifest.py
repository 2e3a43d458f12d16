"""``manifest.csv``: which images belong to one patient."""

from __future__ import annotations

import csv
from pathlib import Path

from ppcmi_sf.errors import InputFileError, PPCMIError

MANIFEST = "manifest.csv"


def read_manifest(
    folder: Path, images: dict[str, Path]
) -> tuple[dict[str, str], list[tuple[str, PPCMIError]]]:
    """Read the groups of the images of a folder.

    The file has the columns ``file`` (an image's file name, alone or as
    ``images/name``) and ``group``; others are ignored. An image without a row is
    a group of its own.

    Parameters
    ----------
    folder
        Where ``manifest.csv`` may lie.
    images
        Images by case name.

    Returns
    -------
    groups
        Group by case name; empty when there is no manifest.
    problems
        Rows that name a file which is not among the images.

    Raises
    ------
    InputFileError
        The file is no such table, or names an image twice.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}, []
    names = {image.name: name for name, image in images.items()}
    groups: dict[str, str] = {}
    problems: list[tuple[str, PPCMIError]] = []
    seen: dict[str, int] = {}
    for line, (file, group) in _rows(path):
        if file in seen:
            raise InputFileError(
                path,
                f"'{file}' appears twice, in lines {seen[file]} and {line}.",
                hint="Delete one of the two lines.",
            )
        seen[file] = line
        if file in names:
            groups[names[file]] = group
        else:
            error = InputFileError(
                path,
                f"line {line} names '{file}', which is missing.",
                hint="Add that image, or delete the line.",
            )
            problems.append((file, error))
    return groups, problems


def _rows(path: Path) -> list[tuple[int, tuple[str, str]]]:
    """Line number, file name and group of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            if "file" not in (reader.fieldnames or []):
                raise InputFileError(
                    path,
                    "the column 'file' is missing.",
                    hint="The first line must name the columns, with commas: file,group",
                )
            return [
                (reader.line_num, (_file_name(row["file"]), (row.get("group") or "").strip()))
                for row in reader
                if row["file"]
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(
            path, "cannot be read as a CSV table.", hint="Save it as CSV in UTF-8, with commas."
        ) from error


def _file_name(value: str) -> str:
    """Take the bare name of a file that may be given as ``images/name``."""
    return value.strip().replace("\\", "/").removeprefix("./").removeprefix("images/")
