"""Membership inference: the audit's attacks beside those of the Adversarial Robustness Toolbox.

ART is no dependency of the project. It gets an environment of its own that sees the project's:

    python -m venv /tmp/art-venv
    SITE=lib/python3.11/site-packages
    echo "import site; site.addsitedir('$PWD/.venv/$SITE')" > /tmp/art-venv/$SITE/project.pth
    /tmp/art-venv/bin/pip install adversarial-robustness-toolbox
    /tmp/art-venv/bin/python benchmarks/membership_vs_art.py

A toy mapping network is trained on the latents of half of the patients (synthetic phantoms of
64×64). ART's ``MembershipInferenceBlackBox`` learns from patients whose membership it is told,
which is half of each side, and answers for the others. For a regression ART takes the loss alone;
it has no likelihood ratio, and its rule-based attack wants a classifier. The audit's attacks are
told no membership at all; they are asked about the same patients. Printed: AUC with its interval
over patients, and the true positives at 5 % false ones. The exit code is 1 when ART finds more.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import numpy.typing as npt
import torch
from art.attacks.inference.membership_inference import MembershipInferenceBlackBox
from art.estimators.regression.pytorch import PyTorchRegressor
from torch import Tensor, nn

from ppcmi_sf.audit import likelihood
from ppcmi_sf.audit.item_losses import latent_pairs, mapping_losses
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.shadow_models import (
    SHADOW_SITE,
    mapping_shadows,
    take_pairs,
    train_shadow_network,
)
from ppcmi_sf.audit.statistics import auc_interval, tpr_at_fpr
from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.data.phantom import CLASS_NAMES, DEMO_SITES, phantom_2d, site_rng
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import run
from ppcmi_sf.roles import Site
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.losses import scale_weights
from ppcmi_sf.training.mapping import SitePairs

CPU = torch.device("cpu")
SIDE = 64
EACH = 2
FPR = 0.05
ART_MODELS = ("lr", "rf", "gb", "knn", "svm", "nn")

Scores = npt.NDArray[np.float64]


class ErrorOfItem(nn.Module):
    """A flat (image latents, mask latents) vector to the root of the item's mapping error.

    With a target of 0 and squared error, ART's loss of an item is then the network's own loss.
    """

    def __init__(self, network: UnifiedMappingNetwork, pairs: SitePairs) -> None:
        super().__init__()
        self.network = network
        self.variances = {name: float(value.var()) for name, value in pairs.targets.items()}
        self.weights = scale_weights(self.variances)

    def forward(self, flat: Tensor) -> Tensor:
        """``(B, F)`` to ``(B, 1)``."""
        pyramids, start = [], 0
        for _ in range(2):
            scales = {}
            for scale in self.network.scales:
                count = int(np.prod(scale.shape))
                scales[scale.name] = flat[:, start : start + count].reshape(-1, *scale.shape)
                start += count
            pyramids.append(LatentPyramid(scales))
        mapped = self.network({SHADOW_SITE: pyramids[0]})[SHADOW_SITE]
        terms = [
            (mapped[name] - pyramids[1][name]).square().mean(dim=(1, 2, 3))
            * (self.weights[name] / variance)
            for name, variance in self.variances.items()
        ]
        return torch.stack(terms).sum(dim=0).sqrt()[:, None]


def flattened(pairs: SitePairs) -> npt.NDArray[np.float32]:
    parts = [value.flatten(1) for part in (pairs.inputs, pairs.targets) for value in part.values()]
    return torch.cat(parts, dim=1).numpy()


def toy(patients: int, seed: int) -> tuple[Subject, GroupedSlices]:
    """Phantoms, two slices a patient, and autoencoders trained on other phantoms."""
    study = StudySpec(
        name="membership",
        modality="US",
        classes=make_classes(list(CLASS_NAMES[1:])),
        image_size=(SIDE, SIDE),
        autoencoder="small",
    )
    parts = []
    for first, count in ((0, 40), (1000, EACH * patients)):
        drawn = [
            phantom_2d(site_rng(DEMO_SITES[0], seed, first + number), (SIDE, SIDE), DEMO_SITES[0])
            for number in range(count)
        ]
        images, masks = (np.stack(values) for values in zip(*drawn, strict=True))
        grid = GridSlices((images[:, None] / 255).astype(np.float16), masks, ("c",) * count)
        parts.append(GroupedSlices.of(grid, first + np.arange(count) // EACH))
    public, asked = parts
    nothing = public.take(np.arange(0))
    fit = FitOptions(epochs=8, batch_size=8, learning_rate=4e-3, seed=seed)
    options = AutoencoderOptions(fit=fit, augment=False)
    models = [
        run(
            train_autoencoder(study, role, SiteData(public.grid, nothing.grid), options, device=CPU)
        )[0]
        for role in ("image", "mask")
    ]
    key = ClientKey("toy", study.fingerprint, 1, bytes(32))
    site = Site(study, *models, key)
    return Subject(study, site, key.transform_share(), public, public, public), asked


def arts(
    network: UnifiedMappingNetwork,
    pairs: SitePairs,
    members: npt.NDArray[np.bool_],
    told: npt.NDArray[np.bool_],
) -> dict[str, Scores]:
    """ART's scores for the items that it was not told about."""
    flat = flattened(pairs)
    target = np.zeros((len(flat), 1), np.float32)
    estimator = PyTorchRegressor(
        ErrorOfItem(network, pairs),
        loss=nn.MSELoss(),
        input_shape=(flat.shape[1],),
        device_type="cpu",
    )
    original = estimator.compute_loss

    def compute_loss(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> Scores:
        # ART flattens the output, not the target; squared error would then broadcast.
        with torch.no_grad():
            return np.asarray(original(x, y.reshape(-1), reduction="none"))

    estimator.compute_loss = compute_loss
    scores = {}
    for kind in ART_MODELS:
        attack = MembershipInferenceBlackBox(estimator, input_type="loss", attack_model_type=kind)
        inside, outside = told & members, told & ~members
        attack.fit(flat[inside], target[inside], flat[outside], target[outside])
        answer = attack.infer(flat[~told], target[~told], probabilities=True)
        scores[f"ART black box, {kind}"] = np.asarray(answer, dtype=np.float64).reshape(-1)
    return scores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=48)
    parser.add_argument("--steps", type=int, default=60, help="of the attacked network")
    parser.add_argument("--shadows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    subject, asked = toy(options.patients, options.seed)
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(np.unique(asked.groups))
    members = np.isin(asked.groups, order[: len(order) // 2])
    told = np.isin(asked.groups, order[::2])
    pairs = run(latent_pairs(subject, asked, options.seed))
    network = run(
        train_shadow_network(subject.study, take_pairs(pairs, members), options.steps, 99, CPU)
    )
    losses = run(mapping_losses(network, SHADOW_SITE, pairs, CPU))
    budget = AuditOptions(seed=options.seed, train_steps=options.steps)
    shadows = run(mapping_shadows(subject, pairs, asked.groups, options.shadows, budget))
    ours = {
        "audit, loss threshold": -losses,
        "audit, likelihood ratio, online": likelihood.online(losses, shadows),
        "audit, likelihood ratio, offline": likelihood.offline(losses, shadows),
    }
    scores = {name: values[~told] for name, values in ours.items()}
    scores |= arts(network, pairs, members, told)
    return report(scores, members[~told], asked.groups[~told], options.seed)


def report(
    scores: dict[str, Scores],
    members: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.int64],
    seed: int,
) -> int:
    """Print the table; 0 when the audit finds at least as much."""
    print(f"asked: {members.sum()} slices of members, {(~members).sum()} of others\n")
    print(f"{'attack':36}  AUC   95 % interval   TPR at {FPR:.0%} FPR")
    best = {"audit": 0.0, "ART": 0.0}
    for name, values in scores.items():
        sides = values[members], values[~members]
        parts = groups[members].tolist(), groups[~members].tolist()
        value, low, high = auc_interval(*sides, seed, *parts)
        rate, _, _ = tpr_at_fpr(*sides, FPR)
        print(f"{name:36}  {value:.3f}  {low:.3f} - {high:.3f}   {rate:.3f}")
        family = "audit" if name.startswith("audit") else "ART"
        best[family] = max(best[family], value)
    print(f"\nbest AUC: audit {best['audit']:.3f}, ART {best['ART']:.3f}")
    return 0 if best["audit"] >= best["ART"] else 1


if __name__ == "__main__":
    sys.exit(main())
