"""Opening, saving and keeping, in a real worker."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.images import (
    FrameChoice,
    KeptMaskList,
    KeptMasks,
    Mask,
    OpenedImage,
    OpenImage,
    OpenKeptMask,
    Provenance,
    SavedMask,
    SaveMask,
)
from napari_ppcmi._protocol.keys import ClassInfo
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._worker.tasks.kept import keep_mask
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.imaging import read_image

PICTURE = sample_data_folder() / "ultrasound" / "images" / "north_000.png"
VOLUME = sample_data_folder() / "volume" / "image.nii.gz"
CLASSES = (
    ClassInfo(name="background", color="#000000"),
    ClassInfo(name="organ", color="#ff0000"),
    ClassInfo(name="wall", color="#00ff00"),
)


def a_mask(image: Path, name: str = "case", made: str = "2026-01-01T00:00:00Z") -> Mask:
    geometry = read_image(image).geometry
    labels = np.random.default_rng(0).integers(0, 3, geometry.shape, dtype=np.uint8)
    provenance = Provenance(made=made, study="0" * 64, study_name="test", site="north")
    return Mask(
        arrays=(labels,),
        name=name,
        geometry=geometry,
        classes=CLASSES,
        provenance=provenance,
        source=str(image),
    )


@pytest.mark.parametrize("path", [PICTURE, VOLUME])
def test_an_opened_image_is_what_the_engine_reads(viewer_model, ask, path):
    opened = ask(jobs_for(viewer_model), OpenImage(path=path))
    assert isinstance(opened, OpenedImage), opened
    image = read_image(path)
    np.testing.assert_array_equal(opened.arrays[0], image.data)
    assert opened.geometry == image.geometry
    assert opened.name == path.name.split(".")[0]


def test_a_file_of_several_frames_asks_back(viewer_model, ask, tmp_path):
    path = tmp_path / "pages.tif"
    pages = [Picture.fromarray(np.full((4, 5), page, np.uint8)) for page in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    jobs = jobs_for(viewer_model)
    assert ask(jobs, OpenImage(path=path)) == FrameChoice(path=path, count=3)
    opened = ask(jobs, OpenImage(path=path, frame=2, name="last"))
    assert isinstance(opened, OpenedImage), opened
    assert (opened.name, opened.frame) == ("last", 2) and (opened.arrays[0] == 2).all()
    failure = ask(jobs, OpenImage(path=path, frame=3))
    assert isinstance(failure, Failure) and "no frame 3" in failure.message


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_a_saved_mask_lies_where_its_image_lies(viewer_model, ask, tmp_path, suffix):
    mask = a_mask(VOLUME)
    path = tmp_path / f"mask{suffix}"
    request = SaveMask(arrays=mask.arrays, path=path, geometry=mask.geometry)
    assert isinstance(ask(jobs_for(viewer_model), request), SavedMask)
    back = read_image(path)
    np.testing.assert_array_equal(back.data[..., 0], mask.arrays[0])
    np.testing.assert_allclose(back.geometry.affine, mask.geometry.affine, atol=1e-4)
    if suffix.startswith(".nii"):
        np.testing.assert_array_equal(nib.load(path).affine, nib.load(VOLUME).affine)
    assert [item.name for item in tmp_path.glob("*mask*")] == [path.name]


@pytest.mark.parametrize("name", ["mask.png", "mask.docx", "mask"])
def test_what_cannot_be_saved_is_said_in_words(viewer_model, ask, tmp_path, name):
    mask = a_mask(VOLUME)
    request = SaveMask(arrays=mask.arrays, path=tmp_path / name, geometry=mask.geometry)
    failure = ask(jobs_for(viewer_model), request)
    assert isinstance(failure, Failure)
    assert name in failure.message and ".nii.gz" in failure.hint
    assert not (tmp_path / name).exists()


def test_no_kept_mask_replaces_another_and_all_come_back(viewer_model, ask, tmp_path):
    masks = [a_mask(VOLUME, made=f"2026-01-0{day}T00:00:00Z") for day in (1, 2, 3)]
    paths = [keep_mask(tmp_path / "masks", mask) for mask in masks]
    assert [path.name for path in paths] == ["case.nii.gz", "case-2.nii.gz", "case-3.nii.gz"]
    (tmp_path / "masks" / "case-2.nii.gz.json").write_text("{")
    (tmp_path / "masks" / "other.nii.gz.json").write_text("{}")
    jobs = jobs_for(viewer_model)
    found = ask(jobs, KeptMasks(folder=tmp_path / "masks"))
    assert isinstance(found, KeptMaskList)
    assert [one.path for one in found.masks] == [paths[2], paths[0]]
    assert found.masks[0].source == str(VOLUME)
    opened = ask(jobs, OpenKeptMask(path=paths[0]))
    assert isinstance(opened, Mask), opened
    np.testing.assert_array_equal(opened.arrays[0], masks[0].arrays[0])
    assert opened.saved == paths[0]
    assert opened.counts == tuple(np.bincount(masks[0].arrays[0].ravel(), minlength=3))
    plain = {"arrays": (), "saved": None, "counts": ()}
    assert opened.model_copy(update=plain) == masks[0].model_copy(update=plain)
    damaged = ask(jobs, OpenKeptMask(path=paths[1]))
    assert isinstance(damaged, Failure) and "damaged" in damaged.message


def test_a_folder_that_is_not_there_holds_no_masks(viewer_model, ask, tmp_path):
    found = ask(jobs_for(viewer_model), KeptMasks(folder=tmp_path / "none"))
    assert found == KeptMaskList(masks=())


def test_a_record_says_where_a_mask_is_from(tmp_path):
    path = keep_mask(tmp_path, a_mask(PICTURE, name="a/b:c"))
    assert path.name == "a_b_c.png"
    record = json.loads(path.with_name(path.name + ".json").read_text())
    assert record["provenance"]["site"] == "north"
    assert [one["name"] for one in record["classes"]] == ["background", "organ", "wall"]
    assert "saved" not in record and "arrays" not in record


def test_nothing_stays_of_a_mask_that_cannot_be_kept(tmp_path):
    mask = a_mask(PICTURE)
    with pytest.raises(PPCMIError):
        keep_mask(tmp_path, mask.model_copy(update={"arrays": (mask.arrays[0][1:],)}))
    assert [item.name for item in tmp_path.iterdir() if "case" in item.name] == []
