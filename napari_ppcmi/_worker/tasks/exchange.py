"""Bundles that came and went: folders, replies of this very site, models, the log."""

from __future__ import annotations

from contextlib import suppress

from napari_ppcmi._protocol.bundles import (
    BatchResult,
    BundleInfo,
    CaseProblem,
    ExportLog,
    FolderListing,
    InstallModel,
    LogListing,
    LogRow,
    LookAtBundle,
    MapHere,
    ReadLog,
    ScanFolder,
    TakeIn,
)
from napari_ppcmi._protocol.message import Done, Failure
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.inspection import bundles_in, inspect_bundle
from napari_ppcmi._worker.intake import copy_in
from napari_ppcmi._worker.outcomes import batch_result
from ppcmi_sf.cards import short_fingerprint
from ppcmi_sf.errors import InputFileError, KeyFileError, PPCMIError, ResourceError
from ppcmi_sf.home import Home
from ppcmi_sf.progress import Job, Progress


def scan_folder(desk: Desk, request: ScanFolder) -> Job[FolderListing]:
    """Check every bundle of a folder; one that is not there yet holds none."""
    folder, party, found = request.folder, desk.party, []
    try:
        paths = bundles_in(folder)
    except FileNotFoundError:
        paths = []
    except OSError as error:
        raise InputFileError(
            folder, "the folder cannot be read.", hint="Check the path and the permissions."
        ) from error
    for number, path in enumerate(paths):
        yield Progress(number, len(paths), f"Checking {path.name}")
        with suppress(OSError):  # it was moved away meanwhile
            found.append(inspect_bundle(path, party))
    return FolderListing(folder=folder, bundles=tuple(found))


def look_at_bundle(desk: Desk, request: LookAtBundle) -> BundleInfo:
    """Check one bundle."""
    return inspect_bundle(request.file, desk.party)


def take_in(_desk: Desk, request: TakeIn) -> Job[BatchResult]:
    """Copy bundles into a folder; what is there already is skipped."""
    written, skipped, problems = [], [], []
    for number, path in enumerate(request.files):
        yield Progress(number, len(request.files), f"Copying {path.name}")
        try:
            copied = copy_in(path, request.folder)
        except PPCMIError as error:
            problems.append(CaseProblem(name=path.name, failure=Failure.of(error)))
            continue
        if copied is None:
            skipped.append(path.name)
        else:
            written.append(copied)
    return BatchResult(written=tuple(written), skipped=tuple(skipped), problems=tuple(problems))


def map_here(desk: Desk, request: MapHere) -> Job[BatchResult]:
    """Answer the site's own queries."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.workflows import map_here as workflow

    report = yield from workflow.map_here(
        desk.require_site(),
        desk.require_key(),
        request.queries,
        request.out,
        desk.require_party(),
        device=choose_device(request.device),
        again=request.again,
        segmenter=desk.segmenter(request.device),
    )
    return batch_result(report)


def install_model(desk: Desk, request: InstallModel) -> Done:
    """Take in the mapping network that a server sent."""
    from ppcmi_sf.workflows import local_model

    local_model.install_model(
        desk.require_site(),
        request.file,
        desk.require_key(),
        desk.require_party(),
        again=request.again,
    )
    return Done()


def read_log(_desk: Desk, request: ReadLog) -> LogListing:
    """The disclosure log, and whether its chain is whole."""
    home = Home(request.home)
    entries, head, problem = [], "", ""
    try:
        entries = home.log.entries()
        head = home.log.verify()
    except ResourceError as error:
        problem = Failure.of(error).text
    names = _names(home)
    rows = [
        LogRow(
            seq=entry.seq,
            at=entry.at,
            event=entry.event,
            kind=entry.kind,
            peers=tuple(names.get(peer, short_fingerprint(peer)) for peer in entry.peers),
            items=entry.items,
            byte_count=entry.file_bytes,
            bundle_id=entry.bundle_id,
        )
        for entry in reversed(entries)
    ]
    return LogListing(rows=tuple(rows), head=head, problem=problem)


def _names(home: Home) -> dict[str, str]:
    names = {contact.card.fingerprint: contact.name for contact in home.contacts.all()}
    with suppress(KeyFileError):  # there may be no identity yet
        own = home.card()
        names[own.fingerprint] = own.name
    return names


def export_log(_desk: Desk, request: ExportLog) -> Done:
    """Write the disclosure log as CSV."""
    Home(request.home).log.export_csv(request.file)
    return Done()
