"""The primitives that `cryptography` supplies, against published test vectors.

Wycheproof's (vectors/wycheproof/README.md) for X25519, Ed25519, ChaCha20-Poly1305 and
HKDF-SHA256, RFC 9106's for Argon2id. `cryptography`'s HPKE takes no associated data, which
RFC 9180's vectors have; so HPKE is written here again, checked with the RFC's vectors, and
then has to open what `cryptography` wrote and to write what it opens.
"""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

VECTORS = Path(__file__).parent / "vectors" / "wycheproof"
COUNTS = {"x25519": 209, "ed25519": 210, "chacha20_poly1305": 201, "hkdf_sha256": 86}


def read(name):
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def cases(name):
    """Parametrise a test with every case of a file; a failing test's id has the case's tcId."""
    values = [
        pytest.param(group, test, id="-".join([f"tcId{test['tcId']}", *test["flags"]]))
        for group in read(name)["testGroups"]
        for test in group["tests"]
    ]
    return pytest.mark.parametrize(("group", "case"), values)


def octets(case, *names):
    return [bytes.fromhex(case[name]) for name in names]


@pytest.mark.parametrize("name", COUNTS)
def test_no_vector_is_missing(name):
    document = read(name)
    tests = [test for group in document["testGroups"] for test in group["tests"]]
    assert len({test["tcId"] for test in tests}) == document["numberOfTests"] == COUNTS[name]
    assert {flag for test in tests for flag in test["flags"]} == set(document["notes"])


@cases("x25519")
def test_x25519(group, case):
    private, public, shared = octets(case, "private", "public", "shared")
    key = X25519PrivateKey.from_private_bytes(private)
    peer = X25519PublicKey.from_public_bytes(public)
    assert case["result"] in ("valid", "acceptable")
    assert ("ZeroSharedSecret" in case["flags"]) == (shared == bytes(32))
    if shared == bytes(32):  # a public key of low order: the secret would not depend on ours
        with pytest.raises(ValueError):
            key.exchange(peer)
    else:
        assert key.exchange(peer) == shared


@cases("ed25519")
def test_ed25519(group, case):
    (public,) = octets(group["publicKey"], "pk")
    message, signature = octets(case, "msg", "sig")
    key = Ed25519PublicKey.from_public_bytes(public)
    if case["result"] == "invalid":
        with pytest.raises(InvalidSignature):
            key.verify(signature, message)
    else:
        # "acceptable" are public keys of small or mixed order, which `cryptography` does not
        # refuse: anyone can sign for a key of small order, so a signature is worth no more
        # than the way in which its key came to be trusted.
        key.verify(signature, message)


@cases("chacha20_poly1305")
def test_chacha20_poly1305(group, case):
    secret, nonce, aad, message, body, tag = octets(case, "key", "iv", "aad", "msg", "ct", "tag")
    cipher = ChaCha20Poly1305(secret)
    if case["result"] == "valid":
        assert len(nonce) == 12
        assert cipher.encrypt(nonce, message, aad) == body + tag
        assert cipher.decrypt(nonce, body + tag, aad) == message
    elif "InvalidNonceSize" in case["flags"]:
        for operation, text in ((cipher.encrypt, message), (cipher.decrypt, body + tag)):
            with pytest.raises(ValueError):
                operation(nonce, text, aad)
    else:
        with pytest.raises(InvalidTag):
            cipher.decrypt(nonce, body + tag, aad)


@cases("hkdf_sha256")
def test_hkdf_sha256(group, case):
    material, salt, info, output = octets(case, "ikm", "salt", "info", "okm")
    if case["result"] == "valid":
        hkdf = HKDF(hashes.SHA256(), case["size"], salt, info)
        assert hkdf.derive(material) == output
        extracted = hmac.digest(salt, material, "sha256")
        assert HKDFExpand(hashes.SHA256(), case["size"], info).derive(extracted) == output
    else:
        assert case["flags"] == ["SizeTooLarge"]
        with pytest.raises(ValueError):
            HKDF(hashes.SHA256(), case["size"], salt, info)
        with pytest.raises(ValueError):
            HKDFExpand(hashes.SHA256(), case["size"], info)


def test_argon2id_of_rfc_9106():
    # Section 5.3.
    argon2 = Argon2id(
        salt=b"\2" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        secret=b"\3" * 8,
        ad=b"\4" * 12,
    )
    tag = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    assert argon2.derive(b"\1" * 32).hex() == tag


class BaseModeHpke:
    """RFC 9180, base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305."""

    KEM = b"KEM" + bytes.fromhex("0020")
    SUITE = b"HPKE" + bytes.fromhex("0020 0001 0003")

    def __init__(self, exchanged: bytes, enc: bytes, recipient: bytes, info: bytes):
        prk = self.extract(self.KEM, b"", b"eae_prk", exchanged)
        shared = self.expand(self.KEM, prk, b"shared_secret", enc + recipient, 32)
        context = b"\0" + self.extract(self.SUITE, b"", b"psk_id_hash", b"")
        context += self.extract(self.SUITE, b"", b"info_hash", info)
        secret = self.extract(self.SUITE, shared, b"secret", b"")
        self.cipher = ChaCha20Poly1305(self.expand(self.SUITE, secret, b"key", context, 32))
        self.base_nonce = self.expand(self.SUITE, secret, b"base_nonce", context, 12)

    @staticmethod
    def extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")

    @staticmethod
    def expand(suite: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
        assert size <= hashlib.sha256().digest_size  # a single block
        labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
        return hmac.digest(prk, labelled + b"\1", "sha256")[:size]

    @classmethod
    def recipient(cls, private: X25519PrivateKey, enc: bytes, info: bytes):
        exchanged = private.exchange(X25519PublicKey.from_public_bytes(enc))
        return cls(exchanged, enc, private.public_key().public_bytes_raw(), info)

    @classmethod
    def sender(cls, ephemeral: X25519PrivateKey, public: X25519PublicKey, info: bytes):
        enc = ephemeral.public_key().public_bytes_raw()
        return cls(ephemeral.exchange(public), enc, public.public_bytes_raw(), info)

    def nonce(self, number: int) -> bytes:
        return (int.from_bytes(self.base_nonce, "big") ^ number).to_bytes(12, "big")

    def seal(self, text: bytes, aad: bytes = b"", number: int = 0) -> bytes:
        return self.cipher.encrypt(self.nonce(number), text, aad)

    def open(self, sealed: bytes, aad: bytes = b"", number: int = 0) -> bytes:
        return self.cipher.decrypt(self.nonce(number), sealed, aad)


SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
# RFC 9180, appendix A.2.1.
INFO = b"Ode on a Grecian Urn"
TEXT = b"Beauty is truth, truth beauty"
RECIPIENT = X25519PrivateKey.from_private_bytes(
    bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
)
EPHEMERAL = X25519PrivateKey.from_private_bytes(
    bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
)
ENC = bytes.fromhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
SEALED = [
    "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
    "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f59992dc98c",
    "71146bd6795ccc9c49ce25dda112a48f202ad220559502cef1f34271e0cb4b02b4f10ecac6f48c32f878fae86b",
]


@pytest.mark.parametrize("number", range(len(SEALED)))
def test_hpke_written_again_agrees_with_rfc_9180(number):
    sealed, aad = bytes.fromhex(SEALED[number]), f"Count-{number}".encode()
    assert EPHEMERAL.public_key().public_bytes_raw() == ENC
    sender = BaseModeHpke.sender(EPHEMERAL, RECIPIENT.public_key(), INFO)
    assert sender.seal(TEXT, aad, number) == sealed
    assert BaseModeHpke.recipient(RECIPIENT, ENC, INFO).open(sealed, aad, number) == TEXT


@pytest.mark.parametrize("info", [b"", INFO, bytes(1000)], ids=["empty", "short", "long"])
@pytest.mark.parametrize("text", [b"", TEXT, bytes(10_000)], ids=["empty", "short", "long"])
class TestHpke:
    def test_what_cryptography_writes(self, text, info):
        written = SUITE.encrypt(text, RECIPIENT.public_key(), info=info)
        enc, sealed = written[:32], written[32:]
        assert len(sealed) == len(text) + 16
        assert BaseModeHpke.recipient(RECIPIENT, enc, info).open(sealed) == text
        with pytest.raises(InvalidTag):
            BaseModeHpke.recipient(RECIPIENT, enc, info + b"x").open(sealed)

    def test_what_cryptography_opens(self, text, info):
        sealed = BaseModeHpke.sender(EPHEMERAL, RECIPIENT.public_key(), info).seal(text)
        assert SUITE.decrypt(ENC + sealed, RECIPIENT, info=info) == text
        with pytest.raises(InvalidTag):
            SUITE.decrypt(ENC + sealed, RECIPIENT, info=info + b"x")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(test, id=f"tcId{test['tcId']}")
        for group in read("x25519")["testGroups"]
        for test in group["tests"]
        if "ZeroSharedSecret" in test["flags"]
    ],
)
def test_hpke_refuses_public_keys_of_low_order(case):
    (low_order,) = octets(case, "public")
    public = X25519PublicKey.from_public_bytes(low_order)
    with pytest.raises(ValueError):
        SUITE.encrypt(TEXT, public, info=INFO)
    # What anyone could write for the recipient if the all-zero secret were let through.
    forged = BaseModeHpke(bytes(32), low_order, RECIPIENT.public_key().public_bytes_raw(), INFO)
    with pytest.raises((ValueError, InvalidTag)):
        SUITE.decrypt(low_order + forged.seal(TEXT), RECIPIENT, info=INFO)
