import numpy as np
import pytest
from pydantic import ValidationError

from ppcmi_sf.imaging import Geometry
from ppcmi_sf.imaging.geometry import default_slice_axis, is_usable, raster_geometry


def test_record_survives_json_and_nesting_in_other_records():
    geometry = raster_geometry(5, 7)
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry
    assert Geometry.model_validate(geometry.model_dump(mode="json")) == geometry


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (5, 7, 9)},
        {"shape": (5, 0)},
        {"spacing": ("1", "1")},
        {"slice_axis": 3},
        {"family": "nifti"},
        {"family": "metaimage"},
        {"family": "bmp"},
        {"patient": "no such field"},
    ],
)
def test_incomplete_or_strange_records_are_refused(change):
    fields = raster_geometry(5, 7).model_dump() | change
    with pytest.raises(ValidationError):
        Geometry.model_validate(fields)


def test_slice_axis_must_be_clearly_coarser():
    shape = (9, 9, 9)
    assert default_slice_axis((1.0, 1.0, 1.19), shape) == 2
    assert default_slice_axis((1.3, 1.0, 1.0), shape) == 0
    assert default_slice_axis((1.2, 1.0, 1.0), shape) == 2
    assert default_slice_axis((3.0, 3.0, 1.0), shape) == 2


def test_usable_affines():
    assert is_usable(np.diag([1e-5, 2e3, -1, 1.0]))
    for bad in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(4)[[0, 0, 2, 3]]):
        assert not is_usable(bad)
