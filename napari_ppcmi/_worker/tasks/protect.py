"""Cases to bundles that may leave: finding, keeping, reviewing, writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_ppcmi._protocol.bundles import (
    BatchResult,
    CaseInfo,
    CaseProblem,
    CasesFound,
    FindCases,
    KeepLayer,
    SavedShare,
    WriteBundles,
    WriteShare,
)
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.layer_file import keep_values
from napari_ppcmi._worker.outcomes import batch_problems, batch_result
from napari_ppcmi._worker.review import cards_of, engine_case, require_asked, review_export
from napari_ppcmi._worker.tasks.keys import card_info
from ppcmi_sf.data import Case, find_cases_with_problems
from ppcmi_sf.errors import ContactError, InputFileError, PPCMIError, StudyError
from ppcmi_sf.progress import Job

__all__ = ["find_cases", "keep_layer", "review_export", "write_bundles", "write_share"]


def find_cases(_desk: Desk, request: FindCases) -> CasesFound:
    """Cases of files, DICOM folders and folders of images; each image once."""
    cases: dict[str, Case] = {}
    problems: list[CaseProblem] = []
    for path in request.paths:
        try:
            found, wrong = find_cases_with_problems(path, need_masks=request.need_masks)
        except PPCMIError as error:
            problems.append(CaseProblem(name=path.name, failure=Failure.of(error)))
            continue
        problems += batch_problems(wrong)
        for case in found:
            known = cases.setdefault(case.name, case)
            if known.image.resolve() != case.image.resolve():
                problems.append(CaseProblem(name=case.name, failure=_same_name(case, known)))
    infos = [
        CaseInfo(name=case.name, image=case.image, mask=case.mask, group=case.group)
        for case in cases.values()
    ]
    return CasesFound(cases=tuple(infos), problems=tuple(problems))


def _same_name(case: Case, known: Case) -> Failure:
    return Failure.of(
        InputFileError(
            case.image,
            f"its case name '{case.name}' is also that of {known.image}.",
            hint="Case names must differ; rename one of the two.",
        )
    )


def keep_layer(_desk: Desk, request: KeepLayer) -> CaseInfo:
    """Write a layer's image to a file of the site."""
    values = np.asarray(request.arrays[0], np.float32)
    path = keep_values(
        request.name, values, request.spacing, request.has_physical_size, request.folder
    )
    name = path.name.removesuffix(".nii.gz").removesuffix(".mha")
    return CaseInfo(name=name, image=path, group=name)


def write_bundles(desk: Desk, request: WriteBundles) -> Job[BatchResult]:
    """Write query bundles, or the site's training pairs."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.latent_noise import LatentNoise
    from ppcmi_sf.workflows.outgoing import Addressed
    from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs

    wanted = request.reviewed
    folder, key, party = require_asked(desk, wanted)
    addressed = Addressed(party, cards_of(party, wanted.recipients))
    cases = [engine_case(info) for info in wanted.cases]
    device, noise = choose_device(wanted.device), LatentNoise.at(wanted.noise)
    if wanted.purpose == "training":
        job = protect_training_pairs(
            folder,
            key,
            cases,
            request.out,
            addressed,
            device=device,
            copies=wanted.copies,
            parts=wanted.parts,
            noise=noise,
        )
    else:
        job = protect_queries(
            folder,
            key,
            cases,
            request.out,
            addressed,
            device=device,
            noise=noise,
        )
    report = yield from job
    return batch_result(report)


def write_share(desk: Desk, request: WriteShare) -> SavedShare:
    """Write the site's transform share, encrypted to the mapping server of an escrow study."""
    from ppcmi_sf.workflows.folders import SiteFolder
    from ppcmi_sf.workflows.send_share import require_free_share, send_share

    folder, key, party = desk.require_site(), desk.require_key(), desk.require_party()
    study = SiteFolder(folder).study()
    study.require(key.study, f"The client key of site '{key.site}'")
    if study.arrangement == "blind":
        raise StudyError(
            f"{study.name}: in a blind study the server gets no transform share.",
            hint="Send the training bundles alone.",
        )
    if request.recipient == party.identity.fingerprint:
        raise ContactError(
            "A transform share is for a mapping server, and this is your own identity.",
            hint="Choose the mapping server among your contacts.",
        )
    file = Path(request.file)
    require_free_share(file)
    (server,) = cards_of(party, (request.recipient,))
    key.require_current()
    party.home.key_epochs.require_newest(key)
    share = key.transform_share()
    send_share(file, share, party, server)
    return SavedShare(
        file=file, recipient=card_info(server), epoch=share.epoch, key_id=share.key_id
    )
