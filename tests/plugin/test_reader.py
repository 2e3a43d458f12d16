"""A bundle that is opened in napari: described in a sentence, and nothing asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import METADATA_KEY
from napari_ppcmi._protocol.bundles import CaseInfo, MapHere, ReviewExport, WriteBundles
from napari_ppcmi._reader import get_reader
from napari_ppcmi._widgets.open_study import OpenStudy
from ppcmi_sf.data.sample import sample_data_folder

VOLUME = sample_data_folder() / "volume" / "image.nii.gz"
WAIT_MS = 60_000
BUNDLES = Path(__file__).parents[1] / "core" / "vectors" / "bundles"


@pytest.fixture
def told():
    notification_manager.records.clear()
    return lambda: [(str(r.severity), r.message) for r in notification_manager.records]


def read(path: Path):
    reader = get_reader(str(path))
    assert reader is not None
    return reader(str(path))


def test_other_files_are_left_to_others():
    assert get_reader("image.nii.gz") is None
    assert get_reader([]) is None
    assert get_reader(["a.ppcmi", "b.png"]) is None
    assert get_reader(["a.ppcmi", "b.PPCMI"]) is not None


def test_a_bundle_is_described(told):
    assert read(BUNDLES / "sender-stranger.ppcmi") == [(None,)]
    ((severity, text),) = told()
    assert severity == "info"
    assert "sender-stranger.ppcmi" in text and "recipient" in text and "KiB" in text
    assert "Exchange page of the PPCMI-SF workspace" in text


@pytest.mark.parametrize("content", [b"", b"\x89PPCMI\r\n", b"nothing of ours", None])
def test_what_is_no_bundle_is_a_sentence(told, tmp_path, content):
    path = tmp_path / "odd.ppcmi"
    if content is not None:
        path.write_bytes(content)
    assert read(path) == [(None,)]
    ((severity, text),) = told()
    assert severity == "warning"
    assert "odd.ppcmi" in text and "Traceback" not in text


def test_every_hostile_bundle_gives_one_notification(told):
    for number, path in enumerate(sorted(BUNDLES.glob("*.ppcmi"))):
        read(path)
        assert len(told()) == number + 1, path


def test_a_drop_on_napari_adds_no_layer(make_napari_viewer, told):
    viewer = make_napari_viewer()
    viewer.open([str(BUNDLES / "sender-stranger.ppcmi")], plugin="napari-ppcmi")
    assert len(viewer.layers) == 0
    assert any("Exchange page" in text for _, text in told())


@pytest.fixture
def answered(make_napari_viewer, qtbot, unlock_demo, ask):
    """A viewer with the oblique volume; a query about it, its reply, and the other bundle."""
    viewer = make_napari_viewer()
    page = OpenStudy(viewer)
    qtbot.addWidget(page)
    demo, jobs = unlock_demo(viewer), jobs_for(viewer)
    page.open([VOLUME])
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=WAIT_MS)
    wanted = ReviewExport(
        purpose="query",
        cases=(CaseInfo(name="image", image=VOLUME),),
        recipients=(jobs.session.identity.fingerprint,),
    )
    (query,) = ask(jobs, WriteBundles(reviewed=wanted, out=demo.outbox)).written
    (reply,) = ask(jobs, MapHere(queries=(query,), out=demo.inbox)).written
    yield viewer, query, reply
    jobs.close()


def test_a_reply_is_laid_exactly_over_its_open_image(answered, told):
    viewer, query, reply = answered
    viewer.open([str(query)], plugin="napari-ppcmi")
    ((severity, text),) = told()
    assert severity == "info" and "an encrypted bundle" in text and "you among them" in text
    viewer.open([str(reply)], plugin="napari-ppcmi")
    assert len(told()) == 1
    image, mask = viewer.layers
    assert isinstance(mask, Labels) and mask.data.shape == image.data.shape
    for corner in (np.zeros(3), np.array(image.data.shape) - 1):
        np.testing.assert_array_equal(mask.data_to_world(corner), image.data_to_world(corner))
    own = mask.metadata[METADATA_KEY]
    assert own["source"] == str(VOLUME) and own["provenance"]["query_id"]
    assert own["geometry"] == image.metadata[METADATA_KEY]["geometry"]
    assert list(mask.features["class"]) == own["classes"] and len(own["classes"]) == 3


def test_a_reply_without_its_image_lies_where_open_study_would_show_it(answered, told):
    viewer, _, reply = answered
    image = viewer.layers.pop()
    viewer.open([str(reply)], plugin="napari-ppcmi")
    assert told() == []
    for corner in (np.zeros(3), np.array(image.data.shape) - 1):
        np.testing.assert_allclose(
            viewer.layers[0].data_to_world(corner), image.data_to_world(corner)
        )


def test_a_reply_that_is_refused_says_why(answered, told, tmp_path):
    viewer, _, reply = answered
    viewer.open([str(reply)], plugin="napari-ppcmi")
    (mask,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
    Path(mask.metadata[METADATA_KEY]["path"]).unlink()
    viewer.layers.remove(mask)
    viewer.open([str(reply)], plugin="napari-ppcmi")
    torn = tmp_path / "torn.ppcmi"
    torn.write_bytes(reply.read_bytes()[:-20])
    viewer.open([str(torn)], plugin="napari-ppcmi")
    (_, replayed), (_, damaged) = told()
    assert [severity for severity, _ in told()] == ["warning", "warning"]
    assert reply.name in replayed and "accepted" in replayed and "Decode page" in replayed
    assert damaged.count("torn.ppcmi") == 1
    assert len(viewer.layers) == 1
