"""Keys, identities, site folders and studies: look at them, make them, unlock them."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import SecretStr

from napari_ppcmi._protocol.keys import (
    ClassInfo,
    ContactInfo,
    CreateIdentity,
    CreateKey,
    DemoSite,
    HomeInfo,
    IdentityInfo,
    KeyInfo,
    Lock,
    LookAtHome,
    LookAtKey,
    LookAtStudy,
    PrepareDemo,
    RenewIdentity,
    RotateKey,
    SiteInfo,
    StudyInfo,
    Unlock,
    Unlocked,
)
from napari_ppcmi._protocol.message import Done
from napari_ppcmi._worker.desk import Desk
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.files import atomic_path, shared_secrets_told
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey, read_key_record
from ppcmi_sf.passphrase import read_passphrase_file
from ppcmi_sf.registry.contacts import Contact
from ppcmi_sf.study import StudySpec

_PRIVATE = 0o600


def look_at_home(_desk: Desk, request: LookAtHome) -> HomeInfo:
    """Identity and contacts, without any passphrase."""
    return home_info(Home(request.home))


def look_at_key(_desk: Desk, request: LookAtKey) -> KeyInfo:
    """The open part of a key file."""
    return _key_info(request.file)


def look_at_study(_desk: Desk, request: LookAtStudy) -> StudyInfo:
    """A study file."""
    return study_info(request.file)


def unlock(desk: Desk, request: Unlock) -> Unlocked:
    """Open all that is asked for; if one thing fails, what was open before stays so."""
    home = Home(request.home)
    key, key_info, site, party, card = None, None, None, None, None
    with shared_secrets_told() as told:
        if request.key_file is not None and request.key_passphrase is not None:
            key = ClientKey.load(request.key_file, request.key_passphrase)
            key_info = _key_info(request.key_file)
        if request.site_folder is not None:
            site = site_info(request.site_folder)
        if request.identity_passphrase is not None and home.has_identity:
            party = Party(home, Identity.load(home.identity_file, request.identity_passphrase))
            card = identity_info(party.identity.card, "Your identity")
    if key is not None and site is not None:
        _require_fit(key, site)
    desk.lock()
    desk.home, desk.key, desk.party, desk.site_folder = home, key, party, request.site_folder
    return Unlocked(key=key_info, identity=card, site=site, warnings=tuple(told))


def lock(desk: Desk, _request: Lock) -> Done:
    """Forget everything secret."""
    desk.lock()
    return Done()


def create_identity(_desk: Desk, request: CreateIdentity) -> IdentityInfo:
    """Make an identity in a home that has none."""
    file = Home(request.home).identity_file
    _require_free(file, "identity")
    identity = Identity.generate(request.name)
    identity.save(file, request.passphrase, new=True)
    return identity_info(identity.card, "Your identity")


def renew_identity(_desk: Desk, request: RenewIdentity) -> IdentityInfo:
    """Later dates for the identity, under the same passphrase."""
    home = Home(request.home)
    home.card()  # says what is missing where there is none yet
    renewed = Identity.load(home.identity_file, request.passphrase).renew()
    renewed.save(home.identity_file, request.passphrase)
    return identity_info(renewed.card, "Your identity")


def create_key(_desk: Desk, request: CreateKey) -> KeyInfo:
    """Make a client key; of the next epoch, where there was one before."""
    _require_free(request.file, "client key")
    epochs, study = Home(request.home).key_epochs, StudySpec.load(request.study_file).fingerprint
    key = ClientKey.generate(request.site, study, epochs.newest(study, request.site) + 1)
    epochs.add(key, lambda: key.save(request.file, request.passphrase, new=True))
    made = _key_info(request.file)
    if key.epoch == 1:
        return made
    told = f"There was a key of epoch {key.epoch - 1} already; it makes no new bundles from now on."
    return made.model_copy(update={"note": told})


def rotate_key(_desk: Desk, request: RotateKey) -> KeyInfo:
    """Make the key of the next epoch. The old one still opens old replies."""
    _require_free(request.out, "client key")
    key, epochs = ClientKey.load(request.file, request.passphrase), Home(request.home).key_epochs
    epochs.note(key)
    epochs.require_newest(key)
    rotated = key.rotate()
    epochs.add(rotated, lambda: rotated.save(request.out, request.passphrase, new=True))
    return _key_info(request.out)


def prepare_demo(_desk: Desk, request: PrepareDemo) -> DemoSite:
    """Copy the sample's site and give it a home; what is there already stays."""
    source, folder = sample_data_folder() / "site", request.folder
    site = folder / "site"
    for file in sorted(source.iterdir()):
        target = site / file.name
        if not target.is_file():
            with atomic_path(target, mode=_PRIVATE) as temporary:
                shutil.copyfile(file, temporary)
    passphrase = _passphrase_of(site)
    key_file = next(iter(sorted(site.glob("*.ppcmikey"))))
    home = Home(folder / "home")
    if not home.has_identity:
        Identity.generate(read_key_record(key_file).site).save(home.identity_file, passphrase)
    for box in ("outbox", "inbox"):
        (folder / box).mkdir(exist_ok=True)
    return DemoSite(
        home=home.root,
        site_folder=site,
        key_file=key_file,
        outbox=folder / "outbox",
        inbox=folder / "inbox",
        passphrase=passphrase,
    )


def home_info(home: Home) -> HomeInfo:
    """What a home folder holds."""
    card = identity_info(home.card(), "Your identity") if home.has_identity else None
    known = home.contacts.all() if home.has_registry else []
    return HomeInfo(
        home=home.root, identity=card, contacts=tuple(_contact_info(one) for one in known)
    )


def identity_info(card: ContactCard, what: str) -> IdentityInfo:
    """What may be shown of a card; with a note when it expires soon."""
    return IdentityInfo(
        name=card.name,
        fingerprint=card.fingerprint,
        words=card.words,
        created=card.created,
        expires=card.expires,
        note=card.validity.expiry_note(what) or "",
    )


def card_info(card: ContactCard) -> IdentityInfo:
    """What may be shown of another party's card."""
    return identity_info(card, f"The card of '{card.name}'")


def class_infos(study: StudySpec) -> tuple[ClassInfo, ...]:
    """Names and colours of the study's classes, background first."""
    return tuple(ClassInfo(name=one.name, color=one.color) for one in study.classes)


def study_info(file: Path) -> StudyInfo:
    """What people look at of a study file."""
    study = StudySpec.load(file)
    return StudyInfo(
        file=file,
        name=study.name,
        fingerprint=study.fingerprint,
        modality=study.modality,
        arrangement=study.arrangement,
        mapping=study.mapping,
        image_size=study.image_size,
        channels=study.channels,
        classes=class_infos(study),
    )


def site_info(folder: Path) -> SiteInfo:
    """A trained site's folder."""
    from ppcmi_sf.workflows.folders import SiteFolder

    site = SiteFolder(folder)
    site.study()  # says what is missing where the folder is no site's
    record = site.record()
    return SiteInfo(
        folder=folder,
        name=record.site,
        study=study_info(site.study_file),
        slice_axis=record.slice_axis,
        can_segment=site.mapping_file.is_file(),
    )


def _contact_info(contact: Contact) -> ContactInfo:
    card = contact.card
    return ContactInfo(
        name=card.name,
        fingerprint=card.fingerprint,
        words=card.words,
        expires=card.expires,
        state=contact.state,
        note=card.validity.expiry_note(f"The card of '{card.name}'") or "",
    )


def _key_info(file: Path) -> KeyInfo:
    with shared_secrets_told():  # and dropped: it is told when the key is unlocked
        record = read_key_record(file)
    return KeyInfo(
        file=file,
        site=record.site,
        study=record.study,
        epoch=record.epoch,
        key_id=record.key_id,
        created=record.created,
        expires=record.expires,
        note=record.validity.expiry_note("The client key") or "",
    )


def _require_fit(key: ClientKey, site: SiteInfo) -> None:
    if key.study != site.study.fingerprint:
        raise KeyFileError(
            f"The key is of another study than the site folder {site.folder}.",
            hint="Choose the key and the folder of one study.",
        )
    if key.site != site.name:
        raise KeyFileError(
            f"The key is of site '{key.site}', the folder {site.folder} of '{site.name}'.",
            hint="Choose the key and the folder of the same site.",
        )


def _require_free(file: Path, what: str) -> None:
    if file.exists():
        raise KeyFileError(
            f"{file}: there is a file already, and no {what} is ever overwritten.",
            hint="Choose another name or folder.",
        )


def _passphrase_of(site: Path) -> SecretStr:
    with shared_secrets_told():  # and dropped: it is public
        return read_passphrase_file(site / "passphrase.txt")
