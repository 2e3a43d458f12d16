"""SIGINT and SIGTERM: gone within two seconds, 130, nothing left behind; then it goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

SECONDS = 2.0
LOCK = ".ppcmi.lock"
SIGNALS = {"int": signal.SIGINT, "term": signal.SIGTERM}


@dataclass
class Running:
    """A verb in a process of its own, stopped by a signal as soon as it is well under way."""

    line: list
    number: int
    under_way: object
    log: object
    process: subprocess.Popen = field(init=False)
    sent: float = 0.0
    took: float = 0.0

    def start(self):
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [str(word) for word in self.line],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def step(self) -> bool:
        """Signal it when it is time, and say whether it has ended."""
        if not self.sent:
            assert self.process.poll() is None, self.said
            if self.under_way(self.said):
                self.sent = time.monotonic()
                self.process.send_signal(self.number)
        elif self.process.poll() is not None:
            self.took = time.monotonic() - self.sent
            return True
        return False

    @property
    def said(self):
        return self.log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def stop(tmp_path):
    """Stop several verbs at the same time (each takes seconds to start); give back their output."""

    def run(*wanted):
        running = [
            Running(line, number, under_way, tmp_path / f"stderr{index}")
            for index, (line, number, under_way) in enumerate(wanted)
        ]
        for one in running:
            one.start()
        waiting, deadline = list(running), time.monotonic() + 120
        while waiting:
            assert time.monotonic() < deadline, [one.said for one in waiting]
            waiting = [one for one in waiting if not one.step()]
            time.sleep(0.01)
        for one in running:
            assert one.process.returncode == 130, one.said
            assert "Cancelled.\n" in one.said and "Traceback" not in one.said
            assert one.took < SECONDS
        return [one.process.stdout.read().decode() for one in running]

    return run


def test_site_train(escrow_chain, tmp_path, stop, ppcmi, script):
    chain, wanted, words, checkpoints = escrow_chain, [], {}, {}
    for name, number in SIGNALS.items():
        words[name] = [
            "site", "train", chain.at("data", "north"), "--study", chain.study, "--name", "north",
            "--site-dir", tmp_path / name, "--epochs", 10, "--no-augment",
        ]  # fmt: skip
        checkpoint = tmp_path / name / ".image_autoencoder.checkpoint.safetensors"
        checkpoints[name] = checkpoint
        wanted.append(
            ([script, *words[name], "--json"], number, lambda _, file=checkpoint: file.is_file())
        )
    for out in stop(*wanted):
        assert out.count("\n") == 1 and '"exit_code": 130' in out
    for name in SIGNALS:
        left = {path.name for path in (tmp_path / name).iterdir()}
        assert left == {LOCK, checkpoints[name].name}
        trained = ppcmi(*words[name], "--json").json
        assert trained["image"]["epochs"] == trained["mask"]["epochs"] == 10
        assert [path.name for path in (tmp_path / name).glob(".*")] == [LOCK]


def test_server_train(escrow_chain, tmp_path, stop, ppcmi, script):
    chain, wanted, words = escrow_chain, [], {}
    for name, number in SIGNALS.items():
        words[name] = [
            "server", "train", chain.at("pairs", "north"), "--study", chain.study, "--share",
            chain.share("north"), "--server-dir", tmp_path / name, "--epochs", 16, "--patience", 30,
            "--again", *chain.acting(),
        ]  # fmt: skip
        checkpoint = tmp_path / name / ".mapping_network.checkpoint.safetensors"
        wanted.append(([script, *words[name]], number, lambda _, file=checkpoint: file.is_file()))
    assert stop(*wanted) == ["", ""]
    for name in SIGNALS:
        folder = tmp_path / name
        assert {path.name for path in folder.iterdir()} == {
            LOCK, ".mapping_network.checkpoint.safetensors",
        }  # fmt: skip
        assert ppcmi(*words[name], "--json").json["fit"]["epochs"] == 16
        assert sorted(path.name for path in folder.iterdir()) == [
            LOCK, "mapping_network.safetensors", "shares", "study.yaml",
        ]  # fmt: skip


def test_site_align(escrow_chain, tmp_path, stop, ppcmi, script):
    chain = escrow_chain.copy(tmp_path / "copy")
    publish = ("server", "publish", "--to", "north", "--server-dir", chain.server)
    ppcmi(*publish, "--out", tmp_path / "models", *chain.acting())
    (bundle,) = (tmp_path / "models").glob("*.ppcmi")
    ppcmi("site", "install", bundle, *chain.mine("north"))
    before = {path.name for path in chain.at("sites", "north").iterdir()}
    wanted, words = [], {}
    for name, number in SIGNALS.items():
        site = shutil.copytree(chain.at("sites", "north"), tmp_path / name)
        words[name] = [
            "site", "align", chain.at("data", "north"), "--site-dir", site, "--key",
            chain.key("north"), *chain.known, "--epochs", 10, "--patience", 30,
        ]  # fmt: skip
        checkpoint = site / ".aligned_encoder.checkpoint.safetensors"
        wanted.append(([script, *words[name]], number, lambda _, file=checkpoint: file.is_file()))
    assert stop(*wanted) == ["", ""]
    for name in SIGNALS:
        left = {path.name for path in (tmp_path / name).iterdir()}
        assert left == before | {LOCK, ".aligned_encoder.checkpoint.safetensors"}
        assert ppcmi(*words[name], "--json").json["encoder"]["epochs"] == 10
        left = {path.name for path in (tmp_path / name).iterdir()}
        assert left - before <= {LOCK, "aligned_encoder.safetensors"}


def test_site_protect(escrow_chain, tmp_path, stop, ppcmi, script, ellipses, make_cases):
    chain = escrow_chain.copy(tmp_path / "copy")
    make_cases(tmp_path / "many", *ellipses(0, 1))
    first = next((tmp_path / "many" / "images").iterdir())
    for index in range(150):
        shutil.copy(first, first.with_name(f"other_{index:03d}.png"))
    wanted, words = [], {}
    # One site each: two commands in one site's folder are refused.
    for (name, number), site in zip(SIGNALS.items(), ("north", "south"), strict=True):
        out = tmp_path / name
        words[name] = ["site", "protect", first.parent, *chain.mine(site), "--out", out]
        wanted.append(
            ([script, *words[name]], number, lambda _, out=out: len(list(out.glob("*.ppcmi"))) > 3)
        )
    stop(*wanted)
    for name in SIGNALS:
        written = [path.name for path in (tmp_path / name).iterdir()]
        assert written and all(re.fullmatch(r"[0-9a-f]{32}\.ppcmi", name) for name in written)
        rest = ppcmi(*words[name], "--json").json
        assert len(rest["skipped"]) == len(written)
        assert len(rest["bundles"]) == 151 - len(written)


def test_pairs_are_whole_or_not_there_and_early_signals(
    escrow_chain, tmp_path, stop, ppcmi, script
):
    chain, out = escrow_chain.copy(tmp_path / "copy"), tmp_path / "out"
    words = [
        "site", "protect", chain.at("data", "north"), "--pairs", *chain.mine("north"),
        "--out", out, "--copies", 2000,
    ]  # fmt: skip
    # The names of modules as they are imported show that torch is not in yet.
    code = "from ppcmi_sf.cli import main; main()"
    early = [
        sys.executable, "-X", "importtime", "-c", code, "server", "map",
        chain.at("queries", "north"), "--server-dir", chain.server, "--out", tmp_path / "replies",
        *chain.acting(),
    ]  # fmt: skip
    stop(
        ([script, *words], signal.SIGTERM, lambda _: out.is_dir() and any(out.iterdir())),
        (early, signal.SIGTERM, lambda said: "torch." in said),
    )
    assert list(out.iterdir()) == [] and not (tmp_path / "replies").exists()
    words[-1] = 1
    assert len(ppcmi(*words, "--json").json["bundles"]) == 1
