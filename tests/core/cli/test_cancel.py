"""SIGINT and SIGTERM: gone within two seconds, 130, nothing left behind; then it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

SECONDS = 2.0


@pytest.fixture
def stop(script, tmp_path):
    """Start a verb, send a signal once ``begun`` says so, and give back what it printed."""

    def run(words, number, begun):
        log = tmp_path / "stderr"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [str(script), *(str(word) for word in words)],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            deadline = time.monotonic() + 120
            while not begun(log.read_text()) and time.monotonic() < deadline:
                assert process.poll() is None, log.read_text()
                time.sleep(0.01)
            sent = time.monotonic()
            process.send_signal(number)
            out, _ = process.communicate(timeout=60)
            took = time.monotonic() - sent
        return process.returncode, out.decode(), log.read_text(), took

    return run


def hidden(folder):
    return [
        path.name
        for path in folder.rglob(".*")
        if not path.name.endswith("_autoencoder.checkpoint.safetensors")
        and "mapping_network.checkpoint" not in path.name
    ]


def check(stopped):
    code, out, err, took = stopped
    assert code == 130, err
    assert "Cancelled. " in err.replace("\n", " ") and "Traceback" not in err
    assert took < SECONDS
    return out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_site_train(escrow_chain, tmp_path, stop, number, ppcmi):
    chain, site = escrow_chain, tmp_path / "site"
    words = [
        "site", "train", chain.at("data", "north"), "--study", chain.study, "--name", "north",
        "--site-dir", site, "--epochs", 60, "--no-augment",
    ]  # fmt: skip
    checkpoint = site / ".image_autoencoder.checkpoint.safetensors"
    out = check(stop([*words, "--json"], number, lambda _: checkpoint.is_file()))
    assert out.count("\n") == 1 and '"exit_code": 130' in out
    assert [path.name for path in site.iterdir()] == [checkpoint.name]
    before = checkpoint.stat().st_mtime_ns
    trained = ppcmi(*words, "--json").json
    assert trained["image"]["epochs"] > 0 and checkpoint.exists() is False and before
    assert not hidden(site)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_train(escrow_chain, tmp_path, stop, number, ppcmi):
    chain, server = escrow_chain, tmp_path / "server"
    words = [
        "server", "train", chain.at("pairs", "north"), "--study", chain.study, "--share",
        chain.share("north"), "--server-dir", server, "--epochs", 60, "--patience", 60,
    ]  # fmt: skip
    checkpoint = server / ".mapping_network.checkpoint.safetensors"
    check(stop(words, number, lambda _: checkpoint.is_file()))
    assert [path.name for path in server.iterdir()] == [checkpoint.name]
    assert ppcmi(*words, "--json").json["fit"]["epochs"] == 60
    assert sorted(path.name for path in server.iterdir()) == [
        "mapping_network.safetensors", "shares", "study.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_site_protect(escrow_chain, tmp_path, stop, number, ppcmi, ellipses, make_cases):
    chain, out = escrow_chain.copy(tmp_path / "copy"), tmp_path / "out"
    images, masks = ellipses(0, 1)
    make_cases(tmp_path / "many", images, masks)
    first = next((tmp_path / "many" / "images").iterdir())
    for index in range(400):
        shutil.copy(first, first.with_name(f"other_{index:03d}.png"))
    words = ["site", "protect", first.parent, *chain.mine("north"), "--out", out]
    check(stop(words, number, lambda _: out.is_dir() and len(os.listdir(out)) > 3))
    written = [path.name for path in out.iterdir()]
    assert written and all(name.startswith("query-") for name in written)
    rest = ppcmi(*words, "--json").json
    assert len(rest["skipped"]) == len(written) and len(rest["bundles"]) == 401 - len(written)


def test_pairs_are_whole_or_not_there(escrow_chain, tmp_path, stop, ppcmi):
    chain, out = escrow_chain.copy(tmp_path / "copy"), tmp_path / "out"
    words = [
        "site", "protect", chain.at("data", "north"), "--pairs", *chain.mine("north"),
        "--out", out, "--copies", 500,
    ]  # fmt: skip
    check(stop(words, signal.SIGTERM, lambda _: out.is_dir() and any(out.iterdir())))
    assert list(out.iterdir()) == []
    words[-1] = 1
    assert len(ppcmi(*words, "--json").json["bundles"]) == 1


def test_before_it_has_begun(stop, escrow_chain, tmp_path):
    """While torch is imported, say."""
    words = ["server", "map", escrow_chain.at("queries", "north"), "--server-dir",
             escrow_chain.server, "--out", tmp_path / "out"]  # fmt: skip
    started = time.monotonic()
    code, _, err, took = stop(words, signal.SIGTERM, lambda _: time.monotonic() - started > 0.7)
    assert code in (130, 0) and took < SECONDS and "Traceback" not in err
