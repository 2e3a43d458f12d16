"""How thoroughly an audit looks."""

from __future__ import annotations

from dataclasses import dataclass

from ppcmi_sf.errors import PPCMIError

# Here and not only in the attacks' modules, so that help names them without loading torch.
ATTACK_IDS = (
    "cross-decoder",
    "wrong-key",
    "learned-inversion",
    "known-plaintext",
    "layout",
    "linkability",
    "membership",
    "property",
    "malicious-site",
)
ITEMS, QUICK_ITEMS = 60, 12


@dataclass(frozen=True)
class AuditOptions:
    """What the person who starts an audit may choose.

    Parameters
    ----------
    seed
        Same seed, same numbers.
    quick
        Fewer items and shorter trainings: an attacker with little time.
    items
        At most so many slices are attacked; ``None`` leaves it to ``quick``.
    train_steps
        Optimiser steps of an attacker's network; ``None`` leaves it to ``quick``.

    Raises
    ------
    PPCMIError
        A number is below what can be used.
    """

    seed: int = 0
    quick: bool = False
    items: int | None = None
    train_steps: int | None = None

    def __post_init__(self) -> None:
        numbers = [number for number in (self.items, self.train_steps) if number is not None]
        if self.seed < 0 or min(numbers, default=2) < 2:
            raise PPCMIError(
                "A seed is 0 or above; items and steps are at least 2.",
                hint="Leave the option out to get its default.",
            )

    @property
    def item_limit(self) -> int:
        """Most slices that one attack looks at."""
        return self.items or (QUICK_ITEMS if self.quick else ITEMS)

    @property
    def step_limit(self) -> int:
        """Optimiser steps of one network that an attacker trains."""
        return self.train_steps or (24 if self.quick else 120)
