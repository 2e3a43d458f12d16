"""What is said of masks that come back from a mask autoencoder; without torch, for every window."""

from __future__ import annotations

from collections.abc import Mapping

WEAK = 0.8
"""Below it a class that comes back from a mask autoencoder is called weak."""


def weak_classes(fidelity: Mapping[str, float]) -> list[str]:
    """Classes whose masks do not come back, in the order of ``fidelity``."""
    return [name for name, dice in fidelity.items() if dice < WEAK]


def fidelity_lines(fidelity: Mapping[str, float], whose: str, advice: str) -> list[str]:
    """How well masks come back, and what to do if they do not; nothing is said of no class.

    Parameters
    ----------
    fidelity
        Dice by class, of :func:`ppcmi_sf.training.pooled_dice.mask_fidelity`.
    whose
        What the masks come back from, as the lines before name it.
    advice
        A sentence: how to train longer there where it is read.
    """
    if not fidelity:
        return []
    dice = ", ".join(f"{name} {value:.2f}" for name, value in fidelity.items())
    lines = [f"Masks that come back from {whose}, Dice: {dice}"]
    weak = weak_classes(fidelity)
    if weak:
        lines.append(
            f"Too little comes back of {', '.join(weak)}: no mask of this site can be better "
            f"than that. {advice}"
        )
    return lines
