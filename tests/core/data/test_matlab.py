"""MATLAB masks, sound and otherwise."""

import numpy as np
import pytest
from scipy.io import savemat

from ppcmi_sf.data.matlab import read_mat_mask
from ppcmi_sf.errors import InputFileError


@pytest.mark.parametrize("kind", [np.uint8, np.float64, bool])
@pytest.mark.parametrize("compressed", [True, False])
def test_round_trip(tmp_path, kind, compressed):
    mask = (np.arange(60).reshape(3, 4, 5) % 2).astype(kind)
    path = tmp_path / "m.mat"
    savemat(path, {"Mask": mask, "Note": "x"}, do_compression=compressed)
    assert np.array_equal(read_mat_mask(path), mask)


def test_the_only_volume_is_the_mask(tmp_path):
    path = tmp_path / "m.mat"
    savemat(path, {"vol": np.ones((2, 3, 4)), "n": 3})
    assert read_mat_mask(path).shape == (2, 3, 4)


@pytest.mark.parametrize(
    "variables",
    [
        {"a": np.ones((2, 3, 4)), "b": np.ones((2, 3, 4))},
        {"Mask": np.ones((2, 3))},
        {"Mask": {"field": 1}},
        {},
    ],
)
def test_no_mask_in_it(tmp_path, variables):
    path = tmp_path / "m.mat"
    savemat(path, variables)
    with pytest.raises(InputFileError, match=r"m\.mat.*Mask") as caught:
        read_mat_mask(path)
    assert caught.value.hint


def test_cells_are_refused(tmp_path):
    path = tmp_path / "m.mat"
    savemat(path, {"Mask": np.full((2, 2, 2), "x", object)})
    with pytest.raises(InputFileError, match="no array of numbers"):
        read_mat_mask(path)


def test_version_7_3_is_refused_with_advice(tmp_path):
    path = tmp_path / "m.mat"
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
    path.write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(InputFileError, match=r"7\.3") as caught:
        read_mat_mask(path)
    assert "-v7" in caught.value.hint


def test_damaged_files(tmp_path):
    path = tmp_path / "m.mat"
    savemat(path, {"Mask": np.random.default_rng(0).random((9, 9, 9))}, do_compression=True)
    whole = path.read_bytes()
    for content in (b"", b"x", b"no MATLAB file at all, but some text " * 20, whole[:400]):
        path.write_bytes(content)
        with pytest.raises(InputFileError, match=r"m\.mat"):
            read_mat_mask(path)
    with pytest.raises(InputFileError, match=r"gone\.mat"):
        read_mat_mask(tmp_path / "gone.mat")


def test_an_absurd_size_is_refused_before_reading(tmp_path):
    path = tmp_path / "m.mat"
    savemat(path, {"Mask": np.zeros((2, 3, 4), np.uint8)})
    content = bytearray(path.read_bytes())
    at = content.index(np.array([2, 3, 4], "<i4").tobytes())
    content[at : at + 12] = np.array([40000, 40000, 4000], "<i4").tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(InputFileError, match="too large"):
        read_mat_mask(path)
