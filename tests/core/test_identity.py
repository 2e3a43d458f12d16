"""Identities and contact cards: fingerprints, signatures, weak keys, and hostile card files."""

import hashlib
import json
import re
import traceback
from datetime import date, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from mnemonic import Mnemonic
from pydantic import SecretStr

from ppcmi_sf import secretfile, strictjson
from ppcmi_sf.cards import (
    MAX_CARD_BYTES,
    ContactCard,
    fingerprint_of,
    fingerprint_words,
    is_low_order,
    same_fingerprint,
    signed_message,
)
from ppcmi_sf.dates import Validity, utc_today
from ppcmi_sf.errors import ContactError, InputFileError, KeyFileError, PPCMIError
from ppcmi_sf.identity import Identity, read_card

PASSPHRASE = SecretStr("correct horse battery")
NORTH, SOUTH = Identity.generate("north"), Identity.generate("south")
PAST = Validity(date(2020, 1, 1), date(2021, 1, 1))

# The eight points of small order of edwards25519, the sign of x in the last bit ...
SMALL_ORDER = [
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "00" * 32,
    "00" * 31 + "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
# ... and other spellings of them: x = 0 with a sign, and y above the field's prime.
OTHER_SPELLINGS = [
    "01" + "00" * 30 + "80",
    "ec" + "ff" * 31,
    "ed" + "ff" * 30 + "7f",
    "ed" + "ff" * 31,
    "ee" + "ff" * 30 + "7f",
    "ee" + "ff" * 31,
]
# RFC 7748's u of low order, each with and without the bit that is not looked at.
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
]
LOW_ORDER += [f"{key[:-2]}{int(key[-2:], 16) | 0x80:02x}" for key in LOW_ORDER]


def told(error: BaseException) -> str:
    """Everything that an error shows to anybody."""
    return "".join(traceback.format_exception(error)) + f"{error!r}{error}"


def signed(identity=NORTH, drop=(), **changes) -> dict:
    """A card's fields with some of them changed, and then signed by the card's own key."""
    fields = identity.card.model_dump() | changes
    if not {"fingerprint", *drop} & set(changes):
        keys = [bytes.fromhex(fields[name]) for name in ("sign_key", "encrypt_key")]
        fields["fingerprint"] = fingerprint_of(*keys)
    fields = {name: value for name, value in fields.items() if name not in drop}
    return fields | {"signature": identity.sign(signed_message("contact-card", fields)).hex()}


def refused(path, data: bytes, kind=ContactError) -> PPCMIError:
    path.write_bytes(data)
    with pytest.raises(kind) as caught:
        ContactCard.load(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.fixture(scope="module")
def card_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cards") / "north.ppcmicard"
    NORTH.card.save(path)
    return path


def test_a_fingerprint_is_of_the_two_keys_alone():
    card = NORTH.card
    keys = bytes.fromhex(card.sign_key) + bytes.fromhex(card.encrypt_key)
    assert card.fingerprint == hashlib.sha256(b"ppcmi-sf/v1|identity|" + keys).hexdigest()
    assert NORTH.fingerprint == card.fingerprint != SOUTH.fingerprint


def test_renewing_keeps_keys_and_fingerprint_and_changes_the_dates():
    later = Validity(utc_today() + timedelta(1), utc_today() + timedelta(400))
    renewed = NORTH.renew(later)
    assert renewed.card.validity == later
    assert renewed.card.words == NORTH.card.words
    changed = {"created", "expires", "signature"}
    assert renewed.card.model_dump(exclude=changed) == NORTH.card.model_dump(exclude=changed)
    assert renewed.card.signature != NORTH.card.signature
    assert renewed.sign_secret + renewed.encrypt_secret == NORTH.sign_secret + NORTH.encrypt_secret


def test_a_fingerprint_is_read_as_twelve_words_of_the_known_list():
    words = NORTH.card.words
    assert re.fullmatch(r"[a-z]+ [a-z]+ [a-z]+( - [a-z]+ [a-z]+ [a-z]+){3}", words)
    plain = words.replace(" - ", " ")
    assert Mnemonic("english").check(plain)
    assert Mnemonic("english").to_entropy(plain) == bytes.fromhex(NORTH.fingerprint)[:16]


def test_words_of_fixed_fingerprints_stay():
    # BIP-39's own vectors for 128 bits.
    about = "abandon " * 11 + "about"
    assert fingerprint_words("00" * 32).replace(" - ", " ") == about
    assert fingerprint_words("ff" * 32).replace(" - ", " ") == "zoo " * 11 + "wrong"


def spellings(fingerprint: str) -> list[str]:
    words = fingerprint_words(fingerprint)
    plain, pairs = words.replace(" - ", " "), re.findall("..", fingerprint)
    return [
        words, plain, plain.upper(), plain.title(), plain.replace(" ", "-"), f"  {words}\n",
        plain.replace(" ", "   "), fingerprint, fingerprint.upper(), ":".join(pairs),
        " ".join(pairs), "-".join(re.findall("." * 8, fingerprint)), f" {fingerprint}\n",
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(13))
def test_a_fingerprint_is_recognised_as_people_type_it(number):
    assert same_fingerprint(spellings(NORTH.fingerprint)[number], NORTH.fingerprint)
    assert not same_fingerprint(spellings(SOUTH.fingerprint)[number], NORTH.fingerprint)


def test_a_fingerprint_that_is_nearly_right_is_not_right():
    print_, words = NORTH.fingerprint, NORTH.card.words.replace(" - ", " ").split()
    near = ["", " ", "yes", print_[:-1], print_[1:], print_ + "0", print_[:16], print_[:32]]
    near += [print_[:i] + format(int(print_[i], 16) ^ 1, "x") + print_[i + 1 :] for i in range(64)]
    near += [" ".join(words[:-1]), " ".join([*words, words[0]]), " ".join(words[::-1])]
    near += [" ".join([*words[:i], words[i] + "x", *words[i + 1 :]]) for i in range(12)]
    near += [" ".join([words[0] + words[1], *words[2:]]), print_ + " " + " ".join(words)]
    assert not any(same_fingerprint(given, print_) for given in near)


def test_a_card_file_gives_the_same_card_back(card_file):
    assert ContactCard.load(card_file) == NORTH.card
    assert ContactCard.from_fields(NORTH.card.model_dump()) == NORTH.card
    assert card_file.read_bytes() == NORTH.card.to_bytes()
    assert len(card_file.read_bytes()) < MAX_CARD_BYTES / 4


CHANGES = {
    "format": "ppcmi-identity",
    "version": 2,
    "name": "sOuth",
    "sign_key": SOUTH.card.sign_key,
    "encrypt_key": SOUTH.card.encrypt_key,
    "fingerprint": SOUTH.fingerprint,
    "created": (utc_today() - timedelta(1)).isoformat(),
    "expires": (utc_today() + timedelta(3000)).isoformat(),
    "signature": SOUTH.card.signature,
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_card_with_a_changed_or_missing_field_is_refused(field, tmp_path):
    assert set(CHANGES) == set(ContactCard.model_fields)
    fields = NORTH.card.model_dump() | {field: CHANGES[field]}
    message = refused(tmp_path / "card", strictjson.dumps(fields)).message
    assert str(CHANGES[field]) not in message.removeprefix(str(tmp_path))
    del fields[field]
    refused(tmp_path / "card", strictjson.dumps(fields))


def test_keys_changed_together_with_the_fingerprint_are_refused(tmp_path):
    for name in ("sign_key", "encrypt_key"):
        fields = signed(**{name: getattr(SOUTH.card, name)})
        assert fields["fingerprint"] != NORTH.fingerprint
        fields["signature"] = NORTH.card.signature
        message = refused(tmp_path / "card", strictjson.dumps(fields)).message
        assert "its signature is not its own" in message


BAD_VALUES = [
    *[("name", name) for name in (
        "", "../north", "..", "/etc/passwd", "C:\\north", "a b", "x" * 41, "no\nrth", "no\x00rth",
        "no\u202erth", "no\u200brth", "nörth", "north\n", "-north", 5, None, ["north"],
    )],
    *[("created", day) for day in ("2026-1-1", "20260101", "2026-W01-1", "", 20260101, None)],
    *[("created", day) for day in ("2026-01-01T00:00:00", "2026-02-30", "9999-12-31")],
    *[("expires", day) for day in ("2020-01-01", "9999-12-31", "2026-01-01 ", "0000-00-00")],
    *[("sign_key", key) for key in ("", "00" * 31, "00" * 33, "0G" * 32, 0)],
    *[("version", value) for value in (0, 2, -1, "1", None, [1])],
    ("format", "ppcmi-membership"),
    ("email", "jane@hospital.example"),
    ("patient", "Jane Doe"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_what_a_card_may_not_hold_is_refused_though_well_signed(field, value, tmp_path):
    fields = signed(**{field: value, "fingerprint": NORTH.fingerprint})
    error = refused(tmp_path / "card", strictjson.dumps(fields))
    for letter in "\u202e\u200b\x00":
        assert letter not in told(error)
    assert not any(text in told(error) for text in ("jane@", "Jane Doe", "../north", "passwd"))


@pytest.mark.parametrize("field", ["created", "expires"])
def test_a_date_that_is_none_is_not_quoted(field, tmp_path):
    fields = signed(**{field: "Jane Doe, click http://evil.example"})
    assert "Jane" not in told(refused(tmp_path / "card", strictjson.dumps(fields)))


@pytest.mark.parametrize(
    "fields",
    [signed(version=True), signed(drop=["version"]), signed(drop=["format"])],
    ids=["version true", "no version", "no format"],
)
def test_a_card_that_would_be_written_otherwise_than_it_was_signed_is_refused(fields, tmp_path):
    refused(tmp_path / "card", strictjson.dumps(fields))


@pytest.mark.parametrize("key", [*SMALL_ORDER, *OTHER_SPELLINGS])
def test_a_signing_key_of_small_order_is_refused_though_its_signature_holds(key):
    fields = NORTH.card.model_dump(exclude={"signature"}) | {"sign_key": key}
    keys = bytes.fromhex(key), bytes.fromhex(NORTH.card.encrypt_key)
    fields["fingerprint"] = fingerprint_of(*keys)
    probe = NORTH.card.model_copy(update={"sign_key": key})
    # S = 0 and R = -hA, where hA is one of eight points: without a secret, a name is found soon.
    found = []
    for number in range(200):
        fields["name"] = f"north{number}"
        message = signed_message("contact-card", fields)
        signatures = [bytes.fromhex(point) + bytes(32) for point in SMALL_ORDER]
        found += [(fields | {"signature": s.hex()}) for s in signatures if probe.verify(message, s)]
        if found:
            break
    assert found or key in OTHER_SPELLINGS
    for forged in found:
        with pytest.raises(ValueError, match="protects nothing"):
            ContactCard.from_fields(forged)
    with pytest.raises(ValueError):
        ContactCard.from_fields(signed(sign_key=key))


@pytest.mark.parametrize("key", LOW_ORDER)
def test_an_encryption_key_of_low_order_is_refused_though_well_signed(key, tmp_path):
    assert is_low_order(X25519PublicKey.from_public_bytes(bytes.fromhex(key)))
    fields = signed(encrypt_key=key)
    message = refused(tmp_path / "card", strictjson.dumps(fields)).message
    assert "one of its keys protects nothing" in message


def test_good_keys_are_not_of_low_order():
    assert not is_low_order(NORTH.card.encryption_key())


def test_a_card_file_cut_short_anywhere_is_refused(card_file, tmp_path):
    whole = card_file.read_bytes()
    for length in range(len(whole) - 1):  # the last byte is a line's end
        refused(tmp_path / "card", whole[:length])


@pytest.mark.parametrize("tail", [b"x", b" ", b"\x00", b"{}", b"\r\n", b"\xff", b"\n{}"])
def test_a_card_file_with_bytes_appended_or_put_before_is_refused(tail, card_file, tmp_path):
    refused(tmp_path / "card", card_file.read_bytes() + tail)
    refused(tmp_path / "card", tail + card_file.read_bytes())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_card_file_with_a_flipped_bit_is_refused(card_file, data):
    whole = bytearray(NORTH.card.to_bytes())
    at = data.draw(st.integers(0, len(whole) - 2))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    refused(card_file.parent / "flipped", bytes(whole))


def test_another_spelling_of_a_card_is_refused(tmp_path):
    text = NORTH.card.to_bytes().decode()
    for other in (
        text.replace(":", ": "),
        json.dumps(dict(reversed(NORTH.card.model_dump().items()))),
        text.replace('"name":"north"', '"name":"north","name":"north"'),
        text.replace('"name":"north"', '"name":"\\u006eorth"'),
        text.replace('"version":1', '"version":1.0'),
    ):
        assert other != text
        refused(tmp_path / "card", other.encode())


def test_a_card_file_that_cannot_be_read_or_is_too_large_is_an_input_error(tmp_path):
    with pytest.raises(InputFileError, match="cannot be read"):
        ContactCard.load(tmp_path / "none")
    refused(tmp_path / "card", NORTH.card.to_bytes() + b"\n" * MAX_CARD_BYTES, InputFileError)


def test_an_identity_file_gives_the_same_back_and_its_card_without_a_passphrase(tmp_path):
    path = tmp_path / "identity.ppcmiid"
    NORTH.save(path, PASSPHRASE)
    assert Identity.load(path, PASSPHRASE) == NORTH
    assert read_card(path) == NORTH.card
    assert path.stat().st_mode & 0o777 == 0o600
    for secret in (NORTH.sign_secret, NORTH.encrypt_secret):
        assert secret.hex() not in path.read_text()
    wrong = SecretStr("Tr0ub4dor&3")
    with pytest.raises(KeyFileError, match="the passphrase does not open this identity") as caught:
        Identity.load(path, wrong)
    assert wrong.get_secret_value() not in told(caught.value)


def test_an_identity_file_with_another_card_or_other_keys_is_refused(tmp_path):
    path = tmp_path / "identity.ppcmiid"
    mixed = {
        "card of other keys": (SOUTH.card, NORTH.sign_secret + NORTH.encrypt_secret),
        "secret cut short": (NORTH.card, NORTH.sign_secret + NORTH.encrypt_secret[:-1]),
        "secrets exchanged": (NORTH.card, NORTH.encrypt_secret + NORTH.sign_secret),
    }
    for card, secret in mixed.values():
        public = {"format": "ppcmi-identity", "version": 1, "card": card.model_dump()}
        secretfile.seal(path, public, secret, PASSPHRASE, "identity")
        with pytest.raises(KeyFileError, match="damaged") as caught:
            Identity.load(path, PASSPHRASE)
        assert secret.hex() not in told(caught.value)
    public["card"]["name"] = "sOuth"
    secretfile.seal(path, public, secret, PASSPHRASE, "identity")
    with pytest.raises(KeyFileError, match="damaged"):
        read_card(path)


def test_no_repr_shows_a_secret():
    for text in (repr(NORTH), str(NORTH), f"{[NORTH]}"):
        assert "north" in text
        for secret in (NORTH.sign_secret, NORTH.encrypt_secret):
            assert secret.hex()[:16] not in text
            assert repr(secret)[2:14] not in text


@pytest.mark.parametrize("name", ["", "../up", "a b", "x" * 41, "no\u202erth", "nörth"])
def test_an_identity_has_the_name_of_a_site(name):
    with pytest.raises(ContactError, match="cannot be the name of a site") as caught:
        Identity.generate(name)
    assert "no accents" in caught.value.hint


def test_an_expired_identity_signs_nothing_and_a_renewed_one_does():
    old = Identity.generate("north", PAST)
    with pytest.raises(KeyFileError, match="valid from 2020-01-01 to 2021-01-01") as caught:
        old.require_current()
    assert "ppcmi identity renew" in caught.value.hint
    old.renew().require_current()
    early = Identity.generate("north", Validity(utc_today() + timedelta(2), date(2034, 1, 1)))
    with pytest.raises(KeyFileError, match="signs nothing now"):
        early.require_current()


def test_the_first_day_of_the_calendar_is_expired_like_any():
    assert not Identity.generate("north", Validity(date.min, date.min)).card.validity.covers()
