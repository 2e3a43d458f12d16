"""PPCMI-SF: segmentation that sites train together without images; the engine, no Qt or napari.

The names below are the public API. They are loaded on first use, so that
importing this package imports neither torch nor MONAI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ppcmi_sf._version import __version__

if TYPE_CHECKING:
    from ppcmi_sf.bundle import LatentBundle, read_bundle, write_bundle
    from ppcmi_sf.cards import ContactCard
    from ppcmi_sf.errors import PPCMIError
    from ppcmi_sf.home import Home, Party
    from ppcmi_sf.identity import Identity
    from ppcmi_sf.keys import ClientKey, TransformShare
    from ppcmi_sf.latents import LatentPyramid
    from ppcmi_sf.progress import Progress, run
    from ppcmi_sf.roles import MappingServer, Site
    from ppcmi_sf.study import StudySpec
    from ppcmi_sf.transform import KeyedLatentTransform

_HOMES = {
    "ClientKey": "keys",
    "ContactCard": "cards",
    "Home": "home",
    "Identity": "identity",
    "KeyedLatentTransform": "transform",
    "LatentBundle": "bundle",
    "LatentPyramid": "latents",
    "MappingServer": "roles",
    "PPCMIError": "errors",
    "Party": "home",
    "Progress": "progress",
    "Site": "roles",
    "StudySpec": "study",
    "TransformShare": "keys",
    "read_bundle": "bundle",
    "run": "progress",
    "write_bundle": "bundle",
}

__all__ = [
    "ClientKey",
    "ContactCard",
    "Home",
    "Identity",
    "KeyedLatentTransform",
    "LatentBundle",
    "LatentPyramid",
    "MappingServer",
    "PPCMIError",
    "Party",
    "Progress",
    "Site",
    "StudySpec",
    "TransformShare",
    "__version__",
    "read_bundle",
    "run",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppcmi_sf' has no attribute '{name}'")
    return getattr(import_module(f"ppcmi_sf.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
