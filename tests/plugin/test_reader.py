"""A bundle that is opened in napari: described in a sentence, and nothing asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from napari.utils.notifications import notification_manager

from napari_ppcmi._reader import get_reader

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
