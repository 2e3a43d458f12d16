"""What every test shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

# Set before napari is first imported: an empty value keeps tests away from the
# user's own settings, which the viewer fixture would otherwise reset.
os.environ.setdefault("NAPARI_CONFIG", "")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def write_slice() -> Callable[..., Path]:
    """Write one DICOM slice with the position, orientation and tags that are given."""
    import SimpleITK as sitk

    def write(
        path: Path,
        pixels: np.ndarray,
        position=(0.0, 0.0, 0.0),
        orientation=(1, 0, 0, 0, 1, 0),
        uid="1.2.826.1",
        spacing=(0.5, 0.7),
        tags: dict[str, str] | None = None,
    ) -> Path:
        image = sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3)
        volume = sitk.JoinSeries(image)
        volume.SetSpacing((*spacing, 1))
        values = {
            "0008|0060": "CT",
            "0020|000d": "1.2.826.0",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{abs(hash((path.name, tuple(position)))) % 10**8}",
            "0008|103e": f"series {uid[-1]}",
            "0010|0010": "SECRET^PATIENT",
            "0020|0032": "\\".join(f"{v:.6f}" for v in position),
            "0020|0037": "\\".join(f"{v:.9f}" for v in orientation),
            **(tags or {}),
        }
        for key, value in values.items():
            volume.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(path))
        writer.Execute(volume)
        return path

    return write


@pytest.fixture(scope="session")
def keyring_in_memory() -> Callable[[], AbstractContextManager[None]]:
    """Put a keyring that holds things in memory in place of the system's, for a while."""
    import keyring
    import keyring.backends.fail
    from keyring.backend import KeyringBackend
    from keyring.errors import PasswordDeleteError

    class Ring(KeyringBackend):
        priority = -1  # the library takes the best of all that it finds, for every test

        def __init__(self) -> None:
            super().__init__()
            self.held: dict[tuple[str, str], str] = {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.held[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            if self.held.pop((service, username), None) is None:
                raise PasswordDeleteError("no such entry")

    @contextmanager
    def put() -> Iterator[None]:
        keyring.set_keyring(Ring())
        try:
            yield
        finally:
            keyring.set_keyring(keyring.backends.fail.Keyring())

    return put
