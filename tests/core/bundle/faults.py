"""Bundles with one fault each; scripts/make_bundle_vectors.py writes them to files.

Every function yields name, fault, the error that it has to give, and the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

DAMAGED, VERSION, CONTENT = "BundleDamagedError", "BundleVersionError", "BundleContentError"
UNTRUSTED, READDRESSED, OTHERS = "UntrustedSenderError", "ReaddressedError", "NotRecipientError"
THREE_CHUNKS = 85  # items
HUGE = b"\x80\0\0\0"  # 2 GB
LOW_ORDER = {  # every u of small order, and two that are such modulo p
    "0": "00" * 32,
    "1": "01" + "00" * 31,
    "8a": "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "8b": "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "p-minus-1": "ec" + "ff" * 30 + "7f",
    "p": "ed" + "ff" * 30 + "7f",
    "p-plus-1": "ee" + "ff" * 30 + "7f",
}
DTYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}
Vector = tuple[str, str, str, bytes]
Edit = Callable[[bytes], bytes]


def random_tensors(layout: Sequence[Mapping[str, Any]], items: int) -> dict[str, np.ndarray]:
    """Any allowed numbers, for the layout of an item."""
    rng = np.random.default_rng()
    made = {}
    for entry in layout:
        name, shape = entry["name"], (items, *entry["shape"])
        if entry["dtype"] in ("U8", "I8"):
            low, high = {"I8": (-127, 128), "U8": (0, 2 if name == "validation" else 256)}[
                entry["dtype"]
            ]
            made[name] = rng.integers(low, high, shape).astype(DTYPES[entry["dtype"]])
        else:
            made[name] = np.abs(rng.normal(size=shape)).astype(DTYPES[entry["dtype"]])
    return made


@dataclass(frozen=True)
class Forger:
    """Writes bundles of one item, or others when told to.

    ``ref`` is reference_writer.py, ``people`` its parties by name, ``layouts`` those of a query
    by precision, as they stand in a header.
    """

    ref: ModuleType
    people: Mapping[str, Any]
    study: str
    layouts: Mapping[str, list[dict[str, Any]]]

    def draw(self, precision: str, items: int) -> dict[str, np.ndarray]:
        return random_tensors(self.layouts[precision], items)

    def header(self, payload: bytes, to: Sequence[str] = ("server",), **changes: Any) -> Any:
        fields = {
            "version": 2,
            "kind": "query",
            "bundle_id": self.ref.urandom(16).hex(),
            "study": self.study,
            "sender": self.people["north"].fingerprint,
            "recipients": sorted(self.people[name].fingerprint for name in to),
            "key_id": "5e" * 8,
            "epoch": 1,
            "model": "a7" * 8,
            "items": 1,
            "layout": self.layouts[changes.pop("precision", "float16")],
            "record_items": 1,
            "size": len(payload),
        }
        return fields | changes

    def payload(self, items: int = 1, precision: str = "float16") -> bytes:
        return self.ref.record(self.ref.blob(self.draw(precision, items)))

    def bundle(
        self,
        header: Any = None,
        payload: bytes | None = None,
        *,
        sender: str | None = "north",
        to: Sequence[str] = ("server",),
        **options: Any,
    ) -> Any:
        """The parts of a bundle that is encrypted and signed, whatever is in it."""
        payload = self.payload() if payload is None else payload
        header = self.header(payload, to) if header is None else header
        text = header if isinstance(header, bytes) else self.ref.spell(header)
        signer = None if sender is None else self.people[sender]
        recipients = [self.people[name] for name in to]
        return self.ref.write(text, payload, signer, recipients, **options)

    def three_chunks(self, **options: Any) -> Any:
        payload = self.payload(THREE_CHUNKS)
        count = {"items": THREE_CHUNKS, "record_items": THREE_CHUNKS}
        return self.bundle(self.header(payload, **count), payload, **options)


# -- on the way, by somebody without any key ----------------------------------------


def flip(data: bytes, at: int) -> bytes:
    """One bit changed, in such a way that a hex digit stays one."""
    digits = b"0123456789abcdef"
    masks = [m for m in (1, 2, 4) if data[at] not in digits or data[at] ^ m in digits]
    return data[:at] + bytes([data[at] ^ masks[0]]) + data[at + 1 :]


def bit_flips(forger: Forger) -> Iterator[Vector]:
    parts = forger.bundle(to=("second", "server"))
    data, ends = parts.join(), parts.boundaries()
    own, other = (forger.people[n].fingerprint.encode() for n in ("server", "second"))
    regions = {
        "magic": (1, DAMAGED),
        "envelope-length": (11, DAMAGED),
        "json": (12, DAMAGED),
        "algorithm": (data.index(b"sha256"), VERSION),
        "version": (data.index(b'"version":') + 10, VERSION),
        "commitment": (data.index(b'"commitment":') + 14, DAMAGED),
        "own-fingerprint": (data.index(own) + 63, OTHERS),
        "other-fingerprint": (data.index(other) + 63, DAMAGED),
        "own-encapsulated-key": (data.index(own) + 64 + 17, DAMAGED),
        "own-wrapped-key": (data.index(own) + 64 + 17 + 70, DAMAGED),
        "other-wrapped-key": (data.index(other) + 64 + 17 + 70, DAMAGED),
        "header-length": (ends["header-length"] - 1, DAMAGED),
        "header": (ends["header-length"] + 9, DAMAGED),
        "header-tag": (ends["header"] - 1, DAMAGED),
        "chunk": (ends["header"] + 9, UNTRUSTED),
        "chunk-tag": (ends["chunk-1"] - 1, UNTRUSTED),
        "trailer": (len(data) - 80, DAMAGED),
        "trailer-tag": (len(data) - 1, DAMAGED),
    }
    for name, (place, error) in regions.items():
        yield f"flip-{name}", f"one bit changed: {name}", error, flip(data, place)
    three = forger.three_chunks()
    changed = flip(three.join(), three.boundaries()["chunk-2"] - 9)
    yield "flip-chunk-2-of-3", "one bit changed: chunk 2 of 3", UNTRUSTED, changed


def cuts(forger: Forger) -> Iterator[Vector]:
    parts = forger.bundle()
    data, ends = parts.join(), parts.boundaries()
    places = {
        "empty": 0,
        "in-magic": 4,
        "in-envelope-length": 10,
        "in-envelope": 99,
        "in-header-length": ends["envelope"] + 2,
        "in-header": ends["header"] - 9,
        "in-chunk": ends["chunk-1"] - 99,
        "in-trailer": len(data) - 9,
        "last-byte": len(data) - 1,
    }
    for name, place in (places | {f"after-{name}": end for name, end in ends.items()}).items():
        yield f"cut-{name}", f"cut short: {name}", DAMAGED, data[:place]
    three = forger.three_chunks()
    for number in (1, 2):
        short = three.join()[: three.boundaries()[f"chunk-{number}"]]
        yield f"cut-after-chunk-{number}-of-3", f"cut short: chunk {number} of 3", DAMAGED, short
    yield "append-byte", "one byte appended", DAMAGED, data + b"\0"
    yield "append-bundle", "a second bundle appended", DAMAGED, data + data
    yield "append-chunk", "a chunk more", DAMAGED, replace(parts, chunks=parts.chunks * 2).join()
    yield "text-unix", "treated as text: CR LF became LF", DAMAGED, data.replace(b"\r\n", b"\n")
    yield "text-dos", "treated as text: LF became CR LF", DAMAGED, data.replace(b"\n", b"\r\n")
    at = ends["envelope"]
    yield "envelope-2gb", "an envelope of 2 GB", DAMAGED, data[:8] + HUGE + data[12:]
    yield "header-2gb", "a header of 2 GB", DAMAGED, data[:at] + HUGE + data[at + 4 :]


def shuffles(forger: Forger) -> Iterator[Vector]:
    three = forger.three_chunks()
    one, two, last = three.chunks
    for name, fault, error, chunks in (
        ("swapped", "the first two chunks swapped", UNTRUSTED, (two, one, last)),
        ("first-dropped", "the first chunk dropped", DAMAGED, (two, last)),
        ("middle-dropped", "the second chunk dropped", DAMAGED, (one, last)),
        ("last-dropped", "the last chunk dropped", DAMAGED, (one, two)),
        ("duplicated", "the last chunk twice", DAMAGED, (one, two, last, last)),
        ("replaced", "the second chunk is a copy of the first", UNTRUSTED, (one, one, last)),
    ):
        yield f"chunks-{name}", fault, error, replace(three, chunks=chunks).join()
    parts, other = forger.bundle(), forger.bundle()
    for name, error, changes in (
        ("payload", UNTRUSTED, {"chunks": other.chunks}),
        ("payload-and-signature", DAMAGED, {"chunks": other.chunks, "trailer": other.trailer}),
        ("header", DAMAGED, {"header": other.header}),
        ("envelope", DAMAGED, {"envelope": other.envelope}),
        ("signature", DAMAGED, {"trailer": other.trailer}),
    ):
        mixed = replace(parts, **changes).join()
        yield f"swapped-{name}", f"{name} of another bundle", error, mixed
    zeros = replace(parts, trailer=bytes(80)).join()
    yield "signature-zeros", "zeros in place of the encrypted signature", DAMAGED, zeros


# -- by somebody with a key, but not the sender's ------------------------------------


def forgeries(forger: Forger) -> Iterator[Vector]:
    secret, people = forger.ref.Secret(), forger.people
    plain = forger.payload()
    stripped = forger.bundle(sender=None).join()
    yield "signature-stripped", "a recipient put zeros for the signature", UNTRUSTED, stripped
    for name in ("stranger", "revoked", "expired"):
        header = forger.header(plain, sender=people[name].fingerprint)
        forged = forger.bundle(header, plain, sender=name).join()
        yield f"sender-{name}", f"written and signed by a sender who is {name}", UNTRUSTED, forged
    other = forger.bundle(sender="south").join()
    yield "sender-another", "says north, signed by south, who is known", UNTRUSTED, other
    unsent = forger.bundle(to=("second",)).join()
    yield "not-recipient", "encrypted to somebody else", OTHERS, unsent

    # 'second' opens what north wrote for it, and passes it on to 'server'.
    parts = forger.bundle(to=("second",), secret=secret)
    envelope = forger.ref.spell(secret.envelope([people["server"]]))
    header = forger.header(plain, ("second",))
    for name, recipients, fault, error in (
        ("kept", ("second",), "passed on; the header lists whom it was for", READDRESSED),
        ("edited", ("server",), "passed on; the header's recipients were edited", UNTRUSTED),
    ):
        text = forger.ref.spell(header | {"recipients": [people[recipients[0]].fingerprint]})
        sealed = secret.seal("header", bytes(12), text, envelope)
        passed = replace(parts, envelope=envelope, header=sealed)
        yield f"passed-on-{name}", fault, error, passed.join()
    resigned = forger.ref.sign(passed, secret, people["second"]).join()
    yield "passed-on-resigned", "passed on, edited and signed by who did it", UNTRUSTED, resigned
    added = forger.ref.spell(secret.envelope([people["second"], people["server"]]))
    yield "recipient-added", "a recipient added", DAMAGED, replace(parts, envelope=added).join()

    public = people["server"].public
    for name, point in LOW_ORDER.items():
        enc, fingerprint = bytes.fromhex(point), people["server"].fingerprint
        stanza = secret.wrapped(fingerprint, bytes(32), enc, public)
        fields = secret.envelope([people["server"]]) | {"recipients": [stanza]}
        made = forger.bundle(secret=secret, envelope=forger.ref.spell(fields)).join()
        yield f"low-order-{name}", f"encapsulated key of low order: {name}", DAMAGED, made
    committed = secret.envelope([people["server"]]) | {"commitment": "ab" * 32}
    made = forger.bundle(secret=secret, envelope=forger.ref.spell(committed)).join()
    yield "commitment", "commitment to another key", DAMAGED, made


# -- JSON ----------------------------------------------------------------------------


def put(text: bytes) -> Edit:
    """Add to the end of an object."""
    return lambda data: data.rstrip(b" ")[:-1] + text + b"}"


def twice(data: bytes) -> bytes:
    """With the last field once more."""
    name, value = list(json.loads(data).items())[-1]
    return put(f",{json.dumps(name)}:{json.dumps(value)}".encode())(data)


def without(data: bytes, name: str) -> bytes:
    fields = json.loads(data)
    del fields[name]
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


JSON_FAULTS: dict[str, tuple[str, Edit]] = {
    "duplicate-key": ("a key twice", twice),
    "nested": ("nested 20 deep", put(b',"zz":' + b"[" * 20 + b"]" * 20)),
    "nested-deep": ("nested 5000 deep", put(b',"zz":' + b"[" * 5000 + b"]" * 5000)),
    "not-utf8": ("not UTF-8", put(b',"zz":"\xff\xfe"')),
    "control": ("a control character", put(b',"zz":"\\u0007"')),
    "right-to-left": ("a right-to-left character", put(b',"zz":"\\u202egnp.exe"')),
    "surrogate": ("half of a surrogate pair", put(b',"zz":"\\ud800"')),
    "fraction": ("a fraction", put(b',"zz":1.0')),
    "not-a-number": ("NaN", put(b',"zz":NaN')),
    "huge-integer": ("an integer of 400 digits", put(b',"zz":1' + b"0" * 400)),
    "not-an-object": ("not an object", lambda data: b"[" + data.rstrip(b" ") + b"]"),
    "half": ("half of it", lambda data: data[: len(data) // 2]),
    "patient-name": ("a patient's name", put(b',"zz":"Doe, Jane"')),
    "byte-order-mark": ("a byte order mark", lambda data: b"\xef\xbb\xbf" + data),
}
SPELLINGS: dict[str, tuple[str, Edit]] = {
    "spaces": ("spaces", lambda data: data.replace(b":", b": ")),
    "line-end": ("a line end behind it", lambda data: data + b"\n"),
    "version-missing": ("no version", lambda data: without(data, "version")),
}


def envelopes(forger: Forger) -> Iterator[Vector]:
    """What a stranger can write who knows a recipient's card alone."""
    secret = forger.ref.Secret()
    fields = secret.envelope([forger.people["server"]])
    algorithms = fields["algorithms"]

    def made(envelope: bytes) -> bytes:
        return forger.bundle(secret=secret, envelope=envelope).join()

    for name, (fault, edit) in (JSON_FAULTS | SPELLINGS).items():
        yield (
            f"envelope-{name}",
            f"envelope: {fault}",
            DAMAGED,
            made(edit(forger.ref.spell(fields))),
        )
    (stanza,) = fields["recipients"]
    for name, error, changes in (
        ("version-newer", VERSION, {"version": 3}),
        ("version-older", VERSION, {"version": 1}),
        ("version-text", DAMAGED, {"version": "2"}),
        ("version-true", DAMAGED, {"version": True}),
        ("format", DAMAGED, {"format": "ppcmi-share"}),
        ("signature-none", VERSION, {"algorithms": algorithms | {"signature": "none"}}),
        ("hash-weaker", VERSION, {"algorithms": algorithms | {"hash": "md5"}}),
        ("payload-weaker", VERSION, {"algorithms": algorithms | {"payload": "rc4"}}),
        ("wrap-unknown", VERSION, {"algorithms": algorithms | {"wrap": "ml-kem-768"}}),
        (
            "kdf-missing",
            DAMAGED,
            {"algorithms": json.loads(without(json.dumps(algorithms), "kdf"))},
        ),
        ("recipients-none", DAMAGED, {"recipients": []}),
        ("recipients-twice", DAMAGED, {"recipients": [stanza, stanza]}),
        ("recipients-33", DAMAGED, {"recipients": [stanza] * 33}),
        ("path", DAMAGED, {"recipients": [stanza | {"fingerprint": "../" + "a" * 61}]}),
        ("name", DAMAGED, {"recipients": [stanza | {"name": "server"}]}),
        ("short-key", DAMAGED, {"recipients": [stanza | {"wrapped_key": "00" * 79}]}),
    ):
        text = forger.ref.spell(fields | changes)
        yield f"envelope-{name}", f"envelope: {name}", error, made(text)
    algorithmless = without(forger.ref.spell(fields), "algorithms")
    yield "envelope-algorithms-missing", "envelope: no algorithms", DAMAGED, made(algorithmless)
