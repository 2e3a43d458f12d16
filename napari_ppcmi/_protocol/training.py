"""Training: a site's autoencoders, a server's mapping network, and the server's answers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from napari_ppcmi._protocol.bundles import CaseInfo, CaseProblem
from napari_ppcmi._protocol.message import Answer, Request
from ppcmi_sf.training.fit_options import (
    AUTOENCODER_FIT,
    ENCODER_ALIGNMENT_FIT,
    JOINING_FIT,
    MAPPING_FIT,
)


class NewStudy(Request):
    """Write a study file. Answer: :class:`~.keys.StudyInfo`.

    Attributes
    ----------
    window
        Centre and width of a fixed window, in the files' units (HU).
    percentiles
        Without a window: these of each image become dark and bright.
    """

    quick: ClassVar[bool] = True

    file: Path
    name: str
    modality: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int] = (256, 256)
    channels: int = 1
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    arrangement: Literal["escrow", "blind"] = "escrow"
    autoencoder: Literal["fine", "ppcmi-sf", "small"] = "fine"
    mapping: Literal["fused", "paper"] = "fused"
    use_skips: bool = True


class TrainSite(Request):
    """Train a site's autoencoders. A training that was stopped goes on. Answer: SiteTrained.

    Attributes
    ----------
    data
        Folder of images and masks; or ``None``, and ``cases`` names them.
    """

    study_file: Path
    name: str
    site_folder: Path
    data: Path | None = None
    cases: tuple[CaseInfo, ...] = ()
    epochs: int = AUTOENCODER_FIT.epochs
    batch_size: int = AUTOENCODER_FIT.batch_size
    seed: int = 0
    slice_axis: int | None = None
    retrain: bool = False
    device: str = "auto"


class SiteTrained(Answer):
    """What came of it: slices, and the loss on those set apart (``None`` if there are none).

    Attributes
    ----------
    mask_dice
        How well the site's own masks come back from its mask autoencoder, by class.
    """

    site_folder: Path
    training_slices: int
    validation_slices: int
    image_loss: float | None
    mask_loss: float | None
    mask_dice: dict[str, float]
    problems: tuple[CaseProblem, ...] = ()


class AlignSite(Request):
    """Fit the open site's encoder to its network, for its own use. Answer: :class:`SiteAligned`.

    Attributes
    ----------
    data
        Folder of images and masks.
    """

    data: Path
    epochs: int = ENCODER_ALIGNMENT_FIT.epochs
    device: str = "auto"


class SiteAligned(Answer):
    """What came of it: slices, and Dice on those set apart (``None`` if there are none).

    Attributes
    ----------
    kept
        Whether anything has changed; nothing does where Dice got worse.
    """

    training_slices: int
    validation_slices: int
    before: float | None
    after: float | None
    kept: bool
    problems: tuple[CaseProblem, ...] = ()


class TrainServer(Request):
    """Train the mapping network. Answer: :class:`ServerTrained`.

    Attributes
    ----------
    bundles, shares
        Files, or folders of them.
    cross_fit
        Against membership inference: four trainings, from bundles in several parts.
    """

    study_file: Path
    server_folder: Path
    bundles: tuple[Path, ...]
    shares: tuple[Path, ...] = ()
    epochs: int = MAPPING_FIT.epochs
    batch_size: int = MAPPING_FIT.batch_size
    seed: int = 0
    cross_fit: bool = False
    retrain: bool = False
    again: bool = False
    device: str = "auto"


class JoinServer(Request):
    """Let a new site join the network that is there. Answer: :class:`ServerTrained`.

    Attributes
    ----------
    bundles, shares
        Of the new site: files, or folders of them.
    """

    server_folder: Path
    bundles: tuple[Path, ...]
    shares: tuple[Path, ...] = ()
    batch_size: int = JOINING_FIT.batch_size
    seed: int = 0
    again: bool = False
    device: str = "auto"


class ServerTrained(Answer):
    """What came of it; ``suspicions`` are sites and what to ask them about their pairs."""

    server_folder: Path
    pairs: dict[str, int]
    parameters: int
    loss: float | None
    suspicions: tuple[tuple[str, str], ...] = ()


class AnswerQueries(Request):
    """At a mapping server: answer queries. Answer: :class:`~.bundles.BatchResult`."""

    server_folder: Path
    queries: tuple[Path, ...]
    out: Path
    device: str = "auto"
    again: bool = False


class PublishModel(Request):
    """At a mapping server: write the network for one site. Answer: BatchResult."""

    server_folder: Path
    recipient: str
    out: Path
