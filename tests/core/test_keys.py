"""Client keys and transform shares: what they accept, and that they never show the secret."""

import base64
import json
import os
import stat
import traceback
import warnings

import pytest

from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.keys import KEY_BYTES, MAX_KEY_FILE_BYTES, ClientKey, TransformShare

STUDY, OTHER_STUDY = "ab" * 32, "cd" * 32
SECRET = bytes(range(100, 132))
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


def test_the_scanner_finds_a_secret():
    for text in (repr(SECRET), SECRET.hex(), base64.b64encode(SECRET).decode(), str(list(SECRET))):
        assert shows_secret(f"a {text} b")
    assert not shows_secret(f"{make()!r} {STUDY}")


def test_generated_keys_are_32_bytes_and_differ():
    keys = [ClientKey.generate("north", STUDY) for _ in range(20)]
    assert {len(key.secret) for key in keys} == {KEY_BYTES}
    assert len({key.secret for key in keys}) == 20
    assert len({key.key_id for key in keys}) == 20


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


@pytest.mark.parametrize("kind", KINDS)
def test_file_gives_the_same_back_with_mode_0600(kind, tmp_path):
    path = tmp_path / "deep" / "file.key"
    make(kind, epoch=7).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind.load(path) == make(kind, epoch=7)
    assert [item.name for item in path.parent.iterdir()] == ["file.key"]


def test_saving_over_a_readable_file_makes_it_private(tmp_path):
    path = tmp_path / "file.key"
    path.write_text("old")
    path.chmod(0o644)
    make().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_warns(mode, tmp_path):
    path = tmp_path / "file.key"
    make().save(path)
    path.chmod(mode)
    with pytest.warns(UserWarning, match="chmod 600") as caught:
        assert ClientKey.load(path) == make()
    assert not any(shows_secret(str(warning.message)) for warning in caught)


def test_a_key_is_no_share_and_a_share_no_key(tmp_path):
    make(ClientKey).save(tmp_path / "key")
    make(TransformShare).save(tmp_path / "share")
    with pytest.raises(KeyFileError, match="not a client key file but a transform-share"):
        ClientKey.load(tmp_path / "share")
    with pytest.raises(KeyFileError, match="not a transform share file but a client-key"):
        TransformShare.load(tmp_path / "key")


def damaged_files() -> dict[str, bytes]:
    good = {
        "format": "ppcmi-client-key",
        "version": 1,
        "site": "north",
        "study": STUDY,
        "epoch": 1,
        "secret": base64.b64encode(SECRET).decode(),
    }
    whole = json.dumps(good).encode()

    def changed(**fields) -> bytes:
        return json.dumps(good | fields).encode()

    return {
        **{f"truncated at {at}": whole[:at] for at in range(0, len(whole), 9)},
        "binary": bytes(range(256)),
        "nested": b"[" * 16_000,
        "list": b"[]",
        "number": b"1" * 5000,
        "extra field": changed(patient="Jane"),
        "version": changed(version=2),
        "format": changed(format="age"),
        "epoch as text": changed(epoch="1"),
        "secret too short": changed(secret=base64.b64encode(SECRET[:31]).decode()),
        "secret too long": changed(secret=base64.b64encode(SECRET + b"x").decode()),
        "secret empty": changed(secret=""),
        "secret not base64": changed(secret=good["secret"][:-3] + "*&="),
        "secret badly padded": changed(secret=good["secret"].rstrip("=")),
        "secret beyond ASCII": changed(secret="é" + good["secret"][1:]),
        "secret as numbers": changed(secret=list(SECRET)),
        "secret hexadecimal": changed(secret=SECRET.hex()),
        "site is a path": changed(site="../../etc"),
        "huge": whole + b" " * MAX_KEY_FILE_BYTES,
    }


@pytest.mark.parametrize("name", damaged_files())
def test_a_damaged_file_is_refused_without_showing_the_secret(name, tmp_path):
    path = tmp_path / "file.key"
    path.write_bytes(damaged_files()[name])
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        ClientKey.load(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert not shows_secret("".join(traceback.format_exception(caught.value)))


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(KeyFileError, match="cannot be read"):
            TransformShare.load(path)


def test_the_share_depends_on_secret_study_and_epoch_alone():
    key = make()
    share = key.transform_share()
    assert share == key.transform_share()
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
    import hashlib
    import hmac

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
