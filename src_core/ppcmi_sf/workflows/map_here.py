"""A site answers its own queries, with the mapping network that was installed in it.

Nothing leaves the site, and yet query, reply and mask go the same way as over a server:
the site addresses a query to itself, maps it here, and reveals its own reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ppcmi_sf.bundle import BundleReader, Precision
from ppcmi_sf.cards import ContactCard, SenderLookup
from ppcmi_sf.errors import BundleError, UntrustedSenderError
from ppcmi_sf.home import Party
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import Job
from ppcmi_sf.workflows.incoming import expect
from ppcmi_sf.workflows.map_queries import Answering, answer_queries
from ppcmi_sf.workflows.report import BatchReport
from ppcmi_sf.workflows.segment import Segmenter


def map_here(
    folder: Path,
    key: ClientKey,
    queries: Sequence[Path],
    out: Path,
    party: Party,
    *,
    device: torch.device,
    precision: Precision = "float16",
    again: bool = False,
    segmenter: Segmenter | None = None,
) -> Job[BatchReport]:
    """Answer the site's own queries, which it sent to itself, with replies to itself.

    Whose identity installed the mapping network does not matter; key and encoders do. For
    what is skipped see :func:`ppcmi_sf.workflows.map_queries.answer_queries`.

    Parameters
    ----------
    segmenter
        The networks of that folder, loaded with that key, where they are at hand.

    Raises
    ------
    PPCMIError
        The site or its mapping network cannot be loaded, or the disk is full. What concerns
        one query alone is listed in the report.
    """
    loaded = segmenter or Segmenter.load(folder, key, device)

    def site_of(query: BundleReader) -> str:
        _check(query, loaded)
        return loaded.link.name

    answering = Answering(loaded.server, loaded.network, party, _only(party), site_of)
    return (
        yield from answer_queries(
            answering, Path(folder), queries, out, precision=precision, again=again
        )
    )


def _only(party: Party) -> SenderLookup:
    """Trust nobody but the party itself."""

    def sender_of(fingerprint: str) -> ContactCard:
        card = party.sender(fingerprint)
        if fingerprint != party.identity.fingerprint:
            raise UntrustedSenderError(
                f"a query of '{card.name}'; a site answers none but its own.",
                hint="Queries of other sites are for the mapping server ('ppcmi server map').",
            )
        return card

    return sender_of


def _check(query: BundleReader, segmenter: Segmenter) -> None:
    expect(query, segmenter.study, "query")
    header, link = query.header, segmenter.link
    if header.model != link.encoders:
        raise BundleError(
            f"{query.path}: the autoencoders of this site were trained anew since the query.",
            hint="Protect the images again.",
        )
    if (header.epoch, header.key_id) != (link.epoch, link.transform):
        raise BundleError(
            f"{query.path}: protected with another key (epoch {header.epoch}) than the one that "
            f"the mapping network of this site knows (epoch {link.epoch}).",
            hint="Protect the images again, with that key.",
        )
