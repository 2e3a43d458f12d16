"""``ppcmi site reveal``: reply bundles in, masks in the grid of the site's own files out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.bundle import (
    BundleReader,
    ItemBatch,
    open_bundle,
    unpack_items,
)
from ppcmi_sf.errors import (
    BundleError,
    KeyFileError,
    PPCMIError,
    ResourceError,
    UntrustedSenderError,
)
from ppcmi_sf.files import sweep_leftovers
from ppcmi_sf.home import Party
from ppcmi_sf.imaging import assemble, labels_from_grid, mask_path, write_mask
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.registry import AnsweredQuery
from ppcmi_sf.roles import Site
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.batches import BATCH
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.incoming import expect
from ppcmi_sf.workflows.mask_targets import MaskTargets
from ppcmi_sf.workflows.report import RevealedCase, RevealReport
from ppcmi_sf.workflows.work_lock import work_lock

FOLDER_DIGITS = 32


def reveal_replies(
    folder: Path,
    key: ClientKey,
    replies: Sequence[Path],
    out: Path,
    party: Party,
    *,
    device: torch.device,
    overwrite: bool = False,
    again: bool = False,
    apart: bool = False,
    loaded: tuple[Site, str] | None = None,
) -> Job[RevealReport]:
    """Decode each reply to a mask named like its case. A mask that is there is kept.

    With ``overwrite`` it is replaced, but nothing that is no mask of that image. A reply
    that was accepted before is refused unless ``again`` is given.

    Parameters
    ----------
    apart
        Put each reply's mask into a folder of its own within ``out``, named after the reply's
        content: two patients' images are often called alike.
    loaded
        What :meth:`SiteFolder.load` gives for that folder and key, where it is at hand.

    Raises
    ------
    PPCMIError
        The site cannot be loaded, or the disk is full. What concerns one reply
        alone is listed in the report.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = loaded or site_folder.load(key, device)
    registry, report = party.home.registry, RevealReport()
    targets: dict[Path, MaskTargets] = {}
    with work_lock(site_folder.root):
        sweep_leftovers(Path(out))
        for index, path in enumerate(replies):
            step = Progress(index, len(replies), f"Revealing {path.name}")
            yield step
            try:
                with open_bundle(path, party.identity, party.sender) as reply:
                    _check(reply, site.study, key)
                    batches = _batches(reply, site.study)
                    first = next(batches)
                    query = registry.answered_query(first.items[0], path)
                    _check_query(query, key, encoders, reply)
                    if query.case.has_changed and registry.is_superseded(query):
                        raise _outdated(query, path)
                    case = query.case
                    assert case.geometry is not None and case.fit is not None
                    place = Path(out) / reply.digest[:FOLDER_DIGITS] if apart else Path(out)
                    in_place = targets.setdefault(
                        place, MaskTargets(place, site.study.class_count, overwrite=overwrite)
                    )
                    if in_place.is_there(case.geometry, case.name, case.source):
                        report.skipped.append(case.name)
                        there = mask_path(case.geometry, place, case.name)
                        report.cases.append(_revealed(query, reply, there, new=False))
                        continue
                    registry.require_new(reply.header, path, again=again)
                    decoder = _Decoder(site, query, path)
                    for batch in chain([first], batches):
                        for at in range(0, len(batch.items), BATCH):
                            decoder.add(batch, at)
                            yield step
                    labels = assemble(decoder.finish(), case.fit, case.geometry.shape)
                    written = write_mask(labels, case.geometry, place, case.name)
                    registry.record_received(reply.header, path, reply.digest, reply.file_bytes)
                    report.cases.append(_revealed(query, reply, written, new=True))
                report.written.append(written)
            except ResourceError:
                raise
            except PPCMIError as error:
                report.failures.append((path.name, error))
    return report


def _batches(reply: BundleReader, study: StudySpec) -> Iterator[ItemBatch]:
    for tensors in reply.records():
        yield unpack_items(reply, tensors, study)


def _revealed(query: AnsweredQuery, reply: BundleReader, mask: Path, *, new: bool) -> RevealedCase:
    return RevealedCase(
        name=query.case.name,
        source=query.case.source,
        mask=mask,
        reply_id=reply.header.bundle_id,
        query_id=query.query_id,
        sender=reply.sender.name,
        network=reply.header.model,
        new=new,
        image_changed=query.case.has_changed,
    )


class _Decoder:
    """Mask planes by slice number; each item of the query must come once."""

    def __init__(self, site: Site, query: AnsweredQuery, path: Path) -> None:
        self._site, self._query, self._path = site, query, path
        self._planes: dict[int, npt.NDArray[np.uint8]] = {}

    def add(self, batch: ItemBatch, at: int) -> None:
        """Decode some items."""
        fit = self._query.case.fit
        assert fit is not None
        part = slice(at, at + BATCH)
        probabilities = self._site.reveal_masks(
            batch.latents["mask"].items_at(part), batch.items[part]
        )
        for item, one in zip(batch.items[part], probabilities.cpu().numpy(), strict=True):
            number = self._query.slices.get(item)
            if number is None or number in self._planes:
                raise self._not_every_slice()
            self._planes[number] = labels_from_grid(one, fit)

    def finish(self) -> dict[int, npt.NDArray[np.uint8]]:
        """All planes."""
        if len(self._planes) != len(self._query.slices):
            raise self._not_every_slice()
        return self._planes

    def _not_every_slice(self) -> BundleError:
        return BundleError(
            f"{self._path}: does not have every slice of '{self._query.case.name}' once.",
            hint="Ask the mapping server for the reply again.",
        )


def _outdated(query: AnsweredQuery, path: Path) -> BundleError:
    """Which of two replies came last would else be up to the names of their files."""
    return BundleError(
        f"{path}: answers an old query of '{query.case.name}': the image was changed since, and "
        "protected again.",
        hint="Reveal the reply to the newer query, and delete this one.",
    )


def _check(reply: BundleReader, study: StudySpec, key: ClientKey) -> None:
    expect(reply, study, "reply")
    header = reply.header
    if header.epoch != key.epoch:
        raise KeyFileError(
            f"{reply.path}: for key epoch {header.epoch}; the key is of epoch {key.epoch}.",
            hint="Give the key that the query was made with.",
        )


def _check_query(query: AnsweredQuery, key: ClientKey, encoders: str, reply: BundleReader) -> None:
    path = reply.path
    if reply.header.sender not in query.recipients:
        raise UntrustedSenderError(
            f"{path}: '{reply.sender.name}' answers a query that was written for others.",
            hint="Do not use it. Ask the mapping server that you sent the query to.",
        )
    if query.key_id != key.key_id:
        raise KeyFileError(
            f"{path}: the query of '{query.case.name}' was made with another key (id "
            f"{query.key_id}) than this one (id {key.key_id}).",
            hint="Give the key that the query was made with; 'ppcmi key show' tells its id.",
        )
    if query.model != encoders:
        raise BundleError(
            f"{path}: the autoencoders of this site were trained anew since the query.",
            hint="Protect the images again and ask for a new reply.",
        )
