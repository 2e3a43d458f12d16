"""Synthetic, ultrasound-like images with known masks, as arrays and as files.

A phantom shows layered tissue, a large structure with a bright rim ("head",
class 1) and a smaller, dark one inside or beside it ("cavity", class 2), with
speckle, depth attenuation and an acoustic shadow. Sites differ in how their
"scanner" renders this, not in the anatomy.

Pixels are the same, bit for bit, on every machine and NumPy version: see
:mod:`ppcmi_sf.data._exact` for how. File bytes may differ (compression).
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ppcmi_sf.data.anatomy import Anatomy, draw_anatomy
from ppcmi_sf.data.cases import Case
from ppcmi_sf.data.manifest import MANIFEST
from ppcmi_sf.data.rendering import draw_scene, label, render
from ppcmi_sf.data.sites import DEMO_SITES, SiteStyle, site_rng
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.files import atomic_path, write_error
from ppcmi_sf.progress import Job, Progress

__all__ = [
    "CLASS_NAMES",
    "DEMO_SITES",
    "SiteStyle",
    "phantom_2d",
    "site_rng",
    "write_phantom_folder",
    "write_phantom_volume",
]

CLASS_NAMES = ("background", "head", "cavity")
"""Names of the classes 0, 1 and 2 of every phantom mask."""

MIN_SIDE = 32
IMAGES_PER_GROUP = 2

VOLUME_SHAPE = (96, 80, 12)
"""Columns, rows and slices of :func:`write_phantom_volume`."""

_VOLUME_SPACING = (0.7, 0.7, 2.5)
_VOLUME_ORIGIN = (31.5, -27.25, 12.0)


def phantom_2d(
    rng: np.random.Generator, size: tuple[int, int], style: SiteStyle
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw one image and its mask.

    Parameters
    ----------
    rng
        A generator on PCG64; the result depends on its state alone.
    size
        Rows and columns, each at least 32.
    style
        The site's scanner.

    Returns
    -------
    image
        Grey values (H, W), uint8; 0 outside the field of view.
    mask
        Classes (H, W), uint8: 0 background, 1 head, 2 cavity.

    Raises
    ------
    PPCMIError
        The size is too small to hold both structures.
    """
    if min(size) < MIN_SIDE:
        raise PPCMIError(
            f"A phantom of {size[0]} x {size[1]} pixels is too small.",
            hint=f"Each side needs at least {MIN_SIDE} pixels.",
        )
    anatomy = draw_anatomy(rng, size[1] / size[0], style.sector)
    scene = draw_scene(rng, size)
    return render(rng, scene, anatomy, style), label(scene.grid, anatomy)


def write_phantom_folder(
    folder: Path,
    style: SiteStyle,
    count: int,
    seed: int,
    size: tuple[int, int],
) -> Job[list[Case]]:
    """Write ``images/``, ``masks/`` and ``manifest.csv`` of one site.

    Two images in turn are one group ("patient"). An image depends on the site's
    name, the seed and its index alone. The files appear when all are written;
    a cancelled job leaves nothing behind. Images that are in the folder already
    stay, as do their rows of the manifest.

    Parameters
    ----------
    folder
        Made when it is missing.
    style
        The site's scanner.
    count
        How many images.
    seed
        Same seed, same images.
    size
        Rows and columns.

    Yields
    ------
    Progress
        One step for each image.

    Returns
    -------
    The cases that were written.

    Raises
    ------
    ResourceError
        The folder cannot be written to.
    """
    from PIL import Image

    folder = Path(folder)
    cases = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".phantoms.part.") as part:
            for index in range(count):
                yield Progress(index, count, f"Drawing phantoms of site {style.name}")
                image, mask = phantom_2d(site_rng(style, seed, index), size, style)
                name = f"{style.name}_{index:03d}"
                Image.fromarray(image).save(Path(part) / f"image_{name}.png")
                Image.fromarray(mask).save(Path(part) / f"mask_{name}.png")
                group = f"{style.name}-p{index // IMAGES_PER_GROUP:03d}"
                cases.append(
                    Case(
                        name,
                        folder / "images" / f"{name}.png",
                        folder / "masks" / f"{name}.png",
                        group,
                    )
                )
            _publish(Path(part), folder, cases)
    except OSError as error:
        raise write_error(folder, error) from error
    yield Progress(count, count, f"Wrote {count} phantoms of site {style.name}")
    return cases


def write_phantom_volume(path_image: Path, path_mask: Path, style: SiteStyle, seed: int) -> None:
    """Write a small NIfTI volume and its mask: anisotropic, flipped and oblique.

    Axes are (column, row, slice) with spacing 0.8, 0.6 and 2.5 mm; the first
    axis is flipped and the volume is turned about two axes of the world. Both
    structures are ellipsoids, cut slice by slice; speckle is new in each slice.

    Parameters
    ----------
    path_image, path_mask
        ``.nii`` or ``.nii.gz``; values uint8.
    style
        The site's scanner.
    seed
        Same seed, same voxels.

    Raises
    ------
    ResourceError
        A file cannot be written.
    """
    columns, rows, slices = VOLUME_SHAPE
    rng = site_rng(style, seed, 0)
    anatomy = draw_anatomy(rng, columns / rows, style.sector)
    scene = draw_scene(rng, (rows, columns))
    image, mask = np.zeros(VOLUME_SHAPE, np.uint8), np.zeros(VOLUME_SHAPE, np.uint8)
    for k in range(slices):
        here = _cut(anatomy, 2 * (k + 0.5) / slices - 1)
        image[:, :, k] = render(rng, scene, here, style).T
        mask[:, :, k] = label(scene.grid, here).T
    for voxels, path in ((image, path_image), (mask, path_mask)):
        _save_nifti(voxels, Path(path))


def _cut(anatomy: Anatomy, z: float) -> Anatomy:
    """Cut both ellipsoids at height ``z`` in [-1, 1]; the cavity is the shorter one."""
    head = anatomy.head.scaled(float(np.sqrt(1 - (z / 1.15) * (z / 1.15))))
    square = 1 - (z / 0.75) * (z / 0.75)
    if anatomy.cavity is None or square <= 0:
        return Anatomy(head, None)
    return replace(anatomy, head=head, cavity=anatomy.cavity.scaled(float(np.sqrt(square))))


def _save_nifti(voxels: npt.NDArray[np.uint8], path: Path) -> None:
    """Save with the volume affine, as sform and as qform."""
    import nibabel as nib

    # Rotations by Pythagorean triples: exact in any arithmetic, up to the file's float32. Axes run
    # to the left, the back and below, so depth is down when slices are shown as scans are.
    about_z = np.array([[24, -7, 0], [7, 24, 0], [0, 0, 25]]) / 25
    about_x = np.array([[13, 0, 0], [0, 12, -5], [0, 5, 12]]) / 13
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-1, -1, -1]) @ np.diag(_VOLUME_SPACING)
    affine[:3, 3] = _VOLUME_ORIGIN
    file = nib.Nifti1Image(voxels, affine)
    file.set_sform(affine, code=1)
    file.set_qform(affine, code=1)
    file.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(file, temporary)


def _publish(part: Path, folder: Path, cases: list[Case]) -> None:
    """Move finished files to their places, then bring the manifest up to date."""
    for case in cases:
        for kind, target in (("image", case.image), ("mask", case.mask)):
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(part / f"{kind}_{target.name}", target)
    manifest = folder / MANIFEST
    rows = {case.image.name: case.group for case in cases}
    if manifest.is_file():
        with manifest.open(encoding="utf-8", newline="") as handle:
            rows = {row["file"]: row["group"] for row in csv.DictReader(handle)} | rows
    with atomic_path(manifest) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["file", "group"])
        writer.writerows(sorted(rows.items()))
