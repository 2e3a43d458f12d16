"""Bundles are looked for in the folder that is named, and who names another is told so."""

from __future__ import annotations

import pytest

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.identity import Identity
from ppcmi_sf.workflows.bundle_files import bundle_files


def test_a_folder_above_the_bundles_is_told_apart_from_theirs(tmp_path):
    (tmp_path / "north").mkdir()
    (tmp_path / "north" / "a.ppcmi").write_bytes(b"a bundle of pairs, or so")
    with pytest.raises(InputFileError, match="no 'training' bundle for 'server'") as told:
        bundle_files([tmp_path], "training", Identity.generate("server"))
    assert told.value.hint == "Choose the folder that the files are in, not one above it."
