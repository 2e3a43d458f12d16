"""What came of the engine's work, as answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ppcmi._protocol.bundles import BatchResult, CaseProblem
from napari_ppcmi._protocol.message import Failure
from ppcmi_sf.errors import PPCMIError

Labels = NDArray[np.uint8]

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


def class_counts(labels: Labels, class_count: int) -> tuple[int, ...]:
    """How many voxels each class has; slice by slice, since counting takes 8 bytes a voxel.

    Labels beyond the classes, which a user may have painted, are not counted.
    """
    counts = np.zeros(class_count, np.int64)
    for part in labels:
        # First, since bincount makes a list as long as the largest label: up to 2 thousand million.
        known = part[(part >= 0) & (part < class_count)]
        counts += np.bincount(known, minlength=class_count)
    return tuple(int(count) for count in counts)
