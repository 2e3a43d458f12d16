"""Pictures of results: masks over images, side by side in labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ppcmi_sf.files import atomic_path

OPACITY = 0.45
TILE = 220
MARGIN = 8
TEXT = 16


def overlay(
    image: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], colors: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """Lay a mask over a grey image.

    Parameters
    ----------
    image
        ``(H, W)`` in [0, 1].
    labels
        ``(H, W)``, class indices.
    colors
        ``#rrggbb`` per class; class 0 stays clear.

    Returns
    -------
    ndarray
        uint8 ``(H, W, 3)``.
    """
    grey = np.repeat(np.clip(image, 0, 1)[..., None], 3, axis=2) * 255
    for index, color in enumerate(colors[1:], start=1):
        rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)], dtype=np.float32)
        inside = labels == index
        grey[inside] = (1 - OPACITY) * grey[inside] + OPACITY * rgb
    return grey.round().astype(np.uint8)


def save_rows(
    path: Path,
    headings: Sequence[str],
    rows: Sequence[tuple[str, Sequence[npt.NDArray[np.uint8]]]],
) -> None:
    """Write a PNG with a heading over each column and a label before each row (atomically).

    Parameters
    ----------
    rows
        Label and one picture per heading, ``(H, W)`` or ``(H, W, 3)`` uint8.
    """
    label_width = 90
    width = label_width + len(headings) * (TILE + MARGIN)
    height = TEXT + 2 * MARGIN + len(rows) * (TILE + MARGIN)
    canvas = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT * 0.85)
    for column, heading in enumerate(headings):
        draw.text((label_width + column * (TILE + MARGIN), MARGIN), heading, "black", font)
    for index, (label, pictures) in enumerate(rows):
        top = TEXT + 2 * MARGIN + index * (TILE + MARGIN)
        draw.text((MARGIN, top + TILE // 2), label, "black", font)
        for column, picture in enumerate(pictures):
            tile = Image.fromarray(picture).convert("RGB")
            scale = TILE / max(tile.size)
            size = (round(tile.width * scale), round(tile.height * scale))
            canvas.paste(tile.resize(size), (label_width + column * (TILE + MARGIN), top))
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="PNG")
