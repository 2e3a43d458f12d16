"""``ppcmi audit``: a site's folder, its data and its key to an audit, and the report's files.

Names of cases and patients end here: the audit itself knows them by number alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.report_html import write_report
from ppcmi_sf.audit.result import AuditReport
from ppcmi_sf.audit.run import choose_attacks, run_attacks
from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.data import Case, load_case_mask
from ppcmi_sf.device import place, require_memory
from ppcmi_sf.errors import PPCMIError, TrainingError
from ppcmi_sf.imaging import (
    fit_to_grid,
    iter_grid_slices,
    mask_to_grid,
    read_image,
    slice_axis_for,
)
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job, Progress, Result, retold
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import GridSlices, load_site_data
from ppcmi_sf.workflows.audit_members import KnownSlices
from ppcmi_sf.workflows.audit_partners import load_partner
from ppcmi_sf.workflows.folders import SiteFolder, TrainingRecord, load_mapping_network

LOADING = 0.03  # share of the progress
PARTS = 10_000
LEAST_SLICES = 4

Failures = list[tuple[str, PPCMIError]]


@dataclass(frozen=True)
class AuditSources:
    """What an audit is made of.

    Attributes
    ----------
    folder, key
        The site that is audited, and its client key.
    cases
        The site's own cases, with masks: those that it was trained on, and those set apart.
    partners
        Folders of other sites of the study; none: surrogates are trained.
    public
        Cases like the site's, of other patients; masks are not needed. None: the cases that
        the site set apart are taken.
    unseen
        More cases with masks that neither the site's autoencoders nor the mapping network were
        trained on: whether somebody took part in a training can only be asked with enough of
        both.
    noise
        What the site adds, or thinks of adding, to the latents that it sends.
    """

    folder: Path
    key: ClientKey
    cases: Sequence[Case]
    partners: Sequence[Path] = ()
    public: Sequence[Case] = ()
    unseen: Sequence[Case] = ()
    noise: LatentNoise | None = None


@dataclass(frozen=True)
class SiteAudit:
    """The report, its files, and the cases that could not be read."""

    report: AuditReport
    html: Path
    json: Path
    failures: Failures = field(default_factory=list)


def audit_site(
    sources: AuditSources,
    out: Path,
    options: AuditOptions,
    attacks: Collection[str] = (),
    *,
    device: torch.device,
) -> Job[SiteAudit]:
    """Audit a site and write ``audit.html`` and ``audit.json`` into ``out``.

    Nothing is written before the audit is done.

    Parameters
    ----------
    attacks
        Ids of the attacks; all where none is named.

    Raises
    ------
    PPCMIError
        The site cannot be loaded, its cases are too few, there is no such attack, or the
        report cannot be written. What stops one attack alone is in the report.
    """
    choose_attacks(attacks)  # a wrong name is told before anything is loaded
    subject, failures = yield from _within(load_subject(sources, device=device), 0.0, LOADING)
    report = yield from _within(run_attacks(subject, options, attacks), LOADING, 1.0)
    page, data = write_report(report, out)
    return SiteAudit(report, page, data, failures)


def load_subject(sources: AuditSources, *, device: torch.device) -> Job[tuple[Subject, Failures]]:
    """Load everything that an audit needs.

    Returns
    -------
    The subject, and the cases that could not be read with the reason.

    Raises
    ------
    PPCMIError
        Folder, key or a partner do not fit, or there are too few slices.
    """
    site_folder = SiteFolder(Path(sources.folder))
    site, encoders = site_folder.load(sources.key, device, sources.noise)
    record, study = site_folder.record(), site.study
    network, network_site = _network(site_folder, study, sources.key, encoders)
    partners = tuple(
        load_partner(Path(folder), study, network, device) for folder in sources.partners
    )
    data = yield from load_site_data(
        sources.cases,
        study,
        validation_groups=record.validation_groups,
        slice_axis=record.slice_axis,
        frame=record.frame,
    )
    numbers = _numbers(sources.cases)
    known = KnownSlices(record.learned)
    known.compare_names(sources.cases, sources.unseen, "unseen")
    known.compare_names(sources.cases, sources.public, "public")
    members = known.learned(_grouped(data.training, sources.cases, numbers))
    others = known.strange(_grouped(data.validation, sources.cases, numbers), "set apart")
    failures = list(data.failures)
    if sources.unseen:
        first = len(numbers) + len(_numbers(sources.public))
        unseen, problems = yield from _load_unseen(sources, study, record, first)
        unseen = known.new(known.strange(unseen, "unseen"), members, others)
        others = GroupedSlices.join([others, unseen])
        failures += problems
    if len(members) + len(others) < LEAST_SLICES or not len(members) or not len(others):
        raise TrainingError(
            f"There are {len(members)} slices of the training and {len(others)} of patients that "
            "were set apart; an audit needs some of both.",
            hint="Give the whole data folder that the site was trained on, and patients that it "
            "never saw.",
        )
    public = others
    if sources.public:
        first = len(numbers)
        found, problems = yield from _load_public(sources.public, study, record, first)
        public = known.strange(found, "public")
        if not len(public):
            raise TrainingError(
                "All images that were given as public are of the site's own training.",
                hint="Give images of other patients, or none.",
            )
        failures += problems
    subject = Subject(
        study=study,
        site=site,
        share=sources.key.transform_share(),
        members=members,
        others=others,
        public=public,
        public_is_own=not sources.public,
        network=None if network is None else place(network, device),
        network_site=network_site,
        partners=partners,
        notes=tuple(known.notes),
    )
    if not len(subject.unknown):
        raise TrainingError(
            "All slices of the site are among the public images: none is left to attack.",
            hint="Give images of other patients, or none.",
        )
    return subject, failures


def _load_unseen(
    sources: AuditSources, study: StudySpec, record: TrainingRecord, first_group: int
) -> Job[tuple[GroupedSlices, Failures]]:
    """Slices of patients of no training; their numbers go on from ``first_group``."""
    data = yield from load_site_data(
        sources.unseen,
        study,
        validation_groups=(),
        slice_axis=record.slice_axis,
        frame=record.frame,
    )
    numbers = {group: first_group + number for group, number in _numbers(sources.unseen).items()}
    return _grouped(data.training, sources.unseen, numbers), list(data.failures)


def _numbers(cases: Sequence[Case]) -> dict[str, int]:
    """Groups by number, in the order of their names."""
    return {group: index for index, group in enumerate(sorted({case.group for case in cases}))}


def _grouped(grid: GridSlices, cases: Sequence[Case], numbers: Mapping[str, int]) -> GroupedSlices:
    groups = {case.name: numbers[case.group] for case in cases}
    return GroupedSlices.of(grid, [groups[name] for name in grid.cases])


def _network(
    site_folder: SiteFolder, study: StudySpec, key: ClientKey, encoders: str
) -> tuple[UnifiedMappingNetwork | None, str]:
    """The mapping network that is installed, if it is of this key and these autoencoders."""
    if not site_folder.mapping_file.is_file():
        return None, ""
    network, header = load_mapping_network(site_folder.mapping_file, study)
    share = key.transform_share().key_id
    for link in header.sites:
        if (link.transform, link.encoders) == (share, encoders):
            return network.eval(), link.name
    return None, ""


def _load_public(
    cases: Sequence[Case], study: StudySpec, record: TrainingRecord, first_group: int
) -> Job[tuple[GroupedSlices, Failures]]:
    """Public slices, cut as the site's are, with masks where there are any."""
    images: list[npt.NDArray[np.float16]] = []
    masks: list[npt.NDArray[np.uint8]] = []
    groups: list[int] = []
    failures: Failures = []
    numbers = _numbers(cases)
    for index, case in enumerate(cases):
        yield Progress(index, len(cases), "reading public images")
        try:
            image = read_image(case.image, frame=record.frame, channel_axis=case.channel_axis)
            axis = slice_axis_for(image.geometry, None, record.slice_axis)
            fit = fit_to_grid(image.geometry, study, slice_axis=axis)
            rows, columns = study.image_size
            needed = fit.slice_count * rows * columns * (2 * study.channels + 1)
            require_memory(needed, torch.device("cpu"), "Loading public images")
            slices = [one.astype(np.float16) for one in iter_grid_slices(image, study, fit)]
            found = [np.zeros((rows, columns), np.uint8)] * len(slices)
            if case.mask is not None:
                labels = load_case_mask(case, study.class_count, image.geometry)
                found = list(mask_to_grid(labels, fit, study.class_count))
        except PPCMIError as error:
            failures.append((case.name, error))
            continue
        images += slices
        masks += found
        groups += [first_group + numbers[case.group]] * len(slices)
    if not images:
        raise TrainingError(
            "No public image could be read.", hint=str(failures[0][1]) if failures else "Give some."
        )
    names = tuple(str(number) for number in range(len(images)))
    grid = GridSlices(np.stack(images), np.stack(masks), names)
    return GroupedSlices.of(grid, groups), failures


def _within(job: Job[Result], start: float, end: float) -> Job[Result]:
    """The progress of a job as a part of the whole, from ``start`` to ``end`` in [0, 1]."""

    def tell(step: Progress) -> Progress:
        done = int(PARTS * (start + (end - start) * step.fraction))
        return Progress(done, PARTS, step.message, step.values)

    return (yield from retold(job, tell))
