"""ClientKey and TransformShare: where every keyed transform comes from.

The client key never leaves its site. A *transform share* is derived from it
with HKDF-SHA256 (RFC 5869) for one study and epoch: whoever holds the share can
compute that site's transforms of that epoch, but not the client key, nor the
share of another study or epoch. In the ``escrow`` arrangement the mapping
server holds one share per site.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.files import write_text

KEY_BYTES = 32
MAX_KEY_FILE_BYTES = 16 * 1024
SITE_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"

_CONTEXT = b"ppcmi-sf/v1"


class _SecretFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["ppcmi-client-key", "ppcmi-transform-share"]
    version: Literal[1] = 1
    site: Annotated[str, Field(pattern=SITE_NAME_PATTERN)]
    study: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    secret: Annotated[str, Field(max_length=64)]


@dataclass(frozen=True)
class _SiteSecret:
    """32 secret bytes of one site, for one study and epoch. Its repr never shows them."""

    site: str
    study: str
    epoch: int
    secret: bytes = field(repr=False)

    file_format: ClassVar[Literal["ppcmi-client-key", "ppcmi-transform-share"]]
    noun: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != KEY_BYTES:
            raise KeyFileError(
                f"A {self.noun} is exactly {KEY_BYTES} random bytes.",
                hint="Numbers, passwords and short keys are refused; use 'ppcmi key new'.",
            )
        try:
            _SecretFile(
                format=self.file_format,
                site=self.site,
                study=self.study,
                epoch=self.epoch,
                secret="",
            )
        except ValidationError as error:
            where = error.errors()[0]["loc"][0]
            raise KeyFileError(
                f"The {where} of a {self.noun} is not valid.",
                hint="Site names are up to 40 letters, digits, '-', '_' or '.'; epochs start at 1.",
            ) from None

    @property
    def key_id(self) -> str:
        """A short hash of the secret, safe to show."""
        return hashlib.sha256(_CONTEXT + b"/key-id" + self.secret).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the file with mode 0600 (atomically)."""
        record = _SecretFile(
            format=self.file_format,
            site=self.site,
            study=self.study,
            epoch=self.epoch,
            secret=base64.b64encode(self.secret).decode(),
        )
        write_text(path, record.model_dump_json(indent=2) + "\n", mode=0o600)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises
        ------
        KeyFileError
            The file is missing, damaged, or of another kind.
        """
        path = Path(path)
        record = _read_secret_file(path, cls.noun)
        if record.format != cls.file_format:
            raise KeyFileError(
                f"{path}: not a {cls.noun} file but a {record.format.removeprefix('ppcmi-')}.",
                hint=f"Give the {cls.noun} file of the site.",
            )
        try:
            secret = base64.b64decode(record.secret, validate=True)
        except ValueError:  # binascii.Error is one; letters beyond ASCII give a plain one
            raise _damaged(path, cls.noun) from None
        if len(secret) != KEY_BYTES:
            raise _damaged(path, cls.noun)
        return cls(record.site, record.study, record.epoch, secret)


def _damaged(path: Path, noun: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: the {noun} file is damaged or not a {noun} file.",
        hint="Take it from your backup.",
    )


def _read_secret_file(path: Path, noun: str) -> _SecretFile:
    try:
        status = path.stat()
        if status.st_size > MAX_KEY_FILE_BYTES:
            raise _damaged(path, noun)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise KeyFileError(
            f"{path}: the {noun} file cannot be read.",
            hint="Check the path; 'ppcmi key new' makes a client key.",
        ) from error
    except UnicodeDecodeError:
        raise _damaged(path, noun) from None
    # Windows has no such modes: it reports 0666 for every file.
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        warnings.warn(
            f"{path}: other users of this computer can read this {noun}; run 'chmod 600' on it.",
            stacklevel=3,
        )
    try:
        fields: Any = json.loads(text)
        return _SecretFile.model_validate(fields)
    except (ValueError, RecursionError):  # ValidationError is a ValueError
        # 'from None': pydantic's message would quote the file's content, the secret with it.
        raise _damaged(path, noun) from None


@dataclass(frozen=True)
class TransformShare(_SiteSecret):
    """The seed of a site's keyed transforms for one study and epoch."""

    file_format = "ppcmi-transform-share"
    noun = "transform share"

    def stream_seed(self, role: str, scale: str, part: str) -> bytes:
        """Seed (32 bytes) of one part of one transform.

        Different roles, scales and parts give independent seeds.
        """
        info = b"|".join((_CONTEXT, b"stream", role.encode(), scale.encode(), part.encode()))
        return HKDFExpand(hashes.SHA256(), KEY_BYTES, info).derive(self.secret)


@dataclass(frozen=True)
class ClientKey(_SiteSecret):
    """The secret of one site: 32 bytes from the operating system."""

    file_format = "ppcmi-client-key"
    noun = "client key"

    @classmethod
    def generate(cls, site: str, study: str, epoch: int = 1) -> ClientKey:
        """Make a new key for a site in a study (by its fingerprint)."""
        return cls(site, study, epoch, secrets.token_bytes(KEY_BYTES))

    def transform_share(self) -> TransformShare:
        """Derive the share for this key's study and epoch."""
        info = b"|".join(
            (_CONTEXT, b"transform-share", self.study.encode(), str(self.epoch).encode())
        )
        derived = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(self.secret)
        return TransformShare(self.site, self.study, self.epoch, derived)
