"""The rows of the tables: each a way to train, and what it has of the method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ppcmi_sf.study import Arrangement, AutoencoderPreset, MappingPreset
from ppcmi_sf.training.losses import MappingLoss, MaskLoss

Kind = Literal["central-unet", "site-unet", "fedavg", "latents", "new-site"]
Alignment = Literal["same", "fresh", "held-back", "encoder"]
Share = Annotated[float, Field(gt=0, lt=1)]


class Strict(BaseModel):
    """No field that is not known, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Shares(Strict):
    """Shares of the budget. The mapping network gets what the others leave over.

    The defaults were found on the development split (docs/decisions/0030; those of rows with the
    paper's scales: 0021).

    Attributes
    ----------
    image, mask
        Of the autoencoders of all sites together.
    pairs
        At most so much for making training pairs: it bounds the number of augmented copies.
    alignment
        Of decoder or encoder alignment, and of the adapters of a site that joins.
    """

    image: Share = 0.08
    mask: Share = 0.1
    pairs: Share = 0.06
    alignment: Share = 0.08

    @model_validator(mode="after")
    def _something_left(self) -> Shares:
        if self.image + self.mask + self.pairs + self.alignment >= 1:
            raise ValueError("the shares leave nothing for the mapping network")
        return self


class Row(Strict):
    """One way to train.

    Attributes
    ----------
    kind
        ``central-unet``: one U-Net on all images. ``site-unet``: one per site.
        ``fedavg``: federated averaging. ``latents``: this project's method. ``new-site``:
        the same, for a site that joins a network which the others have trained.
    autoencoder
        Preset of the autoencoders, unless the plan has one for all rows.
    guidance
        How much the image autoencoder is guided by the site's masks, 0 is not at all; the engine's
        default if not told.
    keyed
        Whether latents pass through the keyed transform.
    noise
        Level of the noise on everything that sites send; 0 is none.
    cut_mix
        Share of training pairs of the mapping network with a rectangle of another one; the
        engine's default if not told.
    pooling
        Whether the paper's mapping network has its pyramid pooling.
    separate
        One mapping network for each site in place of one for all.
    copies
        How often each slice is exported for training, at most. ``None``: the plan's with
        ``fused``, 1 with ``paper``, which has no augmentation of the pairs.
    alignment
        Decoder alignment, on the ``same`` images as the mapping network, on ``fresh``
        augmented copies of them, or on images ``held-back`` from it; or ``encoder`` alignment.
    budget_factor
        Multiplies the plan's budget; for showing what a row does with more time.
    site_counts
        Runs with so many sites of equal size in place of the plan's sites.
    batch_size, learning_rate
        Of the mapping network, in place of the plan's.
    shares
        Of the budget, in place of the plan's.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
    kind: Kind = "latents"
    autoencoder: AutoencoderPreset = "fine"
    mapping: MappingPreset = "fused"
    arrangement: Arrangement = "escrow"
    use_skips: bool = True
    keyed: bool = True
    noise: Annotated[float, Field(ge=0, strict=False)] = 0.0
    pooling: bool = True
    separate: bool = False
    mask_loss: MaskLoss = "dice-ce"
    latent_noise: float = 0.25
    guidance: Annotated[float | None, Field(ge=0, strict=False)] = None
    mapping_loss: MappingLoss = "normalised"
    adapters: bool | None = None
    cut_mix: Annotated[float | None, Field(ge=0, le=1, strict=False)] = None
    copies: int | None = None
    alignment: Alignment | None = None
    budget_factor: Annotated[float, Field(gt=0, strict=False)] = 1.0
    site_counts: Annotated[tuple[int, ...], Field(strict=False)] = ()
    batch_size: int | None = None
    learning_rate: float | None = None
    shares: Shares | None = None


# Its mapping network needs most of the time. Batches of 8: with the plan's 24, a budget that fits
# the other rows would give it no ten steps.
_PAPER = Row(
    name="paper",
    autoencoder="ppcmi-sf",
    mapping="paper",
    mask_loss="bce-dice",
    latent_noise=0.0,
    guidance=0.0,
    mapping_loss="mse",
    batch_size=8,
    learning_rate=1e-3,
    shares=Shares(image=0.2, mask=0.2),
)


def _like(row: Row, name: str, **changes: object) -> Row:
    return Row.model_validate(row.model_dump() | {"name": name} | changes)


_ESCROW = Row(name="fused-escrow")
_BLIND = _like(_ESCROW, "fused-blind", arrangement="blind")
_ENCODER = {
    "alignment": "encoder",
    "shares": Shares(image=0.08, mask=0.08, pairs=0.06, alignment=0.2),
}
# The paper's scales, trained as they were measured: their encoders have to do what the mapping
# network cannot see (0021).
_COARSE = {
    "autoencoder": "ppcmi-sf",
    "batch_size": 24,
    "learning_rate": 1e-3,
    "cut_mix": 0.0,
    "copies": 24,
    "shares": Shares(image=0.65, mask=0.08, pairs=0.08),
}

CATALOGUE = {
    row.name: row
    for row in (
        Row(name="central-unet", kind="central-unet"),
        Row(name="site-unet", kind="site-unet"),
        Row(name="fedavg", kind="fedavg"),
        _like(_PAPER, "privacy-sf", use_skips=False, keyed=False),
        _PAPER,
        _ESCROW,
        _BLIND,
        _like(_ESCROW, "fused-escrow-aligned", alignment="fresh"),
        _like(_BLIND, "fused-blind-aligned", alignment="fresh"),
        _like(_ESCROW, "fused-escrow-encoder", **_ENCODER),
        _like(_BLIND, "fused-blind-encoder", **_ENCODER),
        _like(_ESCROW, "fused-escrow-coarse", **_COARSE),
        _like(_BLIND, "fused-blind-coarse", **_COARSE),
        _like(_PAPER, "no-klt", keyed=False),
        _like(_PAPER, "no-skips", use_skips=False),
        _like(_PAPER, "no-ppm", pooling=False),
        _like(_PAPER, "separate-networks", separate=True),
        _like(_ESCROW, "fused-separate", separate=True),
        _like(_BLIND, "new-site", kind="new-site"),
    )
}
"""Rows by name. A plan names them, or changes one: ``{base: paper, name: ..., ...}``."""
