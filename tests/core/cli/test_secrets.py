"""No secret in any output, exception, argument or file: keys, shares, identities, passphrases."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from ppcmi_sf import errors
from ppcmi_sf.cli.app import app
from ppcmi_sf.keys import ClientKey

SITES = ("north", "south", "west")
OTHER = "Regenschirm & Stativ, 1961"


def forms(secret: bytes):
    """Every way in which bytes are likely to be written down."""
    yield from (secret, secret.hex().encode(), secret.hex().upper().encode())
    yield secret.hex(" ").encode()
    yield secret.hex(":").encode()
    for at in range(3):  # base64 has three alignments, and the ends depend on the neighbours
        for coded in (base64.b64encode, base64.urlsafe_b64encode):
            yield coded(bytes(at) + secret)[4 if at else 0 :].rstrip(b"=")[:-2]
    yield repr(secret).encode()[2:-1]
    yield str(list(secret)).encode()[1:-1]
    yield str(int.from_bytes(secret, "big")).encode()
    yield str(int.from_bytes(secret, "little")).encode()


def text_forms(text: str):
    yield from forms(text.encode())
    yield from (text.encode("utf-16-le"), text.encode("utf-16-be"), ascii(text).encode()[1:-1])
    yield json.dumps(text).encode()[1:-1]


def secrets_of(chain, *keys):
    """Of everybody: client keys, their shares, both private halves of identities, passphrases."""
    for key in (*(chain.client_key(site) for site in SITES), *keys):
        yield from forms(key.secret)
        yield from forms(key.transform_share().secret)
    for name in ("server", *SITES):
        identity = chain.party(name).identity
        yield from forms(identity.sign_secret)
        yield from forms(identity.encrypt_secret)
        yield from forms(identity.sign_secret + identity.encrypt_secret)
    for passphrase in (chain.passphrase_file.read_text(encoding="utf-8").strip(), OTHER):
        yield from text_forms(passphrase)


def verbs():
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        yield from ((name, sub) for sub in inner) if inner else [(name,)]


VERBS = {*verbs(), ("log",)}


def verb_of(words):
    return words[:2] if tuple(words[:2]) in VERBS else words[:1]


@pytest.fixture
def ring(keyring_in_memory):
    with keyring_in_memory():
        yield


@pytest.fixture
def raised(monkeypatch):
    """Every error of the family that is made meanwhile, as Python would print it."""
    made, init = [], errors.PPCMIError.__init__

    def noting(self, *args, **more):
        init(self, *args, **more)
        made.append(self)

    monkeypatch.setattr(errors.PPCMIError, "__init__", noting)
    return made


def printed(error):
    every = [error, error.__cause__, error.__context__]
    texts = ["".join(traceback.format_exception(one)) for one in every if one is not None]
    return "\n".join([*texts, repr(error), str(error), repr(vars(error))])


def succeeding(chain, tmp):
    """Each verb with what it needs; a chain of its own."""
    north, server = chain.acting("north"), chain.acting()
    study, mine = ("--study", chain.study), chain.mine("north")
    card, spare, new = tmp / "c.ppcmicard", tmp / "k2.ppcmikey", tmp / "new.txt"
    new.write_text(OTHER + "\n", encoding="utf-8")
    new.chmod(0o600)
    images, serving = chain.at("new", "north") / "images", ("--server-dir", chain.server)
    yield ("study", "new", tmp / "s.yaml", "--name", "a", "--modality", "MR", "--class", "b")
    yield ("identity", "new", "--name", "east", "--home", tmp / "east", "--passphrase-file", new)
    yield ("identity", "show", *north[:2])
    yield ("identity", "fingerprint", *north[:2])
    yield ("identity", "export", card, "--home", tmp / "east")
    yield ("identity", "renew", *north)
    east = ("--home", tmp / "east", "--passphrase-file", new)
    yield ("identity", "passphrase", *east, "--new-passphrase-file", chain.passphrase_file)
    yield ("identity", "remember", *east[:2], *chain.known)
    yield ("identity", "passphrase", *east[:2], "--new-passphrase-file", new)
    yield ("identity", "forget", *east[:2])
    request = tmp / "east.ppcmijoin"
    yield ("join", "request", *study, "--out", request, "--home", tmp / "east",
           "--passphrase-file", new)  # fmt: skip
    words = chain.ppcmi("identity", "fingerprint", "--words", "--home", tmp / "east").out.strip()
    members = ("--out", tmp / "l.ppcmimembers")
    yield ("join", "approve", request, *study, *members, "--fingerprint", words, *server)
    yield ("join", "remove", "east", *study, *members, *server)
    yield ("join", "renew", *study, *members, *server)
    yield ("join", "accept", tmp / "l.ppcmimembers", *study, *north[:2])
    yield ("join", "show", *study, *north[:2])
    yield ("contact", "add", card, "--fingerprint", words, *north[:2])
    yield ("contact", "list", *north[:2])
    yield ("contact", "revoke", "east", *north[:2])
    yield ("contact", "remove", "east", *north[:2])
    yield ("key", "new", tmp / "k.ppcmikey", *study, "--site", "x", *north)
    yield ("key", "show", chain.key("north"), "--check", *chain.known)
    yield ("share-transform", "--key", chain.key("north"), *study, "--out", tmp / "s.ppcmishare",
           *north)  # fmt: skip
    yield ("site", "train", chain.at("data", "north"), *study, "--name", "north", "--site-dir",
           tmp / "site", "--epochs", 1)  # fmt: skip
    yield ("site", "protect", images, *mine, "--out", tmp / "q")
    yield ("site", "protect", chain.at("data", "north"), "--pairs", *mine, "--out", tmp / "p",
           "--copies", 1)  # fmt: skip
    yield ("server", "train", tmp / "p", *study, "--server-dir", tmp / "server", "--share",
           tmp / "s.ppcmishare", "--epochs", 1, *server)  # fmt: skip
    yield ("server", "train", chain.at("pairs", "south"), *study, "--server-dir", tmp / "server2",
           "--share", chain.share("south"), "--epochs", 1, "--again", *server)  # fmt: skip
    yield ("server", "join", tmp / "p", "--server-dir", tmp / "server2", "--share",
           tmp / "s.ppcmishare", "--epochs", 1, "--again", *server)  # fmt: skip
    yield ("server", "map", tmp / "q", *serving, "--out", tmp / "r", *server)
    yield ("site", "reveal", tmp / "r", *mine, "--out", tmp / "m")
    yield ("server", "publish", "--to", "north", *serving, "--out", tmp / "n", *server)
    (model,) = (tmp / "n").iterdir()
    yield ("site", "install", model, *mine)
    yield ("site", "align", chain.at("data", "north"), *mine[:4], *chain.known, "--epochs", 1)
    yield ("site", "segment", images, *mine[:4], *chain.known, "--out", tmp / "m2")
    yield ("log", *north[:2])
    yield ("log", "verify", *north[:2])
    yield ("log", "export", tmp / "log.csv", *north[:2])
    query = next((tmp / "q").iterdir())
    yield ("log", "items", query.stem, *north[:2])
    for file in (chain.key("north"), chain.share("north"), chain.home("north") / "identity.ppcmiid",
                 card, request, tmp / "l.ppcmimembers", tmp / "s.yaml", query, model):  # fmt: skip
        yield ("inspect", file)
    yield ("inspect", query, "--open", *server)
    yield ("evaluate", "--pred", tmp / "m", "--truth", chain.at("new", "north"))
    yield ("key", "rotate", chain.key("north"), "--out", spare, *north)
    yield ("key", "passphrase", spare, "--new-passphrase-file", new, *chain.known)
    yield ("key", "remember", spare, "--passphrase-file", new)
    yield ("key", "show", spare, "--check")
    yield ("key", "forget", spare)
    yield ("audit", chain.at("sites", "north"), "--data", chain.at("data", "north"), "--key",
           chain.key("north"), "--out", tmp / "audit", "--quick", "--attack", "known-plaintext",
           "--items", 4, *chain.known)  # fmt: skip
    yield ("doctor",)
    yield ("demo", "--images-only", "--out", tmp / "demo")


def spoilt_keys(chain, tmp_path):
    """Key files that are damaged in several ways, and a good one under another passphrase."""
    text = chain.key("north").read_text()
    for number, content in enumerate(
        (
            text[:-5],
            text.replace('"version": 2', '"version": 3'),
            text.replace('"site": "north"', '"site": "nurth"'),
            text.replace('"sealed": "', '"sealed": "00'),
            text.replace('"memory_kib": 8192', '"memory_kib": 131072'),
        )
    ):
        path = tmp_path / f"spoilt{number}.ppcmikey"
        path.write_text(content)
        path.chmod(0o600)
        yield path, chain.known
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(OTHER + "\n", encoding="utf-8")
    wrong.chmod(0o600)
    yield chain.key("north"), ("--passphrase-file", wrong)
    yield chain.key("north"), ()
    yield chain.passphrase_file, chain.known  # the secret itself, taken for a key


def failing(chain, tmp_path):
    """Each verb with something wrong, a secret file in hand where it takes one."""
    key, site, out = chain.key("north"), chain.at("sites", "north"), tmp_path / "out"
    north, server, study = chain.acting("north"), chain.acting(), ("--study", chain.study)
    folder, images = ("--site-dir", site), chain.at("new", "north") / "images"
    secret_files = (key, chain.passphrase_file, chain.home("north") / "identity.ppcmiid")
    for wrong, given in spoilt_keys(chain, tmp_path):
        home = north[:2] + given
        yield ("key", "show", wrong, "--check", *given)
        yield ("key", "rotate", wrong, "--out", out, *home)
        yield ("key", "passphrase", wrong, "--new-passphrase-file", chain.passphrase_file, *given)
        yield ("key", "remember", wrong, *given)
        yield ("site", "protect", images, *folder, "--out", out, "--key", wrong, *home)
        yield ("site", "reveal", chain.at("replies", "north"), *folder, "--out", out, "--key",
               wrong, *home)  # fmt: skip
        yield ("site", "install", key, *folder, "--key", wrong, *home)
        yield ("site", "segment", images, *folder, "--out", out, "--key", wrong, *given)
        yield ("site", "align", images, *folder, "--key", wrong, *given)
        yield ("share-transform", "--key", wrong, *study, "--out", out, *home)
    for file in secret_files:
        yield ("study", "new", file, "--name", "x", "--modality", "MR", "--class", "a", "--force")
        yield ("site", "train", images, "--study", file, "--name", "n", "--site-dir", out)
        yield ("site", "train", file, *study, "--name", "n", "--site-dir", out)
        yield ("site", "install", file, *folder, "--key", key, *north)
        yield ("server", "map", file, "--server-dir", chain.server, "--out", out, *server)
        yield ("server", "map", images, "--server-dir", file, "--out", out, *server)
        yield ("server", "train", file, *study, "--server-dir", out, "--share", file, *server)
        yield ("server", "join", file, "--server-dir", chain.server, "--share", file, *server)
        yield ("server", "publish", "--to", "nobody", "--server-dir", file, "--out", out, *server)
        yield ("evaluate", "--pred", file, "--truth", file, "--study", file)
        yield ("contact", "add", file, *north[:2])
        yield ("join", "approve", file, *study, "--out", out, *server)
        yield ("join", "accept", file, *study, *north[:2])
        yield ("join", "show", "--study", file, *north[:2])
        yield ("key", "new", file, *study, "--site", "x", *north)
        yield ("key", "new", out, *study, "--site", "x", *north[:2], "--passphrase-file", images)
        yield ("demo", "--out", file)
        yield ("log", "export", file / "x", *north[:2])
    for given in ((), ("--passphrase-file", key), ("--passphrase-file", tmp_path / "wrong.txt")):
        yield ("identity", "renew", *north[:2], *given)
        yield ("identity", "remember", *north[:2], *given)
        yield ("identity", "passphrase", *north[:2], *given, "--new-passphrase-file", key)
        yield ("join", "request", *study, "--out", out, *north[:2], *given)
        yield (
            "server",
            "map",
            key,
            "--server-dir",
            chain.server,
            "--out",
            out,
            *server[:2],
            *given,
        )
    yield ("inspect", chain.passphrase_file)
    yield ("log", "--home", key)
    yield ("log", "verify", "--head", key, *north[:2])
    yield ("log", "items", chain.passphrase_file, *north[:2])
    for verb in ("show", "fingerprint", "export", "forget"):
        yield (
            "identity",
            verb,
            *(("x",) if verb == "export" else ()),
            "--home",
            chain.study.parent,
        )
    yield ("identity", "new", "--name", "n", *north)
    for verb in ("revoke", "remove"):
        yield ("contact", verb, chain.passphrase_file, *north[:2])
    yield ("contact", "list", "--home", key)
    yield ("join", "remove", "n", *study, "--out", out, *server)
    yield ("join", "renew", "--study", key, "--out", out, *server)
    yield ("key", "forget", chain.passphrase_file)
    yield ("audit", key, "--data", key, "--key", chain.key("north"), "--out", out)
    yield ("doctor", "--no-such-option")


def test_no_secret_in_any_output_exception_or_file(
    escrow_chain, tmp_path, monkeypatch, ppcmi, ring, raised
):
    """Every verb, with and without success, --json and PPCMI_DEBUG."""
    begun, chain, done = len(ppcmi.ran), escrow_chain.copy(tmp_path / "copy"), {}
    for number, (debug, more) in enumerate((("", ()), ("1", ("--json",)))):
        monkeypatch.setenv("PPCMI_DEBUG", debug)
        each = chain.copy(tmp_path / f"copy{number}")
        folder = tmp_path / f"made{number}"
        folder.mkdir()
        for words in failing(each, folder):
            code = ppcmi(*words, *more, code=None).code
            assert code, words
            done.setdefault(verb_of(words), set()).add("failed")
        for words in succeeding(each, folder):
            ppcmi(*words, *more)
            done.setdefault(verb_of(words), set()).add("succeeded")
    assert set(done) == VERBS
    assert [verb for verb, how in done.items() if how != {"failed", "succeeded"}] == []

    ran = ppcmi.ran[begun:]
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    texts = {path for path in held if path.suffix == ".txt"}  # the passphrases themselves
    contents = {
        "output": "\n".join(one.said for one in ran).encode(errors="replace"),
        "arguments": "\n".join(" ".join(one.args) for one in ran).encode(),
        "exceptions": "\n".join(printed(error) for error in raised).encode(),
    } | {str(path): path.read_bytes() for path in held if path not in texts}
    assert len(contents["output"]) > 100_000 and len(contents) > 150 and len(raised) > 150
    new = [ClientKey.load(tmp_path / f"made{n}" / "k2.ppcmikey", secret(OTHER)) for n in (0, 1)]
    wanted = set(secrets_of(chain, *new))
    assert all(len(form) >= 12 for form in wanted)
    found = [name for name, content in contents.items() if any(form in content for form in wanted)]
    assert found == []
    # The search finds what is there.
    passphrases = b"".join(path.read_bytes() for path in texts)
    assert sum(form in passphrases for form in wanted) >= 2
    share = chain.client_key("north").transform_share().secret
    for hidden in (share.hex(), base64.b64encode(b"x" + share).decode(), repr(share)):
        assert any(form in hidden.encode() for form in wanted)


def secret(text):
    from pydantic import SecretStr

    return SecretStr(text)


def test_an_unforeseen_error_that_quotes_a_secret(escrow_chain, ppcmi, tmp_path, monkeypatch):
    chain = escrow_chain

    def broken(key):
        raise LookupError(f"{key.secret.hex()} {key.secret!r}")

    monkeypatch.setattr(ClientKey, "transform_share", broken)
    words = ("share-transform", "--key", chain.key("north"), "--study", chain.study)
    words = (*words, "--out", tmp_path / "s", *chain.acting("north"))
    ran = ppcmi.fails(*words, code=1, saying="Something went wrong inside ppcmi (LookupError at")
    monkeypatch.undo()
    wanted = list(forms(chain.client_key("north").secret))
    assert not any(form in ran.said.encode() for form in wanted)


def processes_of(group):
    """Command lines and environments of a process and all its children (Linux)."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                yield (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:  # it has just ended
            continue


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's /proc")
def test_no_secret_in_the_arguments_of_any_process(escrow_chain, script, tmp_path):
    """Nor in the environment; everybody on the computer sees the one, the user's own the other."""
    chain, seen = escrow_chain, []
    image = next((chain.at("new", "south") / "images").iterdir())
    words = (script, "site", "protect", image, *chain.mine("south"), "--out", tmp_path / "q")
    process = subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while process.poll() is None:
        seen.extend(processes_of(process.pid))
        time.sleep(0.02)
    assert process.returncode == 0 and len(list((tmp_path / "q").iterdir())) == 1
    everything = b"\n".join(part for pair in set(seen) for part in pair)
    assert b"protect" in everything and b"--passphrase-file" in everything
    assert not any(form in everything for form in set(secrets_of(chain)))


def test_objects_do_not_show_what_they_hold(escrow_chain):
    chain = escrow_chain
    key, party = chain.client_key("north"), chain.party("north")
    held = (key, key.transform_share(), party, party.identity, replace(key, epoch=2), secret(OTHER))
    shown = " ".join(f"{one!r} {one}" for one in held).encode()
    assert not any(form in shown for form in set(secrets_of(chain)))


def test_secret_files_are_the_owners_alone(chain, tmp_path):
    held = [path for path in chain.homes.rglob("*") if path.is_file()]
    held += [chain.key(site) for site in SITES]
    if chain.arrangement == "escrow":
        held += [*(chain.server / "shares").iterdir(), *(chain.share(site) for site in SITES)]
    assert len(held) >= 11 and not [path for path in held if path.stat().st_mode & 0o077]
    assert not [path for path in chain.server.rglob("*") if path.suffix in (".json", ".key")]
    shutil.rmtree(tmp_path)
