r"""The Segment button on a real file, in a real napari: time, grid of the saved mask, Dice.

    xvfb-run -a -s "-screen 0 1920x1200x24" .venv/bin/python benchmarks/segment_in_napari.py \
        SITE KEY PASSPHRASE_FILE OUT IMAGE [TRUTH]

SITE is a site folder with an installed mapping network (``ppcmi site install``), OUT the folder
for the saved mask.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import image_layers
from napari_ppcmi._protocol.keys import Unlock
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from ppcmi_sf.imaging import read_image, read_mask
from ppcmi_sf.passphrase import read_passphrase_file


def main(site: Path, key: Path, passphrase: Path, out: Path, image: Path, *truth: Path) -> None:
    """Open, unlock, press the button, save, read back, compare."""
    viewer = napari.Viewer(show=True)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment")
    jobs = jobs_for(viewer)
    opened = jobs.wait_for(
        Unlock(
            home=jobs.session.home,
            key_file=key,
            key_passphrase=read_passphrase_file(passphrase),
            site_folder=site,
        )
    )
    if isinstance(opened, Failure):
        sys.exit(f"{opened.message} {opened.hint}")
    stored = read_image(image)
    for data in image_layers(stored, image.name, image):
        viewer.add_layer(napari.layers.Layer.create(*data))
    for run in ("first", "warm"):
        print(f"{run}: {_press(widget):.2f} s from the click to the mask, {stored.geometry.shape}")
    overlay = viewer.layers[-1]
    suffix = ".png" if stored.geometry.family == "raster" else ".nii.gz"
    saved = out / f"{image.name.split('.')[0]}_napari{suffix}"
    widget.save_to(overlay, saved)
    _wait(lambda: widget.panel.job is None)
    mask = read_image(saved)
    same = np.array_equal(mask.geometry.affine_array(), stored.geometry.affine_array())
    equal = np.array_equal(mask.data[..., 0], overlay.data)
    print(f"saved: affine as the image's, bit for bit: {same}; mask as in the viewer: {equal}")
    for path in truth:
        labels = read_mask(path, len(opened.site.study.classes), image_geometry=stored.geometry)
        found = np.asarray(overlay.data)
        both = 2 * np.sum((labels == 1) & (found == 1))
        whole = np.sum(labels == 1) + np.sum(found == 1)
        print(f"Dice {both / whole if whole else 1:.3f} ({np.sum(found == 1)} voxels found)")
    viewer.close()
    jobs.close()


def _press(widget: SegmentWidget) -> float:
    ended: list[float] = []
    started = time.perf_counter()
    widget.finished.connect(lambda: ended.append(time.perf_counter()))
    widget.button.click()
    _wait(lambda: bool(ended))
    if not widget.panel.error.isHidden():
        sys.exit(widget.panel.error.text())
    return ended[0] - started


def _wait(ready) -> None:
    while not ready():
        QApplication.processEvents()
        time.sleep(0.002)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
