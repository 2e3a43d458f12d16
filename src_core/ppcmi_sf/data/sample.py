"""Where the sample data lies: small synthetic images, masks and trained networks."""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.errors import InputFileError


def sample_data_folder() -> Path:
    """Find the folder of sample data.

    In an installed package it lies inside the engine, in a checkout (an editable
    install) at the top of the repository.

    Raises
    ------
    InputFileError
        It is in neither place.
    """
    package = Path(__file__).parents[1]
    installed = package / "sample_data"
    checkout = package.parents[1] / "sample_data"
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise InputFileError(
        installed,
        "the sample data is missing.",
        hint="Install the package again, or make the data with: ppcmi demo --sample-data FOLDER",
    )
