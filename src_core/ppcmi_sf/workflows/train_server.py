"""``ppcmi server train``: training bundles of every site to one mapping network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ppcmi_sf.errors import ModelFileError, PPCMIError, StudyError
from ppcmi_sf.home import Party
from ppcmi_sf.models.store import read_header
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.contribution_checks import (
    ContributionReport,
    check_contributions,
)
from ppcmi_sf.training.cross_fit import train_cross_fitted
from ppcmi_sf.training.loop import FitReport
from ppcmi_sf.training.mapping import MappingOptions, train_mapping
from ppcmi_sf.workflows.contributions import collect
from ppcmi_sf.workflows.folders import ServerFolder
from ppcmi_sf.workflows.training_pairs import read_pairs, require_memory_for
from ppcmi_sf.workflows.work_lock import work_lock


@dataclass(frozen=True)
class ServerTrainingReport:
    """What came of a training: pairs per site, parameters, losses, and what looked suspicious."""

    pairs: dict[str, int]
    parameters: int
    fit: FitReport
    contributions: ContributionReport


def train_server(
    folder: Path,
    study: StudySpec,
    bundles: Sequence[Path],
    shares: Sequence[Path],
    options: MappingOptions,
    party: Party,
    *,
    device: torch.device,
    cross_fit: bool = False,
    retrain: bool = False,
    again: bool = False,
) -> Job[ServerTrainingReport]:
    """Train the mapping network. A training that was stopped goes on where it was.

    Every bundle is checked before training starts; a bad one stops the command,
    since a mapping network that lacks a site is not what was asked for. Pairs that are only
    suspicious are used, and reported.

    Parameters
    ----------
    bundles
        Training bundles of all sites.
    shares
        Transform share files, one per site (``escrow``); none in ``blind``.
    cross_fit
        Train by cross-fitting (:mod:`ppcmi_sf.training.cross_fit`): four trainings in place of one,
        against membership inference. Each site has to give its patients in two bundles or more.
    retrain
        Replace the network that is there, for which bundles that were accepted before may be
        used once more.
    again
        Use bundles that were accepted before, in another folder.

    Raises
    ------
    PPCMIError
        A bundle or share is bad, missing, not trusted, or of another study, epoch or site; or
        a bundle's pairs are unusable.
    """
    server_folder = ServerFolder(Path(folder))
    _require_untrained(server_folder, study, retrain)
    given = yield from collect(study, bundles, shares, party, again=again or retrain)
    require_memory_for(study, given, cross_fit=cross_fit)
    with work_lock(server_folder.root):
        # Another command may have been quicker.
        _require_untrained(server_folder, study, retrain)
        pairs = yield from read_pairs(study, given, party)
        contributions = yield from check_contributions(pairs, options.max_site_weight)
        train = train_cross_fitted if cross_fit else train_mapping
        network, report = yield from train(
            study,
            pairs,
            options,
            device=device,
            checkpoint=server_folder.checkpoint,
            signature=given.signature(study.fingerprint, options, cross_fit),
        )
        server_folder.save_network(network, study, given.links.values(), given.shares)
        given.note(party)
    return ServerTrainingReport(
        {name: len(site.validation) for name, site in pairs.items()},
        sum(value.numel() for value in network.parameters()),
        report,
        contributions,
    )


def _require_untrained(folder: ServerFolder, study: StudySpec, retrain: bool) -> None:
    if not folder.model_file.is_file():
        return
    if not retrain:
        raise ModelFileError(
            f"{folder.root}: this server is trained already.",
            hint="With --retrain its mapping network is replaced.",
        )
    if _is_of_another_study(folder, study):
        # Study and network are two files: a failure between them would leave neither to answer.
        raise StudyError(
            f"{folder.root}: this server is trained for another study.",
            hint="Choose another server folder.",
        )


def _is_of_another_study(folder: ServerFolder, study: StudySpec) -> bool:
    try:
        return read_header(folder.model_file).study != study.fingerprint
    except PPCMIError:  # damaged: nothing is lost when it is replaced
        return False
