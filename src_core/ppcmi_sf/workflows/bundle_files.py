"""From what somebody named on the way in, files and folders, to the bundles to be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppcmi_sf.bundle import SUFFIX, BundleKind, peek
from ppcmi_sf.errors import InputFileError, NotRecipientError, PPCMIError
from ppcmi_sf.identity import Identity


def bundle_files(paths: Sequence[Path], kind: BundleKind, identity: Identity) -> list[Path]:
    """Bundle files as given, and for each folder those of a kind in it, by name.

    In a folder, bundles that are for others are passed over. Damaged ones are not, so that
    somebody is told.

    Raises
    ------
    InputFileError
        A path is missing, or a folder holds no such bundle.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputFileError(path, "there is no such file or folder.", hint="Check the path.")
        if path.is_dir():
            inside = [f for f in sorted(path.glob(f"*{SUFFIX}")) if _wanted(f, kind, identity)]
            if not inside:
                raise InputFileError(
                    path,
                    f"there is no '{kind}' bundle for '{identity.card.name}' in this folder.",
                    hint="Choose the folder that the files are in, not one above it.",
                )
            found.extend(inside)
        else:
            found.append(path)
    return list(dict.fromkeys(found))  # a file that is given twice counts once


def _wanted(path: Path, kind: BundleKind, identity: Identity) -> bool:
    try:
        return peek(path, identity).kind == kind
    except NotRecipientError:
        return False
    except PPCMIError:
        return True
