"""Desks: copies of a party's folder and home, which a test may change at will."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from ppcmi_sf.bundle import LatentBundle, read_bundle, write_bundle
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.data import Case
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.home import Home, Party
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import MappingOptions
from ppcmi_sf.workflows.local_model import install_model, publish_model
from ppcmi_sf.workflows.map_here import map_here
from ppcmi_sf.workflows.map_queries import map_queries
from ppcmi_sf.workflows.outgoing import Addressed
from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs
from ppcmi_sf.workflows.report import BatchReport, ProtectReport, RevealReport
from ppcmi_sf.workflows.reveal import reveal_replies
from ppcmi_sf.workflows.segment import Segmenter, segment_cases
from ppcmi_sf.workflows.train_server import ServerTrainingReport, train_server

CPU = torch.device("cpu")
ONE_EPOCH = MappingOptions(fit=FitOptions(epochs=1, batch_size=16))


@dataclass
class Desk:
    """What a site and the server have in common."""

    one: Any  # the collaboration that it was copied from
    folder: Path
    party: Party

    @property
    def study(self) -> StudySpec:
        return self.one.study

    @property
    def registry(self):
        return self.party.home.registry

    @property
    def card(self) -> ContactCard:
        return self.party.identity.card

    def read(self, path: Path) -> LatentBundle:
        return read_bundle(path, self.study, self.party.identity, self.party.sender)

    def forge(
        self, path: Path, like: LatentBundle, *, to: Sequence[ContactCard], **changes
    ) -> Path:
        """Write a bundle with this party's signature that only resembles another."""
        header = like.header
        said = {
            "kind": header.kind,
            "batch": like.batch,
            "study": self.study,
            "key_id": header.key_id,
            "epoch": header.epoch,
            "model": header.model,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bundle(path, sender=self.party.identity, recipients=to, **(said | changes))
        return path

    def noted(self, direction: str = "sent") -> list[str]:
        """Ids of bundles in the registry."""
        with self.party.home.database.transaction() as connection:
            rows = connection.execute(
                "SELECT bundle_id FROM bundles WHERE direction = ? ORDER BY rowid", (direction,)
            ).fetchall()
        return [row[0] for row in rows]

    def events(self, event: str) -> list[str]:
        """Ids of bundles in the disclosure log."""
        return [entry.bundle_id for entry in self.party.home.log.entries() if entry.event == event]


@dataclass
class SiteDesk(Desk):
    """A site's."""

    name: str
    key: ClientKey

    @property
    def to_server(self) -> Addressed:
        return Addressed(self.party, [self.one.card("server")])

    @property
    def testing(self) -> list[Case]:
        return self.one.testing[self.name]

    @property
    def training(self) -> list[Case]:
        return self.one.training[self.name]

    @property
    def replies(self) -> list[Path]:
        return sorted(self.one.replies(self.name).iterdir())

    @property
    def old_queries(self) -> list[Path]:
        return sorted(self.one.queries(self.name).iterdir())

    def queries(self, out, cases=None, key=None, to=None, **options) -> Job[ProtectReport]:
        cases = self.testing if cases is None else cases
        addressed = to or self.to_server
        return protect_queries(
            self.folder, key or self.key, cases, out, addressed, device=CPU, **options
        )

    def pairs(self, out, cases=None, key=None, to=None, **options) -> Job[ProtectReport]:
        cases = self.training if cases is None else cases
        addressed = to or self.to_server
        return protect_training_pairs(
            self.folder, key or self.key, cases, out, addressed, device=CPU, **options
        )

    def reveal(self, replies, out, key=None, **options) -> Job[RevealReport]:
        return reveal_replies(
            self.folder, key or self.key, replies, out, self.party, device=CPU, **options
        )

    def install(self, path, key=None, **options) -> str:
        return install_model(self.folder, path, key or self.key, self.party, **options)

    def segmenter(self, key=None) -> Segmenter:
        return Segmenter.load(self.folder, key or self.key, CPU)

    def map_here(self, queries, out, key=None, **options) -> Job[BatchReport]:
        return map_here(
            self.folder, key or self.key, queries, out, self.party, device=CPU, **options
        )

    @property
    def to_itself(self) -> Addressed:
        return Addressed(self.party, [self.card])

    def segment(self, out, cases=None, key=None, **options) -> Job[BatchReport]:
        cases = self.testing if cases is None else cases
        return segment_cases(self.folder, key or self.key, cases, out, device=CPU, **options)


@dataclass
class ServerDesk(Desk):
    """The mapping server's."""

    def map(self, queries, out, **options) -> Job[BatchReport]:
        return map_queries(self.folder, queries, out, self.party, device=CPU, **options)

    def train(
        self, folder, bundles=None, shares=None, study=None, options=ONE_EPOCH, **more
    ) -> Job[ServerTrainingReport]:
        return train_server(
            folder,
            study or self.study,
            self.one.bundles if bundles is None else bundles,
            self.one.shares if shares is None else shares,
            options,
            self.party,
            device=CPU,
            **more,
        )

    def publish(self, name, out) -> Path:
        return publish_model(self.folder, self.one.card(name), out, self.party)


def _copied(one, name: str, folder: Path, target: Path) -> tuple[Path, Party]:
    home = shutil.copytree(one.home(name), target / "home")
    copy = shutil.copytree(folder, target / "work")
    return copy, Party(Home(home), one.parties[name].identity)


@pytest.fixture
def open_site(tmp_path) -> Callable[..., SiteDesk]:
    def opened(one, name="north") -> SiteDesk:
        folder, party = _copied(one, name, one.site(name), tmp_path / "desks" / name)
        return SiteDesk(one, folder, party, name, one.keys[name])

    return opened


@pytest.fixture
def open_server(tmp_path) -> Callable[..., ServerDesk]:
    def opened(one) -> ServerDesk:
        folder, party = _copied(one, "server", one.server, tmp_path / "desks" / "server")
        return ServerDesk(one, folder, party)

    return opened


@pytest.fixture(params=["escrow", "blind"])
def both(request):
    """The finished collaboration of either arrangement."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def north(escrow, open_site) -> SiteDesk:
    return open_site(escrow)


@pytest.fixture
def south(escrow, open_site) -> SiteDesk:
    return open_site(escrow, "south-1")


@pytest.fixture
def server(escrow, open_server) -> ServerDesk:
    return open_server(escrow)


def _files(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    return sorted(
        item.relative_to(folder).as_posix() for item in folder.rglob("*") if item.is_file()
    )


@pytest.fixture(scope="session")
def files() -> Callable[[Path], list[str]]:
    """Every file below, hidden ones too."""
    return _files


def _only_failure(report: BatchReport) -> PPCMIError:
    ((_, error),) = report.failures
    assert error.hint
    return error


@pytest.fixture(scope="session")
def only_failure() -> Callable[[BatchReport], PPCMIError]:
    """The one error of a report."""
    return _only_failure


@pytest.fixture
def make_volume(ellipses) -> Callable[[Path, int], Case]:
    """A case of several slices: ellipses in a NIfTI file, with a mask beside it."""

    def made(path: Path, slices: int) -> Case:
        mask = path.with_name(f"mask_of_{path.name}")
        for target, arrays in zip((path, mask), ellipses(9, slices), strict=True):
            nib.save(nib.Nifti1Image(arrays.T, np.eye(4)), target)
        return Case(path.stem, path, mask)

    return made
