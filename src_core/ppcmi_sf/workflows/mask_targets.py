"""Where masks go, so that none replaces another case's, the image itself, or something else."""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry, mask_path, read_mask


class MaskTargets:
    """The masks of one run in one folder.

    Parameters
    ----------
    out
        The folder.
    class_count
        Classes of the study: what a mask may hold.
    overwrite
        Whether masks that are there are replaced.
    """

    def __init__(self, out: Path, class_count: int, *, overwrite: bool) -> None:
        self._out, self._class_count, self._overwrite = out, class_count, overwrite
        self._sources: dict[Path, str] = {}  # whose mask is where, of this run

    def is_there(self, geometry: Geometry, name: str, source: str) -> bool:
        """Whether a case's mask is there and stays.

        Raises
        ------
        InputFileError
            The mask would replace the image itself, another case's mask of this run,
            or a file that is no mask of that image.
        """
        target = mask_path(geometry, self._out, name)
        known = self._sources.setdefault(target, source)
        if known != source:
            raise InputFileError(
                target,
                f"two images are called '{name}': {known} and {source}.",
                hint="Give them to two commands, one after the other, with two folders for --out.",
            )
        if target.resolve() == Path(source).resolve():
            raise InputFileError(
                target,
                "the mask would replace the image itself.",
                hint="Give another folder with --out.",
            )
        if target.exists() and self._overwrite:
            self._require_mask(target, geometry, name)
        return target.exists() and not self._overwrite

    def _require_mask(self, target: Path, geometry: Geometry, name: str) -> None:
        try:
            read_mask(target, self._class_count, image_geometry=geometry)
        except InputFileError as error:
            raise InputFileError(
                target,
                f"this file is no mask of '{name}', so it is not replaced.",
                hint="Give another folder with --out, or delete the file yourself.",
            ) from error
