"""Every bad file is one InputFileError with its name and a hint, and nothing on the terminal."""

import gzip
import os
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import read_image, read_mask
from ppcmi_sf.imaging._guard import MAX_VALUES

SUFFIXES = [".png", ".jpg", ".tif", ".nii", ".nii.gz", ".mha", ".nrrd", ".dcm"]


def write(path):
    noise = np.random.default_rng(0).integers(0, 255, (8, 40, 40)).astype(np.uint8)
    suffix = path.suffix
    if suffix in (".png", ".jpg", ".tif"):
        Image.fromarray(noise[0]).save(path)
    elif suffix in (".nii", ".gz"):
        nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
    elif suffix == ".dcm":
        sitk.WriteImage(sitk.GetImageFromArray(noise[:1]), str(path))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))
    return path


@pytest.fixture(params=SUFFIXES)
def good(request, tmp_path):
    return write(tmp_path / f"case7{request.param}")


def refuse(path, capfd, problem=r"."):
    for read in (read_image, lambda p: read_mask(p, 256)):
        with pytest.raises(InputFileError, match=problem) as caught:
            read(path)
        assert path.name in caught.value.message
        assert caught.value.hint.endswith(".")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_good(good):
    assert read_image(good).data.any()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing(tmp_path, capfd, suffix):
    refuse(tmp_path / f"case7{suffix}", capfd, "no such file")


def test_empty(good, capfd):
    good.write_bytes(b"")
    refuse(good, capfd, "empty")


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated(good, capfd, part):
    content = good.read_bytes()
    good.write_bytes(content[: max(1, int(len(content) * part))])
    refuse(good, capfd)


@pytest.mark.parametrize("content", [b"\0" * 1000, b"not an image " * 100, bytes(range(256)) * 8])
def test_garbage(good, capfd, content):
    good.write_bytes(content)
    refuse(good, capfd)


def test_not_allowed(good, capfd):
    good.chmod(0)
    if os.access(good, os.R_OK):
        pytest.skip("this user (root?) may read everything")
    refuse(good, capfd, "cannot be opened")


def test_unknown_kind(tmp_path, capfd):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    refuse(path, capfd, "not a kind of file")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, capfd, value):
    data = np.zeros((3, 4, 5), np.float32)
    data[1, 2, :2] = value
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / "a.mha"))
    sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / "a.nrrd"))
    Image.fromarray(data[1]).save(tmp_path / "a.tif")
    for path in sorted(tmp_path.iterdir()):
        refuse(path, capfd, r"2 of (60|20) values are not finite")


def test_numbers_too_large_for_float32(tmp_path, capfd):
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 1e300), np.eye(4)), tmp_path / "a.nii")
    refuse(tmp_path / "a.nii", capfd, "8 of 8 values are not finite")


def test_headers_that_promise_too_much(tmp_path, capfd):
    """Refused from the header alone, before anything is allocated."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((30000, 30000, 30000))
    content = header.binaryblock[:-4] + b"n+1\0" + b"\0" * 4
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 30000 30000 30000\n"
        b"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n\0\0"
    )
    (tmp_path / "a.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 30000 30000 30000\nencoding: raw\n\n\0\0"
    )
    for path in sorted(tmp_path.iterdir()):
        refuse(path, capfd, f"30000 x 30000 x 30000.*limit of {MAX_VALUES}")
    png = tmp_path / "a.png"
    Image.new("1", (8, 8)).save(png)
    content = bytearray(png.read_bytes())
    content[16:24] = struct.pack(">II", 60000, 60000)
    png.write_bytes(content)
    refuse(png, capfd)


def test_compression_bomb_in_a_metaimage(tmp_path, capfd):
    """Far more data than the header says: not inflated in one go, and refused or ignored."""
    import zlib

    bomb = zlib.compress(b"\0" * 50_000_000)
    path = tmp_path / "a.mha"
    path.write_bytes(
        b"ObjectType = Image\nNDims = 2\nDimSize = 4 4\nCompressedData = True\n"
        + f"CompressedDataSize = {len(bomb)}\n".encode()
        + b"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        + bomb[:-10]
    )
    refuse(path, capfd, "damaged or cut short")
