"""Writing a bundle that leaves: file, registry and disclosure log together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ppcmi_sf.bundle import SUFFIX, BundleHeader, BundleWriter, create_bundle
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.home import Party
from ppcmi_sf.registry import SentBundle, SentCase, SentItem


@dataclass(frozen=True)
class Addressed:
    """Who writes, and for whom."""

    party: Party
    recipients: Sequence[ContactCard]

    @property
    def fingerprints(self) -> list[str]:
        """Of the recipients, sorted."""
        return sorted({card.fingerprint for card in self.recipients})


def bundle_path(out: Path, header: BundleHeader) -> Path:
    """A file name that tells nothing: the random id."""
    return Path(out) / f"{header.bundle_id}{SUFFIX}"


@contextmanager
def send(
    path: Path,
    header: BundleHeader,
    addressed: Addressed,
    *,
    key_id: str = "",
    cases: Sequence[SentCase] = (),
    items: Iterable[SentItem] = (),
    answers: str | None = None,
) -> Iterator[BundleWriter]:
    """Write a bundle; registry and log know it before it gets its name.

    ``items`` is looked at when the block has ended. When anything fails or is cancelled, no
    file stays, the registry forgets it, and the log says that it was withdrawn.

    Raises
    ------
    PPCMIError
        See :func:`ppcmi_sf.bundle.create_bundle`.
    """
    party, noted = addressed.party, False
    registry = party.home.registry
    try:
        with create_bundle(path, header, party.identity, addressed.recipients) as writer:
            yield writer
            digest = writer.finish()
            sent = SentBundle(header, path, digest, writer.file_bytes)
            noted = True
            registry.record_sent(sent, key_id, cases, items, answers)
    except BaseException:  # Ctrl-C too, which may come when the file has just got its name
        if noted:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            registry.withdraw(header.bundle_id)
        raise
