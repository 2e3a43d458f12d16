"""``ppcmi site train``: train a site's two autoencoders and write them to its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from ppcmi_sf.data import Case
from ppcmi_sf.errors import ModelFileError, PPCMIError, TrainingError
from ppcmi_sf.keys import SITE_NAME_RULE
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.store import ModelHeader, ModelKind, save_model
from ppcmi_sf.progress import Job, Progress, retold
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import SiteData, choose_validation_groups, load_site_data
from ppcmi_sf.training.loop import FitReport
from ppcmi_sf.training.pooled_dice import mask_fidelity
from ppcmi_sf.training.slice_batches import SliceBatches
from ppcmi_sf.workflows.folders import SiteFolder, TrainingRecord
from ppcmi_sf.workflows.work_lock import work_lock

KINDS: dict[str, ModelKind] = {"image": "image-autoencoder", "mask": "mask-autoencoder"}


@dataclass(frozen=True)
class SiteTrainingReport:
    """What came of a training: slices used, losses, cases left out.

    Attributes
    ----------
    mask_dice
        How well the mask autoencoder gives back the site's own masks, by class (see
        :func:`ppcmi_sf.training.pooled_dice.mask_fidelity`).
    """

    training_slices: int
    validation_slices: int
    image: FitReport
    mask: FitReport
    mask_dice: dict[str, float]
    failures: list[tuple[str, PPCMIError]]


def train_site(
    folder: Path,
    study: StudySpec,
    name: str,
    cases: Sequence[Case],
    options: AutoencoderOptions,
    *,
    validation_fraction: float = 0.15,
    device: torch.device,
    retrain: bool = False,
    slice_axis: int | None = None,
    frame: int | None = None,
) -> Job[SiteTrainingReport]:
    """Train both autoencoders. A training that was stopped goes on where it was.

    Parameters
    ----------
    folder
        The site's folder; made when it is missing.
    name
        The site's name.
    validation_fraction
        Share of the cases set apart by group: what is told of the training is measured on them.
    retrain
        Replace autoencoders that are already there.
    slice_axis, frame
        How volumes are cut, and which frame of 4D files is taken; kept for
        ``site protect``.

    Raises
    ------
    ModelFileError
        The site is trained already, and ``retrain`` is off.
    TrainingError, ResourceError
        See :func:`ppcmi_sf.training.autoencoders.train_autoencoder`.
    """
    site = SiteFolder(Path(folder))
    if site.model_file("mask").is_file() and not retrain:
        raise ModelFileError(
            f"{site.root}: this site is trained already.",
            hint="With --retrain it is trained anew; the mapping network must then be, too.",
        )
    headers = {role: _header(role, study, name) for role in KINDS}
    apart = choose_validation_groups(cases, validation_fraction, options.fit.seed)
    data = yield from load_site_data(
        cases, study, validation_groups=apart, slice_axis=slice_axis, frame=frame
    )
    record = TrainingRecord(
        site=name,
        seed=options.fit.seed,
        validation_groups=tuple(sorted(apart)),
        slice_axis=slice_axis,
        frame=frame,
        learned=data.training.digests(),
    )
    with work_lock(site.root):
        return (yield from _train_both(site, study, data, options, record, headers, device))


def _train_both(
    site: SiteFolder,
    study: StudySpec,
    data: SiteData,
    options: AutoencoderOptions,
    record: TrainingRecord,
    headers: dict[str, ModelHeader],
    device: torch.device,
) -> Job[SiteTrainingReport]:
    signature = data.signature(study.fingerprint, options)
    models: dict[str, Autoencoder] = {}
    reports: dict[str, FitReport] = {}
    for step, role in enumerate(("image", "mask")):
        training = train_autoencoder(
            study,
            role,
            data,
            options,
            device=device,
            checkpoint=site.checkpoint(role),
            signature=signature,
        )
        models[role], reports[role] = yield from _half(training, step)
    slices = SliceBatches(study, data, options.fit, device, augment=False)
    mask_dice = yield from mask_fidelity(study, models["mask"], slices)
    study.save(site.study_file)
    # The record first: a site that has its models, but no record, could not go on.
    site.save_record(record)
    for role, model in models.items():
        save_model(site.model_file(role), model, headers[role])
    for role in models:
        site.checkpoint(role).unlink(missing_ok=True)
    return SiteTrainingReport(
        len(data.training),
        len(data.validation),
        reports["image"],
        reports["mask"],
        mask_dice,
        data.failures,
    )


def _header(role: str, study: StudySpec, name: str) -> ModelHeader:
    try:
        return ModelHeader(kind=KINDS[role], study=study.fingerprint, site=name)
    except ValidationError as error:
        raise TrainingError(
            f"'{name}' cannot be the name of a site.",
            hint=SITE_NAME_RULE,
        ) from error


def _half(
    training: Job[tuple[Autoencoder, FitReport]], step: int
) -> Job[tuple[Autoencoder, FitReport]]:
    """Show one of the two trainings as half of the whole."""

    def tell(at: Progress) -> Progress:
        return Progress(at.done + step * at.total, 2 * at.total, at.message, at.values)

    return (yield from retold(training, tell))
