"""Client keys and transform shares: what they accept, and that they never show the secret."""

import base64
import hashlib
import hmac
import json
import os
import stat
import traceback
import warnings
from datetime import date, timedelta

import pytest
from pydantic import SecretStr

from ppcmi_sf import secretfile, strictjson
from ppcmi_sf.dates import VALID_DAYS, Validity, utc_today
from ppcmi_sf.errors import KeyFileError, ResourceError
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import KEY_BYTES, MAX_EPOCH, ClientKey, TransformShare, read_key_record

STUDY, OTHER_STUDY = "ab" * 32, "cd" * 32
SECRET = bytes(range(100, 132))
PASSPHRASE = SecretStr("correct horse battery")
VALIDITY = Validity(date(2026, 1, 31), date(2027, 1, 31))
KINDS = [ClientKey, TransformShare]


def make(kind=ClientKey, **changes):
    return kind(**({"site": "north", "study": STUDY, "epoch": 1, "secret": SECRET} | changes))


def shows_secret(text: str, secret: bytes = SECRET) -> bool:
    """Whether any run of eight secret bytes is in a text, in the forms that people print."""
    if base64.b64encode(secret).decode()[:10] in text:
        return True
    for start in range(len(secret) - 8):
        run = secret[start : start + 8]
        forms = [run.hex(), repr(run)[2:-1], run.decode("latin-1"), str(list(run))[1:-1]]
        if any(form.lower() in text.lower() for form in forms):
            return True
    return False


def told(error: BaseException) -> str:
    """Everything that an error shows to anybody."""
    return "".join(traceback.format_exception(error)) + f"{error!r}{error}"


def rewrite(path, **changes) -> None:
    """Change fields of a file, and its checksum as somebody would who means harm."""
    fields = json.loads(path.read_text()) | changes
    kept = {name: value for name, value in fields.items() if name != "checksum"}
    fields["checksum"] = hashlib.sha256(strictjson.dumps(kept)).hexdigest()
    path.write_text(json.dumps(fields))
    path.chmod(0o600)


def refused(path, passphrase=PASSPHRASE) -> KeyFileError:
    with pytest.raises(KeyFileError) as caught:
        ClientKey.load(path, passphrase)
    error = caught.value
    assert str(path) in error.message
    assert error.hint
    assert not shows_secret(told(error))
    assert passphrase.get_secret_value() not in told(error)
    return error


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "north.ppcmikey"
    make(validity=VALIDITY).save(path, PASSPHRASE)
    return path


def test_the_scanner_finds_a_secret():
    for text in (repr(SECRET), SECRET.hex(), base64.b64encode(SECRET).decode(), str(list(SECRET))):
        assert shows_secret(f"a {text} b")
    assert not shows_secret(f"{make()!r} {STUDY}")


def test_generated_keys_are_32_bytes_and_differ():
    keys = [ClientKey.generate("north", STUDY) for _ in range(20)]
    assert {len(key.secret) for key in keys} == {KEY_BYTES}
    assert len({key.secret for key in keys}) == 20
    assert len({key.key_id for key in keys}) == 20
    assert {key.validity for key in keys} == {
        Validity(utc_today(), utc_today() + timedelta(VALID_DAYS))
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "secret",
    [
        b"",
        SECRET[:-1],
        SECRET + b"x",
        12345,
        0,
        SECRET.hex(),
        "x" * 32,
        bytearray(SECRET),
        list(SECRET),
        None,
    ],
)
def test_anything_but_32_bytes_is_refused(kind, secret):
    with pytest.raises(KeyFileError, match="exactly 32 random bytes") as caught:
        make(kind, secret=secret)
    assert not shows_secret(f"{caught.value}{caught.value!r}")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", ""),
        ("site", "../up"),
        ("site", "a b"),
        ("site", "x" * 41),
        ("site", "north\n"),
        ("site", 3),
        ("study", "ab"),
        ("study", STUDY.upper()),
        ("epoch", 0),
        ("epoch", -1),
        ("epoch", 1_000_001),
        ("epoch", "1"),
        ("epoch", True),
    ],
)
def test_a_bad_context_is_refused_by_name(field, value):
    with pytest.raises(KeyFileError, match=f"The {field} of a client key") as caught:
        make(**{field: value})
    assert not shows_secret("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("kind", KINDS)
def test_repr_and_str_hide_the_secret(kind):
    item = make(kind)
    for text in (repr(item), str(item), f"{item}", repr([item]), item.key_id):
        assert not shows_secret(text)
    assert "north" in repr(item)


def test_a_file_gives_the_same_key_back_with_mode_0600(tmp_path):
    path = tmp_path / "deep" / "north.ppcmikey"
    key = make(epoch=7, validity=VALIDITY)
    key.save(path, PASSPHRASE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ClientKey.load(path, PASSPHRASE) == key
    assert [item.name for item in path.parent.iterdir()] == ["north.ppcmikey"]
    assert not shows_secret(path.read_text())


def test_the_header_is_read_without_a_passphrase_and_holds_nothing_more(key_file):
    record = read_key_record(key_file)
    assert record.model_dump() == {
        "format": "ppcmi-client-key",
        "version": 2,
        "site": "north",
        "study": STUDY,
        "epoch": 1,
        "key_id": make().key_id,
        "created": "2026-01-31",
        "expires": "2027-01-31",
    }
    assert record.validity == VALIDITY
    assert set(json.loads(key_file.read_text())) == {*record.model_dump(), *secretfile._SEAL_FIELDS}


def test_saving_over_a_readable_file_makes_it_private(tmp_path):
    path = tmp_path / "north.ppcmikey"
    path.write_text("old")
    path.chmod(0o644)
    make().save(path, PASSPHRASE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_short_passphrase_leaves_the_old_file_as_it_was(key_file):
    before = key_file.read_bytes()
    with pytest.raises(KeyFileError, match="at least 8 characters"):
        make(epoch=2).save(key_file, SecretStr("1234567"))
    assert key_file.read_bytes() == before


def test_a_folder_that_cannot_be_written_to_shows_no_secret(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError) as caught:
        make().save(tmp_path / "file" / "north.ppcmikey", PASSPHRASE)
    assert not shows_secret(told(caught.value))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_warns(mode, key_file):
    key_file.chmod(mode)
    with pytest.warns(UserWarning, match="chmod 600") as caught:
        assert ClientKey.load(key_file, PASSPHRASE).secret == SECRET
    assert not any(shows_secret(str(warning.message)) for warning in caught)


def test_a_wrong_passphrase_does_not_open_it(key_file):
    assert "the passphrase does not open" in refused(key_file, SecretStr("Tr0ub4dor&3")).message


@pytest.mark.parametrize(
    "change",
    [
        {"site": "south"},
        {"study": OTHER_STUDY},
        {"epoch": 2},
        {"key_id": "0" * 16},
        {"created": "2025-01-31"},
        {"expires": "2035-01-31"},
    ],
)
def test_a_header_changed_with_its_checksum_is_told_like_a_wrong_passphrase(change, key_file):
    wrong = refused(key_file, SecretStr("Tr0ub4dor&3"))
    rewrite(key_file, **change)
    changed = refused(key_file)
    assert (changed.message, changed.hint) == (wrong.message, wrong.hint)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": 3},
        {"version": "2"},
        {"site": "../../etc"},
        {"site": "nor\u202eth"},
        {"site": "north\n"},
        {"study": "ab"},
        {"epoch": 0},
        {"epoch": "1"},
        {"key_id": SECRET.hex()},
        {"created": "2026-1-31"},
        {"created": "20260131"},
        {"created": "2026-01-31T10:00:00"},
        {"created": "2028-01-31"},
        {"expires": "9999-12-31"},
        {"expires": None},
        {"patient": "Jane"},
        {"seal": None},
    ],
)
def test_a_header_that_is_not_allowed_is_refused_before_any_work(change, key_file, monkeypatch):
    monkeypatch.setattr(secretfile, "_derive", lambda *_: pytest.fail("worked on"))
    rewrite(key_file, **change)
    error = refused(key_file)
    assert "passphrase" not in error.message
    assert not any(str(value) in told(error) for value in ("Jane", "../../etc", "\u202e"))


def test_a_sealed_secret_of_another_length_is_refused(key_file):
    for secret in (SECRET[:-1], SECRET + b"x", b""):
        record = read_key_record(key_file).model_dump()
        secretfile.seal(key_file, record, secret, PASSPHRASE, "client key")
        assert "damaged" in refused(key_file).message


def test_a_key_is_no_identity_and_an_identity_no_key(key_file, tmp_path):
    Identity.generate("north").save(tmp_path / "north.ppcmiid", PASSPHRASE)
    assert "not a client key file" in refused(tmp_path / "north.ppcmiid").message
    with pytest.raises(KeyFileError, match="not a client key file"):
        read_key_record(tmp_path / "north.ppcmiid")
    with pytest.raises(KeyFileError, match="not an identity file"):
        Identity.load(key_file, PASSPHRASE)


def test_the_unprotected_key_file_of_before_is_refused(tmp_path):
    old = {"format": "ppcmi-client-key", "version": 1, "site": "north", "study": STUDY, "epoch": 1}
    path = tmp_path / "old.key"
    path.write_text(json.dumps(old | {"secret": base64.b64encode(SECRET).decode()}))
    path.chmod(0o600)
    assert "damaged, cut short or not a client key file" in refused(path).message


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
def test_missing_files_folders_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("none", "cannot be read"), (".", "not a file"), ("pipe", "not a file")):
        with pytest.raises(KeyFileError, match=why):
            ClientKey.load(tmp_path / name, PASSPHRASE)


def test_rotating_makes_the_next_epoch_with_other_bytes():
    key = make(epoch=3, validity=VALIDITY)
    after = key.rotate(today=date(2026, 11, 24))
    assert (after.site, after.study, after.epoch) == (key.site, key.study, 4)
    assert after.secret != key.secret
    assert after.key_id != key.key_id
    assert after.transform_share().secret != make(epoch=4).transform_share().secret
    assert after.validity == Validity(date(2026, 11, 24), date(2026, 11, 24) + timedelta(730))
    assert key == make(epoch=3, validity=VALIDITY)


def test_there_is_no_epoch_after_the_last():
    with pytest.raises(KeyFileError, match="The epoch of a client key"):
        make(epoch=MAX_EPOCH).rotate()


@pytest.mark.parametrize(
    ("today", "current"),
    [
        (date(2026, 1, 29), False),
        (date(2026, 1, 30), True),  # it is tomorrow already in another time zone
        (date(2026, 1, 31), True),
        (date(2027, 1, 31), True),
        (date(2027, 2, 1), False),
    ],
)
def test_a_key_makes_new_bundles_between_its_days_alone(today, current):
    key = make(validity=VALIDITY)
    if current:
        key.require_current(today)
        return
    with pytest.raises(KeyFileError, match="from 2026-01-31 to 2027-01-31: it makes no") as caught:
        key.require_current(today)
    assert "ppcmi key rotate" in caught.value.hint
    assert not shows_secret(told(caught.value))


def test_an_expired_key_file_still_opens(tmp_path):
    key = make(validity=Validity(date(2020, 1, 1), date(2021, 1, 1)))
    key.save(tmp_path / "old.ppcmikey", PASSPHRASE)
    assert ClientKey.load(tmp_path / "old.ppcmikey", PASSPHRASE) == key
    with pytest.raises(KeyFileError, match="makes no new bundles"):
        key.require_current()


def test_the_share_depends_on_secret_study_and_epoch_alone():
    key = make()
    share = key.transform_share()
    assert share == make(validity=VALIDITY).transform_share()
    assert (share.site, share.study, share.epoch) == ("north", STUDY, 1)
    others = [
        make(study=OTHER_STUDY),
        make(epoch=2),
        make(epoch=11),
        make(secret=SECRET[::-1]),
    ]
    secrets = {SECRET, share.secret, *(other.transform_share().secret for other in others)}
    assert len(secrets) == 2 + len(others)


def test_the_share_of_a_fixed_key_stays():
    # HKDF-SHA256 (RFC 5869) with an empty salt; computed apart from the product's code.
    pseudo = hmac.digest(bytes(32), SECRET, hashlib.sha256)
    info = b"ppcmi-sf/v1|transform-share|" + STUDY.encode() + b"|1"
    expected = hmac.digest(pseudo, info + b"\x01", hashlib.sha256)
    assert make().transform_share().secret == expected


def test_streams_of_distinct_contexts_share_nothing():
    share = make(TransformShare)
    contexts = [
        (role, scale, part)
        for role in ("image", "mask")
        for scale in ("skip3", "skip4", "bottleneck")
        for part in ("mixing", "bias", "positions")
    ]
    seeds = [share.stream_seed(*context) for context in contexts]
    assert len(set(seeds)) == len(contexts)
    bits = [
        bin(int.from_bytes(a) ^ int.from_bytes(b)).count("1")
        for i, a in enumerate(seeds)
        for b in seeds[:i]
    ]
    # 256 independent bits differ in 128 ± 8; seven standard deviations either way.
    assert 72 < min(bits) <= max(bits) < 184


def test_key_and_share_ids_tell_apart_and_not_the_secret():
    key = make()
    assert key.key_id != key.transform_share().key_id
    assert not shows_secret(key.key_id)
    assert len(key.key_id) == 16
