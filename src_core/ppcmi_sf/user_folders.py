"""Where the operating system keeps this user's data and settings for the project."""

from __future__ import annotations

from pathlib import Path

import appdirs

from ppcmi_sf.errors import ResourceError

_NAME = "napari-ppcmi"


def user_data_folder() -> Path:
    """What must not get lost.

    Raises
    ------
    ResourceError
        The system does not know the user's folder.
    """
    return _known(appdirs.user_data_dir(_NAME, appauthor=False))


def user_config_folder() -> Path:
    """What is only convenient to have.

    Raises
    ------
    ResourceError
        The system does not know the user's folder.
    """
    return _known(appdirs.user_config_dir(_NAME, appauthor=False))


def _known(folder: str) -> Path:
    # In a container with a made-up user: a folder called "~", wherever the program was started.
    if not Path(folder).is_absolute():
        raise ResourceError(
            "The system does not know where this user's folder is.",
            hint="Set HOME, or PPCMI_HOME, to a folder that is kept, then start again.",
        )
    return Path(folder)
