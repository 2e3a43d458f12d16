"""Files that hold a secret under a passphrase: client keys and identities.

A JSON object: public fields, the parameters of the key derivation, and the
secret sealed with ChaCha20-Poly1305 (RFC 8439) under a key that Argon2id (RFC 9106)
makes of the passphrase. All public fields are authenticated as associated data.
``checksum`` is no protection; it tells accidental damage from a wrong passphrase.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ppcmi_sf import strictjson
from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.files import MAX_SECRET_BYTES, warn_if_shared, write_bytes

Record = TypeVar("Record", bound=BaseModel)
Parsed = TypeVar("Parsed")

MAX_BYTES = MAX_SECRET_BYTES
MIN_PASSPHRASE = 8
# What a file may ask for: about a second and 128 MiB at most, since a file may be hostile.
MAX_WORK_KIB = 6 * 65536


class KdfCost(BaseModel):
    """Parameters of Argon2id; the default is about 0.2 s and 64 MiB."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    memory_kib: Annotated[int, Field(ge=8192, le=131072)] = 65536
    iterations: Annotated[int, Field(ge=1, le=8)] = 3
    lanes: Annotated[int, Field(ge=1, le=4)] = 1


# The one place to make it cheaper (tests do).
DEFAULT_COST = KdfCost()


class _Seal(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kdf: Literal["argon2id"] = "argon2id"
    memory_kib: int
    iterations: int
    lanes: int
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    cipher: Literal["chacha20-poly1305"] = "chacha20-poly1305"
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]


def check_passphrase(passphrase: SecretStr) -> None:
    """Refuse a passphrase that is not worth the name.

    Raises
    ------
    KeyFileError
        It is shorter than 8 characters, or holds something that is no character.
    """
    _normalised(passphrase)
    if len(passphrase.get_secret_value()) < MIN_PASSPHRASE:
        raise KeyFileError(
            f"A passphrase has at least {MIN_PASSPHRASE} characters.",
            hint="Four or five random words are easy to remember and hard to guess.",
        )


def seal(
    path: Path,
    public: dict[str, Any],
    secret: bytes,
    passphrase: SecretStr,
    noun: str,
    *,
    new: bool = False,
) -> None:
    """Write a secret file with mode 0600 (atomically).

    Parameters
    ----------
    public
        Fields that anyone may read; they are authenticated.
    noun
        What it is, for messages: ``client key``.
    new
        Never replace a file.

    Raises
    ------
    KeyFileError
        The passphrase is too short; or there is a file, and this is a new secret.
    ResourceError
        The file cannot be written.
    """
    check_passphrase(passphrase)
    seal_fields = _Seal(
        **DEFAULT_COST.model_dump(), salt=secrets.token_hex(16), nonce=secrets.token_hex(12)
    )
    fields = public | {"seal": seal_fields.model_dump()}
    cipher = ChaCha20Poly1305(_derive(seal_fields, passphrase))
    nonce = bytes.fromhex(seal_fields.nonce)
    sealed = cipher.encrypt(nonce, secret, strictjson.dumps(fields))
    fields["sealed"] = sealed.hex()
    fields["checksum"] = _checksum(fields)
    text = json.dumps(fields, indent=2, ensure_ascii=True) + "\n"
    if not new:
        # A link to it stays one: else the file itself would keep the old passphrase.
        path = Path(os.path.realpath(path))
    write_bytes(path, text.encode(), mode=0o600, new=new, secret=True)


def read_public(path: Path, noun: str) -> dict[str, Any]:
    """Read the public fields without a passphrase; they are not authenticated yet.

    Raises
    ------
    KeyFileError
        The file is missing, cut short or damaged.
    """
    fields = _read(Path(path), noun)
    return {name: value for name, value in fields.items() if name not in _SEAL_FIELDS}


_SEAL_FIELDS = ("seal", "sealed", "checksum")


def unseal(
    path: Path, passphrase: SecretStr, noun: str, parse: Callable[[dict[str, Any]], Parsed]
) -> tuple[Parsed, bytes]:
    """Open a secret file; give its public fields, now authenticated, and the secret.

    Parameters
    ----------
    parse
        Reads the public fields. It is called before any work, to refuse a file of another kind.

    Raises
    ------
    KeyFileError
        The file is missing or damaged, asks for more work than is allowed, or the
        passphrase does not open it. A wrong passphrase and a header that was changed
        on purpose cannot be told apart, and are not.
    """
    path = Path(path)
    fields = _read(path, noun)
    public = {name: value for name, value in fields.items() if name not in _SEAL_FIELDS}
    parsed = parse(public)
    try:
        seal_fields = _Seal.model_validate(fields["seal"])
        cost = KdfCost(**seal_fields.model_dump(include=set(KdfCost.model_fields)))
        sealed = bytes.fromhex(fields["sealed"])
    except (ValueError, TypeError):
        raise _unknown_seal(path, noun) from None
    if cost.memory_kib * cost.iterations > MAX_WORK_KIB:
        raise _unknown_seal(path, noun)
    try:
        cipher = ChaCha20Poly1305(_derive(seal_fields, passphrase))
        associated = strictjson.dumps(public | {"seal": fields["seal"]})
        secret = cipher.decrypt(bytes.fromhex(seal_fields.nonce), sealed, associated)
    except InvalidTag:
        raise KeyFileError(
            f"{path}: the passphrase does not open this {noun}.",
            hint="Type it again, or take the file from your backup if someone changed it.",
        ) from None
    return parsed, secret


def model_of(record: type[Record], fields: dict[str, Any], path: Path, noun: str) -> Record:
    """Check public fields against a model.

    Raises
    ------
    KeyFileError
        A field is missing, unknown or not valid.
    """
    try:
        return record.model_validate(fields)
    except ValidationError:
        # 'from None': pydantic's message quotes the file's content.
        raise damaged(path, noun) from None


def damaged(path: Path, noun: str) -> KeyFileError:
    """The error for a file that is no secret file of this kind."""
    return KeyFileError(
        f"{path}: the {noun} file is damaged, cut short or not a {noun} file.",
        hint="Take it from your backup.",
    )


def _read(path: Path, noun: str) -> dict[str, Any]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path}: not a file.", hint=f"Give the {noun} file itself.")
        if status.st_size > MAX_BYTES:
            raise damaged(path, noun)
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise KeyFileError(
            f"{path}: the {noun} file cannot be read.", hint="Check the path and the permissions."
        ) from error
    warn_if_shared(path, status.st_mode, noun)
    try:
        fields = strictjson.loads(data, limit=MAX_BYTES, canonical=False)
    except ValueError:
        raise damaged(path, noun) from None
    if set(_SEAL_FIELDS) - set(fields) or not isinstance(fields["sealed"], str):
        raise damaged(path, noun)
    if fields["checksum"] != _checksum(fields):
        raise KeyFileError(
            f"{path}: this {noun} file was changed since it was written.",
            hint="Take it from your backup.",
        )
    return fields


def _unknown_seal(path: Path, noun: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: this {noun} is protected in a way that this program does not accept.",
        hint="It may be from a newer version of ppcmi, or made to do harm.",
    )


def _checksum(fields: dict[str, Any]) -> str:
    kept = {name: value for name, value in fields.items() if name != "checksum"}
    return hashlib.sha256(strictjson.dumps(kept)).hexdigest()


def _derive(seal_fields: _Seal, passphrase: SecretStr) -> bytes:
    kdf = Argon2id(
        salt=bytes.fromhex(seal_fields.salt),
        length=32,
        iterations=seal_fields.iterations,
        lanes=seal_fields.lanes,
        memory_cost=seal_fields.memory_kib,
    )
    return kdf.derive(_normalised(passphrase))


def _normalised(passphrase: SecretStr) -> bytes:
    """UTF-8 in NFC (RFC 8265): an umlaut typed on another system is the same umlaut."""
    try:
        return unicodedata.normalize("NFC", passphrase.get_secret_value()).encode()
    except UnicodeEncodeError:  # it would hold the passphrase
        raise KeyFileError(
            "The passphrase holds something that is no character.",
            hint="Type it on a terminal that is set to UTF-8.",
        ) from None
