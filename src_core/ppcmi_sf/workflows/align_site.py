"""``ppcmi site align``: a site aligns its image encoder with the network that it installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ppcmi_sf.data import Case
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.store import ModelHeader, save_model
from ppcmi_sf.progress import Job
from ppcmi_sf.training.dataset import load_site_data
from ppcmi_sf.training.encoder_alignment import (
    EncoderAlignmentOptions,
    LatentReader,
    align_encoder,
    reading_dice,
)
from ppcmi_sf.training.loop import FitReport
from ppcmi_sf.training.slice_batches import SliceBatches
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.segment import Segmenter
from ppcmi_sf.workflows.work_lock import work_lock


@dataclass(frozen=True)
class SiteAlignmentReport:
    """What came of an alignment.

    Attributes
    ----------
    training_slices, validation_slices
        How many there were.
    before, after
        Dice on the validation slices with the encoder that segmented until now, and with the new
        one; ``None`` if there are none. With patience, the new one's epoch was chosen on the same
        slices.
    kept
        Whether the new one segments from now on. Where it made Dice worse, nothing changes.
    fit
        Losses.
    failures
        Cases that were left out, and why.
    """

    training_slices: int
    validation_slices: int
    before: float | None
    after: float | None
    kept: bool
    fit: FitReport
    failures: list[tuple[str, PPCMIError]]


def align_site(
    folder: Path,
    key: ClientKey,
    cases: Sequence[Case],
    options: EncoderAlignmentOptions,
    *,
    device: torch.device,
) -> Job[SiteAlignmentReport]:
    """Align a copy of the image encoder with the installed mapping network.

    Volumes are cut and patients set apart as they were in ``site train``. An alignment that was
    stopped goes on where it was.

    Parameters
    ----------
    folder
        The site's folder, with a mapping network in it.
    cases
        The site's images with masks.

    Raises
    ------
    ModelFileError
        No mapping network is installed.
    TrainingError, ResourceError
        See :func:`ppcmi_sf.training.encoder_alignment.align_encoder`.
    """
    site_folder = SiteFolder(Path(folder))
    segmenter = Segmenter.load(site_folder.root, key, device)
    record, study = site_folder.record(), segmenter.study
    data = yield from load_site_data(
        cases,
        study,
        validation_groups=record.validation_groups,
        slice_axis=record.slice_axis,
        frame=record.frame,
    )
    network, site = segmenter.server.network, segmenter.site
    assert network is not None
    reader = LatentReader(
        study, network, segmenter.link.name, site.mask_autoencoder.decoder, key.transform_share()
    )
    with work_lock(site_folder.root):
        aligned, fit = yield from align_encoder(
            study,
            site.image_autoencoder,
            reader,
            data,
            options,
            device=device,
            checkpoint=site_folder.alignment_checkpoint,
            signature=data.signature(study.fingerprint, options, segmenter.network),
        )
        slices = SliceBatches(study, data, options.fit, device, augment=False)
        used = segmenter.segmenting_site.image_autoencoder
        before = yield from reading_dice(study, used.encoder, reader, slices)
        after = yield from reading_dice(study, aligned.encoder, reader, slices)
        kept = before is None or after is None or after >= before
        if kept:
            header = ModelHeader(
                kind="aligned-encoder",
                study=study.fingerprint,
                site=record.site,
                encoders=segmenter.encoders,
                network=segmenter.network,
            )
            save_model(site_folder.aligned_file, aligned.encoder, header)
        site_folder.alignment_checkpoint.unlink(missing_ok=True)
    return SiteAlignmentReport(
        len(data.training), len(data.validation), before, after, kept, fit, data.failures
    )
