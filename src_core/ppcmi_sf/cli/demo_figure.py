"""The demo's figure: what each party can see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.bundle import SUFFIX, read_bundle
from ppcmi_sf.cli.demo_steps import SERVER, DemoSteps
from ppcmi_sf.data import find_cases
from ppcmi_sf.figures import overlay, save_rows
from ppcmi_sf.home import Home, Party
from ppcmi_sf.imaging import read_image, read_mask
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.store import load_model
from ppcmi_sf.passphrase import read_passphrase_file
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.folders import SiteFolder

HEADINGS = ("Image", "Truth", "Decoded mask", "Own decoder, key", "Another site's decoder")


def draw_figure(steps: DemoSteps) -> None:
    """Draw one test image per site: truth, decoded mask, and two reconstructions.

    The last column is what the next site's image decoder makes of the protected
    latents (cross-decoder inversion), the one before it what the site's own
    decoder makes of the recovered ones.
    """
    out, sites = steps.out, steps.names
    passphrase = read_passphrase_file(steps.passphrase_file)
    study = StudySpec.load(out / "study.yaml")
    server = Home(steps.home(SERVER))
    opener = Party(server, server.identity(lambda _what, _id: passphrase))
    colors = [item.color for item in study.classes]
    rows = []
    for index, name in enumerate(sites):
        case = find_cases(out / "data" / name / "test", need_masks=True)[0]
        assert case.mask is not None
        image = read_image(case.image).data[..., 0] / np.float32(255)
        truth = read_mask(case.mask, study.class_count)
        decoded = read_mask(out / "masks" / name / f"{case.name}.png", study.class_count)
        key = ClientKey.load(out / "keys" / f"{name}.ppcmikey", passphrase)
        site, _ = SiteFolder(out / "sites" / name).load(key, torch.device("cpu"))
        query = _query_of(Home(steps.home(name)), case.image, out / "outbox" / name)
        # Only the server can open what was written for it.
        bundle = read_bundle(query, study, opener.identity, opener.sender)
        protected = bundle.latents["image"]
        other = Autoencoder(study, "image")
        load_model(SiteFolder(out / "sites" / sites[index - 1]).model_file("image"), other)
        own = site.reconstruct_images(protected, bundle.batch.items)
        with torch.inference_mode():
            foreign = other.eval().decode(protected)
        rows.append(
            (
                name,
                [
                    _grey(image),
                    overlay(image, truth, colors),
                    overlay(image, decoded, colors),
                    _grey(own[0, 0].numpy()),
                    _grey(foreign[0, 0].numpy()),
                ],
            )
        )
    save_rows(out / "figure.png", HEADINGS, rows)


def _query_of(home: Home, image: Path, outbox: Path) -> Path:
    """The bundle that holds the image: only the site's own registry knows."""
    source = str(image.resolve())
    for path in sorted(outbox.glob(f"*{SUFFIX}")):
        if any(found == source for _, found, _ in home.registry.items_of(path.stem)):
            return path
    raise AssertionError(f"no query of {image.name}")


def _grey(image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
