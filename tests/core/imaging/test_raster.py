import struct

import numpy as np
import pytest
from PIL import Image

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry, read_image, read_mask, write_mask

RNG = np.random.default_rng(0)


def save(path, array_or_picture, **options):
    picture = array_or_picture
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize(
    "array",
    [
        RNG.integers(0, 256, (5, 7)).astype(np.uint8),
        RNG.integers(0, 65536, (5, 7)).astype(np.uint16),
        RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8),
    ],
    ids=["grey", "grey16", "rgb"],
)
def test_values_are_exact(tmp_path, suffix, array):
    image = read_image(save(tmp_path / f"a{suffix}", array))
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data, array.reshape(5, 7, -1))
    geometry = image.geometry
    assert (geometry.shape, geometry.spacing) == ((5, 7), (1.0, 1.0))
    assert not geometry.has_physical_size
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_tiff_of_other_types(tmp_path, kind):
    array = (RNG.random((5, 7)) * 1000 - 300).astype(kind)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.tif", array)).data[..., 0], array)


def write_tiff(path, array, photometric=1):
    """A TIFF 6.0 file of kinds that Pillow reads, but does not write."""
    rows, columns = array.shape
    bits, sample_format = 8 * array.itemsize, {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    tags = {256: columns, 257: rows, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1}
    tags |= {278: rows, 279: array.nbytes, 339: sample_format}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # the strip follows the directory
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags))
    path.write_bytes(head + entries + bytes(4) + array.astype(array.dtype.newbyteorder("<")).data)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_tiff_of_every_whole_number(tmp_path, kind):
    limits = np.iinfo(kind)
    array = RNG.integers(limits.min, limits.max, (5, 7), kind, endpoint=True)
    values = read_image(write_tiff(tmp_path / "a.tif", array)).data[..., 0]
    np.testing.assert_array_equal(values, array.astype(np.float32))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_where_0_is_white_larger_is_brighter_all_the_same(tmp_path, kind):
    array = RNG.integers(0, np.iinfo(kind).max, (5, 7), kind, endpoint=True)
    values = read_image(write_tiff(tmp_path / "a.tif", array, photometric=0)).data[..., 0]
    np.testing.assert_array_equal(values, np.iinfo(kind).max - array)


def test_jpeg(tmp_path):
    array = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    image = read_image(save(tmp_path / "a.jpg", array, quality=95))
    np.testing.assert_allclose(image.data, array, atol=4)
    assert write_mask(np.ones((16, 24), np.uint8), image.geometry, tmp_path, "m").suffix == ".png"


def test_alpha_is_dropped(tmp_path):
    rgba = RNG.integers(0, 256, (5, 7, 4)).astype(np.uint8)
    data = read_image(save(tmp_path / "a.png", rgba)).data
    np.testing.assert_array_equal(data, rgba[..., :3])
    grey_alpha = Image.fromarray(rgba[..., 0]).convert("LA")
    data = read_image(save(tmp_path / "b.png", grey_alpha)).data
    np.testing.assert_array_equal(data[..., 0], rgba[..., 0])


def test_palette_is_colours_in_an_image_and_labels_in_a_mask(tmp_path):
    indices = RNG.integers(0, 3, (5, 7)).astype(np.uint8)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.putdata(indices.ravel().tolist())
    path = save(tmp_path / "a.png", picture)
    assert read_image(path).data.shape == (5, 7, 3)
    assert set(np.unique(read_image(path).data)) == {0, 255}
    np.testing.assert_array_equal(read_mask(path, 3), indices)


def test_one_bit_mask(tmp_path):
    labels = RNG.integers(0, 2, (5, 7)).astype(np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(labels * 255).convert("1"))
    np.testing.assert_array_equal(read_mask(path, 2), labels)


def test_pages_need_a_frame(tmp_path):
    pages = [Image.fromarray(np.full((5, 7), value, np.uint8)) for value in (1, 2, 3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputFileError, match=r"axis 0 \(length 3\).*--frame N"):
        read_image(tmp_path / "a.tif")
    assert (read_image(tmp_path / "a.tif", frame=2).data == 3).all()


def test_mask_round_trip(tmp_path):
    image = read_image(save(tmp_path / "a.jpg", np.zeros((9, 11), np.uint8)))
    labels = RNG.integers(0, 5, (9, 11)).astype(np.uint8)
    written = write_mask(labels, image.geometry, tmp_path / "masks", "a")
    assert np.array_equal(np.asarray(Image.open(written)), labels)
    np.testing.assert_array_equal(read_mask(written, 5, image_geometry=image.geometry), labels)


def test_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = save(tmp_path / "bomb.png", Image.new("1", (3000, 3000)))
    for limit in (5_000_000, 1_000_000):  # between one and two times, and beyond
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputFileError, match=rf"bomb\.png.*more than {limit} pixels"):
            read_image(path)
