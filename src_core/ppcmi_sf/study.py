"""StudySpec: what the sites of one collaboration agree on.

Everything that sites exchange names the study's fingerprint, so two sites whose
settings differ find out before they mix anything.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ppcmi_sf.errors import InputFileError, StudyError
from ppcmi_sf.files import write_text
from ppcmi_sf.received import read_received
from ppcmi_sf.strictjson import is_invisible

FORMAT_VERSION: Literal[1] = 1
MAX_STUDY_BYTES = 64 * 1024
MOST_NESTED = 16  # brackets and lists in each other

Modality = Literal["MR", "US", "CT", "XR", "OTHER"]
Arrangement = Literal["escrow", "blind"]
AutoencoderPreset = Literal["fine", "ppcmi-sf", "small"]
MappingPreset = Literal["fused", "paper"]

AUTOENCODER_WIDTHS: dict[AutoencoderPreset, tuple[int, ...]] = {
    "fine": (16, 16, 32, 64),
    "ppcmi-sf": (16, 32, 64, 128, 256),  # the paper's
    "small": (12, 24, 32, 48, 64),  # for tests and the demo
}
"""Channels after each of an encoder's stride-2 stages, of which the last three are exchanged."""

EXCHANGED_STAGES = 3


@dataclass(frozen=True)
class ScaleSpec:
    """One scale of a latent pyramid: its name, channels C, rows H and columns W."""

    name: str
    channels: int
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        return (self.channels, self.rows, self.columns)


_PALETTE = ("#000000", "#e6550d", "#3182bd", "#31a354", "#756bb1", "#fdd835", "#00acc1", "#d81b60")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _visible(name: str) -> str:
    if any(is_invisible(letter) for letter in name):
        raise ValueError("a name has no invisible or control characters")
    return name


class ClassSpec(_Strict):
    """One class of the masks: its name and its colour (``#rrggbb``)."""

    name: Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_visible)]
    color: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]


class WindowNormalization(_Strict):
    """Fixed window, for CT: ``center ± width / 2`` in the file's units (HU) becomes [0, 1]."""

    kind: Literal["window"] = "window"
    center: float
    width: Annotated[float, Field(gt=0)]


class PercentileNormalization(_Strict):
    """Percentiles of the image (the whole volume, in 3D) become 0 and 1; for MR and US."""

    kind: Literal["percentile"] = "percentile"
    low: Annotated[float, Field(ge=0, lt=100)] = 0.5
    high: Annotated[float, Field(gt=0, le=100)] = 99.5

    @model_validator(mode="after")
    def _ordered(self) -> PercentileNormalization:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


Normalization = Annotated[
    WindowNormalization | PercentileNormalization, Field(discriminator="kind")
]


class StudySpec(_Strict):
    """The agreement of one collaboration.

    Attributes
    ----------
    classes
        Class 0 is the background; class *k* has value *k* in every mask.
    image_size
        Rows and columns of the network grid, each a multiple of 32.
    channels
        Image channels after reading: 1 (grey, RGB files become luminance) or
        the number that every file has.
    arrangement
        ``escrow``: the server holds a transform share of each site and sees
        latents. ``blind``: it holds nothing secret and sees protected latents.
    autoencoder
        ``fine`` exchanges latents of a quarter, an eighth and a sixteenth of the image's sides,
        so that the mapping network sees detail and learns from all sites what to make of it
        (docs/decisions/0030). ``ppcmi-sf`` is the paper's: an eighth to a thirty-second. ``small``
        has the paper's scales and few channels.
    use_skips
        ``False`` exchanges the bottleneck alone, the Privacy-SF form.
    """

    format: Literal[1] = FORMAT_VERSION
    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_visible)]
    modality: Modality
    classes: Annotated[tuple[ClassSpec, ...], Field(min_length=2, max_length=32, strict=False)]
    image_size: Annotated[tuple[int, int], Field(strict=False)] = (256, 256)
    channels: Annotated[int, Field(ge=1, le=8)] = 1
    normalization: Normalization = PercentileNormalization()
    arrangement: Arrangement = "escrow"
    autoencoder: AutoencoderPreset = "fine"
    mapping: MappingPreset = "fused"
    use_skips: bool = True

    @model_validator(mode="after")
    def _sizes_and_names(self) -> StudySpec:
        for side in self.image_size:
            if side % 32 or not 32 <= side <= 2048:
                raise ValueError("image_size: each side must be a multiple of 32, 32 to 2048")
        names = [item.name for item in self.classes]
        if len(set(names)) != len(names):
            raise ValueError("classes: each name may be used once")
        return self

    @property
    def class_count(self) -> int:
        """Number of classes K, the background included."""
        return len(self.classes)

    @property
    def scales(self) -> tuple[ScaleSpec, ...]:
        """The scales that sites exchange, finest first."""
        widths = AUTOENCODER_WIDTHS[self.autoencoder]
        rows, columns = self.image_size
        last = len(widths)
        first = last - EXCHANGED_STAGES + 1 if self.use_skips else last
        return tuple(
            ScaleSpec(
                "bottleneck" if stage == last else f"skip{stage}",
                widths[stage - 1],
                rows // 2**stage,
                columns // 2**stage,
            )
            for stage in range(first, last + 1)
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON of every field."""
        canonical = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    def require(self, fingerprint: str, what: str) -> None:
        """Refuse something that names another study.

        Raises
        ------
        StudyError
            ``fingerprint`` is not this study's.
        """
        if fingerprint != self.fingerprint:
            raise StudyError(
                f"{what} belongs to another study ({fingerprint[:12]}…) than "
                f"'{self.name}' ({self.fingerprint[:12]}…).",
                hint="All sites need the very same study file; compare it with 'ppcmi inspect'.",
            )

    def to_yaml(self) -> str:
        """Write the study as YAML, fields in the order of this class."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def save(self, path: Path) -> None:
        """Write the study file (atomically)."""
        write_text(path, self.to_yaml())

    @classmethod
    def load(cls, path: Path) -> StudySpec:
        """Read a study file.

        Raises
        ------
        InputFileError
            The file is missing, too large, not YAML, or not a valid study.
        """
        path = Path(path)
        # Study files come from others, by whatever way: a pipe must not hold a command for ever.
        data = read_received(Path(os.path.realpath(path)), MAX_STUDY_BYTES, "study file")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise _not_yaml(path) from None
        return cls._parse(path, text)

    @classmethod
    def _parse(cls, path: Path, text: str) -> StudySpec:
        # Errors are raised outside of 'except': those of YAML and pydantic quote the text, and
        # somebody may have given another file by mistake, a passphrase even.
        fields, problem = _load_yaml(text), ""
        if fields is None:
            raise _not_yaml(path)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problem = _first_problem(error, "the file")
        raise InputFileError(
            path,
            f"not a valid study: {problem}.",
            hint="Correct that field, or make a new file with 'ppcmi study new'.",
        )


def _first_problem(error: ValidationError, whole: str = "") -> str:
    """The first field that is wrong, and why; ``whole`` stands for a problem of no one field."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    problem: str = first["msg"].removeprefix("Value error, ")
    return f"{where}: {problem}" if where else problem


def _load_yaml(text: str) -> object:
    try:
        return (yaml.safe_load(text) or {}) if _is_plain(text) else None
    except Exception:  # not YAMLError alone: a bad date is a ValueError, and so on
        return None


def _is_plain(text: str) -> bool:
    """Whether it has neither references nor deep nesting.

    A study needs none of them, and a few lines of aliases, or of brackets, can cost hours.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_NESTED or _refers(event):
            return False
    return True


def _refers(event: yaml.Event) -> bool:
    """Whether this is an anchor, an alias or a merge key (``<<``)."""
    if getattr(event, "anchor", None) is not None:
        return True
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None


def _not_yaml(path: Path) -> InputFileError:
    return InputFileError(
        path,
        "not a study file, which is a YAML text without aliases or merge keys.",
        hint="Ask your partners for the study file again.",
    )


def make_classes(names: list[str]) -> tuple[ClassSpec, ...]:
    """Background and the named classes, each with a colour of its own."""
    every = ["background", *names]
    return tuple(
        ClassSpec(name=name, color=_PALETTE[index % len(_PALETTE)])
        for index, name in enumerate(every)
    )


def make_study(class_names: Sequence[str], **fields: Any) -> StudySpec:
    """A study of what a person chose.

    Parameters
    ----------
    class_names
        The structures, in the order of their values in the masks; the background is added.
    **fields
        Those of :class:`StudySpec`, but for ``classes``.

    Raises
    ------
    StudyError
        A CT study without a fixed window, or something is not valid.
    """
    if fields["modality"] == "CT" and fields["normalization"]["kind"] != "window":
        raise StudyError(
            "A CT study needs a fixed window.", hint="Add for example --window 40 400."
        )
    try:
        classes = [one.model_dump() for one in make_classes(list(class_names))]
        return StudySpec.model_validate(fields | {"classes": classes})
    except ValidationError as error:
        raise StudyError(
            f"This study is not valid: {_first_problem(error)}.",
            hint="Correct it, then try again.",
        ) from None
