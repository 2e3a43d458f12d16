"""Training of sites and servers, and what a server does with its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ppcmi._protocol.bundles import BatchResult, CaseInfo
from napari_ppcmi._protocol.keys import StudyInfo
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._protocol.training import (
    AlignSite,
    AnswerQueries,
    JoinServer,
    NewStudy,
    PublishModel,
    ServerTrained,
    SiteAligned,
    SiteTrained,
    TrainServer,
    TrainSite,
)
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.outcomes import batch_problems, batch_result
from napari_ppcmi._worker.review import engine_case
from napari_ppcmi._worker.tasks.keys import study_info
from ppcmi_sf.data import Case, find_cases_with_problems
from ppcmi_sf.errors import InputFileError, PPCMIError, TrainingError
from ppcmi_sf.progress import Job
from ppcmi_sf.share import SUFFIX as SHARE_SUFFIX
from ppcmi_sf.study import StudySpec, make_study
from ppcmi_sf.training.fit_options import (
    AUTOENCODER_FIT,
    ENCODER_ALIGNMENT_FIT,
    JOINING_FIT,
    MAPPING_FIT,
)

if TYPE_CHECKING:
    from ppcmi_sf.workflows.train_server import ServerTrainingReport


def new_study(_desk: Desk, request: NewStudy) -> StudyInfo:
    """Write a study file where there is none yet."""
    if request.file.exists():
        raise InputFileError(request.file, "this file exists already.", hint="Choose another name.")
    fields = request.model_dump(exclude={"file", "class_names", "window", "percentiles"})
    normalization: dict[str, object] = dict(zip(("low", "high"), request.percentiles, strict=True))
    normalization["kind"] = "percentile"
    if request.window is not None:
        center, width = request.window
        normalization = {"kind": "window", "center": center, "width": width}
    study = make_study(request.class_names, normalization=normalization, **fields)
    study.save(request.file)
    return study_info(request.file)


def train_site(_desk: Desk, request: TrainSite) -> Job[SiteTrained]:
    """Train a site's autoencoders, or go on with a training that was stopped."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.training.autoencoders import AutoencoderOptions
    from ppcmi_sf.workflows import train_site as engine

    study = StudySpec.load(request.study_file)
    cases, problems = _cases(request.data, request.cases)
    fit = replace(
        AUTOENCODER_FIT, epochs=request.epochs, batch_size=request.batch_size, seed=request.seed
    )
    report = yield from engine.train_site(
        request.site_folder,
        study,
        request.name,
        cases,
        AutoencoderOptions(fit=fit, augment=study.mapping != "paper"),
        device=choose_device(request.device),
        retrain=request.retrain,
        slice_axis=request.slice_axis,
    )
    return SiteTrained(
        site_folder=request.site_folder,
        training_slices=report.training_slices,
        validation_slices=report.validation_slices,
        image_loss=report.image.kept_loss,
        mask_loss=report.mask.kept_loss,
        mask_dice=report.mask_dice,
        problems=batch_problems(problems + report.failures),
    )


def align_site(desk: Desk, request: AlignSite) -> Job[SiteAligned]:
    """Fit the open site's encoder to the network that is installed there."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.training.encoder_alignment import EncoderAlignmentOptions
    from ppcmi_sf.workflows import align_site as engine
    from ppcmi_sf.workflows.folders import SiteFolder

    folder, key = desk.require_site(), desk.require_key()
    cases, problems = _cases(request.data)
    options = EncoderAlignmentOptions(
        fit=replace(ENCODER_ALIGNMENT_FIT, epochs=request.epochs),
        augment=SiteFolder(folder).study().mapping != "paper",
    )
    report = yield from engine.align_site(
        folder, key, cases, options, device=choose_device(request.device)
    )
    return SiteAligned(
        training_slices=report.training_slices,
        validation_slices=report.validation_slices,
        before=report.before,
        after=report.after,
        kept=report.kept,
        problems=batch_problems(problems + report.failures),
    )


def _cases(
    data: Path | None, named: Sequence[CaseInfo] = ()
) -> tuple[list[Case], list[tuple[str, PPCMIError]]]:
    """Cases that can be tried, and what is wrong with the others."""
    if data is None:
        return [engine_case(one) for one in named], []
    cases, problems = find_cases_with_problems(data, need_masks=True)
    if not cases:
        raise TrainingError(
            "No case could be used for training.",
            hint=f"The first one: {Failure.of(problems[0][1]).text}",
        )
    return cases, problems


def train_server(desk: Desk, request: TrainServer) -> Job[ServerTrained]:
    """Train the mapping network on the training bundles of all sites."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.training.mapping import MappingOptions
    from ppcmi_sf.workflows import train_server as engine
    from ppcmi_sf.workflows.bundle_files import bundle_files

    party = desk.require_party()
    fit = replace(
        MAPPING_FIT, epochs=request.epochs, batch_size=request.batch_size, seed=request.seed
    )
    report = yield from engine.train_server(
        request.server_folder,
        StudySpec.load(request.study_file),
        bundle_files(request.bundles, "training", party.identity),
        _share_files(request.shares),
        MappingOptions(fit=fit),
        party,
        device=choose_device(request.device),
        cross_fit=request.cross_fit,
        retrain=request.retrain,
        again=request.again,
    )
    return _server_trained(request.server_folder, report)


def join_server(desk: Desk, request: JoinServer) -> Job[ServerTrained]:
    """Train adapters for a new site in the network that is there."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.training.mapping import MappingOptions
    from ppcmi_sf.workflows import join_server as engine
    from ppcmi_sf.workflows.bundle_files import bundle_files

    party = desk.require_party()
    fit = replace(JOINING_FIT, batch_size=request.batch_size, seed=request.seed)
    report = yield from engine.join_server(
        request.server_folder,
        bundle_files(request.bundles, "training", party.identity),
        _share_files(request.shares),
        MappingOptions(fit=fit),
        party,
        device=choose_device(request.device),
        again=request.again,
    )
    return _server_trained(request.server_folder, report)


def _server_trained(folder: Path, report: ServerTrainingReport) -> ServerTrained:
    return ServerTrained(
        server_folder=folder,
        pairs=report.pairs,
        parameters=report.parameters,
        loss=report.fit.kept_loss,
        suspicions=tuple((one.site, one.message) for one in report.contributions.suspicions),
    )


def _share_files(paths: Sequence[Path]) -> list[Path]:
    """Share files as given, and for each folder those in it, by name."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob(f"*{SHARE_SUFFIX}")) if path.is_dir() else [path]
        if not inside:
            raise InputFileError(
                path,
                "there is no transform share in this folder.",
                hint="Check the folder. In a blind study leave it out.",
            )
        found.extend(inside)
    return found


def answer_queries(desk: Desk, request: AnswerQueries) -> Job[BatchResult]:
    """At a mapping server: a reply to each query."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.workflows.bundle_files import bundle_files
    from ppcmi_sf.workflows.map_queries import map_queries

    party = desk.require_party()
    report = yield from map_queries(
        request.server_folder,
        bundle_files(request.queries, "query", party.identity),
        request.out,
        party,
        device=choose_device(request.device),
        again=request.again,
    )
    return batch_result(report)


def publish_model(desk: Desk, request: PublishModel) -> BatchResult:
    """At a mapping server: the network, for one site and nobody else."""
    from ppcmi_sf.workflows import local_model

    party = desk.require_party()
    site = party.home.contacts.recipient(request.recipient)
    path = local_model.publish_model(request.server_folder, site, request.out, party)
    return BatchResult(written=(path,))
