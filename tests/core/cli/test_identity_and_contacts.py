"""Who somebody is, and whom somebody trusts: fingerprints are compared, by people or by scripts."""

from __future__ import annotations

import json
import re
import stat
from datetime import timedelta

import pytest
from pydantic import SecretStr

from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.dates import Validity, utc_today
from ppcmi_sf.identity import Identity
from ppcmi_sf.study import StudySpec, make_classes

PASSPHRASE = "korrekt Pferd Batterie"


class People:
    """Parties with a home each, below a folder."""

    def __init__(self, ppcmi, root):
        self.ppcmi, self.root = ppcmi, root
        self.file = root / "passphrase.txt"
        self.file.write_text(PASSPHRASE + "\n")
        self.file.chmod(0o600)

    def home(self, name):
        return ("--home", self.root / name)

    def known(self, name):
        return (*self.home(name), "--passphrase-file", self.file)

    def new(self, name, *more):
        return self.ppcmi("identity", "new", "--name", name, *self.known(name), *more)

    def expired(self, name, days=400):
        """An identity whose last day was yesterday."""
        last = utc_today() - timedelta(days=1)
        identity = Identity.generate(name, Validity(last - timedelta(days=days), last))
        identity.save(self.root / name / "identity.ppcmiid", SecretStr(PASSPHRASE))

    def fingerprint(self, name, *more):
        return self.ppcmi("identity", "fingerprint", *self.home(name), *more).out.strip()

    def card(self, name):
        file = self.root / f"{name}.ppcmicard"
        self.ppcmi("identity", "export", file, *self.home(name))
        return file

    def add(self, who, whom, *more):
        words = ("contact", "add", self.card(whom), "--fingerprint", self.fingerprint(whom))
        return self.ppcmi(*words, *self.home(who), *more)

    def contacts(self, name):
        told = self.ppcmi("contact", "list", *self.home(name), "--json").json["contacts"]
        return {contact["name"]: contact["state"] for contact in told}


@pytest.fixture
def people(ppcmi, tmp_path):
    return People(ppcmi, tmp_path)


def test_every_verb_of_an_identity(people, ppcmi):
    made = people.new("north", "--json").json
    file = people.root / "north" / "identity.ppcmiid"
    assert made["file"] == str(file) and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ppcmi("identity", "show", *people.home("north"), "--json").json == made
    shown = ppcmi("identity", "show", *people.home("north")).out
    assert made["words"] in shown and made["fingerprint"] in shown and "'north'" in shown
    groups = made["words"].split(" - ")
    assert len(groups) == 4 and all(len(group.split()) == 3 for group in groups)
    told = ppcmi("identity", "fingerprint", *people.home("north"), "--json").json
    assert told == {"fingerprint": made["fingerprint"], "words": made["words"]}
    assert people.fingerprint("north") == made["fingerprint"]
    assert people.fingerprint("north", "--words") == made["words"]
    card = people.root / "n.ppcmicard"
    out = ppcmi("identity", "export", card, *people.home("north"), "--json").json
    assert out == made | {"file": str(card)}
    fields = json.loads(card.read_text())
    assert set(fields) == {
        "format", "version", "name", "sign_key", "encrypt_key", "fingerprint", "created",
        "expires", "signature",
    }  # fmt: skip
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", fields["created"])  # never finer than the day
    renewed = ppcmi("identity", "renew", "--valid-days", 9, *people.known("north"), "--json").json
    assert renewed["fingerprint"] == made["fingerprint"] and renewed["expires"] < made["expires"]
    ppcmi("join", "show", "--study", card, *people.home("north"), code=3)  # no study, no crash


def test_nobody_is_there_yet_or_somebody_is(people, ppcmi, tmp_path):
    for words in (("show",), ("fingerprint",), ("export", tmp_path / "x"), ("renew",)):
        words = ("identity", *words, *people.home("nobody"))
        ppcmi.fails(*words, code=4, saying="there is no identity here yet", naming="nobody")
    assert not (tmp_path / "x").exists()
    people.new("north")
    before = (tmp_path / "north" / "identity.ppcmiid").read_bytes()
    words = ("identity", "new", "--name", "other", *people.known("north"))
    ppcmi.fails(*words, code=4, saying="never overwritten", naming="identity.ppcmiid")
    assert (tmp_path / "north" / "identity.ppcmiid").read_bytes() == before
    words = ("identity", "new", "--name", "St. Mary's", *people.known("mary"))
    ppcmi.fails(*words, code=4, saying="cannot be the name of a site")
    short = tmp_path / "short.txt"
    short.write_text("1234567\n")
    short.chmod(0o600)
    words = ("identity", "new", "--name", "mary", *people.home("mary"), "--passphrase-file", short)
    ppcmi.fails(*words, code=4, saying="at least 8 characters")
    words = ("identity", "new", "--name", "mary", *people.home("mary"))
    ran = ppcmi.fails(*words, code=4, saying="there is nobody to ask")
    assert "--passphrase-file FILE" in ran.err and "PPCMI_PASSPHRASE_FILE" in ran.err
    assert not (tmp_path / "mary" / "identity.ppcmiid").exists()


def test_every_verb_of_contacts(people, ppcmi):
    people.new("north")
    people.new("server")
    assert "No contacts yet" in ppcmi("contact", "list", *people.home("north")).out
    added = people.add("north", "server", "--json").json
    assert added["state"] == "valid" and added["fingerprint"] == people.fingerprint("server")
    assert added.pop("renewed") is False
    listed = ppcmi("contact", "list", *people.home("north"), "--json").json
    assert listed == {"contacts": [added]}
    plain = ppcmi("contact", "list", *people.home("north")).out
    assert "server: valid" in plain and added["words"] in plain
    told = ppcmi("contact", "revoke", "server", *people.home("north"), "--json").json
    assert told == {"revoked": "server"} and people.contacts("north") == {"server": "revoked"}
    words = ("contact", "add", people.card("server"), *people.home("north"))
    ppcmi.fails(*words, code=4, saying="was revoked on 2", naming="server")
    told = ppcmi("contact", "remove", "server", *people.home("north"), "--json").json
    assert told == {"removed": "server"} and not people.contacts("north")
    for verb in ("remove", "revoke"):
        words = ("contact", verb, "server", *people.home("north"))
        ppcmi.fails(*words, code=4, saying="no contact 'server'")
    entries = ppcmi("log", *people.home("north"), "--json").json["entries"]
    events = ["contact added", "contact revoked", "contact removed"]
    assert [entry["event"] for entry in entries] == events


def wrong_fingerprints(right, words, other, other_words):
    digit = "0" if right[5] != "0" else "1"
    spoken = words.replace("-", " ").split()
    return {
        "another's": other,
        "another's words": other_words,
        "one digit": right[:5] + digit + right[6:],
        "cut short": right[:63],
        "half": right[:32],
        "eleven words": " ".join(spoken[:11]),
        "turned round": " ".join(reversed(spoken)),
        "one word": " ".join([*spoken[:11], "zoo" if spoken[11] != "zoo" else "abandon"]),
        "nothing": "",
    }


def test_a_wrong_fingerprint_adds_nothing(people, ppcmi):
    for name in ("north", "server", "evil"):
        people.new(name)
    card = people.card("server")
    wrong = wrong_fingerprints(
        people.fingerprint("server"), people.fingerprint("server", "--words"),
        people.fingerprint("evil"), people.fingerprint("evil", "--words"),
    )  # fmt: skip
    for given in wrong.values():
        words = ("contact", "add", card, "--fingerprint", given, *people.home("north"))
        ran = ppcmi(*words, code=4)
        assert "has another fingerprint" in ran.err and people.fingerprint("server", "--words") in (
            ran.err
        )
    ppcmi.fails(*words, code=4, saying="has another fingerprint", naming="'server'")
    ppcmi.fails(*words[:3], *people.home("north"), code=4, saying="Nobody has compared")
    assert people.contacts("north") == {}
    assert ppcmi("log", *people.home("north"), "--json").json["entries"] == []


@pytest.mark.parametrize("spelling", ["hex", "HEX", "groups", "words", "bare words"])
def test_the_right_one_in_every_spelling(people, ppcmi, spelling):
    for name in ("north", "server"):
        people.new(name)
    right, words = people.fingerprint("server"), people.fingerprint("server", "--words")
    given = {
        "hex": right,
        "HEX": right.upper(),
        "groups": " ".join(right[at : at + 4] for at in range(0, 64, 4)),
        "words": words,
        "bare words": words.replace("-", "").upper(),
    }[spelling]
    card = people.card("server")
    ppcmi("contact", "add", card, "--fingerprint", given, *people.home("north"))
    assert people.contacts("north") == {"server": "valid"}


def test_a_person_is_asked(people, script, on_terminal):
    for name in ("north", "server"):
        people.new(name)
    words = [script, "contact", "add", people.card("server"), *people.home("north")]
    spoken = people.fingerprint("server", "--words")
    for answer in ("n\n", "\n"):  # what is not yes is no
        shown, code = on_terminal(words, people.root, [("Are they the same?", answer)])
        assert code == 4 and "Nothing was added" in shown and spoken in " ".join(shown.split())
        assert "Call the owner" in shown and people.contacts("north") == {}
    shown, code = on_terminal(words, people.root, [("Are they the same?", "y\n")])
    assert code == 0 and "Added 'server'" in shown
    assert people.contacts("north") == {"server": "valid"}


def test_a_passphrase_is_asked_for_twice_and_not_shown(people, script, on_terminal):
    new = [script, "identity", "new", "--name", "east", *people.home("east")]
    file = people.root / "east" / "identity.ppcmiid"
    for first, second, why in (
        ("geheim und lang", "geheim und anders", "differ"),
        ("kurz", None, "at least 8"),
    ):
        answers = [("New passphrase of the identity", first + "\n")]
        answers += [("The same again", second + "\n")] if second else []
        shown, code = on_terminal(new, people.root, answers)
        assert code == 4 and why in shown and not file.exists()
        assert first not in shown and "geheim" not in shown
    answers = [("New passphrase of the identity", PASSPHRASE + "\n")]
    shown, code = on_terminal(new, people.root, [*answers, ("The same again", PASSPHRASE + "\n")])
    assert code == 0 and file.is_file() and PASSPHRASE not in shown
    renew = [script, "identity", "renew", *people.home("east")]
    shown, code = on_terminal(renew, people.root, [("Passphrase of the identity", "falsch 123\n")])
    assert code == 4 and "does not open this identity" in shown and "falsch" not in shown
    answers = [("Passphrase of the identity of 'east'", PASSPHRASE + "\n")]
    shown, code = on_terminal(renew, people.root, answers)
    assert code == 0 and PASSPHRASE not in shown and "valid from" in shown


def test_a_person_who_answers_nothing(people, script, on_terminal):
    """End of input (Ctrl-D) at a question: nothing happens, and no report of a fault is begged."""
    people.new("north")
    people.new("server")
    renew = [script, "identity", "renew", *people.home("north")]
    shown, code = on_terminal(renew, people.root, [("Passphrase of", "\x04")])
    assert code not in (0, 1) and "went wrong inside" not in shown and "Traceback" not in shown
    shown, code = on_terminal(renew, people.root, [("Passphrase of", "\x03")])
    assert code == 130 and "Traceback" not in shown
    add = [script, "contact", "add", people.card("server"), *people.home("north")]
    for key in ("\x04", "\x03"):
        shown, code = on_terminal(add, people.root, [("Are they the same?", key)])
        assert code != 0 and "went wrong inside" not in shown and "Traceback" not in shown
    assert people.contacts("north") == {}


def test_a_renewed_card_needs_no_new_comparison(people, ppcmi):
    for name in ("north", "server"):
        people.new(name)
    people.add("north", "server")
    old = people.card("server").read_bytes()
    ppcmi("identity", "renew", "--valid-days", 1000, *people.known("server"))
    ran = ppcmi("contact", "add", people.card("server"), *people.home("north"))
    assert "Renewed 'server'" in ran.out and "Call the owner" not in ran.err
    expected = (utc_today() + timedelta(days=1000)).isoformat()
    (told,) = ppcmi("contact", "list", *people.home("north"), "--json").json["contacts"]
    assert told["expires"] == expected
    # The same name with other keys is somebody else, whatever was compared.
    people.new("server2")
    ppcmi("identity", "new", "--name", "server", *people.known("evil"))
    words = ("contact", "add", people.card("evil"), "--fingerprint", people.fingerprint("evil"))
    ppcmi.fails(*words, *people.home("north"), code=4, saying="with another fingerprint already")
    changed = people.root / "changed.ppcmicard"
    for before, after in ((b'"server"', b'"serve2"'), (b'"expires":"20', b'"expires":"21')):
        changed.write_bytes(old.replace(before, after))
        words = ("contact", "add", changed, *people.home("north"))
        ppcmi.fails(*words, code=4, saying="not a valid contact card", naming=changed.name)
        ppcmi.fails("inspect", changed, code=4, saying="not a valid", naming=changed.name)
    assert people.contacts("north") == {"server": "valid"}


@pytest.mark.parametrize(("days", "noted"), [(30, True), (31, False), (1, True)])
def test_what_expires_within_thirty_days_is_told(people, ppcmi, days, noted):
    people.new("north", "--valid-days", days)
    people.new("server", "--valid-days", days)
    people.add("north", "server")
    study = people.root / "s.yaml"
    ppcmi("study", "new", study, "--name", "a", "--modality", "MR", "--class", "b")
    key = ("key", "new", people.root / "k.ppcmikey", "--study", study, "--site", "north")
    ppcmi(*key, "--valid-days", days, *people.known("north"))
    ending = f"in {days} day"
    asked = ("--study", study, "--out", people.root / "r", *people.known("north"))
    for words, notes in (
        (("identity", "show", *people.home("north")), ["Your identity expires"]),
        (("contact", "list", *people.home("north")), ["The card of 'server' expires"]),
        (("join", "request", *asked), ["Your identity expires", "The card of 'server' expires"]),
        (("key", "show", people.root / "k.ppcmikey"), ["The client key k.ppcmikey expires"]),
    ):
        ran = ppcmi(*words, "--json")
        assert ran.json
        for note in notes:
            assert (f"Note: {note} {ending}" in ran.err) == noted, ran.err


def test_what_has_expired_signs_nothing_and_is_not_trusted(people, ppcmi):
    people.expired("north")
    people.expired("server")
    study = people.root / "s.yaml"
    ppcmi("study", "new", study, "--name", "a", "--modality", "MR", "--class", "b")
    request = ("join", "request", "--study", study, "--out", people.root / "r.ppcmijoin")
    ran = ppcmi.fails(*request, *people.known("north"), code=4, saying="it signs nothing now")
    assert "Note: Your identity expired" in ran.err and "identity renew" in ran.err
    assert not (people.root / "r.ppcmijoin").exists()
    before = people.fingerprint("north")
    ppcmi("identity", "renew", *people.known("north"))
    ppcmi(*request, *people.known("north"))
    assert people.fingerprint("north") == before
    people.add("north", "server")
    assert people.contacts("north") == {"server": "expired"}
    ran = ppcmi("contact", "list", *people.home("north"))
    assert "The card of 'server' expired" in ran.err


def test_a_revoked_contact(escrow_chain, ppcmi, tmp_path):
    """Nothing of it is accepted, nothing is encrypted to it, and the others go on."""
    chain = escrow_chain
    ppcmi("contact", "revoke", "north", *chain.at_home("server"))
    for site, code in (("north", 1), ("south", 0)):
        out = tmp_path / site
        words = ("server", "map", chain.at("queries", site), "--server-dir", chain.server)
        ran = ppcmi(*words, *chain.acting(), "--out", out, "--again", "--json", code=code)
        if code:
            told = ran.json["failures"]
            assert told and all("'north' was revoked" in failure["error"] for failure in told)
            assert all(failure["case"] in failure["error"] for failure in told)
        assert out.exists() == (code == 0)
    words = ("server", "publish", "--server-dir", chain.server, "--out", tmp_path / "models")
    ppcmi.fails(*words, *chain.acting(), "--to", "north", code=4, saying="'north' is revoked")
    ppcmi("contact", "revoke", "server", *chain.at_home("south"))
    images = chain.at("new", "south") / "images"
    words = ("site", "protect", images, *chain.mine("south"), "--out", tmp_path / "q")
    ppcmi.fails(*words, code=4, saying="'server' is revoked")
    words = ("site", "reveal", chain.at("replies", "south"), *chain.mine("south"), "--again")
    told = ppcmi(*words, "--out", tmp_path / "m", "--json", code=1).json["failures"]
    assert told and all("'server' was revoked" in failure["error"] for failure in told)
    assert not any((tmp_path / name).exists() for name in ("models", "q", "m"))


def test_a_study_changes_its_server_only_where_a_person_says_so_and_compares(people, tmp_path):
    """To be a contact is not enough: each contact can sign a list of each study."""
    ppcmi, study = people.ppcmi, tmp_path / "study.yaml"
    StudySpec(name="s", modality="MR", classes=make_classes(["heart"])).save(study)
    for name in ("first", "second", "north"):
        people.new(name)
    people.add("north", "second")
    request, words = tmp_path / "r.ppcmijoin", ("--study", study)
    ppcmi("join", "request", *words, "--out", request, *people.known("north"))
    accept = {}
    for name in ("first", "second"):
        out = tmp_path / f"{name}.ppcmimembers"
        given = ("--fingerprint", people.fingerprint("north"), "--out", out)
        ppcmi("join", "approve", request, *words, *given, *people.known(name))
        accept[name] = ("join", "accept", out, *words, *people.home("north"))
    ppcmi(*accept["first"], "--fingerprint", people.fingerprint("first"))
    ran = ppcmi.fails(*accept["second"], code=4, saying="came from 'first' so far")
    assert "--new-server" in ran.err
    moved = (*accept["second"], "--new-server")
    ppcmi.fails(*moved, code=4, saying="Nobody has compared the fingerprint")
    ppcmi.fails(*moved, "--fingerprint", people.fingerprint("first"), code=4, saying="another")
    ppcmi(*moved, "--fingerprint", people.fingerprint("second"))
    shown = ppcmi("join", "show", *words, *people.home("north"), "--json").json
    assert shown["server"] == "second"


@pytest.mark.parametrize("what", ["identity", "client key"])
def test_of_two_terminals_that_wait_for_a_passphrase_one_writes(
    people, tmp_path, monkeypatch, what
):
    """The other one was told that there is no file yet; what it made is lost, the first stays."""
    ppcmi, study = people.ppcmi, tmp_path / "study.yaml"
    StudySpec(name="s", modality="MR", classes=make_classes(["heart"])).save(study)
    key, identity = tmp_path / "north.ppcmikey", people.root / "north" / "identity.ppcmiid"
    words, file = {
        "identity": (("identity", "new", "--name", "north"), identity),
        "client key": (("key", "new", key, "--study", study, "--site", "north"), key),
    }[what]
    ask = Credentials.new_passphrase

    def asked_meanwhile(self, what):
        file.parent.mkdir(exist_ok=True)
        file.write_text("of the other terminal")
        return ask(self, what)

    monkeypatch.setattr(Credentials, "new_passphrase", asked_meanwhile)
    ran = ppcmi(*words, *people.known("north"), code=4)
    assert "never overwritten" in ran.err and str(file) in ran.err
    assert file.read_text() == "of the other terminal"
