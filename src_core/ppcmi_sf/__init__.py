"""PPCMI-SF: privacy-preserving collaborative segmentation; the engine, without Qt or napari.

The names below are the public API. They are loaded on first use, so that
importing this package imports neither torch nor MONAI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ppcmi_sf._version import __version__

if TYPE_CHECKING:
    from ppcmi_sf.bundle import LatentBundle
    from ppcmi_sf.errors import PPCMIError
    from ppcmi_sf.keys import ClientKey, TransformShare
    from ppcmi_sf.latents import LatentPyramid
    from ppcmi_sf.progress import Progress, run
    from ppcmi_sf.roles import MappingServer, Site
    from ppcmi_sf.study import StudySpec
    from ppcmi_sf.transform import KeyedLatentTransform

_HOMES = {
    "ClientKey": "keys",
    "KeyedLatentTransform": "transform",
    "LatentBundle": "bundle",
    "LatentPyramid": "latents",
    "MappingServer": "roles",
    "PPCMIError": "errors",
    "Progress": "progress",
    "Site": "roles",
    "StudySpec": "study",
    "TransformShare": "keys",
    "run": "progress",
}

__all__ = [
    "ClientKey",
    "KeyedLatentTransform",
    "LatentBundle",
    "LatentPyramid",
    "MappingServer",
    "PPCMIError",
    "Progress",
    "Site",
    "StudySpec",
    "TransformShare",
    "__version__",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppcmi_sf' has no attribute '{name}'")
    return getattr(import_module(f"ppcmi_sf.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
