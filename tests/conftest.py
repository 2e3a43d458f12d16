"""What every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Set before napari is first imported: an empty value keeps tests away from the
# user's own settings, which the viewer fixture would otherwise reset.
os.environ.setdefault("NAPARI_CONFIG", "")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parent.parent
