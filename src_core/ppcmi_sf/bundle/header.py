"""The header of a latent bundle: a whitelist of what may leave a site."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ppcmi_sf.keys import SITE_NAME_PATTERN

BundleKind = Literal["query", "training", "reply"]

MAX_ITEMS = 4096

_Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class BundleHeader(BaseModel):
    """Everything that a bundle says besides its latents. No other field can be added.

    Attributes
    ----------
    kind
        ``query``: image latents. ``training``: image and mask latents, paired by
        item. ``reply``: mask latents.
    bundle_id, in_reply_to
        Random ids; a reply names its query.
    study
        The study's fingerprint.
    site, epoch
        Whose keyed transform protects the latents.
    transform
        Id of that transform (:attr:`ppcmi_sf.keys.TransformShare.key_id`), so that a
        key made anew under the same name and epoch is noticed.
    encoders
        Id of the weights that made the latents (see
        :func:`ppcmi_sf.models.store.weights_id`).
    items
        A random id per item. Which case and slice it is, only the site's
        registry knows.
    validation
        Positions of the items that the site set apart, split by patient.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-latents"] = "ppcmi-latents"
    version: Literal[1] = 1
    kind: BundleKind
    bundle_id: _Hex32
    in_reply_to: _Hex32 | None = None
    study: _Hex64
    site: Annotated[str, Field(pattern=SITE_NAME_PATTERN)]
    epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    transform: _Hex16
    encoders: _Hex16
    items: Annotated[tuple[_Hex16, ...], Field(min_length=1, max_length=MAX_ITEMS, strict=False)]
    validation: Annotated[tuple[int, ...], Field(max_length=MAX_ITEMS, strict=False)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> BundleHeader:
        if len(set(self.items)) != len(self.items):
            raise ValueError("an item appears twice")
        if any(not 0 <= index < len(self.items) for index in self.validation):
            raise ValueError("a validation item does not exist")
        if (self.kind == "reply") != (self.in_reply_to is not None):
            raise ValueError("a reply, and only a reply, names its query")
        return self

    @property
    def roles(self) -> tuple[Literal["image", "mask"], ...]:
        """Which latents the bundle holds."""
        if self.kind == "training":
            return ("image", "mask")
        return ("image",) if self.kind == "query" else ("mask",)


def new_bundle_id() -> str:
    """A random bundle id (128 bits, hex)."""
    return secrets.token_hex(16)


def new_item_id() -> str:
    """A random item id (64 bits, hex)."""
    return secrets.token_hex(8)
