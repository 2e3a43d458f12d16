"""``ppcmi server join``: a site joins a mapping network that others have trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ppcmi_sf.errors import BundleError, InputFileError, ModelFileError
from ppcmi_sf.home import Party
from ppcmi_sf.models.store import ModelHeader, weights_id
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.contribution_checks import check_contributions
from ppcmi_sf.training.joining import join_mapping
from ppcmi_sf.training.mapping import MappingOptions
from ppcmi_sf.workflows.contributions import Contributions, collect
from ppcmi_sf.workflows.folders import ServerFolder, load_mapping_network
from ppcmi_sf.workflows.train_server import ServerTrainingReport
from ppcmi_sf.workflows.training_pairs import read_pairs, require_memory_for
from ppcmi_sf.workflows.work_lock import work_lock


def join_server(
    folder: Path,
    bundles: Sequence[Path],
    shares: Sequence[Path],
    options: MappingOptions,
    party: Party,
    *,
    device: torch.device,
    again: bool = False,
) -> Job[ServerTrainingReport]:
    """Train adapters for one new site; nothing changes for the others.

    A training that was stopped goes on where it was.

    Parameters
    ----------
    folder
        The server's folder, with a mapping network in it.
    bundles
        Training bundles of the new site alone.
    shares
        Its transform share file (``escrow``); none in ``blind``.
    again
        Use bundles that were accepted before.

    Raises
    ------
    PPCMIError
        There is no network, it has no adapters, the site takes part already, the bundles are of
        several sites, or one of them is bad (see
        :func:`ppcmi_sf.workflows.train_server.train_server`).
    """
    server_folder = ServerFolder(Path(folder))
    study = _study(server_folder)
    given = yield from collect(study, bundles, shares, party, again=again)
    require_memory_for(study, given)
    with work_lock(server_folder.root):
        network, header = load_mapping_network(server_folder.model_file, study)
        site = _newcomer(given, header)
        pairs = yield from read_pairs(study, given, party)
        contributions = yield from check_contributions(pairs, options.max_site_weight)
        larger, report = yield from join_mapping(
            study,
            network,
            site,
            pairs[site],
            options,
            device=device,
            checkpoint=server_folder.checkpoint,
            signature=given.signature(weights_id(network), options),
        )
        links = (*header.sites, given.links[site])
        server_folder.save_network(larger, study, links, given.shares)
        given.note(party)
    return ServerTrainingReport(
        {site: len(pairs[site].validation)},
        sum(value.numel() for value in larger.parameters()),
        report,
        contributions,
    )


def _study(folder: ServerFolder) -> StudySpec:
    if not folder.study_file.is_file():
        raise InputFileError(
            folder.root,
            "there is no mapping network to join.",
            hint="Train one with 'ppcmi server train', with this site's bundles in it.",
        )
    return StudySpec.load(folder.study_file)


def _newcomer(given: Contributions, header: ModelHeader) -> str:
    """Name of the one new site that the bundles are of."""
    if len(given.links) != 1:
        raise BundleError(
            f"These are training bundles of {len(given.links)} sites "
            f"({', '.join(given.links) or 'there is none'}); one site joins at a time.",
            hint="Give the bundles of one new site, and those of the next one afterwards.",
        )
    ((name, link),) = given.links.items()
    for known in header.sites:
        if link.fingerprint == known.fingerprint or name == known.name:
            raise ModelFileError(
                f"Site '{name}' takes part in this mapping network already.",
                hint="Train the network anew with the pairs of all sites.",
            )
    return name
