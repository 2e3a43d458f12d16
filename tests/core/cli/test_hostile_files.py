"""Received files are hostile: at every verb one sentence, nothing written, the others go on."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import time
import zipfile

import pytest

from ppcmi_sf.bundle import SUFFIX


def a_link(good, bad, chain):
    bad.symlink_to(good)
    return "not a file but a link"


def a_link_to_nowhere(good, bad, chain):
    bad.symlink_to(bad.parent / "gone")
    return "no such file or folder|not a file but a link"


def a_pipe(good, bad, chain):
    os.mkfifo(bad)
    return "not a file but a pipe"


def a_folder(good, bad, chain):
    bad.mkdir()
    return "no '[a-z]+' bundle for|not a file but a folder"


def cut_short(good, bad, chain):
    bad.write_bytes(good.read_bytes()[:-700])
    return "cut short"


def nothing_in_it(good, bad, chain):
    bad.touch()
    return "the file is empty"


def a_zip(good, bad, chain):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(good, "../../evil")
    bad.write_bytes(packed.getvalue())
    return "not a latent bundle"


def one_bit(good, bad, chain):
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 4
    bad.write_bytes(content)
    return "changed|not what '[a-z]+' signed"


def lengthened(good, bad, chain):
    bad.write_bytes(good.read_bytes() + b"\0" * 9)
    return "9 bytes were added at its end"


def through_a_text_editor(good, bad, chain):
    bad.write_bytes(good.read_bytes().replace(b"\r\n", b"\n"))
    return "treated it as text"


def for_somebody_else(good, bad, chain):
    shutil.copy(next(chain.at("replies", "west").iterdir()), bad)
    return "encrypted to others"


def of_nobody_known(good, bad, chain):
    """Written for this reader by an identity that it has never heard of."""
    readers = chain.header(good, chain.reader).recipients
    ppcmi, stranger = chain.ppcmi, ("--home", bad.parent.parent / "stranger", *chain.known)
    if not stranger[1].exists():
        ppcmi("identity", "new", "--name", "stranger", *stranger)
    card = bad.parent / "reader.card"
    ppcmi("identity", "export", card, *chain.at_home(chain.reader))
    ppcmi("contact", "add", card, "--fingerprint", readers[0], *stranger[:2])
    card.unlink()
    image = next((chain.at("new", "south") / "images").iterdir())
    out = bad.parent.parent / f"from-stranger-{bad.parent.name}-{bad.stem}"
    words = ("--site-dir", chain.at("sites", "south"), "--key", chain.key("south"), *stranger)
    told = ppcmi("site", "protect", image, *words, "--to", chain.reader, "--out", out, "--json")
    shutil.copy(out / told.json["bundles"][0], bad)
    return "the sender is unknown"


FAULTS = (
    a_link, a_link_to_nowhere, a_pipe, a_folder, cut_short, nothing_in_it, a_zip, one_bit,
    lengthened, through_a_text_editor, for_somebody_else, of_nobody_known,
)  # fmt: skip


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.__name__)
def spoil(request, escrow_chain, tmp_path):
    """Put a bad file in the place of a good one, for a reader; tell what must be said of it."""

    def put(good, reader, name=f"bad{SUFFIX}"):
        folder = tmp_path / f"in-{reader}"
        folder.mkdir(exist_ok=True)
        escrow_chain.reader = reader
        bad = folder / name
        return bad, request.param(good, bad, escrow_chain)

    return put


def first(folder):
    return sorted(folder.iterdir())[0]


def told_plainly(ran, bad, why, code):
    """One sentence that names the file, then what to do."""
    assert ran.code == code and ran.out == "", ran.said
    (sentence,) = (line for line in ran.err.splitlines() if line.startswith("Error: "))
    assert re.search(why, sentence) and str(bad) in sentence, sentence


def test_a_batch_goes_on_without_them(escrow_chain, ppcmi, tmp_path, spoil):
    chain = escrow_chain
    mapping = ("--server-dir", chain.server, *chain.acting())
    for verb, reader, given, more in (
        (("server", "map"), "server", "queries", mapping),
        (("site", "reveal"), "north", "replies", chain.mine("north")),
    ):
        good, other = sorted(chain.at(given, "north").iterdir())[:2]
        bad, why = spoil(good, reader)
        out = tmp_path / f"out-{reader}"
        words = (*verb, bad, other, *more, "--out", out, "--again")
        if (bad.is_symlink() and not bad.exists()) or bad.is_dir():
            # A path that is missing, or a folder without bundles: the user mistyped.
            ran = ppcmi(*words, code=3)
            told_plainly(ran, bad, why, 3)
            assert not out.exists()
        else:
            told = ppcmi(*words, "--json", code=1)
            (failure,) = told.json["failures"]
            assert failure["case"] == bad.name and str(bad) in failure["error"]
            assert re.search(why, failure["error"]) and failure["hint"].endswith(".")
            assert f"  {bad.name}: " in told.err
            assert len(list(out.iterdir())) == 1
            shutil.rmtree(out)
        shutil.copy(other, bad.parent / other.name)  # the folder as a whole
        ran = ppcmi(*verb, bad.parent, *more, "--out", out, "--again", "--json", code=None)
        # Others' bundles are passed over, and so is the stranger's query among replies.
        passed_over = why == "encrypted to others"
        passed_over |= (verb[0], why) == ("site", "the sender is unknown")
        assert len(ran.json["failures"]) == (0 if passed_over else 1), ran.json
        assert len(list(out.iterdir())) == 1


def test_what_stands_alone_is_refused(escrow_chain, ppcmi, tmp_path, spoil, listing):
    chain = escrow_chain
    words = ("server", "publish", "--server-dir", chain.server, "--out", tmp_path / "models")
    ppcmi(*words, "--to", "north", *chain.acting())
    pairs, model = first(chain.at("pairs", "north")), first(tmp_path / "models")
    training = ("--study", chain.study, "--share", chain.share("north"), "--again")
    training = (*training, "--server-dir", tmp_path / "server", *chain.acting())
    before = listing(chain.at("sites", "north"))
    for good, reader, verb, more in (
        (pairs, "server", ("server", "train"), training),
        (model, "north", ("site", "install"), chain.mine("north")),
        (pairs, "server", ("inspect",), ("--open", *chain.acting())),
    ):
        bad, why = spoil(good, reader, f"bad-{verb[-1]}{SUFFIX}")
        code = 3 if bad.is_symlink() or bad.is_dir() or bad.is_fifo() else 5
        ran = ppcmi(*verb, bad, *more, code=code)
        told_plainly(ran, bad, f"{why}|no such file", code)
        told = ppcmi(*verb, bad, *more, "--json", code=code).json
        assert told["exit_code"] == code and str(bad) in told["error"] and told["hint"]
    assert not (tmp_path / "server").exists()
    assert listing(chain.at("sites", "north")) == before


@pytest.mark.parametrize("fault", [a_link, a_pipe, a_folder, cut_short, nothing_in_it, a_zip])
def test_small_files_of_every_kind(escrow_chain, ppcmi, tmp_path, fault):
    chain, out = escrow_chain, tmp_path / "out"
    card = tmp_path / "good.ppcmicard"
    ppcmi("identity", "export", card, *chain.at_home("south"))
    serving = ("--study", chain.study, "--out", out, *chain.acting())
    accepting = ("--study", chain.study, *chain.at_home("north"))
    training = ("--study", chain.study, "--server-dir", out, *chain.acting(), "--again")
    for good, words, more in (
        (card, ("contact", "add"), chain.at_home("north")),
        (chain.root / "joining" / "south.ppcmijoin", ("join", "approve"), serving),
        (chain.members, ("join", "accept"), accepting),
        (
            chain.share("north"),
            ("server", "train", chain.at("pairs", "north"), "--share"),
            training,
        ),
    ):
        bad = tmp_path / f"bad{good.suffix}"
        fault(good, bad, chain)
        ran = ppcmi(*words, bad, *more, code=None)
        assert ran.code in (3, 4)
        told_plainly(ran, bad, "not a file but|not a valid|damaged", ran.code)
        if fault is not a_folder:
            told_plainly(ppcmi("inspect", bad, code=ran.code), bad, "not a|damaged", ran.code)
    assert not out.exists()


def test_a_bundle_that_a_reader_passed_on_shows_it(escrow_chain, ppcmi, tmp_path):
    """The server cannot send a site's query to somebody else as if the site had."""
    from dataclasses import replace

    from ppcmi_sf.bundle.crypto import unwrap
    from ppcmi_sf.bundle.format import pack_prelude, read_prelude

    chain = escrow_chain
    query, server = first(chain.at("queries", "north")), chain.party("server").identity
    with query.open("rb") as handle:
        prelude = read_prelude(handle, query)
        rest = handle.read()
    (stanza,) = prelude.envelope.recipients
    key = unwrap(stanza, prelude.envelope, server)
    header = key.open_header(prelude.sealed_header, prelude.envelope_bytes)
    envelope = key.envelope([chain.party("south").identity.card]).to_bytes()
    passed = tmp_path / f"passed{SUFFIX}"
    passed.write_bytes(pack_prelude(envelope, key.seal_header(header, envelope)) + rest)
    assert replace(prelude).envelope.fingerprints != (chain.fingerprint("south"),)
    words = ("inspect", passed, "--open", *chain.acting("south"))
    ran = ppcmi.fails(*words, code=5, saying="somebody passed it on", naming=passed.name)
    assert "Tell the sender" in ran.err


def test_two_commands_in_one_work_folder(escrow_chain, ppcmi, script, tmp_path):
    """While one works in a site's or server's folder, another says so; then it may go on."""
    chain = escrow_chain.copy(tmp_path / "copy")
    site, server = chain.at("sites", "north"), chain.server
    training = (
        "site", "train", chain.at("data", "north"), "--study", chain.study, "--name", "north",
        "--site-dir", site, "--epochs", 5000, "--patience", 5000, "--retrain",
    )  # fmt: skip
    serving = (
        "server", "train", chain.at("pairs", "south"), "--study", chain.study, "--share",
        chain.share("south"), "--server-dir", server, "--epochs", 5000, "--patience", 5000,
        "--retrain", *chain.acting(),
    )  # fmt: skip
    images = chain.at("new", "north") / "images"
    running = [
        subprocess.Popen(
            [str(word) for word in (script, *words)],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for words in (training, serving)
    ]
    try:
        deadline = time.monotonic() + 120
        while not (list(site.glob(".image*")) and list(server.glob(".mapping*"))):
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in running)
            time.sleep(0.05)
        out = tmp_path / "out"
        mapping = (chain.at("queries", "south"), "--server-dir", server, *chain.acting())
        for words, folder in (
            (("site", "protect", images, *chain.mine("north"), "--out", out), site),
            (("site", "protect", chain.at("data", "north"), "--pairs", *chain.mine("north"),
              "--out", out), site),
            (("site", "reveal", chain.at("replies", "north"), *chain.mine("north"), "--again",
              "--out", out), site),
            ((*training[:-1], "--retrain"), site),
            (("server", "map", *mapping, "--again", "--out", out), server),
            (serving, server),
        ):  # fmt: skip
            ran = ppcmi.fails(
                *words, code=7, saying="another ppcmi command is working in this folder",
                naming=str(folder),
            )  # fmt: skip
            assert "Wait until it is done" in ran.err
        assert not out.exists()
        # Another site's folder is free.
        ppcmi("site", "protect", images, *chain.mine("south"), "--out", out)
    finally:
        for process in running:
            process.kill()
            process.wait()
    shutil.rmtree(out)
    # Killed without mercy, it leaves no lock behind.
    ppcmi("site", "protect", images, *chain.mine("north"), "--out", out)
    ppcmi("server", "map", out, "--server-dir", server, *chain.acting(), "--out", tmp_path / "r")
