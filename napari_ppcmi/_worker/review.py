"""What would leave this computer, for a person to look at; nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ppcmi._protocol.bundles import CaseInfo, ExportReview, ReviewExport
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.outcomes import batch_problems
from napari_ppcmi._worker.tasks.keys import card_info
from ppcmi_sf.bundle import BundleHeader
from ppcmi_sf.cards import ContactCard, short_fingerprint
from ppcmi_sf.data import Case, load_case_mask
from ppcmi_sf.data.layouts.psfh import COLOUR_AXIS
from ppcmi_sf.data.layouts.psfh import matches as is_psfh
from ppcmi_sf.errors import InputFileError, KeyFileError, PPCMIError
from ppcmi_sf.home import Party
from ppcmi_sf.imaging import MedicalImage, fit_to_grid, read_image, slice_axis_for
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import Job, Progress

if TYPE_CHECKING:
    from ppcmi_sf.roles import Site
    from ppcmi_sf.workflows.folders import TrainingRecord
    from ppcmi_sf.workflows.preview import ExportPreview


def engine_case(info: CaseInfo) -> Case:
    """A case as the engine has it; colours are where its data set keeps them."""
    image = info.image
    colours = image.parent.name == "image_mha" and is_psfh(image.parent.parent)
    return Case(info.name, image, info.mask, info.group, COLOUR_AXIS if colours else None)


def cards_of(party: Party, fingerprints: Sequence[str]) -> list[ContactCard]:
    """The cards to encrypt to; the party's own stands for itself.

    Raises
    ------
    ContactError, KeyFileError
        One is no contact any more, revoked or expired.
    """
    own, cards = party.identity, []
    for fingerprint in fingerprints:
        if fingerprint == own.fingerprint:
            own.require_current()
            cards.append(own.card)
            continue
        known = party.home.contacts.find(fingerprint)
        name = known.name if known else short_fingerprint(fingerprint)
        cards.append(party.home.contacts.recipient_of(fingerprint, name))
    return cards


def require_asked(desk: Desk, request: ReviewExport) -> tuple[Path, ClientKey, Party]:
    """Site folder, key and identity, if they are those that the request is of.

    Raises
    ------
    KeyFileError
        Something is locked, or others were unlocked meanwhile.
    """
    folder, key, party = desk.require_site(), desk.require_key(), desk.require_party()
    asked = (request.site_folder, request.key_id, request.sender)
    opened = (folder, key.key_id, party.identity.fingerprint)
    if any(one and one != now for one, now in zip(asked, opened, strict=True)):
        raise KeyFileError(
            "Another site, key or identity was unlocked meanwhile, so nothing was written.",
            hint="Review what leaves once more.",
        )
    return folder, key, party


@dataclass
class _Tally:
    """Slices of the cases that can be used, and a look at the first of them."""

    slices: list[tuple[Case, int]] = field(default_factory=list)
    problems: list[tuple[str, PPCMIError]] = field(default_factory=list)
    preview: ExportPreview | None = None
    picture_of: str = ""


def review_export(desk: Desk, request: ReviewExport) -> Job[ExportReview]:
    """The header, the size and the recipients of what would be written, and two pictures."""
    from ppcmi_sf.bundle.writer import expected_bytes
    from ppcmi_sf.latent_noise import LatentNoise
    from ppcmi_sf.workflows.folders import SiteFolder
    from ppcmi_sf.workflows.outgoing import Addressed
    from ppcmi_sf.workflows.protect import bundle_header, default_precision, times_sent

    folder, key, party = require_asked(desk, request)
    key.require_current()
    party.home.key_epochs.require_newest(key)
    cards = cards_of(party, request.recipients)
    yield Progress(0, len(request.cases), "Loading the site's networks")
    loaded, encoders = desk.site(request.device)
    noise = LatentNoise.at(request.noise)
    site = loaded.with_noise(noise)
    record = SiteFolder(folder).record()
    tally = yield from _count(request, site, record)
    preview = tally.preview
    if preview is None:
        raise _nothing(tally.problems)
    headers = [
        bundle_header(
            request.purpose, site.study, key, encoders, Addressed(party, cards), items,
            default_precision(request.purpose, site.study),
        )
        for items in _bundle_sizes(request, site, record, tally.slices)
    ]  # fmt: skip
    sent = times_sent(site.study, pairs=request.purpose == "training", copies=request.copies)
    return ExportReview(
        arrays=(preview.original, preview.reconstruction),
        bundles=len(headers),
        items=sum(header.items for header in headers),
        byte_count=sum(expected_bytes(header, cards) for header in headers),
        recipients=tuple(card_info(card) for card in cards),
        header=tuple(_header_lines(headers[0])),
        picture_of=tally.picture_of,
        method=preview.method,
        correlation=preview.correlation,
        ssim=preview.ssim,
        noise=noise.in_words(site.study, sent=sent) if noise else "",
        problems=batch_problems(tally.problems),
    )


def _count(request: ReviewExport, site: Site, record: TrainingRecord) -> Job[_Tally]:
    from ppcmi_sf.workflows.preview import preview_slice

    tally = _Tally()
    frame = record.frame if request.purpose == "training" else None
    for number, info in enumerate(request.cases):
        yield Progress(number, len(request.cases), f"Looking at {info.name}")
        case = engine_case(info)
        try:
            image: MedicalImage = read_image(
                case.image, frame=frame, channel_axis=case.channel_axis
            )
            axis = slice_axis_for(image.geometry, None, record.slice_axis)
            count = fit_to_grid(image.geometry, site.study, slice_axis=axis).slice_count
            if request.purpose == "training":
                load_case_mask(case, site.study.class_count, image.geometry)
            if tally.preview is None:
                tally.preview = preview_slice(site, image, slice_axis=axis)
                place = f", slice {count // 2 + 1} of {count}" if count > 1 else ""
                tally.picture_of = case.name + place
            tally.slices.append((case, count))
        except PPCMIError as error:
            tally.problems.append((case.name, error))
    return tally


def _bundle_sizes(
    request: ReviewExport, site: Site, record: TrainingRecord, slices: list[tuple[Case, int]]
) -> list[int]:
    """How many items each bundle holds."""
    from ppcmi_sf.workflows.pairs_plan import bundle_numbers
    from ppcmi_sf.workflows.protect import default_copies

    if request.purpose == "query":
        return [count for _, count in slices]
    copies = default_copies(site.study) if request.copies is None else request.copies
    items = {
        case.name: count * (1 if case.group in record.validation_groups else copies)
        for case, count in slices
    }
    number = bundle_numbers([case for case, _ in slices], items, request.parts, record)
    sizes = [0] * (max(number.values()) + 1)
    for name, count in items.items():
        sizes[number[name]] += count
    return sizes


def _header_lines(header: BundleHeader) -> Iterable[tuple[str, str]]:
    """Every field that there is, also those that a later version may bring."""
    for name in BundleHeader.model_fields:
        if name == "layout":
            for entry in header.layout:
                shape = " x ".join(str(length) for length in entry.shape)
                yield f"layout: {entry.name}", f"{entry.dtype}, {shape}"
        elif name == "bundle_id":
            yield name, "random, drawn when it is written"
        elif name == "recipients":
            yield name, ", ".join(header.recipients)
        else:
            yield name, str(getattr(header, name))


def _nothing(problems: list[tuple[str, PPCMIError]]) -> PPCMIError:
    if len(problems) == 1:
        return problems[0][1]
    if not problems:
        return InputFileError("images", "none was chosen.", hint="Add an image first.")
    first = problems[0][1]
    return PPCMIError(
        f"None of the {len(problems)} images can be protected. The first: {first.message}",
        hint=first.hint,
    )
