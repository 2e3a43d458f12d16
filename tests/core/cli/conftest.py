"""The command line as users use it, and a finished three-site chain of each arrangement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from ppcmi_sf.cli.app import app

SITES = ("north", "south", "west")
TINY = ("--size", "64", "64", "--autoencoder", "small")
AFFINE = np.array([[0, -0.8, 0, 12], [0.6, 0, 0, -7], [0, 0, 2.5, 3], [0, 0, 0, 1]], float)


@dataclass
class Ran:
    """What a verb printed and returned."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object on standard output."""
        assert self.out.endswith("\n") and len(self.out.splitlines()) == 1, self.out
        return json.loads(self.out)

    @property
    def said(self):
        """Everything, for messages."""
        return self.out + self.err


@dataclass
class Shell:
    """Runs verbs in this process and keeps what all of them printed."""

    ran: list[Ran] = field(default_factory=list)

    def __call__(self, *args, code: int = 0) -> Ran:
        words = tuple(str(word) for word in args)
        result = CliRunner().invoke(app, list(words), prog_name="ppcmi")
        done = Ran(words, result.exit_code, result.stdout, result.stderr)
        self.ran.append(done)
        assert done.code == code, f"{words}\n{done.said}\n{result.exception!r}"
        assert "Traceback" not in done.said
        return done

    def fails(self, *args, code: int, saying: str, naming: str = "") -> Ran:
        """One plain sentence with what to do, and as JSON the same in one object."""
        plain = self(*args, code=code)
        assert plain.out == "", plain.out
        lines = plain.err.strip().splitlines()
        assert lines[-2].startswith("Error: ") and lines[-1].endswith("."), plain.err
        assert saying in plain.err and naming in plain.err, plain.err
        told = self(*args, "--json", code=code).json
        assert told["exit_code"] == code and told["hint"]
        assert saying in told["error"] + told["hint"] + str(told.get("failures", ""))
        return plain


@pytest.fixture(scope="session")
def ppcmi():
    return Shell()


@pytest.fixture(scope="session")
def script():
    """Path of the installed ``ppcmi``."""
    path = Path(sys.executable).with_name("ppcmi.exe" if os.name == "nt" else "ppcmi")
    assert path.is_file()
    return path


@pytest.fixture(scope="session")
def real(script):
    """Run the installed ``ppcmi`` in a process of its own."""

    def run(*args, **options):
        words = [str(script), *(str(word) for word in args)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
        return subprocess.run(
            words, capture_output=True, encoding="utf-8", check=False, env=environment, **options
        )

    return run


@dataclass
class Chain:
    """Folders and files of three sites and a server, made by verbs."""

    root: Path
    arrangement: str
    ppcmi: Shell

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def server(self) -> Path:
        return self.root / "server"

    def at(self, what: str, site: str) -> Path:
        return self.root / what / site

    def key(self, site: str) -> Path:
        return self.root / "keys" / f"{site}.ppcmikey"

    def share(self, site: str) -> Path:
        return self.root / "shares" / f"{site}.json"

    def mine(self, site: str):
        return ("--site-dir", self.at("sites", site), "--key", self.key(site))

    def copy(self, root: Path) -> Chain:
        """For a test that changes files. Ledgers hold whole paths: protect anew where it counts."""
        shutil.copytree(self.root, root)
        return Chain(root, self.arrangement, self.ppcmi)

    def train_site(self, site: str, *more, code=0):
        return self.ppcmi(
            "site", "train", self.at("data", site), "--study", self.study, "--name", site,
            "--site-dir", self.at("sites", site), "--epochs", 1, *more, code=code,
        )  # fmt: skip

    def protect_pairs(self, site: str, *more, code=0):
        return self.ppcmi(
            "site", "protect", self.at("data", site), "--pairs", *self.mine(site),
            "--out", self.at("pairs", site), "--copies", 2, *more, code=code,
        )  # fmt: skip

    def train_server(self, *more, code=0):
        shares = [] if self.arrangement == "blind" else [
            word for site in SITES for word in ("--share", self.share(site))
        ]  # fmt: skip
        folders = [self.at("pairs", site) for site in SITES]
        return self.ppcmi(
            "server", "train", *folders, "--study", self.study, "--server-dir", self.server,
            *shares, "--epochs", 1, *more, code=code,
        )  # fmt: skip

    def protect(self, site: str, *more, code=0):
        images = self.at("new", site) / "images"
        out = self.at("queries", site)
        return self.ppcmi(
            "site", "protect", images, *self.mine(site), "--out", out, *more, code=code
        )

    def map(self, site: str, *more, code=0):
        return self.ppcmi(
            "server", "map", self.at("queries", site), "--server-dir", self.server,
            "--out", self.at("replies", site), *more, code=code,
        )  # fmt: skip

    def reveal(self, site: str, *more, code=0):
        return self.ppcmi(
            "site", "reveal", self.at("replies", site), *self.mine(site),
            "--out", self.at("masks", site), *more, code=code,
        )  # fmt: skip


def write_volume(folder: Path, name: str, images, masks) -> None:
    """A NIfTI volume with an affine of its own, three slices."""
    for kind, slices in (("images", images), ("masks", masks)):
        voxels = np.stack(list(slices), axis=-1)
        nib.save(nib.Nifti1Image(voxels, AFFINE), folder / kind / f"{name}.nii.gz")


def build(root: Path, arrangement: str, ppcmi: Shell, ellipses, make_cases) -> Chain:
    chain = Chain(root, arrangement, ppcmi)
    ppcmi(
        "study", "new", chain.study, "--name", "Ellipses", "--modality", "US", "--class", "ellipse",
        "--arrangement", arrangement, *TINY,
    )  # fmt: skip
    for number, site in enumerate(SITES):
        images, masks = ellipses(number, 11)
        secret = f"Doe^Jane-{site}-1961"
        make_cases(chain.at("data", site), images[:6], masks[:6], secret)
        make_cases(chain.at("new", site), images[6:8], masks[6:8], f"new-{secret}")
        if site == "north":
            write_volume(chain.at("new", site), f"volume-{secret}", images[8:], masks[8:])
        ppcmi("key", "new", chain.key(site), "--study", chain.study, "--site", site)
        chain.train_site(site)
        chain.protect_pairs(site)
        if arrangement == "escrow":
            ppcmi("share-transform", "--key", chain.key(site), "--study", chain.study,
                  "--out", chain.share(site))  # fmt: skip
    chain.train_server()
    for site in SITES:
        chain.protect(site)
        chain.map(site)
        chain.reveal(site)
    return chain


@pytest.fixture(scope="session")
def escrow_chain(tmp_path_factory, ppcmi, ellipses, make_cases) -> Chain:
    """Do not change its files: take ``chain.copy``."""
    return build(tmp_path_factory.mktemp("e") / "all", "escrow", ppcmi, ellipses, make_cases)


@pytest.fixture(scope="session")
def blind_chain(tmp_path_factory, ppcmi, ellipses, make_cases) -> Chain:
    return build(tmp_path_factory.mktemp("b") / "all", "blind", ppcmi, ellipses, make_cases)


@pytest.fixture(params=["escrow", "blind"])
def chain(request) -> Chain:
    return request.getfixturevalue(f"{request.param}_chain")


@pytest.fixture(scope="session")
def listing():
    """Every file below a folder, hidden ones too, with its size and time."""

    def every(folder: Path) -> dict[str, tuple[int, int]]:
        return {
            path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return every
