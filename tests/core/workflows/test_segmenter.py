"""Many images through a site's own network, loaded once."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from ppcmi_sf.data import Case
from ppcmi_sf.errors import ModelFileError, PPCMIError
from ppcmi_sf.imaging import read_image
from ppcmi_sf.models.store import weights_id
from ppcmi_sf.progress import run
from ppcmi_sf.workflows.folders import SiteFolder

CPU = torch.device("cpu")


@pytest.fixture
def ready(north, server, tmp_path):
    """A site with a network of its own."""
    north.install(server.publish("north", tmp_path / "models"))
    return north


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_it_makes_the_masks_of_the_command(ready, tmp_path):
    segmenter = ready.segmenter()
    for case, path in zip(ready.testing, run(ready.segment(tmp_path / "m")).written, strict=True):
        labels = run(segmenter.segment(read_image(case.image)))
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, pixels(path))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_that_is_read_plane_by_plane_gets_the_same_mask(
    ready, make_volume, tmp_path, monkeypatch, suffix
):
    case = make_volume(tmp_path / f"stack{suffix}", 11)
    labels = run(ready.segmenter().segment(read_image(case.image)))

    def refuse(*args, **options):
        raise AssertionError("the volume was read as a whole")

    monkeypatch.setattr("ppcmi_sf.workflows.segment.read_image", refuse)
    (path,) = run(ready.segment(tmp_path / "m", [case])).written
    mask = nib.load(path)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), labels)
    np.testing.assert_array_equal(mask.affine, nib.load(case.image).affine)


def test_averaging_over_flips_does_not_care_for_mirrors(ready, tmp_path):
    """An image and its mirror image get mirrored masks, which without averaging they do not."""
    segmenter = dataclasses.replace(ready.segmenter(), average_flips=True)
    image = read_image(ready.testing[0].image)
    mirrored = dataclasses.replace(image, data=image.data[:, ::-1].copy())
    one, other = run(segmenter.segment(image)), run(segmenter.segment(mirrored))
    np.testing.assert_array_equal(one, other[:, ::-1])
    case = ready.testing[:1]
    (path,) = run(ready.segment(tmp_path / "m", case, average_flips=True)).written
    np.testing.assert_array_equal(pixels(path), one)


def test_it_says_what_it_is_made_of(ready):
    segmenter = ready.segmenter()
    assert segmenter.study == segmenter.site.study == ready.study
    assert segmenter.encoders == SiteFolder(ready.folder).load(ready.key, CPU)[1]
    assert segmenter.network == weights_id(segmenter.server.network)
    assert segmenter.key_id == ready.key.key_id
    assert segmenter.slice_axis is None


def test_a_volume_tells_its_slices(ready, make_volume, tmp_path):
    case = make_volume(tmp_path / "stack.nii", 11)
    steps = []
    labels = run(ready.segmenter().segment(read_image(case.image)), steps.append)
    assert labels.shape == (64, 64, 11)
    assert [(step.done, step.total, step.message) for step in steps] == [
        (0, 11, "Segmenting slice 1 of 11"),
        (8, 11, "Segmenting slice 9 of 11"),
        (11, 11, "Segmenting slice 11 of 11"),
    ]
    (path,) = run(ready.segment(tmp_path / "m", [case])).written
    np.testing.assert_array_equal(labels, np.asarray(nib.load(path).dataobj))


def test_a_picture_is_one_slice(ready):
    steps = []
    run(ready.segmenter().segment(read_image(ready.testing[0].image)), steps.append)
    assert [(step.done, step.total, step.message) for step in steps] == [
        (0, 1, "Segmenting"),
        (1, 1, "Segmenting"),
    ]


def test_the_axis_is_the_image_s_the_training_s_or_the_one_that_is_told(
    ready, make_volume, tmp_path
):
    image = read_image(make_volume(tmp_path / "stack.nii", 11).image)
    folder = SiteFolder(ready.folder)
    folder.save_record(folder.record().model_copy(update={"slice_axis": 0}))
    segmenter = ready.segmenter()
    assert next(segmenter.segment(image)).total == 64
    assert next(segmenter.segment(image, slice_axis=2)).total == 11
    # The training's axis says nothing of a picture; one that is told does.
    picture = read_image(ready.testing[0].image)
    assert run(segmenter.segment(picture)).shape == (64, 64)
    with pytest.raises(PPCMIError, match="no slice axis 1"):
        run(segmenter.segment(picture, slice_axis=1))
    assert len(run(ready.segment(tmp_path / "m")).written) == 4


def test_an_image_that_does_not_suit_is_refused(ready):
    image = read_image(ready.testing[0].image)
    two = dataclasses.replace(image, data=np.repeat(image.data, 2, axis=-1))
    with pytest.raises(PPCMIError, match="2 channels"):
        run(ready.segmenter().segment(two))


def test_without_a_network_or_with_another_key_there_is_none(north, server, tmp_path):
    with pytest.raises(ModelFileError, match="no mapping network at this site"):
        north.segmenter()
    north.install(server.publish("north", tmp_path / "models"))
    with pytest.raises(ModelFileError, match="learned with another key"):
        north.segmenter(north.key.rotate())


def test_a_batch_tells_its_cases(ready, make_volume, tmp_path):
    stack = make_volume(tmp_path / "stack.nii", 11)
    cases = [Case("first", ready.testing[0].image), stack]
    steps = []
    run(ready.segment(tmp_path / "m", cases), steps.append)
    assert {(step.done, step.total, step.message) for step in steps} == {
        (0, 2, "Segmenting first"),
        (1, 2, "Segmenting stack"),
    }
    assert [step.done for step in steps] == sorted(step.done for step in steps)
