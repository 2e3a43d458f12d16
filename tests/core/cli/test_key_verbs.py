"""Keys: under a passphrase, rotated, and remembered by the keyring only when asked to."""

from __future__ import annotations

import json
import shutil
import stat
import textwrap

import pytest

NEW = "ein anderes, neues Passwort"


def words_file(path, text):
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def rotated(escrow_chain, ppcmi, tmp_path):
    """The next epoch's key of site north, with a chain of its own."""
    chain = escrow_chain.copy(tmp_path / "copy")
    key = tmp_path / "north-2.ppcmikey"
    ran = ppcmi("key", "rotate", chain.key("north"), "--out", key, *chain.acting("north"))
    assert "opens old replies and makes no new bundles" in ran.err and "Keep a copy" in ran.err
    return chain, key


def with_key(chain, key, site="north"):
    return ("--site-dir", chain.at("sites", site), "--key", key, *chain.acting(site))


def test_rotation(rotated, ppcmi):
    chain, key = rotated
    old, new = (ppcmi("key", "show", file, "--json").json for file in (chain.key("north"), key))
    assert (old["epoch"], new["epoch"]) == (1, 2) and old["key_id"] != new["key_id"]
    assert old["site"] == new["site"] and old["study"] == new["study"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ppcmi("key", "show", key, "--check", *chain.known).out.endswith("opens it.\n")


def test_the_old_key_opens_old_replies(rotated, ppcmi, tmp_path):
    chain, key = rotated
    words = ("site", "reveal", chain.at("replies", "north"), "--again", "--out", tmp_path / "m")
    told = ppcmi(*words, *with_key(chain, key), "--json", code=1).json["failures"]
    assert len(told) == 3 and all("for key epoch 1" in failure["error"] for failure in told)
    assert not (tmp_path / "m").exists()
    ran = ppcmi(*words, *with_key(chain, chain.key("north")), "--json")
    assert len(ran.json["masks"]) == 3


def test_the_old_key_makes_nothing_new(rotated, ppcmi, tmp_path):
    chain, out = rotated[0], tmp_path / "out"
    old = with_key(chain, chain.key("north"))
    study = ("--study", chain.study)
    for words in (
        ("site", "protect", chain.at("new", "north") / "images", *old, "--out", out),
        ("site", "protect", chain.at("data", "north"), "--pairs", *old, "--out", out),
        ("share-transform", *old[2:], *study, "--out", out),
        ("key", "rotate", chain.key("north"), "--out", out, *chain.acting("north")),
    ):
        saying = "is of epoch 1, and was rotated: epoch 2 is in use"
        ppcmi.fails(*words, code=4, saying=saying, naming="'north'")
    assert not out.exists()


def test_the_new_key_after_a_new_training_of_the_server(rotated, ppcmi, tmp_path):
    chain, key = rotated
    mine = with_key(chain, key)
    image = next((chain.at("new", "north") / "images").glob("*.png"))
    ppcmi("site", "protect", image, *mine, "--out", tmp_path / "q")
    mapping = ("server", "map", tmp_path / "q", "--server-dir", chain.server, *chain.acting())
    mapping = (*mapping, "--out", tmp_path / "r")
    told = ppcmi(*mapping, "--json", code=1).json["failures"]
    assert "protected with key epoch 2" in told[0]["error"] and "epoch 1" in told[0]["error"]
    shutil.rmtree(chain.at("pairs", "north"))
    words = ("site", "protect", chain.at("data", "north"), "--pairs", *mine, "--copies", 1)
    ppcmi(*words, "--out", chain.at("pairs", "north"))
    refused = chain.train_server("--retrain", code=4)
    assert "is of epoch 1, its bundles are of epoch 2" in refused.err
    chain.send_share("north", chain.share("north"), key)
    chain.train_server("--retrain")
    assert len(ppcmi(*mapping, "--json").json["replies"]) == 1
    ran = ppcmi("site", "reveal", tmp_path / "r", *mine, "--out", tmp_path / "m", "--json")
    assert len(ran.json["masks"]) == 1
    # The others notice nothing.
    image = next((chain.at("new", "south") / "images").glob("*.png"))
    ppcmi("site", "protect", image, *chain.mine("south"), "--out", tmp_path / "q2")
    words = ("server", "map", tmp_path / "q2", *mapping[3:-1], tmp_path / "r2")
    ppcmi(*words)
    ppcmi("site", "reveal", tmp_path / "r2", *chain.mine("south"), "--out", tmp_path / "m2")
    # A network that learned from the old key is not installed under the new one.
    words = ("--server-dir", chain.server, "--out", tmp_path / "n", *chain.acting())
    ppcmi("server", "publish", "--to", "north", *words)
    (bundle,) = (tmp_path / "n").iterdir()
    words = ("site", "install", bundle, *with_key(chain, chain.key("north")))
    ppcmi.fails(*words, code=5, saying="learned with another key", naming=bundle.name)
    ppcmi("site", "install", bundle, *mine)


def test_a_lost_key_is_followed_by_one_of_the_next_epoch(escrow_chain, ppcmi, tmp_path):
    chain, key = escrow_chain, tmp_path / "k.ppcmikey"
    ran = chain.new_key("north", key)
    assert "Note: there was a key of epoch 1 already" in ran.err and "epoch 2" in ran.out
    words = ("site", "protect", chain.at("new", "north") / "images", *chain.mine("north"))
    ppcmi.fails(*words, "--out", tmp_path / "q", code=4, saying="was rotated: epoch 2 is in use")


def test_an_expired_key(escrow_chain, ppcmi, tmp_path):
    chain, key = escrow_chain, tmp_path / "k.ppcmikey"
    from datetime import timedelta

    from pydantic import SecretStr

    from ppcmi_sf.dates import Validity, utc_today
    from ppcmi_sf.keys import ClientKey

    old, last = chain.client_key("north"), utc_today() - timedelta(days=1)
    validity = Validity(last - timedelta(days=9), last)
    passphrase = SecretStr(chain.passphrase_file.read_text(encoding="utf-8").strip())
    ClientKey(old.site, old.study, old.epoch, old.secret, validity).save(key, passphrase)
    ran = ppcmi("key", "show", key)
    assert f"Note: The client key {key.name} expired on {last}" in ran.err
    mine, image = with_key(chain, key), chain.at("new", "north") / "images"
    words = ("site", "protect", image, *mine, "--out", tmp_path / "q")
    ran = ppcmi.fails(*words, code=4, saying="makes no new bundles now")
    assert "key rotate" in ran.err
    words = ("share-transform", *mine[2:], "--study", chain.study, "--out", tmp_path / "s")
    ppcmi.fails(*words, code=4, saying="makes no new bundles now")
    words = ("site", "reveal", chain.at("replies", "north"), *mine, "--again")
    assert len(ppcmi(*words, "--out", tmp_path / "m", "--json").json["masks"]) == 3
    assert not (tmp_path / "q").exists() and not (tmp_path / "s").exists()


def test_a_new_passphrase(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain
    key, backup = tmp_path / "k.ppcmikey", tmp_path / "backup.ppcmikey"
    for path in (key, backup):
        shutil.copy(chain.key("north"), path)
    new = words_file(tmp_path / "new.txt", NEW)
    before = ppcmi("key", "show", key, "--json").json
    words = ("key", "passphrase", key, "--new-passphrase-file", new)
    ppcmi.fails(*words, code=4, saying="there is nobody to ask")
    ppcmi.fails(*words, "--passphrase-file", new, code=4, saying="does not open", naming=key.name)
    short = words_file(tmp_path / "short.txt", "short")
    words_short = ("key", "passphrase", key, "--new-passphrase-file", short, *chain.known)
    ppcmi.fails(*words_short, code=4, saying="at least 8 characters")
    ran = ppcmi.fails(*words[:3], *chain.known, code=4, saying="there is nobody to ask")
    assert "--new-passphrase-file FILE" in ran.err
    told = ppcmi(*words, *chain.known, "--json").json
    assert told == before and stat.S_IMODE(key.stat().st_mode) == 0o600
    ppcmi.fails("key", "show", key, "--check", *chain.known, code=4, saying="does not open")
    assert ppcmi("key", "show", key, "--check", "--passphrase-file", new, "--json").json == before
    ppcmi("key", "show", backup, "--check", *chain.known)  # copies keep the old one


def test_where_a_passphrase_may_come_from(escrow_chain, ppcmi, tmp_path, monkeypatch):
    chain, key = escrow_chain, escrow_chain.key("north")
    checked = ("key", "show", key, "--check")
    ran = ppcmi.fails(*checked, code=4, saying="needs a passphrase, and there is nobody to ask")
    assert "--passphrase-file FILE" in ran.err and "PPCMI_PASSPHRASE_FILE" in ran.err
    wrong = words_file(tmp_path / "wrong.txt", "guess, and guess again")
    given = ("--passphrase-file", wrong)
    ppcmi.fails(*checked, *given, code=4, saying="does not open", naming=key.name)
    monkeypatch.setenv("PPCMI_PASSPHRASE_FILE", str(chain.passphrase_file))
    ppcmi(*checked)
    ppcmi.fails(*checked, *given, code=4, saying="does not open")  # the option comes first
    monkeypatch.setenv("PPCMI_PASSPHRASE_FILE", str(tmp_path / "gone"))
    ppcmi.fails(*checked, code=3, saying="the passphrase file cannot be read", naming="gone")
    ppcmi(*checked, *chain.known)
    for content, code in ((b"", 4), (b"\n" + NEW.encode(), 4), (b"\xff\xfe", 4), (b"x" * 9999, 3)):
        bad = tmp_path / "bad.txt"
        bad.write_bytes(content)
        bad.chmod(0o600)
        ppcmi.fails(*checked, "--passphrase-file", bad, code=code, saying="bad.txt")
    wide = words_file(tmp_path / "wide.txt", chain.passphrase_file.read_text("utf-8").strip())
    wide.chmod(0o644)
    ran = ppcmi(*checked, "--passphrase-file", wide)
    assert "Warning: " in ran.err and "chmod 600" in ran.err


def test_a_home_from_the_environment(escrow_chain, ppcmi, monkeypatch):
    chain = escrow_chain
    monkeypatch.setenv("PPCMI_HOME", str(chain.home("west")))
    assert ppcmi("identity", "show", "--json").json["name"] == "west"
    assert ppcmi("identity", "show", *chain.at_home("south"), "--json").json["name"] == "south"


BACKEND = textwrap.dedent(
    """
    import json, os, pathlib
    from keyring.backend import KeyringBackend
    from keyring.errors import PasswordDeleteError

    class Keyring(KeyringBackend):
        priority = 1
        file = pathlib.Path(__file__).with_name("ring.json")

        def _all(self):
            return json.loads(self.file.read_text()) if self.file.exists() else {}

        def get_password(self, service, name):
            return self._all().get(f"{service} {name}")

        def set_password(self, service, name, password):
            self.file.write_text(json.dumps(self._all() | {f"{service} {name}": password}))

        def delete_password(self, service, name):
            every = self._all()
            if every.pop(f"{service} {name}", None) is None:
                raise PasswordDeleteError("no such entry")
            self.file.write_text(json.dumps(every))
    """
)


def test_the_keyring_remembers_and_forgets(escrow_chain, real, tmp_path):
    """A keyring of its own kind, found as the library finds it, in real processes."""
    chain, key = escrow_chain, escrow_chain.key("north")
    (tmp_path / "ring_of_test.py").write_text(BACKEND)
    env = {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "ring_of_test.Keyring"}
    passphrase = chain.passphrase_file.read_text(encoding="utf-8").strip()
    checked = ("key", "show", key, "--check", "--json")
    assert real(*checked, env=env).returncode == 4
    done = real("key", "remember", key, *chain.known, "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["key_id"] == chain.client_key("north").key_id
    ring = json.loads((tmp_path / "ring.json").read_text())
    assert ring == {f"napari-ppcmi {chain.client_key('north').key_id}": passphrase}
    assert passphrase not in done.stdout + done.stderr
    assert real(*checked, env=env).returncode == 0
    assert real("key", "forget", key, env=env).returncode == 0
    assert json.loads((tmp_path / "ring.json").read_text()) == {}
    assert real(*checked, env=env).returncode == 4
    again = real("key", "forget", key, "--json", env=env)
    assert again.returncode == 4 and "no such entry" in json.loads(again.stdout)["error"]


def test_no_keyring(escrow_chain, ppcmi, tmp_path):
    """Here there is none that takes anything; and a wrong passphrase is not remembered."""
    key = escrow_chain.key("north")
    words = ("key", "remember", key)
    ran = ppcmi.fails(*words, *escrow_chain.known, code=4, saying="keyring did not do it")
    assert "napari-ppcmi[keyring]" in ran.err
    ppcmi.fails("key", "forget", key, code=4, saying="keyring did not do it")
    wrong = words_file(tmp_path / "wrong.txt", "guess, and guess again")
    ppcmi.fails(*words, "--passphrase-file", wrong, code=4, saying="does not open")
    ppcmi.fails("key", "forget", tmp_path / "gone", code=4, saying="cannot be read", naming="gone")


def test_one_prompt_is_enough_where_key_and_identity_share_a_passphrase(
    escrow_chain, script, on_terminal, tmp_path
):
    chain, key = escrow_chain, tmp_path / "k.ppcmikey"
    shutil.copy(chain.key("north"), key)
    passphrase = chain.passphrase_file.read_text(encoding="utf-8").strip()
    words = [script, "share-transform", "--key", key, "--study", chain.study]
    words += ["--out", tmp_path / "s.ppcmishare", *chain.at_home("north")]
    shown, code = on_terminal(words, tmp_path, [("Passphrase of the identity", passphrase + "\n")])
    assert code == 0 and shown.count("Passphrase of") == 1 and passphrase not in shown
    words = [script, "key", "passphrase", key]
    answers = [("Passphrase of the client key k.ppcmikey", passphrase + "\n")]
    answers += [("New passphrase of the client key", NEW + "\n"), ("The same again", NEW + "\n")]
    shown, code = on_terminal(words, tmp_path, answers)
    assert code == 0 and "has a new passphrase" in shown
    assert passphrase not in shown and NEW not in shown
    words = [script, "key", "show", key, "--check"]
    shown, code = on_terminal(words, tmp_path, [("Passphrase of the client key", NEW + "\n")])
    assert code == 0 and "opens it" in shown
