"""A transform share on its way: the server it is for can open it, and nobody else."""

import json
import re
import traceback
from datetime import date

import pytest
from cryptography.hazmat.primitives import hpke
from hypothesis import given, settings
from hypothesis import strategies as st

from ppcmi_sf import strictjson
from ppcmi_sf.cards import signed_message
from ppcmi_sf.dates import Validity
from ppcmi_sf.errors import (
    ContactError,
    InputFileError,
    KeyFileError,
    PPCMIError,
    UntrustedSenderError,
)
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.share import MAX_BYTES, SealedShare, read_sealed, read_share, write_share

STUDY = "ab" * 32
NORTH, SOUTH, SERVER, OTHER = (
    Identity.generate(name) for name in ("north", "south", "server", "other")
)
PAST = Validity(date(2020, 1, 1), date(2021, 1, 1))
KEY = ClientKey("north-key", STUDY, 3, bytes(range(100, 132)))
SHARE = KEY.transform_share()
DAMAGED = "the transform share is damaged or not a transform share"

# RFC 9180's base mode, as share.py's head describes it; written here again, as a stranger would.
SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
INFO = b"ppcmi-sf/v1|transform-share|"


def trust(*known):
    """A lookup of senders that knows these alone."""
    cards = {identity.fingerprint: identity.card for identity in known}

    def sender_of(fingerprint):
        if fingerprint not in cards:
            raise UntrustedSenderError("The sender is unknown.", hint="Add the card.")
        return cards[fingerprint]

    return sender_of


def content(sender=NORTH, signer=None, recipient=SERVER, **changes) -> dict:
    """What is within a share file, signed."""
    fields = {
        "study": STUDY,
        "epoch": 3,
        "secret": SHARE.secret.hex(),
        "sender": sender.fingerprint,
        "recipient": recipient.fingerprint,
    } | changes
    signature = (signer or sender).sign(signed_message("transform-share", fields))
    return {"signature": signature.hex()} | fields


def encrypted(plain: bytes, to: Identity, info: bytes | None = None) -> bytes:
    """A share file with this within, to be opened by ``to``."""
    info = INFO + to.fingerprint.encode() if info is None else info
    sealed = SUITE.encrypt(plain, to.card.encryption_key(), info)
    record = SealedShare(recipient=to.fingerprint, sealed=sealed.hex())
    return strictjson.dumps(record.model_dump()) + b"\n"


def told(error: BaseException) -> str:
    """Everything that an error shows to anybody."""
    return "".join(traceback.format_exception(error)) + f"{error!r}{error}"


def refused(path, data=None, reader=SERVER, known=(NORTH,)) -> PPCMIError:
    """The error of a file that the server does not take; it shows no secret."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PPCMIError) as caught:
        read_share(path, reader, trust(*known))
    for secret in (SHARE.secret, KEY.secret, SERVER.encrypt_secret):
        assert secret.hex() not in told(caught.value)
        assert repr(secret)[2:-1] not in told(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.fixture(scope="module")
def share_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("shares") / "north.ppcmishare"
    write_share(path, SHARE, NORTH, SERVER.card)
    return path


def test_the_server_gets_the_very_share_and_whose_it_is(share_file):
    found, card = read_share(share_file, SERVER, trust(NORTH))
    assert (found.secret, found.study, found.epoch) == (SHARE.secret, STUDY, 3)
    assert found.key_id == SHARE.key_id
    assert found.site == card.name == "north"
    assert card == NORTH.card
    assert found.stream_seed("image", "skip3", "mixing") == SHARE.stream_seed(
        "image", "skip3", "mixing"
    )


def test_a_file_written_by_a_stranger_after_the_description_opens(tmp_path):
    (tmp_path / "share").write_bytes(encrypted(strictjson.dumps(content()), SERVER))
    assert read_share(tmp_path / "share", SERVER, trust(NORTH))[0].secret == SHARE.secret


def test_a_stranger_sees_the_recipient_and_nothing_of_the_share(share_file):
    text = share_file.read_text()
    seen = read_sealed(share_file)
    assert set(json.loads(text)) == {"format", "version", "wrap", "recipient", "sealed"}
    assert seen.recipient == SERVER.fingerprint
    hidden = [KEY.secret.hex(), SHARE.secret.hex(), NORTH.fingerprint, STUDY, SHARE.key_id]
    assert not any(value in text for value in [*hidden, KEY.key_id, "north"])
    assert share_file.stat().st_mode & 0o777 == 0o600


def test_the_client_key_is_neither_in_the_file_nor_in_what_the_server_opens(share_file):
    seen = read_sealed(share_file)
    plain = SUITE.decrypt(
        bytes.fromhex(seen.sealed), SERVER.decryption_key(), INFO + seen.recipient.encode()
    )
    fields = json.loads(plain)
    assert set(fields) == {"study", "epoch", "secret", "sender", "recipient", "signature"}
    assert fields["secret"] == SHARE.secret.hex() != KEY.secret.hex()
    for start in range(len(KEY.secret) - 7):
        run = KEY.secret[start : start + 8]
        assert run.hex() not in plain.decode()
        assert run not in bytes.fromhex(seen.sealed)


def test_two_files_of_one_share_have_nothing_in_common(share_file, tmp_path):
    write_share(tmp_path / "again", SHARE, NORTH, SERVER.card)
    one, two = read_sealed(share_file).sealed, read_sealed(tmp_path / "again").sealed
    assert len(one) == len(two)
    assert not {one[i : i + 32] for i in range(0, len(one), 32)} & {
        two[i : i + 32] for i in range(0, len(two), 32)
    }


def test_another_server_cannot_open_it(share_file):
    for reader in (OTHER, NORTH):
        error = refused(share_file, reader=reader)
        assert type(error) is KeyFileError
        assert "is for another server" in error.message


def test_another_server_cannot_open_it_under_its_own_name_either(share_file, tmp_path):
    fields = json.loads(share_file.read_text()) | {"recipient": OTHER.fingerprint}
    error = refused(tmp_path / "share", strictjson.dumps(fields), reader=OTHER)
    assert (type(error), DAMAGED in error.message) == (KeyFileError, True)


def test_an_unknown_site_is_refused(share_file):
    error = refused(share_file, known=[SOUTH])
    assert type(error) is UntrustedSenderError
    assert error.message.endswith("The sender is unknown.")


def test_what_another_signed_is_refused(tmp_path):
    for fields in (content(NORTH, signer=SOUTH), content(NORTH) | {"signature": "00" * 64}):
        error = refused(tmp_path / "s", encrypted(strictjson.dumps(fields), SERVER))
        assert type(error) is UntrustedSenderError
        assert "not what 'north' signed for this server" in error.message


@pytest.mark.parametrize(
    "changed",
    [
        {"study": "cd" * 32},
        {"epoch": 4},
        {"secret": "00" * 32},
        {"sender": SOUTH.fingerprint},
        {"recipient": OTHER.fingerprint},
    ],
)
def test_a_server_cannot_change_what_was_signed(changed, tmp_path):
    data = encrypted(strictjson.dumps(content() | changed), SERVER)
    error = refused(tmp_path / "share", data, known=[NORTH, SOUTH])
    assert type(error) is UntrustedSenderError


def test_a_share_that_the_server_encrypts_to_a_third_party_is_refused_there(tmp_path):
    opened = strictjson.dumps(content(recipient=SERVER))
    error = refused(tmp_path / "share", encrypted(opened, OTHER), reader=OTHER)
    assert type(error) is UntrustedSenderError
    assert "not what 'north' signed for this server" in error.message
    assert "Tell the site" in error.hint


def test_a_signature_for_another_purpose_is_none_for_a_share(tmp_path):
    fields = content()
    del fields["signature"]
    for kind in ("contact-card", "membership", "join-request"):
        signature = NORTH.sign(signed_message(kind, fields)).hex()
        plain = strictjson.dumps(fields | {"signature": signature})
        error = refused(tmp_path / "share", encrypted(plain, SERVER))
        assert type(error) is UntrustedSenderError


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 0},
        {"epoch": -1},
        {"epoch": 2**31},
        {"epoch": "3"},
        {"epoch": True},
        {"study": "ab"},
        {"secret": "00" * 31},
        {"secret": "00" * 33},
        {"secret": 5},
        {"site": "north"},
        {"patient": "Jane"},
        {"nested": [[[[[[[1]]]]]]]},
    ],
)
def test_content_that_is_not_allowed_is_refused_though_well_signed(changes, tmp_path):
    data = encrypted(strictjson.dumps(content(**changes)), SERVER)
    error = refused(tmp_path / "share", data)
    assert (type(error), DAMAGED in error.message) == (KeyFileError, True)
    assert "Jane" not in told(error)


@pytest.mark.parametrize(
    "plain",
    [b"", b"\xff", b"[]", b"{}", b'{"a":1,"a":2}', strictjson.dumps(content()) + b" "],
)
def test_content_that_is_no_canonical_object_is_refused(plain, tmp_path):
    assert DAMAGED in refused(tmp_path / "share", encrypted(plain, SERVER)).message


def test_a_ciphertext_made_for_another_purpose_is_refused(tmp_path):
    for info in (b"", INFO, INFO + OTHER.fingerprint.encode(), b"ppcmi-sf/v1|bundle|"):
        data = encrypted(strictjson.dumps(content()), SERVER, info)
        assert DAMAGED in refused(tmp_path / "share", data).message


@pytest.mark.parametrize(
    "change",
    [
        {"format": "ppcmi-client-key"},
        {"version": 1},
        {"version": 3},
        {"wrap": "none"},
        {"wrap": "hpke-base-x25519-hkdf-sha256-aes-128-gcm"},
        {"recipient": "server"},
        {"recipient": SERVER.fingerprint.upper()},
        {"sealed": ""},
        {"sealed": "0"},
        {"sealed": "zz"},
        {"sealed": 5},
        {"sealed": "00" * 31},
        {"sealed": "00" * 40},
        {"sealed": "00" * 2049},
        {"sender": "north"},
    ],
)
def test_an_outside_that_is_not_allowed_is_refused(change, share_file, tmp_path):
    fields = json.loads(share_file.read_text()) | change
    error = refused(tmp_path / "share", strictjson.dumps(fields))
    assert (type(error), DAMAGED in error.message) == (KeyFileError, True)


@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "ff",
    ],
)
def test_a_sender_key_of_low_order_in_the_ciphertext_is_refused(point, share_file, tmp_path):
    fields = json.loads(share_file.read_text())
    fields["sealed"] = point + fields["sealed"][64:]
    assert DAMAGED in refused(tmp_path / "share", strictjson.dumps(fields)).message


def test_a_file_cut_short_anywhere_is_refused(share_file, tmp_path):
    whole = share_file.read_bytes()
    for length in range(len(whole) - 1):  # the last byte is a line's end
        (tmp_path / "share").write_bytes(whole[:length])
        with pytest.raises(KeyFileError, match=DAMAGED):
            read_share(tmp_path / "share", SERVER, trust(NORTH))


@pytest.mark.parametrize("tail", [b"x", b" ", b"\x00", b"{}", b"\xff", b"\r\n"])
def test_bytes_appended_or_put_before_are_refused(tail, share_file, tmp_path):
    whole = share_file.read_bytes()
    for data in (whole + tail, tail + whole):
        assert DAMAGED in refused(tmp_path / "share", data).message


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_passes_or_leaves_as_another_error(share_file, data):
    whole = bytearray(share_file.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 2))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    error = refused(share_file.parent / "flipped", bytes(whole))
    assert type(error) is KeyFileError


def test_a_byte_changed_anywhere_in_the_ciphertext_is_refused(share_file, tmp_path):
    fields = json.loads(share_file.read_text())
    sealed = bytes.fromhex(fields["sealed"])
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 0x40
        (tmp_path / "share").write_bytes(strictjson.dumps(fields | {"sealed": changed.hex()}))
        with pytest.raises(KeyFileError, match=DAMAGED):
            read_share(tmp_path / "share", SERVER, trust(NORTH))


def test_garbage_large_files_and_missing_files_are_refused(tmp_path):
    for data in (b"", b"\x80\x04.", b"PK\x03\x04", b"[" * 8000, b"{}"):
        assert DAMAGED in refused(tmp_path / "share", data).message
    assert type(refused(tmp_path / "share", b" " * (MAX_BYTES + 1))) is InputFileError
    assert type(refused(tmp_path / "none")) is InputFileError


def test_nothing_is_encrypted_to_an_expired_card_or_signed_by_an_expired_identity(tmp_path):
    expired = Identity.generate("server", PAST)
    with pytest.raises(ContactError, match="valid from 2020-01-01 to 2021-01-01") as caught:
        write_share(tmp_path / "share", SHARE, NORTH, expired.card)
    assert "new card" in caught.value.hint
    with pytest.raises(KeyFileError, match="signs nothing now"):
        write_share(tmp_path / "share", SHARE, Identity.generate("north", PAST), SERVER.card)
    assert not list(tmp_path.iterdir())


def test_the_largest_share_fits_the_format(tmp_path):
    largest = ClientKey("n" * 40, STUDY, 1_000_000, bytes(32)).transform_share()
    write_share(tmp_path / "share", largest, NORTH, SERVER.card)
    assert len(read_sealed(tmp_path / "share").sealed) < 2048
    assert re.fullmatch(rb"[ -~]+\n", (tmp_path / "share").read_bytes())
