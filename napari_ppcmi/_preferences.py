"""What is remembered between two starts: places and habits, never a secret.

napari keeps ``general`` (the manifest's ``configurations``), which its own dialog shows; the
places that were used last stand in a small file of ours. Before napari 0.9 plugins had no such
settings: then these stand in our file as well, to be changed there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.files import write_text
from ppcmi_sf.user_folders import user_config_folder

PLUGIN = "napari-ppcmi"
FILE = "places.json"
_MAX_BYTES = 64 * 1024


class Preferences(BaseModel):
    """Places used last, and the habits of napari's dialog."""

    model_config = ConfigDict(extra="ignore", validate_assignment=True)

    home: Path | None = None
    site_folder: Path | None = None
    key_file: Path | None = None
    outbox: Path | None = None
    inbox: Path | None = None
    device: str = "auto"
    lock_minutes: float = 15
    mask_opacity: float = 0.5

    @classmethod
    def load(cls) -> Preferences:
        """Read both; what cannot be read counts as never chosen."""
        chosen = cls._from_file()
        chosen.follow_napari()
        return chosen

    @classmethod
    def _from_file(cls) -> Preferences:
        try:
            path = _file()
            if path.stat().st_size <= _MAX_BYTES:
                return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, PPCMIError, ValidationError, UnicodeDecodeError):
            pass  # a fresh start; the next choice writes it anew
        return cls()

    def follow_napari(self) -> None:
        """Take over the habits as napari's dialog has them now."""
        for name, value in _from_napari().items():
            setattr(self, name, value)

    def remember(self, **places: Path | None) -> None:
        """Keep places for the next start, if they can be kept."""
        now = self._from_file()  # another window may have written meanwhile
        for name, place in places.items():
            setattr(self, name, place)
            setattr(now, name, place)
        kept = now.model_dump_json(exclude=set(_from_napari()), indent=1)
        with suppress(PPCMIError):  # a full disk must not stop the choice itself
            write_text(_file(), kept + "\n", mode=0o600)


def _file() -> Path:
    return user_config_folder() / FILE


def _from_napari() -> dict[str, Any]:
    try:
        from napari.settings import get_plugin_settings

        general = get_plugin_settings(PLUGIN).general
    except (ImportError, KeyError, AttributeError):
        return {}
    return {name: getattr(general, name) for name in ("device", "lock_minutes", "mask_opacity")}
