"""The samples under File > Open Sample: a synthetic image and its mask each.

napari imports this module when a user opens a sample. Whatever reads files is
imported only then, and torch not at all.
"""

from __future__ import annotations

from pathlib import Path

from napari_ppcmi._layers import LayerData, image_layers, labels_layer


def open_ultrasound() -> list[LayerData]:
    """Open one ultrasound-like phantom of site "north" and its mask."""
    folder = _sample_data() / "ultrasound"
    name = "north_000.png"
    return _pair(folder / "images" / name, folder / "masks" / name, "Ultrasound phantom")


def open_volume() -> list[LayerData]:
    """Open the anisotropic, flipped, oblique volume and its mask."""
    folder = _sample_data() / "volume"
    return _pair(folder / "image.nii.gz", folder / "mask.nii.gz", "Oblique volume")


def open_demo() -> list[LayerData]:
    """Open an image for the demo site, and tell how to unlock that site."""
    from napari.utils.notifications import show_info

    from ppcmi_sf.imaging import read_image

    path = _sample_data() / "ultrasound" / "images" / "north_000.png"
    show_info(
        "Open Plugins > PPCMI-SF > PPCMI-SF workspace and press 'Demo site' on its Key page: "
        "that sets up a key, trained models and a mapping network for this image."
    )
    return image_layers(read_image(path), "Ultrasound phantom", path)


def _sample_data() -> Path:
    from ppcmi_sf.data.sample import sample_data_folder

    return sample_data_folder()


def _pair(image_path: Path, mask_path: Path, name: str) -> list[LayerData]:
    from ppcmi_sf.data.phantom import CLASS_NAMES
    from ppcmi_sf.imaging import read_image, read_mask

    image = read_image(image_path)
    mask = read_mask(mask_path, len(CLASS_NAMES))
    return [
        *image_layers(image, name, image_path),
        labels_layer(mask, image.geometry, f"{name}: mask", mask_path, CLASS_NAMES),
    ]
