"""How well a site's autoencoders give back images and masks that they have not seen.

    python benchmarks/reconstruction.py SITE_DIR DATA --key KEY --passphrase-file FILE

The paper states PSNR and SSIM of images, and PSNR of masks. Each slice is compared on the network
grid; a mask is its class probabilities beside the truth, one-hot.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from ppcmi_sf.data import find_cases
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.metrics import image_similarity
from ppcmi_sf.models.autoencoder import one_hot
from ppcmi_sf.passphrase import read_passphrase_file
from ppcmi_sf.progress import run
from ppcmi_sf.roles import Site
from ppcmi_sf.training.dataset import load_site_data
from ppcmi_sf.workflows.folders import SiteFolder

MEASURES = ("image PSNR, dB", "image SSIM", "mask PSNR, dB")


def scores(site: Site, image: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """PSNR and SSIM of an image ``(C, H, W)``, and PSNR of its mask ``(H, W)``."""
    pixels = torch.from_numpy(image.astype(np.float32))[None]
    truth = one_hot(torch.from_numpy(mask)[None], site.study.class_count)
    with torch.inference_mode():
        autoencoders = site.image_autoencoder, site.mask_autoencoder
        found, masks = (
            model.decode(model.encode(one)).numpy()
            for model, one in zip(autoencoders, (pixels, truth), strict=True)
        )
    psnr, ssim = image_similarity(pixels.numpy()[0].mean(axis=0), found[0].mean(axis=0))
    error = float(np.square(masks - truth.numpy()).mean())
    return psnr, ssim, -10 * np.log10(max(error, 1e-10))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site_dir", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--passphrase-file", type=Path, required=True)
    arguments = parser.parse_args()
    key = ClientKey.load(arguments.key, read_passphrase_file(arguments.passphrase_file))
    site, _ = SiteFolder(arguments.site_dir).load(key, torch.device("cpu"))
    cases = find_cases(arguments.data, need_masks=True)
    slices = run(load_site_data(cases, site.study, validation_groups=())).training
    found = np.array(
        [scores(site, *pair) for pair in zip(slices.images, slices.masks, strict=True)]
    )
    mean, spread = found.mean(axis=0), found.std(axis=0)
    print(f"{len(found)} slices of {site.study.image_size[0]} x {site.study.image_size[1]}")
    for name, value, sd in zip(MEASURES, mean, spread, strict=True):
        print(f"{name}: mean {value:.2f}, SD {sd:.2f}")


if __name__ == "__main__":
    main()
