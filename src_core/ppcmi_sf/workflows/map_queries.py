"""``ppcmi server map``: query bundles in, reply bundles out."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Answer each query with a reply to its sender.

    One whose answer by this very network lies in ``out`` is skipped; any other that was
    answered before is refused as a replay, unless ``again`` is given.

    Raises
    ------
    PPCMIError
        The server cannot be loaded, or the disk is full. What concerns one
        query alone is listed in the report.
    """
    server_folder = ServerFolder(Path(folder))
    server, model, network_id = server_folder.load(device, party)
    registry, report = party.home.registry, BatchReport()
    with work_lock(server_folder.root):
        sweep_leftovers(Path(out))
        for index, path in enumerate(queries):
            step = Progress(index, len(queries), f"Mapping {path.name}")
            yield step
            try:
                with open_bundle(path, party.identity, party.sender) as query:
                    link = _check(query, server, model, party)
                    query_id = query.header.bundle_id
                    if registry.find_reply(query_id, network_id, Path(out).resolve()) is not None:
                        report.skipped.append(path.name)
                        continue
                    registry.require_new(query.header, path, again=again)
                    header = make_header(
                        "reply",
                        study=query.header.study,
                        sender=party.identity,
                        recipients=[query.sender],
                        key_id=query.header.key_id,
                        epoch=query.header.epoch,
                        model=network_id,
                        items=query.header.items,
                        layout=item_layout(server.study, "reply", precision),
                    )
                    target = bundle_path(out, header)
                    addressed = Addressed(party, [query.sender])
                    with send(target, header, addressed, answers=query_id) as writer:
                        for tensors in query.records():
                            batch = unpack_items(query, tensors, server.study)
                            for at in range(0, len(batch.items), BATCH):
                                part = batch.latents["image"].items_at(slice(at, at + BATCH))
                                mapped = server.map(link.name, part)
                                ids = batch.items[at : at + BATCH]
                                writer.append(
                                    pack_items(ItemBatch(ids, {"mask": mapped}), precision)
                                )
                                yield step
                    registry.record_received(query.header, path, query.digest, query.file_bytes)
                report.written.append(target)
            except ResourceError:
                raise
            except PPCMIError as error:
                report.failures.append((path.name, error))
    return report


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
