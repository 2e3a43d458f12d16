"""What came of the engine's batches, as answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari_ppcmi._protocol.bundles import BatchResult, CaseProblem
from napari_ppcmi._protocol.message import Failure
from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    from ppcmi_sf.workflows.report import BatchReport


def batch_problems(failures: Iterable[tuple[str, PPCMIError]]) -> tuple[CaseProblem, ...]:
    """What failed, in words."""
    return tuple(CaseProblem(name=name, failure=Failure.of(error)) for name, error in failures)


def batch_result(report: BatchReport) -> BatchResult:
    """A batch of files."""
    return BatchResult(
        written=tuple(report.written),
        skipped=tuple(report.skipped),
        problems=batch_problems(report.failures),
    )
