"""Paths typed or completed wrongly: the wrong home, a key for a result's place, no path at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.joining import let_in

FULL = Path("/dev/full")
LONG = "y" * 300  # no file system has such a name
UNUSABLE = "cannot be used (File name too long)"


@pytest.fixture
def site(ppcmi, tmp_path):
    """A site with home, key and study, and nothing else."""
    passphrase = tmp_path / "passphrase.txt"
    passphrase.write_text("four random words\n")
    passphrase.chmod(0o600)
    known = ("--home", tmp_path / "home", "--passphrase-file", passphrase)
    study = tmp_path / "study.yaml"
    ppcmi("study", "new", study, "--name", "places", "--modality", "US", "--class", "head")
    ppcmi("identity", "new", "--name", "north", *known)
    key = tmp_path / "north.ppcmikey"
    ppcmi("key", "new", key, "--study", study, "--site", "north", *known)
    return {"home": tmp_path / "home", "key": key, "study": study, "known": known}


@pytest.mark.parametrize("place", ["key", "renamed key", "identity", "registry"])
@pytest.mark.parametrize("verb", ["card", "log", "request"])
def test_no_result_is_written_in_the_place_of_a_secret(site, ppcmi, tmp_path, place, verb):
    file = {
        "key": site["key"],
        "renamed key": tmp_path / "old.bak",
        "identity": site["home"] / "identity.ppcmiid",
        "registry": site["home"] / "registry.sqlite",
    }[place]
    if place == "renamed key":
        site["key"].rename(file)
    before = file.read_bytes()
    words = {
        "card": ("identity", "export", file, "--home", site["home"]),
        "log": ("log", "export", file, "--home", site["home"]),
        "request": ("join", "request", "--study", site["study"], "--out", file, *site["known"]),
    }[verb]
    ppcmi.fails(*words, code=4, saying="nothing else is written in its place", naming=str(file))
    assert file.read_bytes() == before


def test_a_result_still_replaces_an_older_one_and_a_secret_its_own(site, ppcmi, tmp_path):
    card = tmp_path / "north.ppcmicard"
    ppcmi("identity", "export", card, "--home", site["home"])
    old = card.read_bytes()
    ppcmi("identity", "renew", "--valid-days", "30", *site["known"])
    ppcmi("identity", "export", card, "--home", site["home"])
    assert card.read_bytes() != old


@pytest.mark.parametrize("verb", [("verify",), ("export", "x.csv"), ("items", "0" * 32)])
@pytest.mark.parametrize("option", ["--home", "--json"])
def test_options_of_the_log_before_its_verb_are_not_passed_over(
    site, ppcmi, nobodys_home, verb, option
):
    given = (option, site["home"]) if option == "--home" else (option,)
    ran = ppcmi("log", *given, *verb, code=2)
    assert "go behind the verb" in ran.said and f"ppcmi log {verb[0]}" in ran.said
    assert not nobodys_home.exists()  # where the verb would have looked


@pytest.mark.parametrize(
    "words",
    [
        ("log",),
        ("log", "verify"),
        ("log", "export", "x.csv"),
        ("log", "items", "0" * 32),
        ("contact", "list"),
        ("contact", "remove", "x"),
        ("contact", "revoke", "x"),
        ("join", "show"),
    ],
)
def test_a_home_that_is_nobodys_is_not_taken_for_an_empty_one(site, ppcmi, tmp_path, words):
    typed = tmp_path / "hoem"
    study = ("--study", site["study"]) if words[0] == "join" else ()
    said = "there is no identity here yet"
    ppcmi.fails(*words, *study, "--home", typed, code=4, saying=said, naming=str(typed))
    assert not typed.exists()


def test_a_list_is_not_accepted_into_a_folder_that_is_nobodys_home(site, ppcmi, tmp_path):
    server = Party(Home(tmp_path / "server"), Identity.generate("server"))
    study, listed = StudySpec.load(site["study"]), tmp_path / "a.ppcmimembers"
    let_in(server, study, Home(site["home"]).card(), listed)
    told = ("--fingerprint", server.identity.fingerprint)
    words = ("join", "accept", listed, "--study", site["study"], *told)
    typed = tmp_path / "hoem"
    ppcmi.fails(*words, "--home", typed, code=4, saying="no identity here yet", naming=str(typed))
    assert not typed.exists()
    ppcmi(*words, "--home", site["home"])


def test_a_noted_hash_that_was_copied_badly_is_no_alarm(site, ppcmi):
    verify = ("log", "verify", "--home", site["home"], "--head")
    head = ppcmi(*verify[:-1], "--json").json["head"]
    ppcmi(*verify, f" {head.upper()} ")
    ppcmi.fails(*verify, head[:40], code=1, saying="A hash of the log has 64 hex digits")
    ppcmi.fails(*verify, "f" * 64, code=7, saying="is not in the disclosure log any more")


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", LONG),
        ("evaluate", "--pred", LONG, "--truth", LONG),
        ("study", "new", LONG, "--name", "a", "--modality", "US", "--class", "b"),
        ("demo", "--images-only", "--out", LONG),
        ("site", "train", LONG, "--study", "{study}", "--name", "north", "--site-dir", "s"),
        ("key", "new", LONG, "--study", "{study}", "--site", "north"),
    ],
)
def test_a_path_that_the_system_refuses_is_told_in_words(site, ppcmi, words):
    words = [word.replace("{study}", str(site["study"])) for word in words]
    ppcmi.fails(*words, code=3, saying=UNUSABLE, naming=LONG)


@pytest.mark.skipif(not FULL.exists(), reason="Linux alone has a full device")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_result_that_cannot_be_printed_is_told_once_and_in_words(site, real, form):
    with FULL.open("w") as full:
        words = ("identity", "show", "--home", site["home"], *form)
        ran = real(*words, stdout=full, env={"PYTHONUNBUFFERED": "1"})
    assert ran.returncode == 7
    assert ran.stderr.startswith("Error: Reading or writing failed (No space left on device).")
    assert "Traceback" not in ran.stderr


def test_of_two_terminals_that_make_a_key_one_does(site, ppcmi, tmp_path, monkeypatch):
    """Both have been told the epoch before the passphrase was typed."""
    ask, other = Credentials.new_passphrase, Home(site["home"]).key_epochs

    def asked_meanwhile(self, what):
        study = StudySpec.load(site["study"]).fingerprint
        other.note(ClientKey.generate("north", study, 2))
        return ask(self, what)

    monkeypatch.setattr(Credentials, "new_passphrase", asked_meanwhile)
    file = tmp_path / "second.ppcmikey"
    words = ("key", "new", file, "--study", site["study"], "--site", "north", *site["known"])
    ran = ppcmi(*words, code=4)
    assert "epoch 2 was made meanwhile" in ran.err and not file.exists()


def test_where_no_mask_can_be_scored_the_reasons_are_told_with_csv_too(ppcmi, tmp_path):
    for part in ("pred", "truth"):
        (tmp_path / part).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / part / "a.png")
    (tmp_path / "pred" / "a.png").write_bytes(b"no picture")
    csv = tmp_path / "scores.csv"
    folders = ("--pred", tmp_path / "pred", "--truth", tmp_path / "truth")
    ran = ppcmi("evaluate", *folders, "--csv", csv, "--json", code=1)
    (failure,) = ran.json["failures"]
    assert failure["case"] == "a" and failure["hint"]
    assert "damaged" in failure["error"]
    assert "pred/a.png" in ran.err and "damaged" in ran.err
    assert not csv.exists()
