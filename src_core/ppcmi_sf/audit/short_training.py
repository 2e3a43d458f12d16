"""The trainings of an attacker: the engine's own, for so many steps, on all there is."""

from __future__ import annotations

import numpy as np

from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import Job
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import SiteData, batch_count
from ppcmi_sf.training.fit_options import FitOptions


def fit_for_steps(
    items: int, steps: int, seed: int, *, batch_size: int, learning_rate: float
) -> FitOptions:
    """As many whole passes over the items as make about ``steps`` steps, and one at least.

    There is no validation part.
    """
    epochs = max(1, steps // max(1, batch_count(items, batch_size)))
    return FitOptions(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )


def train_on_all(
    subject: Subject, role: str, slices: GroupedSlices, fit: FitOptions, *, augment: bool
) -> Job[Autoencoder]:
    """Train an autoencoder of a role (``image`` or ``mask``) on all of these slices.

    Raises
    ------
    TrainingError
        See :func:`ppcmi_sf.training.autoencoders.train_autoencoder`.
    """
    data = SiteData(slices.grid, slices.take(np.arange(0)).grid)
    options = AutoencoderOptions(fit=fit, augment=augment)
    model, _ = yield from train_autoencoder(
        subject.study, role, data, options, device=subject.device
    )
    return model.eval()
