"""ClientKey and TransformShare: where every keyed transform comes from.

The client key never leaves its site. A *transform share* is derived from it
with HKDF-SHA256 (RFC 5869) for one study and epoch: whoever holds the share can
compute that site's transforms of that epoch, but not the client key, nor the
share of another study or epoch. In the ``escrow`` arrangement the mapping
server holds one share per site (:mod:`ppcmi_sf.share`).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ppcmi_sf import secretfile
from ppcmi_sf.dates import Validity, valid_from_today
from ppcmi_sf.errors import KeyFileError

KEY_BYTES = 32
SUFFIX = ".ppcmikey"
SITE_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"
SITE_NAME_RULE = (
    "Site names are up to 40 letters from A to Z or a to z (no accents), digits, '-', '_' or '.'; "
    "the first is a letter or digit."
)
MAX_EPOCH = 1_000_000

_CONTEXT = b"ppcmi-sf/v1"


class _Context(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    site: Annotated[str, Field(pattern=SITE_NAME_PATTERN)]
    study: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    epoch: Annotated[int, Field(ge=1, le=MAX_EPOCH)]


class KeyRecord(_Context):
    """What a client key file says in the open. It is authenticated when the key is opened."""

    format: Literal["ppcmi-client-key"] = "ppcmi-client-key"
    version: Literal[2] = 2
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    created: str
    expires: str

    @property
    def validity(self) -> Validity:
        """From when to when the key may make new bundles."""
        return Validity.parse(self.created, self.expires)


@dataclass(frozen=True)
class _SiteSecret:
    """32 secret bytes of one site, for one study and epoch. Its repr never shows them."""

    site: str
    study: str
    epoch: int
    secret: bytes = field(repr=False)

    noun: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != KEY_BYTES:
            raise KeyFileError(
                f"A {self.noun} is exactly {KEY_BYTES} random bytes.",
                hint="Numbers, passwords and short keys are refused; use 'ppcmi key new'.",
            )
        try:
            _Context(site=self.site, study=self.study, epoch=self.epoch)
        except ValidationError as error:
            where = error.errors()[0]["loc"][0]
            raise KeyFileError(
                f"The {where} of a {self.noun} is not valid.",
                hint=f"{SITE_NAME_RULE} Epochs start at 1.",
            ) from None

    @property
    def key_id(self) -> str:
        """A short hash of the secret, which may be shown."""
        return hashlib.sha256(_CONTEXT + b"/key-id" + self.secret).hexdigest()[:16]


@dataclass(frozen=True)
class TransformShare(_SiteSecret):
    """The seed of a site's keyed transforms for one study and epoch."""

    noun = "transform share"

    def stream_seed(self, role: str, scale: str, part: str) -> bytes:
        """Seed (32 bytes) of one part of one transform.

        Different roles, scales and parts give independent seeds.
        """
        info = b"|".join((_CONTEXT, b"stream", role.encode(), scale.encode(), part.encode()))
        return HKDFExpand(hashes.SHA256(), KEY_BYTES, info).derive(self.secret)


@dataclass(frozen=True)
class ClientKey(_SiteSecret):
    """The secret of one site: 32 bytes from the operating system.

    Parameters
    ----------
    validity
        The days between which it may make new bundles. Afterwards it still opens
        replies to what it made.
    """

    validity: Validity = field(default_factory=valid_from_today)

    noun = "client key"

    @classmethod
    def generate(
        cls, site: str, study: str, epoch: int = 1, validity: Validity | None = None
    ) -> ClientKey:
        """Make a new key for a site in a study (by its fingerprint)."""
        secret = secrets.token_bytes(KEY_BYTES)
        return cls(site, study, epoch, secret, validity or valid_from_today())

    def rotate(self, today: date | None = None) -> ClientKey:
        """Make the key of the next epoch: fresh random bytes, same site and study."""
        return self.generate(self.site, self.study, self.epoch + 1, valid_from_today(today))

    def transform_share(self) -> TransformShare:
        """Derive the share for this key's study and epoch."""
        info = b"|".join(
            (_CONTEXT, b"transform-share", self.study.encode(), str(self.epoch).encode())
        )
        derived = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(self.secret)
        return TransformShare(self.site, self.study, self.epoch, derived)

    def require_current(self, today: date | None = None) -> None:
        """Refuse to make new bundles with a key that has expired.

        Raises
        ------
        KeyFileError
            It expired, or is not valid yet.
        """
        if not self.validity.covers(today):
            raise KeyFileError(
                f"The client key of site '{self.site}' (epoch {self.epoch}) is valid from "
                f"{self.validity.created} to {self.validity.expires}: it makes no new bundles now.",
                hint="Make the next epoch with 'ppcmi key rotate'; the old key still opens "
                "replies. Check this computer's date, too.",
            )

    def save(self, path: Path, passphrase: SecretStr, *, new: bool = False) -> None:
        """Write the key file under a passphrase, with mode 0600 (atomically).

        Parameters
        ----------
        new
            Never replace a file.

        Raises
        ------
        KeyFileError
            The passphrase has fewer than 8 characters; or there is a file, and this is new.
        ResourceError
            The file cannot be written.
        """
        record = KeyRecord(
            site=self.site,
            study=self.study,
            epoch=self.epoch,
            key_id=self.key_id,
            created=self.validity.created.isoformat(),
            expires=self.validity.expires.isoformat(),
        )
        fields = record.model_dump()
        secretfile.seal(Path(path), fields, self.secret, passphrase, self.noun, new=new)

    @classmethod
    def load(cls, path: Path, passphrase: SecretStr) -> ClientKey:
        """Read a key file.

        Raises
        ------
        KeyFileError
            The file is missing, damaged or of another kind, or the passphrase does not
            open it.
        """
        path = Path(path)
        record, secret = secretfile.unseal(
            path, passphrase, cls.noun, lambda fields: _record(path, fields)
        )
        if len(secret) != KEY_BYTES:
            raise secretfile.damaged(path, cls.noun)
        return cls(record.site, record.study, record.epoch, secret, record.validity)


def read_key_record(path: Path) -> KeyRecord:
    """Read what a key file says in the open; no passphrase is needed, nothing is authenticated.

    Raises
    ------
    KeyFileError
        The file is missing, damaged or of another kind.
    """
    return _record(Path(path), secretfile.read_public(Path(path), ClientKey.noun))


def _record(path: Path, fields: dict[str, Any]) -> KeyRecord:
    if fields.get("format") != "ppcmi-client-key":
        raise KeyFileError(
            f"{path}: not a client key file.", hint="Give the client key file of the site."
        )
    record = secretfile.model_of(KeyRecord, fields, path, ClientKey.noun)
    try:
        record.validity  # noqa: B018 - parsing is the check
    except ValueError:
        raise secretfile.damaged(path, ClientKey.noun) from None
    return record
