"""``ppcmi server map``: query bundles in, reply bundles out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ppcmi_sf.bundle import (
    BundleReader,
    ItemBatch,
    Precision,
    item_layout,
    make_header,
    open_bundle,
    pack_items,
    unpack_items,
)
from ppcmi_sf.cards import SenderLookup
from ppcmi_sf.errors import BundleError, PPCMIError, ResourceError
from ppcmi_sf.files import sweep_leftovers
from ppcmi_sf.home import Party
from ppcmi_sf.models.store import ModelHeader, SiteLink
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.roles import MappingServer
from ppcmi_sf.workflows.batches import BATCH
from ppcmi_sf.workflows.folders import ServerFolder
from ppcmi_sf.workflows.incoming import expect
from ppcmi_sf.workflows.outgoing import Addressed, bundle_path, send
from ppcmi_sf.workflows.report import BatchReport
from ppcmi_sf.workflows.work_lock import work_lock


@dataclass(frozen=True)
class Answering:
    """A loaded mapping server, and whose queries it answers.

    Attributes
    ----------
    server, network
        The server, and the id of its mapping network.
    party
        Who signs the replies.
    sender_of
        Finds a sender's card by fingerprint, and refuses who is not trusted.
    site_of
        Gives the name by which the server knows the site of a query, and refuses a query
        that does not suit the mapping network.
    """

    server: MappingServer
    network: str
    party: Party
    sender_of: SenderLookup
    site_of: Callable[[BundleReader], str]


def map_queries(
    folder: Path,
    queries: Sequence[Path],
    out: Path,
    party: Party,
    *,
    device: torch.device,
    precision: Precision = "float16",
    again: bool = False,
) -> Job[BatchReport]:
    """Answer each query with a reply to its sender; see :func:`answer_queries`.

    Raises
    ------
    PPCMIError
        The server cannot be loaded, or the disk is full. What concerns one
        query alone is listed in the report.
    """
    server_folder = ServerFolder(Path(folder))
    server, model, network_id = server_folder.load(device, party)

    def site_of(query: BundleReader) -> str:
        return _check(query, server, model, party).name

    answering = Answering(server, network_id, party, party.sender, site_of)
    return (
        yield from answer_queries(
            answering, server_folder.root, queries, out, precision=precision, again=again
        )
    )


def answer_queries(
    answering: Answering,
    folder: Path,
    queries: Sequence[Path],
    out: Path,
    *,
    precision: Precision = "float16",
    again: bool = False,
) -> Job[BatchReport]:
    """Answer each query with a reply to its sender, holding the lock of ``folder``.

    One whose answer by this very network lies in ``out`` is skipped; any other that was
    answered before is refused as a replay, unless ``again`` is given.

    Raises
    ------
    PPCMIError
        The disk is full, or another command works in ``folder``. What concerns one query
        alone is listed in the report.
    """
    party, report = answering.party, BatchReport()
    registry = party.home.registry
    with work_lock(folder):
        sweep_leftovers(Path(out))
        for index, path in enumerate(queries):
            step = Progress(index, len(queries), f"Mapping {path.name}")
            yield step
            try:
                with open_bundle(path, party.identity, answering.sender_of) as query:
                    site, query_id = answering.site_of(query), query.header.bundle_id
                    known = registry.find_reply(query_id, answering.network, Path(out).resolve())
                    said = (query.header, path, query.digest, query.file_bytes)
                    if known is not None:
                        if registry.accepted_at(query_id) is None:
                            registry.record_received(*said)  # it was killed before it could
                        report.skipped.append(path.name)
                        continue
                    registry.require_new(query.header, path, again=again)
                    written = yield from _answer(answering, query, site, out, precision, step)
                    registry.record_received(*said)
                report.written.append(written)
            except ResourceError:
                raise
            except PPCMIError as error:
                report.failures.append((path.name, error))
    return report


def _answer(
    answering: Answering,
    query: BundleReader,
    site: str,
    out: Path,
    precision: Precision,
    step: Progress,
) -> Job[Path]:
    """Write the reply to one query; ``step`` is told after each batch."""
    server, said = answering.server, query.header
    header = make_header(
        "reply",
        study=said.study,
        sender=answering.party.identity,
        recipients=[query.sender],
        key_id=said.key_id,
        epoch=said.epoch,
        model=answering.network,
        items=said.items,
        layout=item_layout(server.study, "reply", precision),
    )
    target = bundle_path(out, header)
    addressed = Addressed(answering.party, [query.sender])
    with send(target, header, addressed, answers=said.bundle_id) as writer:
        for tensors in query.records():
            batch = unpack_items(query, tensors, server.study)
            for at in range(0, len(batch.items), BATCH):
                part = batch.latents["image"].items_at(slice(at, at + BATCH))
                ids = batch.items[at : at + BATCH]
                mapped = ItemBatch(ids, {"mask": server.map(site, part, ids)})
                writer.append(pack_items(mapped, precision))
                yield step
    return target


def _check(
    query: BundleReader, server: MappingServer, model: ModelHeader, party: Party
) -> SiteLink:
    """The query must come from the encoders and the epoch that the network learned from."""
    expect(query, server.study, "query")
    header, name, path = query.header, query.sender.name, query.path
    party.require_member(header.study, query.sender, path)
    link = next((one for one in model.sites if one.fingerprint == header.sender), None)
    if link is None:
        raise BundleError(
            f"{path}: the mapping network was not trained with site '{name}'; "
            f"it knows {', '.join(one.name for one in model.sites)}.",
            hint="Train it again with a training bundle of that site.",
        )
    if header.model != link.encoders:
        raise BundleError(
            f"{path}: site '{name}' has trained its autoencoders anew since the mapping "
            "network was trained.",
            hint="Train the mapping network again with new training bundles of that site.",
        )
    if header.epoch != link.epoch:
        raise BundleError(
            f"{path}: protected with key epoch {header.epoch}; the mapping network knows "
            f"epoch {link.epoch} of site '{name}'.",
            hint="Train the mapping network again with bundles of the new epoch.",
        )
    if header.key_id != link.transform:
        raise BundleError(
            f"{path}: protected with another key of site '{name}' than the one that the "
            "mapping network knows.",
            hint="Use the old key, or train the mapping network again with bundles of the new one.",
        )
    return link
