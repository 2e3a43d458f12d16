"""Files to oriented volumes to the network grid, and masks back to the file's own grid."""

from ppcmi_sf.imaging._guard import check_finite
from ppcmi_sf.imaging.dicom import SeriesInfo, list_series
from ppcmi_sf.imaging.geometry import Geometry
from ppcmi_sf.imaging.io import (
    MedicalImage,
    case_name,
    is_supported,
    mask_path,
    open_slicewise,
    read_image,
    read_mask,
    write_mask,
    write_mask_as,
)
from ppcmi_sf.imaging.slices import (
    GridFit,
    SliceSource,
    assemble,
    fit_to_grid,
    iter_grid_slices,
    labels_from_grid,
    mask_to_grid,
    plane_of_file,
    slice_axis_for,
)
from ppcmi_sf.imaging.slicewise import SlicewiseImage, mask_planes

__all__ = [
    "Geometry",
    "GridFit",
    "MedicalImage",
    "SeriesInfo",
    "SliceSource",
    "SlicewiseImage",
    "assemble",
    "case_name",
    "check_finite",
    "fit_to_grid",
    "is_supported",
    "iter_grid_slices",
    "labels_from_grid",
    "list_series",
    "mask_path",
    "mask_planes",
    "mask_to_grid",
    "open_slicewise",
    "plane_of_file",
    "read_image",
    "read_mask",
    "slice_axis_for",
    "write_mask",
    "write_mask_as",
]
