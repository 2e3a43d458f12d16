"""The napari plugin of PPCMI-SF."""

from ppcmi_sf import __version__

__all__ = ["__version__"]
