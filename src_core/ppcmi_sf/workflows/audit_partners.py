"""Folders of other sites, as an audit's attackers: what is in them that needs no key."""

from __future__ import annotations

from pathlib import Path

import torch

from ppcmi_sf.audit.subject import Partner, PartnerNetwork
from ppcmi_sf.device import place
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import weights_id
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.folders import SiteFolder, load_mapping_network


def load_partner(
    folder: Path, study: StudySpec, network: UnifiedMappingNetwork | None, device: torch.device
) -> Partner:
    """Load a partner's image autoencoder, and its mapping network if it is the audited site's.

    Parameters
    ----------
    network
        The audited site's.

    Raises
    ------
    ModelFileError, StudyError
        There is no trained site of this study in the folder.
    """
    site = SiteFolder(folder)
    image, name = site.autoencoder(study, "image")
    mapping = _mapping(site, study, image, network, device)
    return Partner(name or "partner", place(image, device).eval(), mapping)


def _mapping(
    site: SiteFolder,
    study: StudySpec,
    image: Autoencoder,
    network: UnifiedMappingNetwork | None,
    device: torch.device,
) -> PartnerNetwork | None:
    """The partner's network, if it is of one training with the site's and of these encoders.

    ``None`` in ``blind``, too, where it takes latents under the partner's key alone.
    """
    given = site.mapping_file.is_file() and site.model_file("mask").is_file()
    if network is None or study.arrangement == "blind" or not given:
        return None
    theirs, header = load_mapping_network(site.mapping_file, study)
    if weights_id(theirs.trunk) != weights_id(network.trunk):
        return None
    mask, _ = site.autoencoder(study, "mask")
    encoders = weights_id(image.encoder, mask.encoder)
    for link in header.sites:
        if link.encoders == encoders:
            placed = place(theirs, device).eval()
            return PartnerNetwork(placed, link.name, place(mask, device).eval())
    return None
