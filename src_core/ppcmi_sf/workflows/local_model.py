"""A mapping network on its way to a site, so that the site can segment without asking.

``ppcmi server publish`` writes it, ``ppcmi site install`` takes it in. A site gets the trunk
and its own adapters: another site's mean latents are no business of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ppcmi_sf.bundle import BundleReader, make_header, open_bundle
from ppcmi_sf.bundle.header import TensorLayout
from ppcmi_sf.bundle.payload import Array
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import (
    BundleContentError,
    BundleError,
    ModelFileError,
    UntrustedSenderError,
)
from ppcmi_sf.home import Party
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import SiteLink, weights_id, weights_of
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.folders import ServerFolder, SiteFolder, save_mapping_network
from ppcmi_sf.workflows.incoming import expect
from ppcmi_sf.workflows.outgoing import Addressed, bundle_path, send
from ppcmi_sf.workflows.work_lock import work_lock

ENCODERS = "encoders"  # id of the encoders that the network learned from, 8 bytes
_ENCODER_BYTES = 8


def publish_model(folder: Path, site: ContactCard, out: Path, party: Party) -> Path:
    """Write the mapping network as a ``model`` bundle for one site.

    Raises
    ------
    PPCMIError
        The site is not in the membership list, the server cannot be loaded, the site did not
        take part in the training, or the file cannot be written.
    """
    server, header, network_id = ServerFolder(Path(folder)).load(torch.device("cpu"), party)
    party.home.memberships.require_member(
        server.study.fingerprint, party.identity.fingerprint, site.fingerprint, site.name
    )
    link = next((one for one in header.sites if one.fingerprint == site.fingerprint), None)
    if link is None or server.network is None:
        raise ModelFileError(
            f"The mapping network was not trained with site '{site.name}'; it knows "
            f"{', '.join(one.name for one in header.sites)}.",
            hint="Train it again with a training bundle of that site.",
        )
    network = _for_one_site(server.study, server.network, link.name)
    tensors: dict[str, Array] = {
        ENCODERS: np.frombuffer(bytes.fromhex(link.encoders), np.uint8),
        **{name: value.detach().cpu().numpy() for name, value in weights_of(network).items()},
    }
    layout = [_layout(name, value) for name, value in tensors.items()]
    bundle = make_header(
        "model",
        study=server.study.fingerprint,
        sender=party.identity,
        recipients=[site],
        key_id=link.transform,
        epoch=link.epoch,
        model=network_id,
        items=1,
        layout=layout,
    )
    path = bundle_path(out, bundle)
    with send(path, bundle, Addressed(party, [site])) as writer:
        for name, value in tensors.items():
            writer.append_tensor(name, value)
    return path


def _layout(name: str, value: Array) -> TensorLayout:
    return TensorLayout(name=name, dtype="U8" if name == ENCODERS else "F32", shape=value.shape)


def _for_one_site(
    study: StudySpec, network: UnifiedMappingNetwork, site: str
) -> UnifiedMappingNetwork:
    one = UnifiedMappingNetwork(study, [site], adapters=network.has_adapters)
    number = network.site_names.index(site)
    one.trunk.load_state_dict(network.trunk.state_dict())
    one.adapters[0].load_state_dict(network.adapters[number].state_dict())
    return one


def install_model(
    folder: Path, path: Path, key: ClientKey, party: Party, *, again: bool = False
) -> str:
    """Take in a ``model`` bundle for use at this site; give the network's id.

    Raises
    ------
    PPCMIError
        The bundle is refused (see :func:`ppcmi_sf.bundle.open_bundle`), or it is for other
        encoders or another key than this site's.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = site_folder.load(key, torch.device("cpu"))
    with work_lock(site_folder.root), open_bundle(path, party.identity, party.sender) as bundle:
        expect(bundle, site.study, "model")
        if bundle.header.key_id != key.transform_share().key_id:
            raise BundleError(
                f"{path}: learned with another key (epoch {bundle.header.epoch}) than this one "
                f"(epoch {key.epoch}).",
                hint="Give the key whose pairs the server was trained with, or ask for a newer "
                "model.",
            )
        if bundle.header.sender not in party.home.registry.training_recipients(key.study):
            raise UntrustedSenderError(
                f"{path}: '{bundle.sender.name}' never got training pairs from here.",
                hint="Do not use it. Ask the mapping server that you sent them to.",
            )
        party.home.registry.require_new(bundle.header, path, again=again)
        network, learned_from = _read_network(bundle, site.study, key.site)
        if learned_from != encoders:
            raise BundleError(
                f"{path}: the autoencoders of this site were trained anew since.",
                hint="Send new training pairs and ask for a new model.",
            )
        link = SiteLink(
            name=key.site,
            fingerprint=party.identity.fingerprint,
            epoch=key.epoch,
            transform=bundle.header.key_id,
            encoders=encoders,
        )
        save_mapping_network(site_folder.mapping_file, network, site.study, [link])
        party.home.registry.record_received(bundle.header, path, bundle.digest, bundle.file_bytes)
    return weights_id(network)


def _read_network(
    bundle: BundleReader, study: StudySpec, site: str
) -> tuple[UnifiedMappingNetwork, str]:
    """The network, and the id of the encoders that it learned from."""
    said = {entry.name: entry for entry in bundle.header.layout}
    adapters = any(".convolve_in." in name for name in said)
    network = UnifiedMappingNetwork(study, [site], adapters=adapters)
    expected = weights_of(network)
    wanted = {name: _layout(name, value.numpy()) for name, value in expected.items()}
    wanted[ENCODERS] = TensorLayout(name=ENCODERS, dtype="U8", shape=(_ENCODER_BYTES,))
    if said != wanted:
        raise BundleContentError(
            f"{bundle.path}: its layers are not those of this study's mapping network.",
            hint=f"Tell '{bundle.sender.name}', who wrote and signed it so.",
        )
    tensors: dict[str, Array] = {}
    for record in bundle.records():
        tensors |= record
    learned_from = tensors.pop(ENCODERS).tobytes().hex()
    weights = {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}
    network.load_state_dict(weights, strict=False)
    return network, learned_from
