"""Files under a passphrase: what opens them, what does not, and that nothing shows the secret."""

import copy
import hashlib
import json
import os
import stat
import time
import traceback
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from ppcmi_sf import secretfile, strictjson
from ppcmi_sf.errors import KeyFileError, PPCMIError
from ppcmi_sf.secretfile import KdfCost, read_public, seal, unseal

NOUN = "client key"
PASSPHRASE = SecretStr("correct horse battery")
SECRET = bytes(range(100, 132))
PUBLIC = {"format": "ppcmi-test", "name": "north", "epoch": 3, "list": [1, {"a": True}]}
WRONG = "the passphrase does not open this client key"
UNKNOWN = "protected in a way that this program does not accept"


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "north.ppcmikey"
    seal(path, PUBLIC, SECRET, PASSPHRASE, NOUN)
    return path


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory):
    """A file that tests write over many times, and its good bytes."""
    path = tmp_path_factory.mktemp("shared") / "north.ppcmikey"
    seal(path, PUBLIC, SECRET, PASSPHRASE, NOUN)
    return path, path.read_bytes()


@pytest.fixture
def no_derivation(monkeypatch):
    """A derivation ends the test: the work must not be begun."""
    monkeypatch.setattr(
        secretfile, "_derive", lambda *_: pytest.fail("the passphrase was worked on")
    )


def told(error: BaseException) -> str:
    """Everything that an error shows to anybody."""
    return "".join(traceback.format_exception(error)) + f"{error!r}{error}"


def refused(path, passphrase=PASSPHRASE) -> KeyFileError:
    """The error of a file that does not open; it has a hint and shows nothing secret."""
    with pytest.raises(PPCMIError) as caught:
        unseal(path, passphrase, NOUN, dict)
    error = caught.value
    assert type(error) is KeyFileError
    assert str(path) in error.message
    assert error.hint
    for secret in (SECRET.hex(), repr(SECRET)[2:-1], passphrase.get_secret_value()):
        assert not secret or secret not in told(error)
    return error


def rewrite(path, change, checksum: bool = True) -> None:
    """Change a file's fields, and its checksum as somebody would who means harm."""
    fields = json.loads(path.read_text())
    change(fields)
    if checksum:
        kept = {name: value for name, value in fields.items() if name != "checksum"}
        fields["checksum"] = hashlib.sha256(strictjson.dumps(kept)).hexdigest()
    path.write_text(json.dumps(fields))
    path.chmod(0o600)


def set_to(*where, value):
    """A change for :func:`rewrite`: put a value at a place."""

    def change(fields):
        for name in where[:-1]:
            fields = fields[name]
        fields[where[-1]] = value

    return change


def test_what_users_get_is_64_mebibytes_three_times():
    # Not DEFAULT_COST, which the tests make cheap.
    cost = KdfCost()
    assert (cost.memory_kib, cost.iterations, cost.lanes) == (65536, 3, 1)
    assert cost.memory_kib * cost.iterations <= secretfile.MAX_WORK_KIB
    assert secretfile.MIN_PASSPHRASE == 8


def test_tests_use_a_cheap_derivation():
    assert KdfCost(memory_kib=8192, iterations=1) == secretfile.DEFAULT_COST


def test_what_was_sealed_comes_back_with_its_public_fields(sealed):
    assert unseal(sealed, PASSPHRASE, NOUN, dict) == (PUBLIC, SECRET)
    assert read_public(sealed, NOUN) == PUBLIC


def test_a_file_of_the_default_cost_opens_and_is_not_slow(tmp_path, monkeypatch):
    monkeypatch.setattr(secretfile, "DEFAULT_COST", KdfCost())
    path = tmp_path / "real.ppcmikey"
    before = time.perf_counter()
    seal(path, PUBLIC, SECRET, PASSPHRASE, NOUN)
    assert time.perf_counter() - before < 10
    monkeypatch.setattr(secretfile, "DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))
    assert json.loads(path.read_text())["seal"]["memory_kib"] == 65536
    assert unseal(path, PASSPHRASE, NOUN, dict) == (PUBLIC, SECRET)


def test_neither_secret_nor_passphrase_is_in_the_file(sealed):
    text = sealed.read_bytes()
    forms = [SECRET, SECRET.hex().encode(), PASSPHRASE.get_secret_value().encode()]
    assert not any(form in text for form in forms)


def test_two_files_of_the_same_secret_share_no_salt_nonce_or_ciphertext(sealed, tmp_path):
    seal(tmp_path / "again", PUBLIC, SECRET, PASSPHRASE, NOUN)
    one, two = (json.loads(path.read_text()) for path in (sealed, tmp_path / "again"))
    assert one["seal"]["salt"] != two["seal"]["salt"]
    assert one["seal"]["nonce"] != two["seal"]["nonce"]
    assert one["sealed"][:32] != two["sealed"][:32]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_the_file_is_the_owners_alone_and_opens_without_a_warning(sealed):
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    assert [item.name for item in sealed.parent.iterdir()] == [sealed.name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unseal(sealed, PASSPHRASE, NOUN, dict)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_read_warns_and_opens(mode, sealed):
    sealed.chmod(mode)
    with pytest.warns(UserWarning, match="chmod 600") as caught:
        assert unseal(sealed, PASSPHRASE, NOUN, dict)[1] == SECRET
    assert not any(SECRET.hex() in str(warning.message) for warning in caught)


@pytest.mark.parametrize("passphrase", ["", "2 tiny", "7letter", "äöüäöüß"])
def test_a_short_passphrase_is_refused_and_nothing_is_written(passphrase, tmp_path):
    with pytest.raises(KeyFileError, match="at least 8 characters") as caught:
        seal(tmp_path / "key", PUBLIC, SECRET, SecretStr(passphrase), NOUN)
    assert caught.value.hint
    assert not passphrase or passphrase not in told(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "passphrase",
    ["", "Xyzzy", "correct horse batterY", "correct horse battery ", "x" * 4096, "\x00" * 9],
)
def test_a_wrong_passphrase_is_told_in_one_sentence(passphrase, sealed):
    error = refused(sealed, SecretStr(passphrase))
    assert error.message == f"{sealed}: {WRONG}."


def test_an_umlaut_is_the_same_however_it_was_typed(tmp_path):
    composed, apart = "Stra\u00dfe Z\u00fcrich \u212b", "Stra\u00dfe Zu\u0308rich A\u030a"
    seal(tmp_path / "key", PUBLIC, SECRET, SecretStr(composed), NOUN)
    assert unseal(tmp_path / "key", SecretStr(apart), NOUN, dict)[1] == SECRET
    refused(tmp_path / "key", SecretStr("Strasse Zürich Å"))


def test_a_passphrase_that_has_no_utf_8_leaves_as_an_error_of_this_program(sealed, tmp_path):
    # What a terminal gives for a byte that is not in its encoding (PEP 383).
    odd = SecretStr("correct horse \udce4 battery")
    with pytest.raises(KeyFileError) as caught:
        seal(tmp_path / "key", PUBLIC, SECRET, odd, NOUN)
    assert "correct horse" not in told(caught.value)
    with pytest.raises(KeyFileError) as caught:
        unseal(sealed, odd, NOUN, dict)
    assert "correct horse" not in told(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        set_to("name", value="south"),
        set_to("epoch", value=4),
        set_to("epoch", value=True),
        set_to("list", value=[1, {"a": False}]),
        set_to("patient", value="Jane"),
        set_to("seal", "salt", value="00" * 16),
        set_to("seal", "nonce", value="00" * 12),
        set_to("seal", "iterations", value=2),
        set_to("seal", "lanes", value=2),
        set_to("seal", "memory_kib", value=8193),
        set_to("sealed", value=""),
        set_to("sealed", value="00" * 15),
        set_to("sealed", value="00" * 48),
        lambda fields: fields.pop("name"),
        lambda fields: fields.update(sealed=fields["sealed"][:-2]),
        lambda fields: fields.update(sealed=fields["sealed"] + "00"),
    ],
)
def test_a_header_changed_on_purpose_is_told_like_a_wrong_passphrase(change, sealed):
    wrong = refused(sealed, SecretStr("wrong passphrase"))
    rewrite(sealed, change)
    changed = refused(sealed)
    assert (changed.message, changed.hint) == (wrong.message, wrong.hint)
    assert told(changed).splitlines()[-1] == told(wrong).splitlines()[-1]


@pytest.mark.parametrize("field", ["name", "sealed", "checksum"])
def test_a_header_changed_by_accident_is_told_before_any_work(field, sealed, no_derivation):
    rewrite(sealed, set_to(field, value="ab" * 32), checksum=False)
    assert "was changed since it was written" in refused(sealed).message
    with pytest.raises(KeyFileError, match="was changed since it was written"):
        read_public(sealed, NOUN)


BAD_SEALS = {
    **{f"memory {value!r}": ("memory_kib", value) for value in (
        0, -1, -8192, 8191, 131073, 2**32, 2**53 - 1, "8192", None, True, [8192],
    )},
    **{f"iterations {value!r}": ("iterations", value) for value in (
        0, -1, 9, 2**32, 2**53 - 1, "1", None, True,
    )},
    **{f"lanes {value!r}": ("lanes", value) for value in (0, -1, 5, 2**24, "1", None, True)},
    **{f"salt {value!r}": ("salt", value) for value in (
        "", "00" * 7, "00" * 15, "00" * 17, "0g" * 16, "AB" * 16, 0, None,
    )},
    **{f"nonce {value!r}": ("nonce", value) for value in ("", "00" * 11, "00" * 13, 1)},
    **{f"kdf {value!r}": ("kdf", value) for value in (
        "argon2i", "argon2d", "scrypt", "pbkdf2", "none", "", None, 1,
    )},
    **{f"cipher {value!r}": ("cipher", value) for value in ("none", "aes-128-ecb", "", None)},
    "another field": ("secret", "0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SEALS)
def test_a_protection_out_of_bounds_is_refused_before_any_work(name, sealed, no_derivation):
    field, value = BAD_SEALS[name]
    rewrite(sealed, set_to("seal", field, value=value))
    before = time.perf_counter()
    assert UNKNOWN in refused(sealed).message
    assert time.perf_counter() - before < 0.5


@pytest.mark.parametrize(("memory", "iterations"), [(131072, 4), (131072, 8), (65536, 7)])
def test_memory_times_iterations_has_a_cap_of_its_own(memory, iterations, sealed, no_derivation):
    KdfCost(memory_kib=memory, iterations=iterations)  # each is allowed by itself
    rewrite(sealed, lambda fields: fields["seal"].update(memory_kib=memory, iterations=iterations))
    before = time.perf_counter()
    assert UNKNOWN in refused(sealed).message
    assert time.perf_counter() - before < 0.5


@pytest.mark.parametrize("value", [None, [], "argon2id", 1, {}, {"kdf": "argon2id"}])
def test_a_seal_that_is_none_is_refused_before_any_work(value, sealed, no_derivation):
    rewrite(sealed, set_to("seal", value=value))
    assert UNKNOWN in refused(sealed).message


@pytest.mark.parametrize("value", ["0", "xy", "é" * 8, None, 5, ["00"]])
def test_a_ciphertext_that_is_no_hexadecimal_text_is_refused(value, sealed, no_derivation):
    rewrite(sealed, set_to("sealed", value=value))
    refused(sealed)


def test_a_file_cut_short_anywhere_is_refused_before_any_work(shared_file, no_derivation):
    path, whole = shared_file
    for length in range(len(whole) - 1):  # the last byte is a line's end
        path.write_bytes(whole[:length])
        with pytest.raises(KeyFileError, match="damaged, cut short or not a client key file"):
            unseal(path, PASSPHRASE, NOUN, dict)


@pytest.mark.parametrize("tail", [b"x", b"\x00", b"{}", b"\xff", b"," * 9, b" " * 20_000])
def test_a_file_with_bytes_appended_is_refused(tail, sealed, no_derivation):
    sealed.write_bytes(sealed.read_bytes() + tail)
    assert "damaged, cut short or not" in refused(sealed).message


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_opens_or_leaves_as_another_error(shared_file, data):
    path, whole = shared_file
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    refused(path)


GARBAGE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os.",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "list": b"[]",
    "object": b"{}",
    "other object": b'{"sealed":"00","seal":{}}',
    "nested": b"[" * 16_000,
    "number": b"1" * 5000,
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "too large": b" " * (secretfile.MAX_BYTES + 1),
    "huge and sparse": None,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_such_file_is_refused_at_once(name, tmp_path, no_derivation):
    path = tmp_path / "key"
    path.write_bytes(GARBAGE[name] or b"")
    if GARBAGE[name] is None:
        os.truncate(path, 2**33)
    path.chmod(0o600)
    before = time.perf_counter()
    assert "damaged, cut short or not" in refused(path).message
    assert time.perf_counter() - before < 0.5


def test_a_field_that_appears_twice_is_refused(sealed, no_derivation):
    text = sealed.read_text()
    sealed.write_text(text.replace('"name": "north"', '"name": "north", "name": "north"'))
    assert "damaged" in refused(sealed).message


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
def test_a_missing_file_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path):
    assert "cannot be read" in refused(tmp_path / "none").message
    assert "not a file" in refused(tmp_path).message
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refused(tmp_path / "pipe").message


def test_a_ciphertext_moved_to_another_header_does_not_open(sealed, tmp_path):
    other = tmp_path / "other"
    seal(other, PUBLIC | {"name": "south"}, bytes(32), PASSPHRASE, NOUN)
    taken = json.loads(other.read_text())
    rewrite(sealed, lambda fields: fields.update(copy.deepcopy(taken) | {"name": "north"}))
    assert WRONG in refused(sealed).message


def test_a_new_passphrase_through_a_link_is_that_of_the_file_itself(tmp_path):
    key, link = tmp_path / "disk" / "key", tmp_path / "link"
    seal(key, PUBLIC, SECRET, PASSPHRASE, NOUN)
    link.symlink_to(key)
    other = SecretStr("another passphrase")
    seal(link, PUBLIC, SECRET, other, NOUN)
    assert link.is_symlink() and unseal(key, other, NOUN, dict)[1] == SECRET
    assert WRONG in refused(key).message
