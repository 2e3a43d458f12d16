"""LatentNoise: optional Gaussian noise on latents before they leave a site, and its accounting.

At each scale an item's latents are first scaled down where their root mean square is above a
bound, so that one item's image can change what is sent by so much and no more; then independent
Gaussian numbers are added. Latents are what comes out of a batch normalisation, so their root
mean square is near 1, and levels are in that unit.

What that gives in the terms of differential privacy (Dwork and Roth 2014; replacing the image of
one item by any other): a Gaussian mechanism with ``μ = Δ / σ`` (Gaussian differential privacy,
Dong, Roth and Su, JRSS B 2022), the same in every arrangement: the keyed transform comes
afterwards. Latents have thousands of numbers, so Δ is large, and at levels that leave a mask worth
having ε is in the thousands: **no protection in the sense of differential privacy**. Whether the
noise stops a given attack is for the audit to measure.

The numbers are those of :func:`ppcmi_sf.transform.gaussians` from a new 256-bit secret for each
call and scale. A library's generator would not do: torch's takes 32 bits of its seed on a CPU, so
whoever sees noised latents could try them all, and take the noise off again.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.study import StudySpec
from ppcmi_sf.transform import gaussians

BOUND = 3.0
DELTA = 1e-5
USEFUL_EPSILON = 10.0  # above it, differential privacy promises nothing of use
SECRET_BYTES = 32


@dataclass(frozen=True)
class NoiseAccount:
    """What a level of noise amounts to.

    Attributes
    ----------
    mu
        Of Gaussian differential privacy: how many standard deviations apart two images can lie.
    epsilon, delta
        The tightest ε of the Gaussian mechanism at this δ (Balle and Wang, ICML 2018).
    """

    mu: float
    epsilon: float
    delta: float


@dataclass(frozen=True)
class LatentNoise:
    """Bounds and noises latents.

    Parameters
    ----------
    level
        Standard deviation σ of the noise, above 0.
    bound
        Largest root mean square of an item's latents at a scale.
    seed
        For measurements that can be repeated. ``None``, as in all that leaves a site: from the
        operating system.

    Raises
    ------
    PPCMIError
        A number is not above 0.
    """

    level: float
    bound: float = BOUND
    seed: int | None = field(default=None, repr=False)
    _drawn: count[int] = field(init=False, repr=False, compare=False, default_factory=count)

    def __post_init__(self) -> None:
        if not (0 < self.level < math.inf and 0 < self.bound < math.inf):
            raise PPCMIError(
                "Level and bound of the noise on latents are numbers above 0.",
                hint="Leave the option out for latents without noise.",
            )

    @classmethod
    def at(cls, level: float | None) -> LatentNoise | None:
        """Noise of a level; no noise at ``None`` and at 0."""
        return cls(level) if level else None

    def __call__(self, pyramid: LatentPyramid) -> LatentPyramid:
        """Noisy latents of the same shapes, ``(B, C, H, W)`` at each scale."""
        return pyramid.map(self._noisy)

    def _noisy(self, latents: Tensor) -> Tensor:
        size = latents.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        bounded = latents * (self.bound / size.clamp_min(self.bound))
        noise = gaussians(self._secret(), latents.numel()).reshape(latents.shape)
        return bounded + self.level * torch.from_numpy(noise).to(latents)

    def _secret(self) -> bytes:
        """What the next numbers are drawn from."""
        if self.seed is None:
            return secrets.token_bytes(SECRET_BYTES)
        text = f"ppcmi-latent-noise/{self.seed}/{next(self._drawn)}"
        return hashlib.sha256(text.encode()).digest()

    def account(self, study: StudySpec, *, sent: int = 1) -> NoiseAccount:
        """Accounting for one image of which latents leave ``sent`` times, each with new noise.

        A training pair counts as two: the image's latents and the mask's. A copy counts like
        any other; that copies are augmented is not made use of.
        """
        numbers = sum(scale.channels * scale.rows * scale.columns for scale in study.scales)
        largest_change = 2 * self.bound * math.sqrt(numbers * sent)
        mu = largest_change / self.level
        return NoiseAccount(mu, _epsilon(mu, DELTA), DELTA)

    def in_words(self, study: StudySpec, *, sent: int = 1) -> str:
        """Level and accounting, and what they are worth, as a part of a sentence."""
        account = self.account(study, sent=sent)
        worth = "no protection" if account.epsilon > USEFUL_EPSILON else "a weak protection"
        return (
            f"noise of {self.level:g} (bound {self.bound:g}): for one image, "
            f"sent {'once' if sent == 1 else f'{sent} times'}, epsilon is {account.epsilon:,.0f} "
            f"at delta {account.delta:g}, which in the sense of differential privacy is {worth}"
        )


def _epsilon(mu: float, delta: float) -> float:
    """Smallest ε ≥ 0 with ``Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ) ≤ δ``, by bisection."""
    low, high = 0.0, 1.0
    while _log_delta(mu, high) > math.log(delta):
        low, high = high, 2 * high
    if low == 0.0 and _log_delta(mu, 0.0) <= math.log(delta):
        return 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if _log_delta(mu, middle) <= math.log(delta) else (middle, high)
    return high


def _log_delta(mu: float, epsilon: float) -> float:
    """Logarithm of the δ that belongs to an ε; logarithms, since e^ε would overflow."""
    places = torch.tensor([mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu], dtype=torch.float64)
    first, second = torch.special.log_ndtr(places).tolist()
    ratio = second + epsilon - first
    return first + math.log1p(-math.exp(ratio)) if ratio < 0 else -math.inf
