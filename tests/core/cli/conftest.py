"""The command line as users use it, and a finished three-site chain of each arrangement."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from typer.main import get_command

from ppcmi_sf.bundle import peek
from ppcmi_sf.cli.app import app
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey

COMMAND = get_command(app)  # once: typer takes longer for it than most verbs for their work
SITES = ("north", "south", "west")
SERVER = "server"
PASSPHRASE = "Leuchtturm über dem Hafen, 7 Mal"
TINY = ("--size", "64", "64", "--autoencoder", "small")
AFFINE = np.array([[0, -0.8, 0, 12], [0.6, 0, 0, -7], [0, 0, 2.5, 3], [0, 0, 0, 1]], float)


@pytest.fixture(scope="session", autouse=True)
def nobodys_home(tmp_path_factory):
    """Keep away from the developer's own home, passphrase and keyring."""
    folder = tmp_path_factory.mktemp("nobody") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCMI_HOME", str(folder))
        patch.delenv("PPCMI_PASSPHRASE_FILE", raising=False)
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        yield folder


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

    def __call__(self, *args, code: int | None = 0) -> Ran:
        words = tuple(str(word) for word in args)
        result = CliRunner().invoke(COMMAND, list(words), prog_name="ppcmi")
        done = Ran(words, result.exit_code, result.stdout, result.stderr)
        self.ran.append(done)
        assert code is None or done.code == code, f"{words}\n{done.said}\n{result.exception!r}"
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
        kept = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.run(words, encoding="utf-8", check=False, env=environment, **kept)

    return run


@dataclass(frozen=True)
class Terminal:
    """A pseudo-terminal of 80 columns, the controlling one: getpass asks there."""

    def __call__(self, words, cwd, answers=()):
        """Type each answer once its question is there; give what appears, and the code."""
        main, other = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
        for name in ("NO_COLOR", "CI", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            environment.pop(name, None)
        process = subprocess.Popen(
            [str(word) for word in words], stdin=other, stdout=other, stderr=other, cwd=cwd,
            env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(other)
        shown, at, waiting = b"", 0, list(answers)
        while True:
            ready, _, _ = select.select([main], [], [], 60)
            assert ready, shown
            try:
                part = os.read(main, 65536)
            except OSError:  # Linux ends a terminal this way
                part = b""
            if not part:
                break
            shown += part
            if waiting and waiting[0][0].encode() in shown[at:]:
                at = len(shown)
                time.sleep(0.3)  # the question is there before the terminal is ready for keys
                os.write(main, waiting.pop(0)[1].encode())
        os.close(main)
        assert not waiting, (waiting[0][0], shown)
        return shown.decode(errors="replace"), process.wait(60)


@pytest.fixture(scope="session")
def on_terminal():
    return Terminal()


@dataclass
class Chain:
    """Folders and files of three sites and a server, made by verbs."""

    root: Path
    arrangement: str
    ppcmi: Shell
    homes: Path

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def server(self) -> Path:
        return self.root / "server"

    @property
    def passphrase_file(self) -> Path:
        return self.root / "keys" / "passphrase.txt"

    @property
    def members(self) -> Path:
        return self.root / "joining" / "ellipses.ppcmimembers"

    def at(self, what: str, site: str) -> Path:
        return self.root / what / site

    def key(self, site: str) -> Path:
        return self.root / "keys" / f"{site}.ppcmikey"

    def share(self, site: str) -> Path:
        return self.root / "shares" / f"{site}.ppcmishare"

    def home(self, name: str) -> Path:
        return self.homes / name

    def at_home(self, name: str):
        return ("--home", self.home(name))

    @property
    def known(self):
        return ("--passphrase-file", self.passphrase_file)

    def acting(self, name: str = SERVER):
        return (*self.at_home(name), *self.known)

    def mine(self, site: str):
        return (
            "--site-dir", self.at("sites", site), "--key", self.key(site), *self.acting(site)
        )  # fmt: skip

    def party(self, name: str) -> Party:
        home = Home(self.home(name))
        return Party(home, Identity.load(home.identity_file, SecretStr(PASSPHRASE)))

    def client_key(self, site: str) -> ClientKey:
        return ClientKey.load(self.key(site), SecretStr(PASSPHRASE))

    def header(self, bundle: Path, name: str = SERVER):
        """What a recipient reads of a bundle; names tell nothing."""
        return peek(bundle, self.party(name).identity)

    def fingerprint(self, name: str) -> str:
        return Home(self.home(name)).card().fingerprint

    def copy(self, root: Path) -> Chain:
        """For a test that changes files. Ledgers hold whole paths: protect anew where it counts."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("homes"))
        shutil.copytree(self.homes, root / "homes")
        return replace(self, root=root, homes=root / "homes")

    def meet(self, names=SITES):
        """The study, an identity for everybody, and joining by a file each way."""
        ppcmi = self.ppcmi
        ppcmi(
            "study", "new", self.study, "--name", "Ellipses", "--modality", "US", "--class",
            "ellipse", "--arrangement", self.arrangement, *TINY,
        )  # fmt: skip
        self.passphrase_file.parent.mkdir()
        self.passphrase_file.write_text(PASSPHRASE + "\n", encoding="utf-8")
        self.passphrase_file.chmod(0o600)
        for name in (SERVER, *names):
            ppcmi("identity", "new", "--name", name, *self.acting(name))
        for name in names:
            self.join(name)
        for name in names:
            self.accept(name)

    def join(self, name: str):
        """Ask, and be let in."""
        request = self.root / "joining" / f"{name}.ppcmijoin"
        self.ppcmi("join", "request", "--study", self.study, "--out", request, *self.acting(name))
        return self.ppcmi(
            "join", "approve", request, "--study", self.study, "--out", self.members,
            "--fingerprint", self.fingerprint(name), *self.acting(),
        )  # fmt: skip

    def accept(self, name: str, listed: Path | None = None, code: int = 0):
        return self.ppcmi(
            "join", "accept", listed or self.members, "--study", self.study, "--fingerprint",
            self.fingerprint(SERVER), *self.at_home(name), code=code,
        )  # fmt: skip

    def new_key(self, site: str, file: Path | None = None, *more):
        return self.ppcmi(
            "key", "new", file or self.key(site), "--study", self.study, "--site", site,
            *self.acting(site), *more,
        )  # fmt: skip

    def send_share(self, site: str, out: Path | None = None, key: Path | None = None):
        return self.ppcmi(
            "share-transform", "--key", key or self.key(site), "--study", self.study,
            "--out", out or self.share(site), *self.acting(site),
        )  # fmt: skip

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

    def train_server(self, *more, code=0, sites=SITES):
        shares = [] if self.arrangement == "blind" else [
            word for site in sites for word in ("--share", self.share(site))
        ]  # fmt: skip
        folders = [self.at("pairs", site) for site in sites]
        return self.ppcmi(
            "server", "train", *folders, "--study", self.study, "--server-dir", self.server,
            *self.acting(), *shares, "--epochs", 1, *more, code=code,
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
            "--out", self.at("replies", site), *self.acting(), *more, code=code,
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
    chain = Chain(root, arrangement, ppcmi, root / "homes")
    chain.meet()
    for number, site in enumerate(SITES):
        images, masks = ellipses(number, 11)
        secret = f"Doe^Jane-{site}-1961"
        make_cases(chain.at("data", site), images[:6], masks[:6], secret)
        make_cases(chain.at("new", site), images[6:8], masks[6:8], f"new-{secret}")
        if site == "north":
            write_volume(chain.at("new", site), f"volume-{secret}", images[8:], masks[8:])
        chain.new_key(site)
        chain.train_site(site)
        chain.protect_pairs(site)
        if arrangement == "escrow":
            chain.send_share(site)
    chain.train_server()
    for site in SITES:
        chain.protect(site)
        chain.map(site)
        chain.reveal(site)
    return chain


@pytest.fixture(scope="session")
def built_escrow(tmp_path_factory, ppcmi, ellipses, make_cases) -> Chain:
    return build(tmp_path_factory.mktemp("e") / "all", "escrow", ppcmi, ellipses, make_cases)


@pytest.fixture(scope="session")
def built_blind(tmp_path_factory, ppcmi, ellipses, make_cases) -> Chain:
    return build(tmp_path_factory.mktemp("b") / "all", "blind", ppcmi, ellipses, make_cases)


def with_own_homes(chain: Chain, tmp_path_factory) -> Chain:
    homes = tmp_path_factory.mktemp("homes") / "h"
    return replace(chain, homes=shutil.copytree(chain.homes, homes))


@pytest.fixture
def escrow_chain(built_escrow, tmp_path_factory) -> Chain:
    """Do not change its files: take ``chain.copy``. The homes are the test's own."""
    return with_own_homes(built_escrow, tmp_path_factory)


@pytest.fixture
def blind_chain(built_blind, tmp_path_factory) -> Chain:
    return with_own_homes(built_blind, tmp_path_factory)


@pytest.fixture(params=["escrow", "blind"])
def chain(request) -> Chain:
    return request.getfixturevalue(f"{request.param}_chain")


@pytest.fixture(scope="session")
def listing():
    """Every file below a folder, hidden ones too, with its size and time; but no locks or homes."""

    def every(folder: Path) -> dict[str, tuple[int, int]]:
        return {
            path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != ".ppcmi.lock"
            and "homes" not in path.relative_to(folder).parts
        }  # fmt: skip

    return every


@pytest.fixture
def data(escrow_chain, tmp_path):
    """A site's images and masks; spoil them at will."""
    return shutil.copytree(escrow_chain.at("data", "north"), tmp_path / "data")


def train(chain, data, site_dir):
    """Words of a training on spoiled data."""
    return (
        "site", "train", data, "--study", chain.study, "--name", "north", "--site-dir", site_dir,
        "--epochs", 1,
    )  # fmt: skip


def protect(chain, data, out, *more):
    """Words to protect spoiled data."""
    return ("site", "protect", data, *chain.mine("north"), "--out", out, *more)
