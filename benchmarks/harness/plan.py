"""A plan: which data, which rows, which seeds, and how much training time each row gets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from harness.rows import CATALOGUE, Row, Share, Shares, Strict
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.study import AutoencoderPreset, Modality, Normalization, WindowNormalization
from ppcmi_sf.training.fit_options import (
    ALIGNMENT_FIT,
    AUTOENCODER_FIT,
    ENCODER_ALIGNMENT_FIT,
    JOINING_FIT,
    MAPPING_FIT,
    FitOptions,
)
from ppcmi_sf.workflows.protect import COPIES

SITE_NAMES = ("north", "south", "west", "east", "centre", "coast", "hill")

NOT_OF_A_RUN = {"name", "datasets", "seeds", "rows", "new_site_pairs"}


class Phantoms(Strict):
    """Synthetic images in place of a folder: so many of each of the demo's three scanners."""

    per_style: Annotated[int, Field(ge=2)]
    size: Annotated[int, Field(ge=32)]
    seed: int = 0


class DataSet(Strict):
    """A data set.

    Attributes
    ----------
    path
        A folder of any layout that the engine reads, relative to ``--data``.
    phantoms
        Synthetic images in its place.
    classes
        Names of the foreground classes.
    normalization
        As in a study file: what grey values become 0 and 1. The study's default if not told; CT
        needs a window, as in every study.
    """

    name: str
    path: str | None = None
    phantoms: Phantoms | None = None
    modality: Modality
    classes: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    normalization: Normalization | None = None

    @model_validator(mode="after")
    def _window_for_ct(self) -> DataSet:
        if self.modality == "CT" and not isinstance(self.normalization, WindowNormalization):
            raise ValueError(
                f"'{self.name}' is CT, which needs a fixed window, for example "
                "normalization: {kind: window, center: 40, width: 400}"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> DataSet:
        if (self.path is None) == (self.phantoms is None):
            raise ValueError("give either a path or phantoms")
        return self


class Scanner(Strict):
    """A simulated scanner: what it makes of an image with grey values in [0, 1].

    Attributes
    ----------
    gamma, gain, offset
        ``gain · x^gamma + offset``, cut to [0, 1].
    resolution
        Share of the pixels along each side that it really resolves.
    """

    gamma: Annotated[float, Field(gt=0)] = 1.0
    gain: float = 1.0
    offset: float = 0.0
    resolution: Annotated[float, Field(gt=0, le=1)] = 1.0


class SitePlan(Strict):
    """One site: how much data it has beside the others, and its scanner."""

    name: str
    weight: Annotated[float, Field(gt=0)] = 1.0
    scanner: Scanner | None = None


class Step(Strict):
    """Batch size and peak rate of a training."""

    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]


def _step(fit: FitOptions) -> Step:
    return Step(batch_size=fit.batch_size, learning_rate=fit.learning_rate)


class Steps(Strict):
    """Of every kind of training; the defaults are the engine's."""

    unet: Step = Step(batch_size=8, learning_rate=2e-3)
    autoencoder: Step = _step(AUTOENCODER_FIT)
    mapping: Step = _step(MAPPING_FIT)
    alignment: Step = _step(ALIGNMENT_FIT)
    encoder_alignment: Step = _step(ENCODER_ALIGNMENT_FIT)
    joining: Step = _step(JOINING_FIT)


class Plan(Strict):
    """Everything that decides the numbers of a benchmark; see ``benchmarks/plans``.

    Attributes
    ----------
    autoencoder
        Preset of the autoencoders of every row, in place of the row's own.
    sites
        A number of sites of equal size, or each with its size and scanner. A row's
        ``site_counts`` replaces it: then all of the training part is divided over so many sites.
    split_seed
        Of the division into sites and test part; the same for every training seed.
    development
        Leaves the test part out and splits what remains once more, into sites and a test part
        of its own. Choices are made on such plans, so that nothing is tuned on what is reported.
    budget_cpu_seconds
        Processor time of all threads that a row may train for, all parties together.
    max_epochs
        No training passes more often over its data, whatever time is left.
    checks
        How often a training looks at its validation part, at most.
    copies
        How often each slice is exported for training, at most; 1 in rows of the paper.
    local_epochs
        Of federated averaging: passes over a site's data between two averages.
    new_site_pairs
        Numbers of slices with which a new site joins.
    """

    name: str
    datasets: Annotated[tuple[DataSet, ...], Field(min_length=1, strict=False)]
    image_size: Annotated[tuple[int, int], Field(strict=False)]
    autoencoder: AutoencoderPreset | None = None
    sites: int | Annotated[tuple[SitePlan, ...], Field(min_length=1, strict=False)] = 3
    test_fraction: Share = 0.2
    validation_fraction: Share = 0.15
    split_seed: int = 0
    development: bool = False
    seeds: Annotated[tuple[int, ...], Field(min_length=1, strict=False)] = (0,)
    budget_cpu_seconds: Annotated[float, Field(gt=0, strict=False)]
    shares: Shares = Shares()
    steps: Steps = Steps()
    max_epochs: Annotated[int, Field(ge=1)] = 400
    checks: Annotated[int, Field(ge=1)] = 25
    copies: Annotated[int, Field(ge=1)] = COPIES
    local_epochs: Annotated[int, Field(ge=1)] = 2
    new_site_pairs: Annotated[tuple[int, ...], Field(strict=False)] = (5, 10, 20, 40)
    rows: Annotated[tuple[Row, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="before")
    @classmethod
    def _look_up_rows(cls, fields: object) -> object:
        """A row is a name of the catalogue, or ``{base: name, name: ..., changes...}``."""
        if not isinstance(fields, dict) or not isinstance(fields.get("rows"), list):
            return fields
        return fields | {"rows": [_row(entry) for entry in fields["rows"]]}

    @model_validator(mode="after")
    def _names_differ(self) -> Plan:
        for what, names in (
            ("data set", [one.name for one in self.datasets]),
            ("row", [one.name for one in self.rows]),
            ("site", [] if isinstance(self.sites, int) else [one.name for one in self.sites]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"two of the {what}s have one name")
        return self

    @model_validator(mode="after")
    def _sites_have_names(self) -> Plan:
        counts = [count for row in self.rows for count in row.site_counts]
        counts += [self.sites] if isinstance(self.sites, int) else []
        for count in counts:
            if not 1 <= count <= len(SITE_NAMES):
                raise ValueError(
                    f"{count} sites: there are names for 1 to {len(SITE_NAMES)}; with `sites` as "
                    "a list, each with its name, there may be more"
                )
        return self

    @model_validator(mode="after")
    def _somebody_to_join(self) -> Plan:
        own = self.sites if isinstance(self.sites, int) else len(self.sites)
        for row in self.rows:
            if row.kind == "new-site" and min(row.site_counts or (own,)) < 2:
                raise ValueError(f"row '{row.name}' needs two sites: the last joins the others")
        return self

    def settings_of(self, dataset: DataSet, row: Row) -> dict[str, Any]:
        """What decides the numbers of a row's runs, for the mark of their settings."""
        data = dataset.model_dump(mode="json")
        if dataset.normalization is None:
            del data["normalization"]  # runs from before there was this field keep their mark
        settings = self.model_dump(mode="json", exclude=NOT_OF_A_RUN)
        return settings | {"dataset": data, "row": row.model_dump(mode="json")}

    def preset_of(self, row: Row) -> AutoencoderPreset:
        """Preset of the autoencoders in a row."""
        return self.autoencoder or row.autoencoder

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan.

        Raises
        ------
        InputFileError
            It is missing, no YAML, or not a valid plan.
        """
        try:
            return cls.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise InputFileError(
                path, f"not a plan: {error}", hint="See the plans in benchmarks/plans."
            ) from error


def _row(entry: object) -> object:
    fields = {"base": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or "base" not in fields:
        return entry
    changes = dict(fields)
    base = changes.pop("base")
    if base not in CATALOGUE:
        raise ValueError(f"there is no row '{base}'; there are {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[base].model_dump() | changes
