"""What verbs over many cases share: finding them, and telling what came of their masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from ppcmi_sf.cli.console import fail_if_partial, failure_fields, show_result
from ppcmi_sf.cli.reports import already, count
from ppcmi_sf.data import Case, find_cases_with_problems
from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    from ppcmi_sf.cli.options import LayoutName
    from ppcmi_sf.workflows.report import BatchReport

Failure: TypeAlias = tuple[str, PPCMIError]


def find(
    data: Path, layout: LayoutName, masks: Path | None, *, need_masks: bool
) -> tuple[list[Case], list[Failure]]:
    """Cases that can be tried, and what is wrong with the others; fails where all are wrong."""
    cases, problems = find_cases_with_problems(
        data, layout=layout.value, masks=masks, need_masks=need_masks
    )
    if not cases:
        fail_if_partial(problems, 0)
    return cases, problems


def show_masks(
    out: Path,
    report: BatchReport,
    replacing: str,
    *,
    as_json: bool,
    more: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Tell what came of decoding, and fail when some of it failed.

    Parameters
    ----------
    replacing
        Options of the verb that replace masks that are there.
    more
        Further fields of the result.
    """
    show_result(
        {
            "out": str(out),
            "masks": [path.name for path in report.written],
            "skipped": report.skipped,
            "failures": failure_fields(report.failures),
            **more,
        },
        [
            f"Wrote {count(len(report.written), 'mask')} to {out}"
            + already(report.skipped, f"{replacing} replaces them"),
        ],
        as_json=as_json,
    )
    fail_if_partial(report.failures, len(report.written) + len(report.skipped))
