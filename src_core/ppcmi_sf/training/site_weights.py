"""How much each site counts in a training, so that no site alone decides what is learnt."""

from __future__ import annotations

from collections.abc import Mapping

from ppcmi_sf.errors import TrainingError

MAX_SITE_WEIGHT = 0.5
MIN_SITES = 3
"""With two sites nobody can tell which of them is the odd one: there is nothing to cap."""


def site_weights(counts: Mapping[str, int], most: float) -> dict[str, float]:
    """Share of each site in the loss: by its number of pairs, but at most ``most``.

    What a capped site loses goes to the others, by their numbers.

    Parameters
    ----------
    counts
        Site to number of training pairs.
    most
        In (0, 1]. Below 1 / (number of sites) it means equal shares. With fewer than three
        sites nothing is capped.

    Returns
    -------
    dict
        Site to share; they add up to 1.

    Raises
    ------
    TrainingError
        ``most`` is not in (0, 1].
    """
    if not 0 < most <= 1:
        raise TrainingError(
            f"The largest weight of a site is {most}, which is not above 0 and at most 1.",
            hint="Leave the option out to get its default.",
        )
    total = sum(counts.values())
    if len(counts) < MIN_SITES or not total:
        return {name: count / total if total else 0.0 for name, count in counts.items()}
    cap = max(most, 1 / len(counts))
    capped: set[str] = set()
    while True:
        left = 1 - cap * len(capped)
        free = sum(count for name, count in counts.items() if name not in capped)
        shares = {
            name: cap if name in capped else left * count / free if free else 0.0
            for name, count in counts.items()
        }
        above = {name for name, share in shares.items() if share > cap * (1 + 1e-9)}
        if not above:
            return shares
        capped |= above
