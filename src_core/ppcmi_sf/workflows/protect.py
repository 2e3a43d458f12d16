"""``ppcmi site protect``: cases to latent bundles that may leave the site.

Query bundles: one per case. Training bundles: all pairs of the site with augmented copies, each
patient's in one bundle (:mod:`ppcmi_sf.workflows.pairs_plan`). File names say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.bundle import (
    BundleHeader,
    BundleKind,
    ItemBatch,
    Precision,
    item_layout,
    make_header,
    new_item_id,
    pack_items,
)
from ppcmi_sf.data import Case
from ppcmi_sf.errors import PPCMIError, ResourceError
from ppcmi_sf.files import sweep_leftovers
from ppcmi_sf.imaging import (
    fit_to_grid,
    iter_grid_slices,
    mask_path,
    read_image,
    slice_axis_for,
)
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.registry import SentCase, SentItem, source_stamp
from ppcmi_sf.roles import Site
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import GridSlices, SiteData, load_site_data
from ppcmi_sf.training.slice_batches import augmenter_for
from ppcmi_sf.workflows.batches import BATCH, in_batches
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.outgoing import Addressed, bundle_path, send
from ppcmi_sf.workflows.pairs_ledger import PairsEntry, pairs_asked
from ppcmi_sf.workflows.pairs_plan import Plan, pair_plans
from ppcmi_sf.workflows.report import ProtectReport
from ppcmi_sf.workflows.work_lock import work_lock

Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]

COPIES = 6  # docs/decisions/0033, as are 8 bits


def protect_queries(
    folder: Path,
    key: ClientKey,
    cases: Sequence[Case],
    out: Path,
    addressed: Addressed,
    *,
    device: torch.device,
    precision: Precision = "float16",
    slice_axis: int | None = None,
    frame: int | None = None,
    series_uid: str | None = None,
    noise: LatentNoise | None = None,
) -> Job[ProtectReport]:
    """Write one query bundle per case. A case whose bundle is there already is skipped.

    With ``noise``, latents are bounded and noised before they are protected.

    Raises
    ------
    PPCMIError
        The site cannot be loaded, the key was rotated or has expired, or the disk is
        full. What concerns one case alone is listed in the report.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = site_folder.load(key, device, noise)
    registry, report = addressed.party.home.registry, ProtectReport()
    _require_usable(key, addressed)
    trained_axis = site_folder.record().slice_axis
    # A query that an earlier identity signed would be refused.
    wanted, by = addressed.fingerprints, addressed.party.identity.fingerprint[:16]
    with work_lock(site_folder.root):
        sweep_leftovers(Path(out))
        for index, case in enumerate(cases):
            step = Progress(index, len(cases), f"Protecting {case.name}")
            yield step
            try:
                how = {
                    "axis": trained_axis if slice_axis is None else slice_axis,
                    "frame": frame,
                    "series": series_uid,
                    "by": by,
                    "noise": noise,
                }
                source, stamp = str(case.image.resolve()), _stamp(case.image, precision, how)
                known = registry.find_query(
                    source, stamp, key.key_id, encoders, Path(out).resolve(), wanted
                )
                if known is not None:
                    report.skipped.append(case.name)
                    continue
                image = read_image(
                    case.image, frame=frame, series_uid=series_uid, channel_axis=case.channel_axis
                )
                mask_path(image.geometry, out, case.name)  # or its reply could not be revealed
                axis = slice_axis_for(image.geometry, slice_axis, trained_axis)
                fit = fit_to_grid(image.geometry, site.study, slice_axis=axis)
                items = [SentItem(new_item_id(), 0, n) for n in range(fit.slice_count)]
                header = bundle_header(
                    "query", site.study, key, encoders, addressed, len(items), precision
                )
                path = bundle_path(out, header)
                sent = SentCase(case.name, source, stamp, image.geometry, fit)
                names = iter(item.item_id for item in items)
                with send(
                    path, header, addressed, key_id=key.key_id, cases=[sent], items=items
                ) as writer:
                    for batch in in_batches(iter_grid_slices(image, site.study, fit)):
                        ids = tuple(next(names) for _ in batch)
                        latents = site.protect_images(batch, ids)
                        writer.append(pack_items(ItemBatch(ids, {"image": latents}), precision))
                        yield step
                report.add(path, len(items))
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
    addressed: Addressed,
    *,
    device: torch.device,
    copies: int | None = None,
    parts: int = 1,
    precision: Precision | None = None,
    noise: LatentNoise | None = None,
) -> Job[ProtectReport]:
    """Write the site's training pairs: each slice as it is and ``copies - 1`` augmented ones.

    Unless told, ``copies`` is that of :func:`default_copies`, and ``precision`` that of
    :func:`default_precision`. The patients that were set apart in the site's own training are
    marked as validation items and not augmented. All pairs of a patient are in one bundle, in no
    order. With ``parts`` of 2 or more there are at least so many bundles: a server can then train
    by cross-fitting (see :mod:`ppcmi_sf.training.cross_fit`). Pairs that are in ``out`` already, of
    the same files and with the same settings, are not made again. With ``noise``, latents are
    bounded and noised before they are protected.

    Raises
    ------
    PPCMIError
        The site cannot be loaded, the key was rotated or has expired, no case can be
        read, there are fewer patients than parts, or the disk is full.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = site_folder.load(key, device, noise)
    _require_usable(key, addressed)
    copies = default_copies(site.study) if copies is None else copies
    precision = precision or default_precision("training", site.study)
    record, ledger = site_folder.record(), site_folder.pairs
    settings = _recipients_and_options(addressed, noise, parts)
    asked = pairs_asked(cases, key.key_id, encoders, copies, precision, record, *settings)
    with work_lock(site_folder.root):
        sweep_leftovers(Path(out))
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
        report = ProtectReport(failures=list(data.failures))
        plans = pair_plans(data, cases, copies, parts, record)
        total = sum(len(plan) for plan in plans)
        pairs = _PairMaker(site, data, {case.name: case for case in cases}, total, record.seed)
        try:
            for chunk in plans:
                count = len(chunk)
                header = bundle_header(
                    "training", site.study, key, encoders, addressed, count, precision
                )
                path = bundle_path(out, header)
                sent_cases, items = pairs.items(chunk)
                with send(
                    path, header, addressed, key_id=key.key_id, cases=sent_cases, items=items
                ) as writer:
                    for at in range(0, count, BATCH):
                        yield Progress(pairs.done, pairs.total, "Protecting training pairs")
                        ids = tuple(item.item_id for item in items[at : at + BATCH])
                        batch = pairs.protect(chunk[at : at + BATCH], ids)
                        writer.append(pack_items(batch, precision))
                report.add(path, count)
            ledger.add(asked, report.written, report.failures)
        except BaseException:
            # Half of a site's pairs would be taken for all of them.
            for path in report.written:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                addressed.party.home.registry.withdraw(path.stem)
            raise
    return report


class _PairMaker:
    """Which pairs there are, and their latents."""

    def __init__(
        self, site: Site, data: SiteData, cases: Mapping[str, Case], total: int, seed: int
    ) -> None:
        self._site, self._data, self._cases, self._seed = site, data, cases, seed
        self._augment = augmenter_for(site.study)
        self._first = _first_slices(data.training) | _first_slices(data.validation)
        self.done, self.total = 0, total

    def items(self, chunk: Plan) -> tuple[list[SentCase], list[SentItem]]:
        """For the registry: whose slices they are."""
        names = sorted({part.cases[index] for part, index, _ in chunk})
        cases = []
        for name in names:
            source = self._cases[name].image
            cases.append(SentCase(name, str(source.resolve()), _stamp(source, "pairs", {})))
        numbers = {name: number for number, name in enumerate(names)}
        return cases, [
            SentItem(new_item_id(), numbers[name], index - self._first[name])
            for name, index in ((part.cases[index], index) for part, index, _ in chunk)
        ]

    def protect(self, entries: Plan, ids: tuple[str, ...]) -> ItemBatch:
        """Protected latents of some pairs."""
        pairs = [self._load(*entry) for entry in entries]
        images = torch.from_numpy(np.stack([pair[0] for pair in pairs]))
        labels = torch.from_numpy(np.stack([pair[1] for pair in pairs]))
        self.done += len(entries)
        return ItemBatch(
            ids,
            {
                "image": self._site.protect_images(images, ids),
                "mask": self._site.protect_masks(labels, ids),
            },
            tuple(entry[0] is self._data.validation for entry in entries),
        )

    def _load(self, part: GridSlices, index: int, copy: int) -> Pair:
        image, mask = part.images[index].astype(np.float32), part.masks[index]
        if copy:
            return self._augment(image, mask, (self._seed, copy, index))
        return image, mask


def _first_slices(part: GridSlices) -> dict[str, int]:
    """Where each case begins; its slices stand together."""
    first: dict[str, int] = {}
    for index, name in enumerate(part.cases):
        first.setdefault(name, index)
    return first


def _require_usable(key: ClientKey, addressed: Addressed) -> None:
    key.require_current()
    addressed.party.home.key_epochs.require_newest(key)
    addressed.party.home.key_epochs.note(key)


def _done_before(entry: PairsEntry, cases: Sequence[Case]) -> ProtectReport:
    """What is told of an export that was made already; what failed then is told again."""
    failures = entry.failures()
    failed = {name for name, _ in failures}
    skipped = [case.name for case in cases if case.name not in failed]
    return ProtectReport(skipped=skipped, failures=failures)


def _recipients_and_options(
    addressed: Addressed, noise: LatentNoise | None, parts: int
) -> list[object]:
    """To whom the pairs go, and what of noise and parts is not as usual."""
    found: list[object] = [(addressed.party.identity.fingerprint, addressed.fingerprints)]
    found += [noise] if noise is not None else []
    return [*found, ("parts", parts)] if parts > 1 else found


def default_copies(study: StudySpec) -> int:
    """How often each slice is exported for training, unless told; the paper has no augmentation."""
    return 1 if study.mapping == "paper" else COPIES


def default_precision(kind: BundleKind, study: StudySpec) -> Precision:
    """In what latents are sent, unless told: 8 bits for training pairs, which are many."""
    return "int8" if kind == "training" and study.mapping == "fused" else "float16"


def times_sent(study: StudySpec, *, pairs: bool, copies: int | None) -> int:
    """How often latents of one image leave: once in a query; of a pair, both halves of a copy."""
    return 2 * (copies or default_copies(study)) if pairs else 1


def bundle_header(
    kind: BundleKind,
    study: StudySpec,
    key: ClientKey,
    encoders: str,
    addressed: Addressed,
    items: int,
    precision: Precision,
) -> BundleHeader:
    """Everything that a bundle of this site says; ``encoders`` is their id."""
    return make_header(
        kind,
        study=key.study,
        sender=addressed.party.identity,
        recipients=addressed.recipients,
        key_id=key.transform_share().key_id,
        epoch=key.epoch,
        model=encoders,
        items=items,
        layout=item_layout(study, kind, precision),
    )


def _stamp(source: Path, precision: str, how: Mapping[str, object]) -> str:
    """Changes with the files and with how they are read: another series is another query."""
    asked = [f";{name}={value}" for name, value in how.items() if value is not None]
    try:
        return source_stamp([source]) + f";{precision}" + "".join(asked)
    except OSError:
        return ""  # reading the case will tell what is wrong with it
