"""The header of a latent bundle: a whitelist of what may leave a site."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ppcmi_sf import strictjson
from ppcmi_sf.study import StudySpec

BundleKind = Literal["query", "training", "reply", "model"]
Precision = Literal["float16", "float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float16", "float32", "int8")

MAX_HEADER_BYTES = 256 * 1024
MAX_ITEMS = 1_000_000
MAX_RECIPIENTS = 32
MAX_TENSORS = 2048
MAX_SIDE = 65536
# One record is in memory at a time.
MAX_RECORD_BYTES = 64 * 2**20
MAX_JOINT_RECORD_BYTES = 8 * 2**20
RECORD_BYTES = 4 * 2**20

_BYTES = {"F32": 4, "F16": 2, "I8": 1, "U8": 1}

# No empty part, hence no "..". Names of an item's tensors are fewer: nothing else may be told.
_TENSOR_NAME = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$"
_ITEM_TENSOR = re.compile(r"item|validation|(image|mask)\.(skip2|skip3|skip4|bottleneck)(\.scale)?")

_Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class TensorLayout(BaseModel):
    """Name, number type and shape of a tensor: of one item, or (``model``) as a whole."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(pattern=_TENSOR_NAME, max_length=120)]
    dtype: Literal["F32", "F16", "I8", "U8"]
    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_SIDE)], ...], Field(max_length=4, strict=False)
    ]

    @property
    def byte_count(self) -> int:
        """Bytes of its numbers."""
        return _BYTES[self.dtype] * math.prod(self.shape)


class BundleHeader(BaseModel):
    """Everything that a bundle says besides its numbers. No other field can be added.

    It travels encrypted; what a stranger sees is :class:`ppcmi_sf.bundle.format.Envelope`.

    Attributes
    ----------
    kind
        ``query``: image latents. ``training``: image and mask latents, paired by
        item. ``reply``: mask latents. ``model``: a mapping network.
    bundle_id
        Random.
    study
        The study's fingerprint.
    sender, recipients
        Fingerprints. The sender signs the list, so that passing a bundle on is seen.
    key_id, epoch
        Which keyed transform protects the latents: the id of the site's transform share
        (:attr:`ppcmi_sf.keys.TransformShare.key_id`) and its epoch.
    model
        Id of the weights that made the numbers: of a site's two encoders, or of
        the mapping network (see :func:`ppcmi_sf.models.store.weights_id`).
    items
        How many there are; each has a random pseudonym in the payload. 1 for a model.
    layout
        The tensors of an item, or of the model.
    record_items
        How many items there are in a record of the payload. 1 for a model, each of whose
        records is one tensor.
    size
        Bytes of the payload.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    version: Literal[2] = 2
    kind: BundleKind
    bundle_id: _Hex32
    study: _Hex64
    sender: _Hex64
    recipients: Annotated[
        tuple[_Hex64, ...], Field(min_length=1, max_length=MAX_RECIPIENTS, strict=False)
    ]
    key_id: _Hex16
    epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    model: _Hex16
    items: Annotated[int, Field(ge=1, le=MAX_ITEMS)]
    layout: Annotated[
        tuple[TensorLayout, ...], Field(min_length=1, max_length=MAX_TENSORS, strict=False)
    ]
    record_items: Annotated[int, Field(ge=1, le=4096)]
    size: Annotated[int, Field(ge=1, le=2**50)]

    @model_validator(mode="after")
    def _consistent(self) -> BundleHeader:
        if len({entry.name for entry in self.layout}) != len(self.layout):
            raise ValueError("a tensor appears twice")
        if list(self.recipients) != sorted(set(self.recipients)):
            raise ValueError("recipients are sorted, each once")
        if self.kind == "model" and (self.items, self.record_items) != (1, 1):
            raise ValueError("a model is one item")
        if self.kind != "model" and not all(_ITEM_TENSOR.fullmatch(e.name) for e in self.layout):
            raise ValueError("a tensor that no item has")
        if max(self.record_byte_counts()) > MAX_RECORD_BYTES:
            raise ValueError("a record is too large")
        if self.record_items > 1 and max(self.record_byte_counts()) > MAX_JOINT_RECORD_BYTES:
            raise ValueError("a record of several items is too large")
        return self

    @property
    def roles(self) -> tuple[Literal["image", "mask"], ...]:
        """Which latents the bundle holds; none for a model."""
        if self.kind == "training":
            return ("image", "mask")
        return {"query": ("image",), "reply": ("mask",), "model": ()}[self.kind]  # type: ignore[return-value]

    @property
    def record_count(self) -> int:
        """How many records the payload has."""
        if self.kind == "model":
            return len(self.layout)
        return -(-self.items // self.record_items)

    def record_layout(self, index: int) -> tuple[TensorLayout, ...]:
        """The tensors of a record; for items with their number as first axis."""
        if self.kind == "model":
            return (self.layout[index],)
        count = min(self.record_items, self.items - index * self.record_items)
        return tuple(
            entry.model_copy(update={"shape": (count, *entry.shape)}) for entry in self.layout
        )

    def record_byte_counts(self) -> list[int]:
        """Bytes of the numbers of each kind of record."""
        if self.kind == "model":
            return [entry.byte_count for entry in self.layout]
        return [self.record_items * sum(entry.byte_count for entry in self.layout)]

    def to_bytes(self) -> bytes:
        """The canonical JSON text."""
        return strictjson.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> BundleHeader:
        """Parse the canonical JSON text.

        Raises
        ------
        ValueError
            Why it is refused, in plain words.
        """
        fields = strictjson.loads(data, limit=MAX_HEADER_BYTES)
        try:
            header = cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = str(first["loc"][0]) if first["loc"] else "the header"
            if first["type"] == "extra_forbidden":
                raise ValueError("a field that does not belong there") from None
            raise ValueError(f"'{where}' is missing or not valid") from None
        if header.to_bytes() != data:
            raise ValueError("'version' is missing or not valid")
        return header


ITEM = "item"
VALIDATION = "validation"
SCALE_SUFFIX = ".scale"
ITEM_BYTES = 8


def item_layout(study: StudySpec, kind: BundleKind, precision: Precision) -> list[TensorLayout]:
    """The tensors of one item of a bundle.

    ``item``: its pseudonym. ``validation`` (training): whether the site set the patient
    apart. ``<role>.<scale>``: latents, (C, H, W). ``<role>.<scale>.scale`` (int8): what
    to multiply each channel by, (C,).
    """
    layout = [TensorLayout(name=ITEM, dtype="U8", shape=(ITEM_BYTES,))]
    if kind == "training":
        layout.append(TensorLayout(name=VALIDATION, dtype="U8", shape=(1,)))
    dtype: Literal["F32", "F16", "I8"] = {"float32": "F32", "float16": "F16", "int8": "I8"}[
        precision
    ]  # type: ignore[assignment]
    roles = {"query": ("image",), "training": ("image", "mask"), "reply": ("mask",)}[kind]
    for role in roles:
        for scale in study.scales:
            name = f"{role}.{scale.name}"
            layout.append(TensorLayout(name=name, dtype=dtype, shape=scale.shape))
            if precision == "int8":
                layout.append(
                    TensorLayout(name=name + SCALE_SUFFIX, dtype="F32", shape=(scale.channels,))
                )
    return layout


def items_per_record(layout: Iterable[TensorLayout]) -> int:
    """How many items make a record of about 4 MiB."""
    return max(1, min(4096, RECORD_BYTES // sum(entry.byte_count for entry in layout)))


def new_bundle_id() -> str:
    """A random bundle id (128 bits, hex)."""
    return secrets.token_hex(16)
