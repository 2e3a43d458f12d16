"""What all sites gave a mapping server for a training, checked before anything starts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppcmi_sf.bundle import BundleHeader, open_bundle
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import BundleError, InputFileError, KeyFileError
from ppcmi_sf.home import Party
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.models.store import SiteLink
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.share import SealedShare, open_share, read_sealed
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.incoming import expect


@dataclass(frozen=True)
class CheckedBundle:
    """A training bundle whose signature, study and sender are right."""

    path: Path
    header: BundleHeader
    sender: ContactCard
    digest: str
    file_bytes: int


@dataclass(frozen=True)
class HeldShare:
    """A transform share with the file that it came in."""

    share: TransformShare
    sealed: SealedShare


@dataclass(frozen=True)
class Contributions:
    """By the name of the site: its bundles, its link, and in ``escrow`` its share."""

    bundles: dict[str, list[CheckedBundle]]
    links: dict[str, SiteLink]
    shares: dict[str, HeldShare]

    def every_bundle(self) -> list[CheckedBundle]:
        """All bundles, site by site."""
        return [one for checked in self.bundles.values() for one in checked]

    def signature(self, *settings: object) -> str:
        """Names a training with these settings on these bundles; for checkpoints."""
        digest = hashlib.sha256(repr(settings).encode())
        for one in self.every_bundle():
            digest.update(one.header.bundle_id.encode())
        return digest.hexdigest()

    def note(self, party: Party) -> None:
        """Enter what was accepted in registry and disclosure log."""
        for one in self.every_bundle():
            party.home.registry.record_received(one.header, one.path, one.digest, one.file_bytes)
        for site, held in self.shares.items():
            party.home.log.append(
                "share received",
                study=held.share.study,
                key_id=held.share.key_id,
                epoch=held.share.epoch,
                peers=(self.links[site].fingerprint,),
            )


def collect(
    study: StudySpec,
    bundles: Sequence[Path],
    shares: Sequence[Path],
    party: Party,
    *,
    again: bool,
) -> Job[Contributions]:
    """Check every bundle and share; one that is bad is an error.

    Raises
    ------
    PPCMIError
        A bundle or share is bad, missing, not trusted, or of another study, epoch or site; or a
        bundle was accepted before and ``again`` is off.
    """
    by_site: dict[str, list[CheckedBundle]] = {}
    for index, path in enumerate(dict.fromkeys(bundles)):
        yield Progress(index, len(bundles), f"Checking {path.name}")
        _check_bundle(study, path, party, by_site, again=again)
    by_site = dict(sorted(by_site.items()))
    links = {site: _link(checked) for site, checked in by_site.items()}
    return Contributions(by_site, links, _load_shares(study, shares, links, party))


def _check_bundle(
    study: StudySpec,
    path: Path,
    party: Party,
    by_site: dict[str, list[CheckedBundle]],
    *,
    again: bool,
) -> None:
    """Check a bundle and put it to those of its site."""
    with open_bundle(path, party.identity, party.sender) as bundle:
        expect(bundle, study, "training")
        header, sender = bundle.header, bundle.sender
        checked = CheckedBundle(path, header, sender, bundle.digest, bundle.file_bytes)
    party.require_member(header.study, sender, path)
    party.home.registry.require_new(header, path, again=again)
    known = by_site.setdefault(sender.name, [])
    for one in known:
        if one.header.bundle_id == header.bundle_id:
            raise BundleError(f"{path}: the same bundle as {one.path}.", hint="Give it once.")
    if known and _link(known) != _link([checked]):
        raise BundleError(
            f"{path}: made with other autoencoders or another key than the other "
            f"bundles of site '{sender.name}'.",
            hint=f"Use bundles of one training of '{sender.name}' only.",
        )
    known.append(checked)


def _link(checked: list[CheckedBundle]) -> SiteLink:
    header, sender = checked[0].header, checked[0].sender
    return SiteLink(
        name=sender.name,
        fingerprint=header.sender,
        epoch=header.epoch,
        transform=header.key_id,
        encoders=header.model,
    )


def _load_shares(
    study: StudySpec, files: Sequence[Path], links: dict[str, SiteLink], party: Party
) -> dict[str, HeldShare]:
    if study.arrangement == "blind":
        if files:
            raise KeyFileError(
                "A blind study's server holds no transform shares.",
                hint="Leave out --share, and tell the sites not to send any.",
            )
        return {}
    held: dict[str, HeldShare] = {}
    for path in files:
        sealed = read_sealed(path)
        share, sender = open_share(sealed, path, party.identity, party.sender)
        study.require(share.study, f"The transform share {path}")
        if sender.name in held:
            raise InputFileError(
                path, f"a second transform share of site '{sender.name}'.", hint="Give one a site."
            )
        held[sender.name] = HeldShare(share, sealed)
    for site, link in links.items():
        _require_fitting(site, link, held.get(site))
    return {site: held[site] for site in links}


def _require_fitting(site: str, link: SiteLink, held: HeldShare | None) -> None:
    if held is None:
        raise KeyFileError(
            f"There is no transform share of site '{site}'.",
            hint=f"Ask '{site}' for one (ppcmi share-transform) and give it with --share.",
        )
    if held.share.epoch != link.epoch:
        raise KeyFileError(
            f"The transform share of site '{site}' is of epoch {held.share.epoch}, "
            f"its bundles are of epoch {link.epoch}.",
            hint=f"Ask '{site}' for the share of epoch {link.epoch}.",
        )
    if held.share.key_id != link.transform:
        raise KeyFileError(
            f"The transform share of site '{site}' is of another key than its bundles.",
            hint=f"Ask '{site}' for the share of the key that made the bundles.",
        )
