"""PPCMI-SF: privacy-preserving collaborative segmentation; the engine, without Qt or napari."""

from ppcmi_sf._version import __version__

__all__ = ["__version__"]
