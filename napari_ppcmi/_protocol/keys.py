"""Keys, identities, site folders, contacts."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from napari_ppcmi._protocol.message import Answer, Request, Secret


class KeyInfo(Answer):
    """What may be shown of a client key."""

    file: Path
    site: str
    study: str
    epoch: int
    key_id: str
    created: str
    expires: str
    note: str = ""


class IdentityInfo(Answer):
    """What may be shown of an identity; also of a partner's card."""

    name: str
    fingerprint: str
    words: str
    created: str
    expires: str
    note: str = ""


class ClassInfo(Answer):
    """A class of the study's masks."""

    name: str
    color: str


class StudyInfo(Answer):
    """What the sites of one collaboration agreed on, as far as people look at it."""

    file: Path
    name: str
    fingerprint: str
    modality: str
    arrangement: str
    mapping: str
    image_size: tuple[int, int]
    channels: int
    classes: tuple[ClassInfo, ...]


class SiteInfo(Answer):
    """A trained site's folder.

    Attributes
    ----------
    slice_axis
        How the site cuts volumes, if it was told.
    can_segment
        Whether a mapping network is installed here.
    """

    folder: Path
    name: str
    study: StudyInfo
    slice_axis: int | None
    can_segment: bool


class ContactInfo(Answer):
    """A partner. ``state`` is ``valid``, ``not valid yet``, ``expired`` or ``revoked``."""

    name: str
    fingerprint: str
    words: str
    expires: str
    state: str
    note: str = ""


class HomeInfo(Answer):
    """What a home folder holds, without any passphrase."""

    home: Path
    identity: IdentityInfo | None
    contacts: tuple[ContactInfo, ...]


class Unlocked(Answer):
    """What is open now. ``None`` for what was not asked for."""

    key: KeyInfo | None
    identity: IdentityInfo | None
    site: SiteInfo | None
    warnings: tuple[str, ...] = ()


class DemoSite(Answer):
    """A site of synthetic data that is ready to use, with a public passphrase."""

    home: Path
    site_folder: Path
    key_file: Path
    outbox: Path
    inbox: Path
    passphrase: Secret


class LookAtHome(Request):
    """Read a home folder. Answer: :class:`HomeInfo`."""

    quick: ClassVar[bool] = True

    home: Path


class LookAtKey(Request):
    """Read the open part of a key file. Answer: :class:`KeyInfo`."""

    quick: ClassVar[bool] = True

    file: Path


class LookAtStudy(Request):
    """Read a study file. Answer: :class:`StudyInfo`."""

    quick: ClassVar[bool] = True

    file: Path


class Unlock(Request):
    """Open key, identity and site; what was open before is closed. Answer: :class:`Unlocked`.

    A key needs its site folder to do anything; an identity is needed to exchange bundles.
    """

    quick: ClassVar[bool] = True

    home: Path
    key_file: Path | None = None
    key_passphrase: Secret | None = None
    site_folder: Path | None = None
    identity_passphrase: Secret | None = None


class Lock(Request):
    """Forget everything secret. Answer: :class:`~.message.Done`."""

    quick: ClassVar[bool] = True


class CreateIdentity(Request):
    """Make an identity in a home folder that has none. Answer: :class:`IdentityInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    name: str
    passphrase: Secret


class RenewIdentity(Request):
    """Give the identity later dates; keys and fingerprint stay. Answer: :class:`IdentityInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    passphrase: Secret


class CreateKey(Request):
    """Make a client key. Answer: :class:`KeyInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    file: Path
    study_file: Path
    site: str
    passphrase: Secret


class RotateKey(Request):
    """Make the key of the next epoch, under the same passphrase. Answer: :class:`KeyInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    file: Path
    out: Path
    passphrase: Secret


class ExportCard(Request):
    """Write the home's own contact card. Answer: :class:`IdentityInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    file: Path


class ReadCard(Request):
    """Read a partner's card, to compare its words. Answer: :class:`IdentityInfo`."""

    quick: ClassVar[bool] = True

    file: Path


class AddContact(Request):
    """Take in a card whose words a person has compared. Answer: :class:`HomeInfo`.

    Attributes
    ----------
    fingerprint
        Of the card that was compared: the file may have changed since.
    """

    quick: ClassVar[bool] = True

    home: Path
    file: Path
    fingerprint: str


class RevokeContact(Request):
    """Never again take anything from a partner. Answer: :class:`HomeInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    name: str


class RemoveContact(Request):
    """Forget a partner. Answer: :class:`HomeInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    name: str


class PrepareDemo(Request):
    """Set up the demo site below a folder, if it is not there yet. Answer: :class:`DemoSite`."""

    quick: ClassVar[bool] = True

    folder: Path
