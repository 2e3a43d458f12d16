"""``ppcmi site protect``: cases to latent bundles that may leave the site.

Query bundles: one per case. Training bundles: all pairs of the site with
augmented copies, in bundles of a bounded size. File names say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.bundle import (
    BundleHeader,
    BundleKind,
    LatentBundle,
    Precision,
    new_bundle_id,
    new_item_id,
)
from ppcmi_sf.data import Case
from ppcmi_sf.errors import PPCMIError, ResourceError
from ppcmi_sf.imaging import fit_to_grid, iter_grid_slices, read_image
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.registry import Registry, SentCase, source_stamp
from ppcmi_sf.training.autoencoders import augmenter_for
from ppcmi_sf.training.dataset import GridSlices, SiteData, load_site_data
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.pairs_ledger import PairsEntry, pairs_asked
from ppcmi_sf.workflows.report import ProtectReport

Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]

BATCH = 8
COPIES = 8
PAIR_STRENGTH = 1.5  # the mapping network sees few patients; an autoencoder needs less
MAX_TRAINING_ITEMS = 512  # about 240 MB in float16 at the paper's size


def protect_queries(
    folder: Path,
    key: ClientKey,
    cases: Sequence[Case],
    out: Path,
    *,
    device: torch.device,
    precision: Precision = "float16",
    slice_axis: int | None = None,
    frame: int | None = None,
    series_uid: str | None = None,
) -> Job[ProtectReport]:
    """Write one query bundle per case. A case whose bundle is there already is skipped.

    Raises
    ------
    PPCMIError
        The site cannot be loaded, or the disk is full. What concerns one case
        alone is listed in the report.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = site_folder.load(key, device)
    registry, report = site_folder.registry, ProtectReport()
    if slice_axis is None:
        slice_axis = site_folder.record().slice_axis
    for index, case in enumerate(cases):
        yield Progress(index, len(cases), f"Protecting {case.name}")
        try:
            how = {"axis": slice_axis, "frame": frame, "series": series_uid}
            if precision != "float16":
                how["precision"] = precision
            source, stamp = str(case.image.resolve()), _stamp(case.image, how)
            known = registry.find_query(source, stamp, key.key_id, encoders, Path(out).resolve())
            if known is not None:
                report.skipped.append(case.name)
                continue
            image = read_image(
                case.image, frame=frame, series_uid=series_uid, channel_axis=case.channel_axis
            )
            fit = fit_to_grid(image.geometry, site.study, slice_axis=slice_axis)
            pyramids = []
            for batch in _in_batches(iter_grid_slices(image, site.study, fit)):
                pyramids.append(_kept(site.protect_images(batch), precision))
                yield Progress(index, len(cases), f"Protecting {case.name}")
            latents = LatentPyramid.concatenate(pyramids)
            header = _header("query", key, encoders, latents.batch_size)
            bundle = LatentBundle(header, {"image": latents})
            path = Path(out) / bundle.file_name
            sent = SentCase(case.name, source, stamp, image.geometry, fit)
            registry.record_sent(header, path, key.key_id, sent)
            try:
                bundle.save(path, precision=precision)
            except BaseException:  # Ctrl-C too
                _take_back(registry, path, header.bundle_id)
                raise
            report.add(path, latents.batch_size)
        except ResourceError:
            raise  # a full disk would stop every other case too
        except PPCMIError as error:
            report.failures.append((case.name, error))
    return report


def protect_training_pairs(
    folder: Path,
    key: ClientKey,
    cases: Sequence[Case],
    out: Path,
    *,
    device: torch.device,
    copies: int | None = None,
    precision: Precision = "float16",
) -> Job[ProtectReport]:
    """Write the site's training pairs: each slice as it is and ``copies - 1`` augmented ones.

    ``copies`` is 8 unless told, or 1 in a study with the paper's mapping network, which
    has no augmentation. The patients that were set apart in the site's own training are marked as
    validation items and not augmented. Pairs that are in ``out`` already, of the same
    files and with the same settings, are not made again.

    Raises
    ------
    PPCMIError
        The site cannot be loaded, no case can be read, or the disk is full.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = site_folder.load(key, device)
    if copies is None:
        copies = 1 if site.study.mapping == "paper" else COPIES
    record, registry, ledger = site_folder.record(), site_folder.registry, site_folder.pairs
    asked = pairs_asked(cases, key.key_id, encoders, copies, precision, record)
    before = ledger.find(asked, Path(out))
    if before is not None:
        return _done_before(before, cases)
    data = yield from load_site_data(
        cases,
        site.study,
        validation_groups=record.validation_groups,
        slice_axis=record.slice_axis,
        frame=record.frame,
    )
    report, sent = ProtectReport(failures=list(data.failures)), []
    augment = augmenter_for(site.study, strength=PAIR_STRENGTH) if copies > 1 else None
    plan = _plan(data, copies)

    def load(part: GridSlices, index: int, copy: int) -> Pair:
        image, mask = part.images[index].astype(np.float32), part.masks[index]
        if copy and augment is not None:
            return augment(image, mask, (record.seed, copy, index))
        return image, mask

    try:
        for start in range(0, len(plan), MAX_TRAINING_ITEMS):
            chunk = plan[start : start + MAX_TRAINING_ITEMS]
            images, masks = [], []
            for at in range(0, len(chunk), BATCH):
                yield Progress(start + at, len(plan), "Protecting training pairs")
                pairs = [load(*entry) for entry in chunk[at : at + BATCH]]
                batch = torch.from_numpy(np.stack([pair[0] for pair in pairs]))
                labels = torch.from_numpy(np.stack([pair[1] for pair in pairs]))
                images.append(_kept(site.protect_images(batch), precision))
                masks.append(_kept(site.protect_masks(labels), precision))
            validation = tuple(i for i, e in enumerate(chunk) if e[0] is data.validation)
            header = _header("training", key, encoders, len(chunk), validation)
            bundle = LatentBundle(
                header,
                {
                    "image": LatentPyramid.concatenate(images),
                    "mask": LatentPyramid.concatenate(masks),
                },
            )
            path = Path(out) / bundle.file_name
            sent.append((path, header.bundle_id))
            bundle.save(path, precision=precision)
            report.add(path, len(chunk))
            registry.record_sent(header, path, key.key_id)
        ledger.add(asked, report.written, report.failures)
    except BaseException:
        # Half of a site's pairs would be taken for all of them.
        for path, bundle_id in sent:
            _take_back(registry, path, bundle_id)
        raise
    return report


def _done_before(entry: PairsEntry, cases: Sequence[Case]) -> ProtectReport:
    """What is told of an export that was made already; what failed then is told again."""
    failures = entry.failures()
    failed = {name for name, _ in failures}
    skipped = [case.name for case in cases if case.name not in failed]
    return ProtectReport(skipped=skipped, failures=failures)


def _take_back(registry: Registry, path: Path, bundle_id: str) -> None:
    """Remove a bundle and its note; Ctrl-C may come when the file has just got its name."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
    registry.forget(bundle_id)


def _plan(data: SiteData, copies: int) -> list[tuple[GridSlices, int, int]]:
    """Part, slice and copy of every pair; copy 0 is the slice as it is."""
    return [
        (part, index, copy)
        for part, copies_of_part in ((data.training, copies), (data.validation, 1))
        for copy in range(copies_of_part)
        for index in range(len(part))
    ]


def _header(
    kind: BundleKind, key: ClientKey, encoders: str, items: int, validation: tuple[int, ...] = ()
) -> BundleHeader:
    return BundleHeader(
        kind=kind,
        bundle_id=new_bundle_id(),
        study=key.study,
        site=key.site,
        epoch=key.epoch,
        transform=key.transform_share().key_id,
        encoders=encoders,
        items=tuple(new_item_id() for _ in range(items)),
        validation=validation,
    )


def _kept(pyramid: LatentPyramid, precision: Precision) -> LatentPyramid:
    dtype = torch.float16 if precision == "float16" else torch.float32
    return pyramid.map(lambda value: value.cpu().to(dtype))


def _in_batches(slices: Iterator[npt.NDArray[np.float32]]) -> Iterator[torch.Tensor]:
    held: list[npt.NDArray[np.float32]] = []
    for item in slices:
        held.append(item)
        if len(held) == BATCH:
            yield torch.from_numpy(np.stack(held))
            held = []
    if held:
        yield torch.from_numpy(np.stack(held))


def _stamp(source: Path, how: Mapping[str, object]) -> str:
    """Changes with the files and with how they are read: another series is another query."""
    asked = [f";{name}={value}" for name, value in how.items() if value is not None]
    try:
        return source_stamp([source]) + "".join(asked)
    except OSError:
        return ""  # reading the case will tell what is wrong with it
