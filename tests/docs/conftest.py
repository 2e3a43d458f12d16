"""Every verb of the command line, run once on a small study."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import typer.main
from click.testing import CliRunner

from ppcmi_sf import secretfile
from ppcmi_sf.cli import demo_command
from ppcmi_sf.cli.app import app
from ppcmi_sf.home import Home
from ppcmi_sf.secretfile import KdfCost

COMMAND = typer.main.get_command(app)


@dataclass
class Study:
    """What the demo leaves: three sites and a server; and everything that verbs said."""

    root: Path
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, verb: str, *words: object, by: str = "", code: int = 0) -> dict[str, Any]:
        """Run a verb in the study's folder, as one of the parties."""
        home = ("--home", f"homes/{by}") if by else ()
        line = [*verb.split(), *(str(word) for word in (*words, *home)), "--json"]
        ran = CliRunner().invoke(COMMAND, line, prog_name="ppcmi")
        assert ran.exit_code == code, f"{line}\n{ran.output}"
        assert len(ran.stdout.splitlines()) == 1
        result = json.loads(ran.stdout)
        if "error" in result:
            self.errors.append(result)
        else:
            self.told.setdefault(verb, []).append(result)
        return dict(result)

    def fingerprint(self, name: str) -> str:
        return Home(self.root / "homes" / name).card().fingerprint


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory,
    write_slice: Callable[..., Path],
    keyring_in_memory: Callable[[], AbstractContextManager[None]],
) -> Iterator[Study]:
    """The demo with few images and cheap passphrases, and then every other verb."""
    root = tmp_path_factory.mktemp("scripting")
    with pytest.MonkeyPatch.context() as patch, keyring_in_memory():
        patch.setattr(demo_command, "TRAINING_IMAGES", 4)
        patch.setattr(demo_command, "TEST_IMAGES", 2)
        patch.setattr(secretfile, "DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))
        patch.setenv("PPCMI_HOME", str(root / "nobody"))
        patch.setenv("PPCMI_PASSPHRASE_FILE", "keys/passphrase.txt")
        patch.chdir(root)
        run = Study(root)
        run("demo", "--out", ".", "--epochs", 1)
        break_some_files()
        write_images(write_slice)
        for part in (parties, keys, site_and_server, files, logs, mistakes):
            part(run)
        yield run


def break_some_files() -> None:
    """A case of each batch fails, so that failures are seen."""
    for kind in ("images", "masks"):
        Path(f"data/north/train/{kind}/broken.png").write_bytes(b"no image")
        Path(f"new/{kind}").mkdir(parents=True)
    with Path("data/north/train/manifest.csv").open("a", encoding="utf-8") as manifest:
        manifest.write("broken.png,nobody\n")
    shutil.copytree("data/north/test/images", "new/images", dirs_exist_ok=True)
    Path("new/images/broken.png").write_bytes(b"no image")
    for kind in ("images", "masks"):  # a site that sends each image twice is a suspicion
        shutil.copytree(f"data/north/train/{kind}", f"twice/{kind}")
        for file in Path(f"data/north/train/{kind}").glob("north_*"):
            shutil.copy(file, f"twice/{kind}/again_{file.name}")


def parties(run: Study) -> None:
    """Identity, contacts, joining; 'east' is new."""
    run("study new", "s.yaml", "--name", "a", "--modality", "US", "--class", "b", "--class", "c")
    run("identity new", "--name", "east", by="east")
    for verb in ("show", "fingerprint", "renew", "remember", "forget"):
        run(f"identity {verb}", by="east")
    run("identity passphrase", "--new-passphrase-file", "keys/passphrase.txt", by="east")
    run("identity export", "south.ppcmicard", by="south")
    card = ("south.ppcmicard", "--fingerprint", run.fingerprint("south"))
    assert not run("contact add", *card, by="east")["renewed"]
    run("identity renew", "--valid-days", 1500, by="south")
    run("identity export", "south.ppcmicard", by="south")
    assert run("contact add", "south.ppcmicard", by="east")["renewed"]
    run("contact list", by="east")
    run("contact revoke", "south", by="east")
    run("contact remove", "south", by="east")
    study, listed = ("--study", "study.yaml"), ("--out", "joining/now.ppcmimembers")
    run("join request", *study, "--out", "joining/east.ppcmijoin", by="east")
    told = ("--fingerprint", run.fingerprint("east"))
    run("join approve", "joining/east.ppcmijoin", *study, *listed, *told, by="server")
    told = ("--fingerprint", run.fingerprint("server"))
    run("join accept", listed[1], *study, *told, by="east")
    run("join show", *study, by="east")
    run("join remove", "east", *study, *listed, by="server")
    run("join renew", *study, *listed, by="server")


def keys(run: Study) -> None:
    """Of 'east', which nobody needs afterwards."""
    key = "keys/east.ppcmikey"
    run("key new", key, "--study", "study.yaml", "--site", "east", by="east")
    for verb in ("show", "remember", "forget"):
        run(f"key {verb}", key)
    run("key passphrase", key, "--new-passphrase-file", "keys/passphrase.txt")
    run("key rotate", key, "--out", "keys/east-2.ppcmikey", by="east")
    study = ("--key", "keys/north.ppcmikey", "--study", "study.yaml")
    run("share-transform", *study, "--out", "again.ppcmishare", by="north")


def site_and_server(run: Study) -> None:
    """A server of two sites, which a third one joins; masks by asking it, and without."""
    mine = ("--site-dir", "sites/north", "--key", "keys/north.ppcmikey")
    data, serving = "data/north/train", ("--server-dir", "server-2")
    site = ("--study", "study.yaml", "--name", "north", "--site-dir", "sites/again")
    run("site train", data, *site, "--epochs", 1, code=1)
    pairs = ("--pairs", *mine, "--out", "pairs", "--copies", 1, "--precision", "float32")
    run("site protect", "twice", *pairs, by="north", code=1)
    for _ in range(2):  # the second time all is done
        run("site protect", "new/images", *mine, "--out", "queries", by="north", code=1)
    shares = [word for name in ("north", "south", "west") for word in _share(name)]
    training = ("--study", "study.yaml", *serving, "--epochs", 1, "--again")
    run("server train", "pairs", "outbox/south", *training, *shares[:4], by="server")
    run("server join", "outbox/west", *serving, "--epochs", 1, "--again", *shares[4:], by="server")
    _spoil(Path("queries"))
    for _ in range(2):
        run("server map", "queries", *serving, "--out", "replies", by="server", code=1)
    _spoil(Path("replies"))
    for _ in range(2):
        run("site reveal", "replies", *mine, "--out", "revealed", by="north", code=1)
    sent = run("server publish", *serving, "--to", "north", "--out", "models", by="server")
    run("site install", f"models/{sent['bundle']}", *mine, by="north")
    # Dice is 0 before and after, so the fit is kept, and there is a file for ``inspect``.
    assert run("site align", data, *mine, "--epochs", 1, code=1)["kept"]
    run("site segment", "new/images", *mine, "--out", "segmented", code=1)
    next(Path("revealed").iterdir()).unlink()
    (Path("revealed") / "unknown.png").write_bytes(next(Path("segmented").iterdir()).read_bytes())
    masks = ("--pred", "revealed", "--truth", "data/north/test/masks")
    run("evaluate", *masks, "--study", "study.yaml", code=1)
    attack = ("--quick", "--attack", "cross-decoder", "--items", 4)
    audited = ("sites/north", "--data", data, *mine[2:], "--out", "audit")
    run("audit", *audited, *attack, by="north", code=1)


def _share(name: str) -> tuple[str, str]:
    return "--share", f"outbox/{name}.ppcmishare"


def _spoil(bundles: Path) -> None:
    whole = next(path for path in bundles.iterdir() if path.suffix == ".ppcmi")
    (bundles / "torn.ppcmi").write_bytes(whole.read_bytes()[:-9])


def files(run: Study) -> None:
    """What ``inspect`` and the rest say."""
    run("inspect", "outbox/north.ppcmishare")
    reply = next(path for path in Path("replies").iterdir() if path.name != "torn.ppcmi")
    run("inspect", reply)
    run("inspect", reply, "--open", by="north")
    for name in (
        "study.yaml", "keys/north.ppcmikey", "homes/north/identity.ppcmiid", "south.ppcmicard",
        "joining/east.ppcmijoin", "joining/now.ppcmimembers", "windowed.yaml",
        "data/north/test/images/north_000.png", "some", "some/a.nii.gz", "some/a.mha",
        "some/a.nrrd",
    ):  # fmt: skip
        run("inspect", name)
    run("inspect", "some", "--series", "1.2.3")
    for model in [*Path("sites/north").glob("*.safetensors"), *Path("server").glob("*.safetens*")]:
        run("inspect", model)
    run("doctor")
    run("demo", "--images-only", "--out", "images")


def write_images(write_slice: Callable[..., Path]) -> None:
    """A volume in each format, two DICOM series, and a study with a window."""
    volume = sitk.GetImageFromArray(np.zeros((3, 8, 9), np.int16))
    for suffix in ("nii.gz", "mha", "nrrd"):
        Path("some").mkdir(exist_ok=True)
        sitk.WriteImage(volume, f"some/a.{suffix}")
    for uid in ("1.2.3", "1.2.4"):
        write_slice(Path(f"some/{uid}.dcm"), np.zeros((20, 24), np.int16), uid=uid)
    text = "name: a\nmodality: CT\nclasses:\n- {name: background, color: '#000000'}\n"
    text += "- {name: b, color: '#e6550d'}\nnormalization: {kind: window, center: 40, width: 400}\n"
    Path("windowed.yaml").write_text(text, encoding="utf-8")


def logs(run: Study) -> None:
    """The disclosure log."""
    entries = run("log", by="north")["entries"]
    run("log verify", by="north")
    run("log export", "log.csv", by="north")
    query = next(entry for entry in entries if entry["kind"] == "query")
    run("log items", query["bundle_id"], by="north")


def mistakes(run: Study) -> None:
    """Errors: of usage, of one file, of a batch of which no case can be tried."""
    run("doctor", "--no-such-option", code=2)
    run("inspect", "nothing", code=3)
    for kind in ("images", "masks"):
        shutil.copytree(f"data/north/test/{kind}", f"bad/{kind}")
        for file in Path("bad", kind).iterdir():
            file.rename(file.with_stem(f"{kind}-{file.stem}"))  # no mask is that of an image
    site = ("--study", "study.yaml", "--name", "north", "--site-dir", "sites/bad")
    run("site train", "bad", *site, code=1)
