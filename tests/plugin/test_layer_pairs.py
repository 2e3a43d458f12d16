"""Training reads files: a labels layer with other content than its file is told, not taken."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels
from PIL import Image as Picture

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import METADATA_KEY
from napari_ppcmi._overlay import make_overlay, read_layer
from napari_ppcmi._protocol.images import Mask, Provenance
from napari_ppcmi._protocol.keys import ClassInfo
from napari_ppcmi._widgets.layer_pairs import LayerPairs
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from napari_ppcmi._worker.tasks.kept import keep_mask

WAIT_MS = 30_000
CLASSES = (
    ClassInfo(name="background", color="#000000"),
    ClassInfo(name="organ", color="#ff0000"),
)


@pytest.fixture
def pairs(qtbot, viewer_model):
    jobs = jobs_for(viewer_model)
    made = LayerPairs(viewer_model, jobs)
    jobs.attach(made)
    qtbot.addWidget(made)
    return made


@pytest.fixture
def mask(viewer_model, tmp_path) -> Labels:
    """A mask as Segment makes it: kept in a file by itself, and laid over its image."""
    image = tmp_path / "image.png"
    Picture.fromarray(np.zeros((8, 9), np.uint8)).save(image)
    own = {"path": str(image)}
    below = viewer_model.add_layer(Image(np.zeros((8, 9)), metadata={METADATA_KEY: own}, name="A"))
    read = read_layer(below)
    labels = np.zeros((8, 9), np.uint8)
    labels[2:5, 2:5] = 1
    provenance = Provenance(made="now", study="0" * 64, study_name="test", site="north")
    found = Mask(arrays=(labels,), name="A", geometry=read.geometry, classes=CLASSES,
                 provenance=provenance, source=str(image))  # fmt: skip
    kept = found.model_copy(update={"saved": keep_mask(tmp_path / "masks", found)})
    return viewer_model.add_layer(make_overlay(read, kept))


def press(qtbot, pairs) -> str:
    """Press Add pair; what is told."""
    before = len(pairs.cases)
    pairs.add.click()
    qtbot.waitUntil(lambda: pairs.add.isEnabled(), timeout=WAIT_MS)
    assert len(pairs.cases) == before + (not pairs.problem.text())
    return pairs.problem.text()


def paint(layer):
    layer.brush_size = 1
    layer.paint((0, 0), 1)


def fill(layer):
    layer.fill((0, 0), 1)


def replace(layer):
    layer.data = np.ones_like(layer.data)


def write_past_napari(layer):
    layer.data[0, 0] = 1


@pytest.mark.parametrize("change", [paint, fill, replace, write_past_napari])
def test_a_mask_that_was_corrected_is_no_pair_until_it_is_saved(
    qtbot, viewer_model, pairs, mask, tmp_path, change
):
    page = SegmentWidget(viewer_model)
    qtbot.addWidget(page)
    change(mask)
    told = press(qtbot, pairs)
    assert "'A: mask' has changes that are not in its file A.png" in told and "save it" in told
    with qtbot.waitSignal(page.panel.idle, timeout=WAIT_MS):
        page.save_to(mask, tmp_path / "corrected.png")
    assert press(qtbot, pairs) == ""
    (case,) = pairs.cases
    assert case.mask == tmp_path / "corrected.png"
    with Picture.open(case.mask) as stored:
        np.testing.assert_array_equal(np.asarray(stored), mask.data)


def test_what_was_undone_is_no_change(qtbot, pairs, mask):
    paint(mask)
    mask.undo()
    assert press(qtbot, pairs) == ""


def test_a_change_after_the_pair_was_added_is_noticed_before_the_training(
    qtbot, viewer_model, pairs, mask
):
    assert press(qtbot, pairs) == ""
    told: list[str] = []
    pairs.confirm(told.append)
    qtbot.waitUntil(lambda: told == [""], timeout=WAIT_MS)
    paint(mask)
    pairs.confirm(told.append)
    qtbot.waitUntil(lambda: len(told) == 2, timeout=WAIT_MS)
    assert "has changes" in told[1]
    viewer_model.layers.remove(mask)
    pairs.confirm(told.append)
    qtbot.waitUntil(lambda: len(told) == 3, timeout=WAIT_MS)
    assert told[2] == ""


@pytest.mark.parametrize("is_reversed", [True, False])
def test_a_volume_of_another_reader_is_compared_in_either_order(
    qtbot, viewer_model, pairs, tmp_path, is_reversed
):
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6), dtype=np.uint8)
    for kind in ("image", "mask"):
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / f"{kind}.nii.gz")
    for kind, of in (("image", Image), ("mask", Labels)):
        own = {"path": str(tmp_path / f"{kind}.nii.gz")}
        data = (labels.T if is_reversed else labels).astype(np.int32)
        viewer_model.add_layer(of(data, name=kind, metadata={METADATA_KEY: own}))
    viewer_model.layers["mask"].data[0, 0, 0] += 1
    assert "'mask' has changes" in press(qtbot, pairs)
    viewer_model.layers["mask"].data[0, 0, 0] -= 1
    assert press(qtbot, pairs) == ""


def test_a_file_that_cannot_be_read_is_told(qtbot, pairs, mask):
    Path(mask.metadata[METADATA_KEY]["path"]).write_bytes(b"no mask")
    assert "A.png" in press(qtbot, pairs)
