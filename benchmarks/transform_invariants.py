"""What different keyed transforms leave to tell whether two slices are of one patient.

    python benchmarks/transform_invariants.py SITE_DIR DATA

SITE_DIR is a trained site, DATA a folder of images and masks that its encoder never saw, with a
manifest that names the patients. Every pair of slices is compared by something that needs no key,
and the AUC of 'same patient' against 'different patients' is printed: 0.5 is guessing. One seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ppcmi_sf.audit.statistics import auc
from ppcmi_sf.data import find_cases
from ppcmi_sf.item_transform import ItemTransform
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.store import load_model
from ppcmi_sf.progress import run
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import load_site_data
from ppcmi_sf.transform import KeyedLatentTransform
from ppcmi_sf.workflows.folders import SiteFolder

BATCH = 8
SPECTRUM = 32


class _WithoutGain(ItemTransform):
    def _draw_one(self, item: str) -> tuple[float, np.ndarray]:
        return 1.0, super()._draw_one(item)[1]


def encode(site: SiteFolder, study: StudySpec, data: Path) -> tuple[LatentPyramid, np.ndarray]:
    """Latents of every slice, and its patient."""
    encoder = Autoencoder(study, "image")
    load_model(site.model_file("image"), encoder)
    encoder.eval()
    cases = find_cases(data, need_masks=True)
    slices = run(load_site_data(cases, study, validation_groups=[])).training
    groups = {case.name: case.group for case in cases}
    images = torch.from_numpy(slices.images.astype(np.float32))
    with torch.inference_mode():
        parts = [encoder.encode(part) for part in images.split(BATCH)]
    return LatentPyramid.concatenate(parts), np.array([groups[name] for name in slices.cases])


def rotated_and_permuted(values: Tensor) -> Tensor:
    """The paper's kind of transform with a fresh Q and P for each item."""
    parts = []
    for one in values:
        mixing, _ = torch.linalg.qr(torch.randn(len(one), len(one)))
        flat = mixing @ one.flatten(1)
        parts.append(flat[:, torch.randperm(flat.shape[1])].reshape(one.shape))
    return torch.stack(parts)


def features(pyramid: LatentPyramid) -> dict[str, Tensor]:
    """What can be computed from an item without a key, (N, F) each."""
    found = {}
    for name, value in pyramid.items():
        flat = value.flatten(2).double()
        whole = flat.flatten(1)
        spectrum = torch.linalg.svdvals(flat - flat.mean(2, keepdim=True))
        lengths = flat.norm(dim=1).sort(dim=1).values
        found[f"{name} values"] = torch.nn.functional.normalize(whole)
        found[f"{name} length"] = whole.norm(dim=1).log()[:, None]
        found[f"{name} spectrum"] = torch.nn.functional.normalize(spectrum)[:, :SPECTRUM]
        found[f"{name} lengths of positions"] = torch.nn.functional.normalize(lengths)
    return found


def auc_of_nearness(feature: Tensor, patients: np.ndarray) -> float:
    """How well nearness in a feature tells pairs of one patient from others."""
    pairs = np.triu_indices(len(patients), 1)
    nearness = -torch.cdist(feature, feature).numpy()[pairs]
    same = (patients[:, None] == patients[None])[pairs]
    return auc(nearness[same], nearness[~same])


def main() -> None:
    """Print a table: transforms down, scales and features across."""
    site, data = SiteFolder(Path(sys.argv[1])), Path(sys.argv[2])
    torch.manual_seed(0)
    study = StudySpec.load(site.study_file)
    latents, patients = encode(site, study, data)
    share = ClientKey("site", study.fingerprint, 1, bytes(range(32))).transform_share()
    items = [f"{number:016x}" for number in range(len(patients))]
    fixed = KeyedLatentTransform(share, study, "image", per_item=False)
    whole = KeyedLatentTransform(share, study, "image", per_item=True)
    gainless = KeyedLatentTransform(share, study, "image", per_item=True)
    gainless.items = {s.name: _WithoutGain(share, "image", s) for s in study.scales}
    made = {
        "none": latents,
        "fixed Q, b, P": fixed.protect(latents, items),
        "fresh Q and P per item": latents.map(rotated_and_permuted),
        "per item, no gain": gainless.protect(latents, items),
        "per item": whole.protect(latents, items),
    }
    print(f"{len(patients)} slices of {len(set(patients))} patients")
    for label, pyramid in made.items():
        numbers = features(pyramid).items()
        found = {name: auc_of_nearness(value, patients) for name, value in numbers}
        best = max(found, key=lambda name: abs(found[name] - 0.5))
        print(f"{label:24} furthest from 0.5: {found[best]:.3f} ({best})")
        print("    " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
