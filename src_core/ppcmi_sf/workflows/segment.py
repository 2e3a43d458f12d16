"""``ppcmi site segment``: images in, masks out, with a mapping network at the site itself.

The same protocol as over files: protect, map, reveal. The site plays the server with its
own share, so nothing leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.bundle import new_item_id
from ppcmi_sf.data import Case
from ppcmi_sf.device import place
from ppcmi_sf.errors import ModelFileError, PPCMIError, ResourceError
from ppcmi_sf.flips import average_over_flips
from ppcmi_sf.imaging import (
    Geometry,
    GridFit,
    MedicalImage,
    SliceSource,
    SlicewiseImage,
    assemble,
    fit_to_grid,
    iter_grid_slices,
    labels_from_grid,
    mask_path,
    mask_planes,
    open_slicewise,
    plane_of_file,
    read_image,
    slice_axis_for,
    write_mask,
)
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import SiteLink, load_model, read_header, weights_id
from ppcmi_sf.progress import Job, Progress, Result, retold
from ppcmi_sf.roles import MappingServer, Site
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.batches import in_batches
from ppcmi_sf.workflows.folders import SiteFolder, load_mapping_network
from ppcmi_sf.workflows.mask_targets import MaskTargets
from ppcmi_sf.workflows.report import BatchReport


@dataclass(frozen=True)
class Segmenter:
    """A site with a mapping network of its own, loaded once and used for many images.

    Attributes
    ----------
    study
        What all sites agreed on.
    site
        The site's autoencoders and key.
    server
        The mapping server that the site plays for itself.
    link
        What the mapping network knows of the site. The fingerprint is that of the
        identity which installed the network.
    encoders
        Id of the site's encoders.
    network
        Id of the mapping network.
    slice_axis
        Array axis of a volume along which the site was trained; ``None`` leaves it to
        the image.
    key_id
        Id of the client key.
    aligned
        The site with the encoder that was aligned with this network, if there is one. It
        segments; bundles are made with ``site``.
    average_flips
        Whether each slice is segmented mirrored, too, and the probabilities averaged: a little
        better, and four times the work (twice in ultrasound).
    """

    study: StudySpec
    site: Site
    server: MappingServer
    link: SiteLink
    encoders: str
    network: str
    slice_axis: int | None
    key_id: str
    aligned: Site | None = None
    average_flips: bool = False

    @classmethod
    def load(cls, folder: Path, key: ClientKey, device: torch.device) -> Segmenter:
        """Load a site's folder with the mapping network that was installed in it.

        Raises
        ------
        PPCMIError
            The site or its mapping network cannot be loaded, or they do not belong
            together.
        """
        site_folder = SiteFolder(Path(folder))
        site, encoders = site_folder.load(key, device)
        network, link = _load_network(site_folder, site.study, key, encoders)
        shares = {link.name: key.transform_share()} if site.study.arrangement == "escrow" else {}
        network_id = weights_id(network)
        return cls(
            study=site.study,
            site=site,
            server=MappingServer(site.study, shares, place(network, device)),
            link=link,
            encoders=encoders,
            network=network_id,
            aligned=_load_aligned(site_folder, site, encoders, network_id),
            slice_axis=site_folder.record().slice_axis,
            key_id=key.key_id,
        )

    @property
    def segmenting_site(self) -> Site:
        """The site whose encoder looks at images: the aligned one where there is one."""
        return self.aligned or self.site

    def segment(
        self, image: MedicalImage, *, slice_axis: int | None = None
    ) -> Job[npt.NDArray[np.uint8]]:
        """Segment an image: class indices of shape ``image.geometry.shape``.

        Parameters
        ----------
        slice_axis
            Array axis of a volume; ``None`` takes that of the site's training.

        Raises
        ------
        PPCMIError
            The image does not suit the study, or has no such axis.
        """
        fit = self.fit(image.geometry, slice_axis)
        planes: list[npt.NDArray[np.uint8]] = []
        yield from self.segment_slices(image, fit, planes.append)
        return assemble(planes, fit, image.geometry.shape)

    def fit(self, geometry: Geometry, slice_axis: int | None = None) -> GridFit:
        """How an image's slices are placed in the network grid; see :meth:`segment`."""
        axis = slice_axis_for(geometry, slice_axis, self.slice_axis)
        return fit_to_grid(geometry, self.study, slice_axis=axis)

    def segment_slices(
        self, image: SliceSource, fit: GridFit, take: Callable[[npt.NDArray[np.uint8]], object]
    ) -> Job[None]:
        """Segment an image slice by slice.

        Parameters
        ----------
        fit
            What :meth:`fit` gives for the image.
        take
            Gets the labels of each slice in turn, as
            :func:`~ppcmi_sf.imaging.labels_from_grid` gives them.
        """
        done = 0
        yield _slices_done(done, fit)
        for batch in in_batches(iter_grid_slices(image, self.study, fit)):
            probabilities = (
                average_over_flips(self._predict, batch, self.study)
                if self.average_flips
                else self._predict(batch)
            )
            for one in probabilities.cpu().numpy():
                take(labels_from_grid(one, fit))
            done += len(batch)
            yield _slices_done(done, fit)

    def _predict(self, images: torch.Tensor) -> torch.Tensor:
        items = [new_item_id() for _ in images]
        protected = self.segmenting_site.protect_images(images, items)
        mapped = self.server.map(self.link.name, protected, items)
        probabilities = self.segmenting_site.reveal_masks(mapped, items)
        # Else it would be all background, as if nothing had been found.
        if not bool(torch.isfinite(probabilities).all()):
            raise ModelFileError(
                "The mapping network of this site gives no numbers for this image.",
                hint="Do not use it. Ask the mapping server for another one.",
            )
        return probabilities


def segment_cases(
    folder: Path,
    key: ClientKey,
    cases: Sequence[Case],
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
    slice_axis: int | None = None,
    frame: int | None = None,
    series_uid: str | None = None,
    average_flips: bool = False,
) -> Job[BatchReport]:
    """Segment each case to a mask in the grid of its file. A mask that is there is kept.

    ``average_flips`` is that of :class:`Segmenter`.

    Raises
    ------
    PPCMIError
        The site or its mapping network cannot be loaded, or the disk is full. What
        concerns one case alone is listed in the report.
    """
    segmenter = replace(Segmenter.load(folder, key, device), average_flips=average_flips)
    targets = MaskTargets(Path(out), segmenter.study.class_count, overwrite=overwrite)
    report = BatchReport()
    for index, case in enumerate(cases):
        step = Progress(index, len(cases), f"Segmenting {case.name}")
        yield step
        try:
            image = _open(segmenter, case, slice_axis, frame, series_uid)
            if targets.is_there(image.geometry, case.name, str(case.image.resolve())):
                report.skipped.append(case.name)
                continue
            job = _segment_to_file(segmenter, image, slice_axis, Path(out), case.name)
            report.written.append((yield from _told_as(step, job)))
        except ResourceError:
            raise
        except PPCMIError as error:
            report.failures.append((case.name, error))
    return report


def _open(
    segmenter: Segmenter,
    case: Case,
    slice_axis: int | None,
    frame: int | None,
    series_uid: str | None,
) -> MedicalImage | SlicewiseImage:
    """The image: to be read plane by plane, where its slices lie so in the file."""
    if (frame, series_uid, case.channel_axis) == (None, None, None):
        slicewise = open_slicewise(case.image)
        if slicewise is not None:
            fit = segmenter.fit(slicewise.geometry, slice_axis)
            if fit.slice_axis == SlicewiseImage.SLICE_AXIS:
                return slicewise
    return read_image(
        case.image, frame=frame, series_uid=series_uid, channel_axis=case.channel_axis
    )


def _segment_to_file(
    segmenter: Segmenter,
    image: MedicalImage | SlicewiseImage,
    slice_axis: int | None,
    out: Path,
    name: str,
) -> Job[Path]:
    if isinstance(image, MedicalImage):
        labels = yield from segmenter.segment(image, slice_axis=slice_axis)
        return write_mask(labels, image.geometry, out, name)
    fit, target = segmenter.fit(image.geometry, slice_axis), mask_path(image.geometry, out, name)
    with mask_planes(image.geometry, target) as write:
        yield from segmenter.segment_slices(
            image, fit, lambda labels: write(plane_of_file(labels, fit))
        )
    return target


def _slices_done(done: int, fit: GridFit) -> Progress:
    total, message = fit.slice_count, "Segmenting"
    if fit.slice_axis is not None:
        message += f" slice {min(done + 1, total)} of {total}"
    return Progress(done, total, message)


def _told_as(step: Progress, job: Job[Result]) -> Job[Result]:
    """A job within a longer one, whose own step is told instead."""
    return retold(job, lambda _: step)


def _load_network(
    site_folder: SiteFolder, study: StudySpec, key: ClientKey, encoders: str
) -> tuple[UnifiedMappingNetwork, SiteLink]:
    path = site_folder.mapping_file
    if not path.is_file():
        raise ModelFileError(
            f"{site_folder.root}: there is no mapping network at this site.",
            hint="Ask the mapping server for one and install it ('ppcmi site install'), or send a "
            "query ('ppcmi site protect').",
        )
    network, header = load_mapping_network(path, study)
    if len(header.sites) != 1:
        raise ModelFileError(f"{path}: not a mapping network.", hint="Install it again.")
    link = header.sites[0]
    if (link.transform, link.encoders) != (key.transform_share().key_id, encoders):
        raise ModelFileError(
            f"{path}: learned with another key or other autoencoders of this site.",
            hint="Send new training pairs to the mapping server and ask for a new model.",
        )
    return network, link


def _load_aligned(site_folder: SiteFolder, site: Site, encoders: str, network: str) -> Site | None:
    """The site with its aligned encoder; ``None`` if there is none for these very networks."""
    path = site_folder.aligned_file
    if not path.is_file():
        return None
    header = read_header(path)
    if header.kind != "aligned-encoder":
        raise ModelFileError(f"{path}: not an aligned encoder.", hint="Delete this file.")
    said = (header.study, header.encoders, header.network)
    if said != (site.study.fingerprint, encoders, network):
        return None
    autoencoder = deepcopy(site.image_autoencoder)
    load_model(path, autoencoder.encoder)
    return site.with_image_autoencoder(autoencoder)
