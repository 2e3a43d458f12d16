"""``ppcmi server map``: query bundles in, reply bundles out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ppcmi_sf.bundle import LatentBundle, Precision, new_bundle_id, read_bundle
from ppcmi_sf.errors import BundleError, PPCMIError, ResourceError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.store import ModelHeader
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.workflows.folders import ServerFolder
from ppcmi_sf.workflows.report import BatchReport

BATCH = 8


def map_queries(
    folder: Path,
    queries: Sequence[Path],
    out: Path,
    *,
    device: torch.device,
    precision: Precision = "float16",
) -> Job[BatchReport]:
    """Answer each query with a reply ``reply-to-<id>``. One that is answered in ``out`` is skipped.

    An answer from before the mapping network was trained again is replaced.

    Raises
    ------
    PPCMIError
        The server cannot be loaded, or the disk is full. What concerns one
        query alone is listed in the report.
    """
    server, model = ServerFolder(Path(folder)).load(device)
    trained = ServerFolder(Path(folder)).model_file.stat().st_mtime_ns
    report = BatchReport()
    for index, path in enumerate(queries):
        step = Progress(index, len(queries), f"Mapping {path.name}")
        yield step
        try:
            query = read_bundle(path, server.study)
            _check(query, model, path)
            target = Path(out) / f"reply-to-{query.header.bundle_id}.safetensors"
            if target.is_file() and target.stat().st_mtime_ns >= trained:
                report.skipped.append(path.name)
                continue
            mapped = []
            for start in range(0, len(query.header.items), BATCH):
                part = query.latents["image"].items_at(slice(start, start + BATCH))
                mapped.append(server.map(query.header.site, part))
                yield step
            header = query.header.model_copy(
                update={
                    "kind": "reply",
                    "bundle_id": new_bundle_id(),
                    "in_reply_to": query.header.bundle_id,
                }
            )
            reply = LatentBundle(header, {"mask": LatentPyramid.concatenate(mapped)})
            reply.save(target, precision=precision)
            report.written.append(target)
        except ResourceError:
            raise
        except PPCMIError as error:
            report.failures.append((path.name, error))
    return report


def _check(query: LatentBundle, model: ModelHeader, path: Path) -> None:
    """The query must come from the encoders and the epoch that the network learned from."""
    header = query.header
    if header.kind != "query":
        raise BundleError(
            f"{path}: a {header.kind} bundle, not a query.",
            hint="Queries come from 'ppcmi site protect' without --pairs.",
        )
    links = {link.name: link for link in model.sites}
    link = links.get(header.site)
    if link is None:
        raise BundleError(
            f"{path}: the mapping network was not trained with site '{header.site}'; "
            f"it knows {', '.join(links)}.",
            hint="Train it again with a training bundle of that site.",
        )
    if header.encoders != link.encoders:
        raise BundleError(
            f"{path}: site '{header.site}' has trained its autoencoders anew since the mapping "
            "network was trained.",
            hint="Train the mapping network again with new training bundles of that site.",
        )
    if header.epoch != link.epoch:
        raise BundleError(
            f"{path}: protected with key epoch {header.epoch}; the mapping network knows "
            f"epoch {link.epoch} of site '{header.site}'.",
            hint="Train the mapping network again with bundles of the new epoch.",
        )
    if header.transform != link.transform:
        raise BundleError(
            f"{path}: protected with another key of site '{header.site}' than the one that the "
            "mapping network knows.",
            hint="Use the old key, or train the mapping network again with bundles of the new one.",
        )
