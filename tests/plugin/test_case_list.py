"""Pictures of what goes in, from a real worker and the demo site."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import CaseInfo
from napari_ppcmi._widgets import case_list
from napari_ppcmi._widgets.case_list import CaseList
from napari_ppcmi._widgets.encode_page import EncodePage
from ppcmi_sf.data.sample import sample_data_folder

SAMPLE = sample_data_folder()
WAIT_MS = 60_000


def case(path: Path) -> CaseInfo:
    return CaseInfo(name=path.name, image=path)


def pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"image_{number:03}.png" for number in range(count)]
    for path in paths:
        Picture.fromarray(rng.integers(0, 255, (40, 60), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def cases(qtbot, viewer_model):
    made = CaseList(jobs_for(viewer_model))
    qtbot.addWidget(made)
    made.show()
    return made


def icons(cases) -> int:
    return sum(not cases.list.item(at).icon().isNull() for at in range(cases.count()))


def test_each_image_gets_a_picture_of_what_the_networks_see(
    qtbot, viewer_model, unlock_demo, cases
):
    ultrasound = SAMPLE / "ultrasound" / "images" / "north_000.png"
    for path in (ultrasound, SAMPLE / "volume" / "image.nii.gz", ultrasound):
        cases.add([case(path)])
    assert cases.count() == 2 and icons(cases) == 0  # no site is open yet
    assert not cases.stop_button.isVisible()
    unlock_demo(viewer_model)
    cases.make_pictures()
    assert cases.stop_button.isVisible()
    assert cases.note.text() == "Making pictures: 0 of 2."
    qtbot.waitUntil(lambda: icons(cases) == 2, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not cases.stop_button.isVisible(), timeout=WAIT_MS)
    drawn = cases.list.item(0).icon().pixmap(48, 48).toImage()
    greys = [drawn.pixelColor(x, y).lightness() for x in range(48) for y in range(48)]
    with Picture.open(ultrasound) as stored:
        small = np.asarray(stored.convert("L").resize((48, 48)), float)
    assert np.std(greys) > 20
    assert abs(np.corrcoef(np.reshape(greys, (48, 48)).T.ravel(), small.ravel())[0, 1]) > 0.8
    assert not cases.note.isVisible()


def test_what_cannot_be_read_is_told_where_the_picture_would_be(
    qtbot, viewer_model, unlock_demo, cases, tmp_path
):
    unlock_demo(viewer_model)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    (good,) = pictures(tmp_path, 1)
    for path in (broken, good):
        cases.add([case(path)])
    qtbot.waitUntil(lambda: icons(cases) == 2, timeout=WAIT_MS)
    assert "damaged" in cases.list.item(0).toolTip()
    assert cases.list.item(1).toolTip() == str(good)


def test_only_so_many_get_a_picture(qtbot, viewer_model, unlock_demo, cases, tmp_path, monkeypatch):
    monkeypatch.setattr(case_list, "MOST_PICTURES", 3)
    unlock_demo(viewer_model)
    cases.add(case(path) for path in pictures(tmp_path, 5))
    qtbot.waitUntil(lambda: "5 images; the first 3" in cases.note.text(), timeout=WAIT_MS)
    assert icons(cases) == 3


def test_thousands_are_added_before_anybody_could_notice(cases):
    many = [case(Path(f"/data/set/images/case_{number:05}.png")) for number in range(2000)]
    started = time.thread_time()  # the processor's, so that other tests do not count
    cases.add(many)
    cases.add(many[:500])
    taken = time.thread_time() - started
    print(f"2000 images in the list after {taken * 1000:.0f} ms")
    assert cases.count() == cases.list.count() == 2000 and cases.cases == tuple(many)
    assert taken < 0.1


def test_they_can_be_stopped_and_cleared(qtbot, viewer_model, unlock_demo, cases, tmp_path):
    unlock_demo(viewer_model)
    cases.add(case(path) for path in pictures(tmp_path, 30))
    qtbot.waitUntil(lambda: icons(cases) > 0, timeout=WAIT_MS)
    cases.stop_button.click()
    qtbot.waitUntil(lambda: jobs_for(viewer_model).running is None, timeout=5000)
    made = icons(cases)
    qtbot.wait(500)
    assert icons(cases) == made < 30 and not cases.stop_button.isVisible()
    cases.clear()
    assert cases.count() == 0 and cases.cases == ()
    cases.add([case(tmp_path / "image_000.png")])
    qtbot.waitUntil(lambda: icons(cases) == 1, timeout=WAIT_MS)


def test_a_review_does_not_wait_for_all_pictures(qtbot, viewer_model, unlock_demo, tmp_path):
    page = EncodePage(viewer_model)
    qtbot.addWidget(page)
    page.show()
    unlock_demo(viewer_model)
    qtbot.waitUntil(lambda: page.recipients.count() > 0, timeout=WAIT_MS)
    pictures(tmp_path / "many", 60)
    with qtbot.waitSignal(page.panel.idle, timeout=WAIT_MS):
        page.add_paths([tmp_path / "many"])
    assert page.cases.count() == 60
    page.findChild(QPushButton, "review").click()
    qtbot.waitUntil(lambda: page.dialog is not None, timeout=WAIT_MS)
    assert page.dialog.agree is not None
    page.dialog.reject()
