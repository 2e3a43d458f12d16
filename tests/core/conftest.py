"""Small studies, ellipse images as files, and a whole collaboration of three sites."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from pydantic import SecretStr

from ppcmi_sf import secretfile
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.data import Case
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.imaging import read_mask
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.store import load_model, read_header, save_model
from ppcmi_sf.progress import run
from ppcmi_sf.secretfile import KdfCost
from ppcmi_sf.share import write_share
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.autoencoders import AutoencoderOptions
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import MappingOptions
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.map_queries import map_queries
from ppcmi_sf.workflows.outgoing import Addressed
from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs
from ppcmi_sf.workflows.report import ProtectReport, RevealReport
from ppcmi_sf.workflows.reveal import reveal_replies
from ppcmi_sf.workflows.train_server import ServerTrainingReport, train_server
from ppcmi_sf.workflows.train_site import SiteTrainingReport, train_site

CPU = torch.device("cpu")
SITES = ("north", "south-1", "west.b")
SERVER = "server"
PASSPHRASE = SecretStr("correct horse battery")


@pytest.fixture(scope="session", autouse=True)
def cheap_passphrases():
    """Argon2id with little work; what users get is told by test_secretfile.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secretfile, "DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))
        yield


def small_study(size=(64, 64), classes=2, **fields) -> StudySpec:
    wanted = {"name": "test", "modality": "US", "autoencoder": "small"} | fields
    names = [f"class{number}" for number in range(1, classes)]
    return StudySpec(classes=make_classes(names), image_size=size, **wanted)


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudySpec]:
    return small_study


def draw_ellipses(
    seed: int, count: int, size: tuple[int, int] = (64, 64), classes: int = 2
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images and masks (N, H, W): a bright ellipse, with three classes a dark one inside."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    images, masks = [], []
    for _ in range(count):
        (cy, cx), (ry, rx) = rng.uniform(0.35, 0.65, 2), rng.uniform(0.18, 0.3, 2)
        distance = ((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2
        mask = np.zeros(size, np.uint8)
        for label in range(1, classes):
            mask[distance < 1 / label**2] = label
        clean = np.array([60, 180, 20, 120])[mask]
        images.append(np.clip(clean + rng.normal(0, 12, size), 0, 255).astype(np.uint8))
        masks.append(mask)
    return np.stack(images), np.stack(masks)


@pytest.fixture(scope="session")
def ellipses():
    return draw_ellipses


def write_cases(folder: Path, images, masks, prefix: str = "case") -> list[Case]:
    """Write PNG images and masks; two images in turn are one patient."""
    cases = []
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        name = f"{prefix}_{index:03d}"
        paths = folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png"
        for array, path in zip((image, mask), paths, strict=True):
            Image.fromarray(array).save(path)
        cases.append(Case(name, *paths, group=f"{prefix}-p{index // 2}"))
    return cases


@pytest.fixture(scope="session")
def make_cases():
    return write_cases


@dataclass
class Collaboration:
    """Three trained sites and a server, all in files below ``root``.

    Every party has a home of its own, and the server's card or those of the sites in it.
    """

    root: Path
    study: StudySpec
    training: dict[str, list[Case]] = field(default_factory=dict)
    testing: dict[str, list[Case]] = field(default_factory=dict)
    parties: dict[str, Party] = field(default_factory=dict)
    keys: dict[str, ClientKey] = field(default_factory=dict)
    shares: list[Path] = field(default_factory=list)
    bundles: list[Path] = field(default_factory=list)
    site_reports: dict[str, SiteTrainingReport] = field(default_factory=dict)
    pair_reports: dict[str, ProtectReport] = field(default_factory=dict)
    query_reports: dict[str, ProtectReport] = field(default_factory=dict)
    reveal_reports: dict[str, RevealReport] = field(default_factory=dict)
    server_report: ServerTrainingReport | None = None

    @property
    def server(self) -> Path:
        return self.root / "server"

    def home(self, name: str) -> Path:
        return self.root / "homes" / name

    def card(self, name: str) -> ContactCard:
        return self.parties[name].identity.card

    def addressed(self, name: str) -> Addressed:
        """A site writes to the server."""
        return Addressed(self.parties[name], [self.card(SERVER)])

    def key_file(self, name: str) -> Path:
        return self.root / "keys" / f"{name}.ppcmikey"

    def site(self, name: str) -> Path:
        return self.root / "sites" / name

    def queries(self, name: str) -> Path:
        return self.root / "queries" / name

    def replies(self, name: str) -> Path:
        return self.root / "replies" / name

    def masks(self, name: str) -> Path:
        return self.root / "masks" / name

    def dice(self, name: str) -> float:
        """Mean Dice of the revealed masks of a site."""
        scores = []
        for case in self.testing[name]:
            truth = read_mask(case.mask, 2) == 1
            found = read_mask(self.masks(name) / f"{case.name}.png", 2) == 1
            scores.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
        return float(np.mean(scores))


SITE_OPTIONS = AutoencoderOptions(
    fit=FitOptions(epochs=14, batch_size=4, learning_rate=8e-3, seed=3), augment=False
)
SERVER_OPTIONS = MappingOptions(
    fit=FitOptions(epochs=12, batch_size=16, learning_rate=3e-3, seed=3)
)


def adopt(site: Path, trained: Path, study: StudySpec) -> None:
    """Take over autoencoders of a study that differs in its arrangement alone."""
    study.save(site / "study.yaml")
    shutil.copy(trained / "training.json", site / "training.json")
    for role in ("image", "mask"):
        path, model = SiteFolder(trained).model_file(role), Autoencoder(study, role)
        load_model(path, model)
        header = read_header(path).model_copy(update={"study": study.fingerprint})
        save_model(SiteFolder(site).model_file(role), model, header)


def introduce(every: Collaboration) -> None:
    """Everybody's identity; the server knows all sites, and they know the server."""
    for name in (SERVER, *SITES):
        identity, home = Identity.generate(name), Home(every.home(name))
        identity.save(home.identity_file, PASSPHRASE)
        every.parties[name] = Party(home, identity)
    for name in SITES:
        every.parties[SERVER].home.contacts.add(every.card(name))
        every.parties[name].home.contacts.add(every.card(SERVER))


def make_key(every: Collaboration, name: str) -> None:
    """A client key, and in ``escrow`` its share for the server."""
    key = every.keys[name] = ClientKey.generate(name, every.study.fingerprint)
    key.save(every.key_file(name), PASSPHRASE)
    if every.study.arrangement == "escrow":
        every.shares.append(every.root / "shares" / f"{name}.ppcmishare")
        write_share(
            every.shares[-1],
            key.transform_share(),
            every.parties[name].identity,
            every.card(SERVER),
        )


def ask(every: Collaboration, name: str) -> None:
    """Query, reply, mask."""
    site, key = every.site(name), every.keys[name]
    asked = every.query_reports[name] = run(
        protect_queries(
            site,
            key,
            every.testing[name],
            every.queries(name),
            every.addressed(name),
            device=CPU,
        )
    )
    answered = run(
        map_queries(
            every.server, asked.written, every.replies(name), every.parties[SERVER], device=CPU
        )
    )
    every.reveal_reports[name] = run(
        reveal_replies(
            site, key, answered.written, every.masks(name), every.parties[name], device=CPU
        )
    )


def collaborate(root: Path, study: StudySpec, trained: Collaboration | None = None):
    """Run the whole chain through files; ``trained`` spares the sites' own training."""
    every = Collaboration(root, study)
    introduce(every)
    for number, name in enumerate(SITES):
        images, masks = draw_ellipses(number, 20)
        prefix = f"Doe-Jane-19{61 + number}"
        cases = write_cases(root / "data" / name, images, masks, prefix)
        every.training[name], every.testing[name] = cases[:16], cases[16:]
        make_key(every, name)
        if trained is None:
            every.site_reports[name] = run(
                train_site(
                    every.site(name), study, name, every.training[name], SITE_OPTIONS, device=CPU
                )
            )
        else:
            adopt(every.site(name), trained.site(name), study)
            every.site_reports[name] = trained.site_reports[name]
        every.pair_reports[name] = run(
            protect_training_pairs(
                every.site(name),
                every.keys[name],
                every.training[name],
                root / "pairs",
                every.addressed(name),
                device=CPU,
                copies=3,
            )
        )
        every.bundles.extend(every.pair_reports[name].written)
    every.server_report = run(
        train_server(
            every.server,
            study,
            every.bundles,
            every.shares,
            SERVER_OPTIONS,
            every.parties[SERVER],
            device=CPU,
        )
    )
    for name in SITES:
        ask(every, name)
    return every


@pytest.fixture(scope="session")
def escrow(tmp_path_factory) -> Collaboration:
    """A finished collaboration; tests that change something copy what they change."""
    return collaborate(tmp_path_factory.mktemp("escrow"), small_study(arrangement="escrow"))


@pytest.fixture(scope="session")
def blind(tmp_path_factory, escrow) -> Collaboration:
    """The same in the blind arrangement, with the same autoencoders."""
    return collaborate(tmp_path_factory.mktemp("blind"), small_study(arrangement="blind"), escrow)
