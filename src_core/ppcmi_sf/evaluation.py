"""Score a folder of predicted masks against a folder of true ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppcmi_sf.data.listing import MASK_SUFFIX, masks_in
from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.files import write_text
from ppcmi_sf.imaging import read_image, read_mask
from ppcmi_sf.metrics import CaseScores, Summary, score_case, summarise
from ppcmi_sf.progress import Job, Progress


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of every case that could be scored, and why the others could not.

    Attributes
    ----------
    cases
        Sorted by case name.
    summaries
        Mean ± SD over cases, one for each class and one for their mean.
    failures
        Case name and error of each case that was not scored, sorted by name.
    without_truth
        Names of predictions that have no truth; they are not scored and no failure.
    """

    cases: tuple[CaseScores, ...]
    summaries: tuple[Summary, ...]
    failures: tuple[tuple[str, PPCMIError], ...]
    without_truth: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything in the report as plain values for :func:`json.dumps`."""
        return {
            "cases": [asdict(case) for case in self.cases],
            "summary": [asdict(summary) for summary in self.summaries],
            "failures": [
                {"case": case, "error": error.message, "hint": error.hint}
                for case, error in self.failures
            ],
            "without_truth": list(self.without_truth),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One flat row for each case and class, for tables: case, class_name, dice, ..."""
        return [
            {"case": case.case, **asdict(score)} for case in self.cases for score in case.scores
        ]

    def write_csv(self, path: Path) -> None:
        """Write :meth:`rows` as a CSV table (atomically).

        Raises
        ------
        PPCMIError
            There is no scored case.
        ResourceError
            The file cannot be written.
        """
        rows = self.rows()
        if not rows:
            raise PPCMIError("No case was scored, so there is no table.", hint="See the failures.")
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(Path(path), text.getvalue())


def evaluate_folders(
    pred: Path, truth: Path, class_names: Sequence[str] | None, spacing_default: float = 1.0
) -> Job[EvaluationReport]:
    """Score predicted masks against true ones of the same case name.

    Parameters
    ----------
    pred, truth
        Folders of masks, or folders with ``masks/`` in them. A mask may be called
        ``<case>`` or ``<case>_mask``; where both exist, the latter is the mask.
    class_names
        One for each class, the background (class 0) included. ``None``: those of
        :func:`class_names_in`, without the classes that no mask shows.
    spacing_default
        Millimetres per pixel where the truth's file does not say.

    Yields
    ------
    Progress
        One step for each case of the truth.

    Returns
    -------
    The report; a case without prediction, of another size, or with an unreadable
    file is in its ``failures``. Nothing is written.

    Raises
    ------
    InputFileError
        A folder is missing or without masks, two masks have one name, or no
        name is in both folders.
    """
    predicted, true = _by_case(Path(pred)), _by_case(Path(truth))
    if not predicted.keys() & true.keys():
        raise InputFileError(
            pred,
            f"no mask here has the name of one in {truth}.",
            hint="Predictions and truths are matched by file name.",
        )
    names = class_names_in(Path(truth)) if class_names is None else class_names
    cases: list[CaseScores] = []
    failures: list[tuple[str, PPCMIError]] = []
    for number, name in enumerate(sorted(true)):
        yield Progress(number, len(true), f"Scoring {name}")
        try:
            if name not in predicted:
                raise _no_prediction(Path(pred), name)
            cases.append(_score(name, predicted[name], true[name], names, spacing_default))
        except PPCMIError as error:
            failures.append((name, error))
    if class_names is None:
        cases = _without_unseen(cases)
    yield Progress(len(true), len(true), f"Scored {len(cases)} of {len(true)} cases")
    return EvaluationReport(
        cases=tuple(cases),
        summaries=tuple(summarise([case.scores for case in cases])),
        failures=tuple(failures),
        without_truth=tuple(sorted(predicted.keys() - true.keys())),
    )


def class_names_in(truth: Path) -> list[str]:
    """Name the classes of a folder of masks by their values: background, class 1 and so on.

    For masks whose study is not at hand. Where the only value besides 0 is 255, it
    is class 1. Masks that cannot be read are passed over; scoring will tell of them.

    Raises
    ------
    InputFileError
        The folder is missing or without masks.
    """
    values = {int(value) for path in _by_case(Path(truth)).values() for value in _values(path)}
    highest = 1 if values <= {0, 1, 255} else max(values)
    return ["background", *(f"class {value}" for value in range(1, highest + 1))]


def _without_unseen(cases: Sequence[CaseScores]) -> list[CaseScores]:
    """Leave out classes that only close a gap between values, as 3 does in masks of 1, 2 and 4.

    Two empty masks agree, so such a class would score 1 in every case and raise the mean.
    """
    seen = {
        score.class_name
        for case in cases
        for score in case.scores
        if not (score.empty_pred and score.empty_truth)
    }
    if not seen:
        return list(cases)
    return [
        replace(case, scores=tuple(one for one in case.scores if one.class_name in seen))
        for case in cases
    ]


def _values(path: Path) -> set[int]:
    try:
        return set(np.unique(read_mask(path, 256)).tolist())
    except PPCMIError:
        return set()


def _score(
    name: str, pred: Path, truth: Path, class_names: Sequence[str], spacing_default: float
) -> CaseScores:
    """Read and score one case in the truth's grid."""
    geometry = read_image(truth).geometry
    true_labels = read_mask(truth, len(class_names))
    labels = read_mask(pred, len(class_names), image_geometry=geometry)
    spacing = geometry.spacing
    if not geometry.has_physical_size:
        spacing = tuple(spacing_default for _ in spacing)
    return CaseScores(name, tuple(score_case(labels, true_labels, class_names, spacing)))


def _by_case(folder: Path) -> dict[str, Path]:
    """Masks of a folder by case name, ``_mask`` taken off."""
    if (folder / "masks").is_dir():
        folder = folder / "masks"
    masks = {name: path for name, path in masks_in(folder).items() if path.suffix != ".mat"}
    if not masks:
        raise InputFileError(
            folder, "there are no masks in this folder.", hint="Give a folder of mask files."
        )
    # a name without the suffix comes first, so that '<case>_mask' replaces '<case>'
    ordered = sorted(masks, key=lambda name: name.endswith(MASK_SUFFIX))
    return {name.removesuffix(MASK_SUFFIX): masks[name] for name in ordered}


def _no_prediction(folder: Path, name: str) -> InputFileError:
    return InputFileError(
        folder, f"there is no prediction for the case '{name}'.", hint="Segment that case first."
    )
