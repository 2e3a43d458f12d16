"""The napari plugin of PPCMI-SF."""
