"""Folders of other sites, as an audit's attackers: what is in them that needs no key."""

from __future__ import annotations

from pathlib import Path

import torch

from ppcmi_sf.audit.subject import Partner, PartnerNetwork
from ppcmi_sf.device import place
from ppcmi_sf.errors import ModelFileError
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import load_model, read_header, weights_id
from ppcmi_sf.study import StudySpec
from ppcmi_sf.transform import Role
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
    image, name = _autoencoder(folder, study, "image")
    mapping = _mapping(folder, study, image, network, device)
    return Partner(name, place(image, device).eval(), mapping)


def _autoencoder(folder: Path, study: StudySpec, role: Role) -> tuple[Autoencoder, str]:
    """An autoencoder, on the CPU, and the name of the site that trained it."""
    path = SiteFolder(folder).model_file(role)
    header = read_header(path)
    study.require(header.study, str(path))
    if header.kind != f"{role}-autoencoder":
        raise ModelFileError(
            f"{path}: not the {role} autoencoder of a site.",
            hint="Give the folder of a trained site.",
        )
    model = Autoencoder(study, role)
    load_model(path, model)
    return model, header.site or "partner"


def _mapping(
    folder: Path,
    study: StudySpec,
    image: Autoencoder,
    network: UnifiedMappingNetwork | None,
    device: torch.device,
) -> PartnerNetwork | None:
    """The partner's network, if it is of one training with the site's and of these encoders.

    ``None`` in ``blind``, too, where it takes latents under the partner's key alone.
    """
    site = SiteFolder(folder)
    given = site.mapping_file.is_file() and site.model_file("mask").is_file()
    if network is None or study.arrangement == "blind" or not given:
        return None
    theirs, header = load_mapping_network(site.mapping_file, study)
    if weights_id(theirs.trunk) != weights_id(network.trunk):
        return None
    mask, _ = _autoencoder(folder, study, "mask")
    encoders = weights_id(image.encoder, mask.encoder)
    for link in header.sites:
        if link.encoders == encoders:
            placed = place(theirs, device).eval()
            return PartnerNetwork(placed, link.name, place(mask, device).eval())
    return None
