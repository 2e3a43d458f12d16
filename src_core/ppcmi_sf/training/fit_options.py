"""How long and how fast the trainings go; without torch, so that verbs and windows show it.

The defaults of a site's and a server's trainings stand here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppcmi_sf.errors import TrainingError


@dataclass(frozen=True)
class FitOptions:
    """How to train.

    Parameters
    ----------
    epochs
        At most so many passes over the training part.
    batch_size
        Items a step.
    learning_rate
        Peak rate of AdamW; warms up linearly, then falls along a cosine.
    patience
        Stop after so many epochs without a better validation loss, and keep the best weights.
        ``None``: train for all epochs and keep the last, when the rate has fallen to its end.
    seed
        Fixes initial weights, order and augmentation.
    weight_decay
        Of AdamW.
    """

    epochs: int = 100
    batch_size: int = 8
    learning_rate: float = 2e-3
    patience: int | None = None
    seed: int = 0
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        patience = 1 if self.patience is None else self.patience
        if min(self.epochs, self.batch_size, patience) < 1 or not self.learning_rate > 0:
            raise TrainingError(
                "Epochs, batch size, patience and learning rate must be above 0.",
                hint="Leave the option out to get its default.",
            )
        if self.seed < 0:
            raise TrainingError("A seed must not be negative.", hint="Use 0 or a whole number.")


CROSS_FIT_FOLDS = 3  # trainings before the one whose network is kept (cross_fit.py)

AUTOENCODER_FIT = FitOptions()
# Short: more passes over the pairs only learn them by heart (docs/decisions/0021, 0025, 0033).
# Small batches: more steps in the same time (0030). With so few steps, large ones (0032).
MAPPING_FIT = FitOptions(epochs=12, batch_size=12, learning_rate=4e-3)
JOINING_FIT = FitOptions(epochs=100, batch_size=24, learning_rate=3e-3, patience=30)
ENCODER_ALIGNMENT_FIT = FitOptions(epochs=30, batch_size=8, learning_rate=1e-3)
ALIGNMENT_FIT = FitOptions(epochs=20, batch_size=16, learning_rate=3e-4, patience=10)
