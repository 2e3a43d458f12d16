"""What lies where in a site's and in a server's folder.

========================================  =========================================
site folder                               server folder
========================================  =========================================
``study.yaml``                            ``study.yaml``
``image_autoencoder.safetensors``         ``mapping_network.safetensors``
``mask_autoencoder.safetensors``          ``shares/*.ppcmishare`` (``escrow`` only)
``training.json``: how it was trained
``mapping_network.safetensors``, maybe
``aligned_encoder.safetensors``, maybe
``pairs.json``: training bundles made
========================================  =========================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field

from ppcmi_sf.device import place
from ppcmi_sf.errors import (
    InputFileError,
    KeyFileError,
    ModelFileError,
    UntrustedSenderError,
)
from ppcmi_sf.files import write_text
from ppcmi_sf.home import Party
from ppcmi_sf.keys import ClientKey, TransformShare
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import (
    ModelHeader,
    SiteLink,
    load_model,
    read_header,
    save_model,
    weights_id,
)
from ppcmi_sf.roles import MappingServer, Site
from ppcmi_sf.share import SUFFIX as SHARE_SUFFIX
from ppcmi_sf.share import read_share
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.contributions import HeldShare
from ppcmi_sf.workflows.pairs_ledger import PairsLedger

STUDY_FILE = "study.yaml"
TRAINING_FILE = "training.json"


class TrainingRecord(BaseModel):
    """How a site's autoencoders were trained. It never leaves the site.

    ``site protect`` keeps the same patients apart and cuts volumes the same way.

    Attributes
    ----------
    learned
        Of each slice of the training its digest (see
        :meth:`~ppcmi_sf.training.dataset.GridSlices.digests`), by which an audit knows it
        again. Empty where the site was trained before they were noted.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    site: str
    seed: Annotated[int, Field(ge=0)]
    validation_groups: Annotated[tuple[str, ...], Field(strict=False)]
    slice_axis: Annotated[int, Field(ge=0, le=2)] | None
    frame: Annotated[int, Field(ge=0)] | None
    learned: Annotated[tuple[str, ...], Field(strict=False)] = ()


@dataclass(frozen=True)
class SiteFolder:
    """A site's folder."""

    root: Path

    @property
    def study_file(self) -> Path:
        """The study that the site takes part in."""
        return self.root / STUDY_FILE

    @property
    def pairs(self) -> PairsLedger:
        """Which training bundles were made of which data."""
        return PairsLedger(self.root / "pairs.json")

    def model_file(self, role: str) -> Path:
        """Weights of the image or the mask autoencoder."""
        return self.root / f"{role}_autoencoder.safetensors"

    @property
    def mapping_file(self) -> Path:
        """A mapping network that the server gave, for use at the site itself."""
        return self.root / "mapping_network.safetensors"

    @property
    def aligned_file(self) -> Path:
        """The image encoder that was aligned with the mapping network at the site."""
        return self.root / "aligned_encoder.safetensors"

    def checkpoint(self, role: str) -> Path:
        """State of a training that goes on."""
        return self.root / f".{role}_autoencoder.checkpoint.safetensors"

    @property
    def alignment_checkpoint(self) -> Path:
        """State of an alignment that goes on."""
        return self.root / ".aligned_encoder.checkpoint.safetensors"

    def study(self) -> StudySpec:
        """Read the study.

        Raises
        ------
        InputFileError
            The folder is not a trained site's.
        """
        if not self.study_file.is_file():
            raise InputFileError(
                self.root,
                "not a site folder.",
                hint="Choose the one that 'ppcmi site train' made; connect its drive if it has one "
                "of its own.",
            )
        return StudySpec.load(self.study_file)

    def record(self) -> TrainingRecord:
        """Read how the site was trained."""
        path = self.root / TRAINING_FILE
        try:
            return TrainingRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # a ValidationError is a ValueError
            raise InputFileError(
                path,
                "the record of the training is missing or damaged.",
                hint="Finish 'ppcmi site train' first.",
            ) from error

    def save_record(self, record: TrainingRecord) -> None:
        """Write how the site was trained."""
        write_text(self.root / TRAINING_FILE, record.model_dump_json(indent=2) + "\n", mode=0o600)

    def load(
        self, key: ClientKey, device: torch.device, noise: LatentNoise | None = None
    ) -> tuple[Site, str]:
        """Load the site with its key; also the id of its encoders.

        ``noise`` is that of :class:`~ppcmi_sf.roles.Site`.

        Raises
        ------
        KeyFileError
            The key is another site's.
        ModelFileError, StudyError
            Weights are missing, damaged or of another study.
        """
        study = self.study()
        study.require(key.study, f"The client key of site '{key.site}'")
        record = self.record()
        if key.site != record.site:
            raise KeyFileError(
                f"The key is of site '{key.site}', the folder {self.root} of '{record.site}'.",
                hint="Give the key and the folder of the same site.",
            )
        image, mask = (self.autoencoder(study, role, record.site)[0] for role in ("image", "mask"))
        encoders = weights_id(image.encoder, mask.encoder)
        return Site(study, place(image, device), place(mask, device), key, noise), encoders

    def autoencoder(
        self, study: StudySpec, role: str, site: str | None = None
    ) -> tuple[Autoencoder, str]:
        """Load an autoencoder, on the CPU; also the name of the site that trained it.

        Parameters
        ----------
        site
            Whose it has to be; ``None``: any site's of the study.

        Raises
        ------
        ModelFileError, StudyError
            Weights are missing, damaged, something else, or of another study.
        """
        path = self.model_file(role)
        header = read_header(path)
        study.require(header.study, str(path))
        if header.kind != f"{role}-autoencoder" or site not in (None, header.site):
            whose = f"site '{site}'" if site else "a site"
            raise ModelFileError(
                f"{path}: not the {role} autoencoder of {whose}.",
                hint="Put the right file back, or train again.",
            )
        model = Autoencoder(study, role)
        load_model(path, model)
        return model, header.site or ""


@dataclass(frozen=True)
class ServerFolder:
    """A mapping server's folder."""

    root: Path

    @property
    def study_file(self) -> Path:
        """The study that the server serves."""
        return self.root / STUDY_FILE

    @property
    def model_file(self) -> Path:
        """Weights of the mapping network."""
        return self.root / "mapping_network.safetensors"

    @property
    def checkpoint(self) -> Path:
        """State of a training that goes on."""
        return self.root / ".mapping_network.checkpoint.safetensors"

    def share_file(self, link: SiteLink) -> Path:
        """Where a site's transform share is kept, encrypted as it came.

        Each key and identity of a site has a file of its own, so that a training that fails while
        it saves leaves the network that is there with its shares.
        """
        name = f"{link.name}.{link.transform}.{link.fingerprint[:16]}{SHARE_SUFFIX}"
        return self.root / "shares" / name

    def _kept_share(self, link: SiteLink) -> Path:
        """:meth:`share_file`, or where it was in folders of before."""
        file, before = self.share_file(link), self.root / "shares" / f"{link.name}{SHARE_SUFFIX}"
        return before if before.is_file() and not file.is_file() else file

    def save_network(
        self,
        network: UnifiedMappingNetwork,
        study: StudySpec,
        links: Iterable[SiteLink],
        shares: Mapping[str, HeldShare],
    ) -> None:
        """Write a trained network, and the shares that came for it; end its checkpoint.

        The network is written last: until then, all that the one before needs is there.
        """
        links = tuple(links)
        for link in links:
            if link.name in shares:
                shares[link.name].sealed.save(self.share_file(link))
        study.save(self.study_file)
        save_mapping_network(self.model_file, network, study, links)
        needed = {self._kept_share(link) for link in links}
        over = {path for path in self.root.glob(f"shares/*{SHARE_SUFFIX}") if path not in needed}
        # Of cross-fitting there are several checkpoints.
        over.update(self.root.glob(f"{self.checkpoint.stem}*{self.checkpoint.suffix}"))
        for path in over:
            path.unlink(missing_ok=True)

    def load(self, device: torch.device, party: Party) -> tuple[MappingServer, ModelHeader, str]:
        """Load the server; also the header that names its sites, and the network's id.

        The share of a site that is no longer trusted is left out: nothing of that site is
        answered, and the others notice nothing.

        Raises
        ------
        InputFileError, ModelFileError, KeyFileError
            Something is missing, damaged or of another study.
        """
        if not self.study_file.is_file():
            raise InputFileError(
                self.root,
                "not a server folder.",
                hint="Choose the one that 'ppcmi server train' made; connect its drive if it has "
                "one of its own.",
            )
        study = StudySpec.load(self.study_file)
        network, header = load_mapping_network(self.model_file, study)
        shares = {}
        if study.arrangement == "escrow":
            for link in header.sites:
                with suppress(UntrustedSenderError):
                    shares[link.name] = self._load_share(link, study, party)
        network_id = weights_id(network)
        return MappingServer(study, shares, place(network, device)), header, network_id

    def _load_share(self, link: SiteLink, study: StudySpec, party: Party) -> TransformShare:
        path = self._kept_share(link)
        share, sender = read_share(path, party.identity, party.sender)
        study.require(share.study, f"The transform share {path}")
        if share.key_id != link.transform or sender.fingerprint != link.fingerprint:
            raise KeyFileError(
                f"{path}: of site '{share.site}', epoch {share.epoch}, id {share.key_id}; the "
                f"mapping network needs '{link.name}', epoch {link.epoch}, id {link.transform}.",
                hint="Put the right share back, or train the mapping network again.",
            )
        return share


def save_mapping_network(
    path: Path, network: UnifiedMappingNetwork, study: StudySpec, links: Iterable[SiteLink]
) -> None:
    """Write a mapping network and what it knows of its sites, at the server or at a site."""
    header = ModelHeader(
        kind="mapping-network",
        study=study.fingerprint,
        sites=tuple(links),
        adapters=network.has_adapters,
    )
    save_model(path, network, header)


def load_mapping_network(path: Path, study: StudySpec) -> tuple[UnifiedMappingNetwork, ModelHeader]:
    """Load a mapping network of a study, at the server or at a site.

    Raises
    ------
    ModelFileError, StudyError
        The file is missing, damaged, something else, or of another study.
    """
    header = read_header(path)
    study.require(header.study, str(path))
    if header.kind != "mapping-network":
        raise ModelFileError(f"{path}: not a mapping network.", hint="Put the right file back.")
    network = UnifiedMappingNetwork(
        study, [link.name for link in header.sites], adapters=header.adapters
    )
    load_model(path, network)
    return network, header
