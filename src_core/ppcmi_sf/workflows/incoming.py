"""What a command takes in: a bundle of its study and of the kind that it needs."""

from __future__ import annotations

from ppcmi_sf.bundle import BundleKind, BundleReader, require_layout
from ppcmi_sf.errors import BundleError
from ppcmi_sf.study import StudySpec

_WANTED: dict[BundleKind, tuple[str, str]] = {
    "query": (
        "a query",
        "Queries come from 'ppcmi site protect' without --pairs.",
    ),
    "training": (
        "a training bundle",
        "Make training bundles with 'ppcmi site protect --pairs'.",
    ),
    "reply": (
        "a reply",
        "Replies come from the mapping server ('ppcmi server map').",
    ),
    "model": (
        "a mapping network",
        "Ask the mapping server for one (ppcmi server publish).",
    ),
}


def expect(bundle: BundleReader, study: StudySpec, kind: BundleKind) -> None:
    """Refuse a bundle of another study or kind.

    Raises
    ------
    StudyError
        It belongs to another study.
    BundleError
        It is of another kind, or its tensors are not those of the study.
    """
    require_layout(bundle, study)
    if bundle.header.kind != kind:
        wanted, where_from = _WANTED[kind]
        raise BundleError(
            f"{bundle.path}: a {bundle.header.kind} bundle, not {wanted}.", hint=where_from
        )
