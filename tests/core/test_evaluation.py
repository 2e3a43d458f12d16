"""Folders of masks, scored."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.evaluation import class_names_in, evaluate_folders
from ppcmi_sf.progress import run

NAMES = ["background", "head"]


def square(row, shape=(20, 30)):
    mask = np.zeros(shape, np.uint8)
    mask[row : row + 8, 3:11] = 1
    return mask


def png(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def nifti(path, mask, spacing):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(mask, np.diag([*spacing, 1.0])), path)


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b", "c", "d"):
        png(tmp_path / "truth" / "masks" / f"{name}.png", square(4))
    png(tmp_path / "pred" / "a.png", square(2))
    png(tmp_path / "pred" / "b_mask.png", square(4, (20, 31)))
    (tmp_path / "pred" / "c.png").write_bytes(b"damaged")
    png(tmp_path / "pred" / "extra.png", square(2))
    return tmp_path


def test_a_batch_goes_on_and_lists_what_failed(folders):
    steps = []
    report = run(evaluate_folders(folders / "pred", folders / "truth", NAMES, 0.5), steps.append)
    assert [case.case for case in report.cases] == ["a"]
    (score,) = report.cases[0].scores
    assert score.dice == pytest.approx(0.75) and score.hd95_mm == pytest.approx(1.0)
    assert [name for name, _ in report.failures] == ["b", "c", "d"]
    assert ["b_mask.png" in str(error) for _, error in report.failures] == [True, False, False]
    assert "c.png" in str(report.failures[1][1]) and "'d'" in str(report.failures[2][1])
    assert all(error.hint for _, error in report.failures)
    assert report.without_truth == ("extra",)
    assert [step.done for step in steps] == [0, 1, 2, 3, 4]
    assert [summary.class_name for summary in report.summaries] == ["head", "mean"]


def test_tables(folders):
    report = run(evaluate_folders(folders / "pred", folders / "truth" / "masks", NAMES))
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["cases"][0]["scores"][0]["class_name"] == "head"
    assert plain["summary"][0]["mean"]["dice"] == pytest.approx(0.75)
    assert [failure["case"] for failure in plain["failures"]] == ["b", "c", "d"]
    report.write_csv(folders / "out" / "scores.csv")
    with (folders / "out" / "scores.csv").open(newline="") as handle:
        (row,) = csv.DictReader(handle)
    assert row["case"] == "a" and float(row["dice"]) == pytest.approx(0.75)
    assert [path.name for path in (folders / "out").iterdir()] == ["scores.csv"]


def test_spacing_comes_from_the_truth(tmp_path):
    pred, truth = np.zeros((12, 12, 6), np.uint8), np.zeros((12, 12, 6), np.uint8)
    pred[3, 3, 1], truth[3, 3, 3] = 1, 1
    nifti(tmp_path / "truth" / "a.nii.gz", truth, (1, 1, 2.5))
    nifti(tmp_path / "pred" / "a_mask.nii", pred, (1, 1, 2.5))
    report = run(evaluate_folders(tmp_path / "pred", tmp_path / "truth", NAMES, 99))
    assert report.cases[0].scores[0].hd95_mm == pytest.approx(5.0)


def test_a_prediction_that_lies_elsewhere_fails(tmp_path):
    mask = np.zeros((12, 12, 6), np.uint8)
    nifti(tmp_path / "truth" / "a.nii.gz", mask, (1, 1, 2.5))
    nifti(tmp_path / "pred" / "a.nii.gz", mask, (-1, 1, 2.5))
    report = run(evaluate_folders(tmp_path / "pred", tmp_path / "truth", NAMES))
    assert [name for name, _ in report.failures] == ["a"]
    with pytest.raises(PPCMIError, match="No case"):
        report.write_csv(tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists()


def test_masks_beside_their_images(tmp_path):
    png(tmp_path / "truth" / "1_1.tif", np.full((20, 30), 77, np.uint8))
    png(tmp_path / "truth" / "1_1_mask.tif", square(4) * 255)
    png(tmp_path / "pred" / "1_1.png", square(4))
    report = run(evaluate_folders(tmp_path / "pred", tmp_path / "truth", NAMES))
    assert report.cases[0].scores[0].dice == 1.0


def test_a_class_outside_the_study_fails_its_case(tmp_path):
    png(tmp_path / "truth" / "a.png", square(4))
    png(tmp_path / "pred" / "a.png", square(4) * 7)
    report = run(evaluate_folders(tmp_path / "pred", tmp_path / "truth", NAMES))
    assert "a.png" in str(report.failures[0][1])


@pytest.mark.parametrize("kind", ["missing", "empty", "other names"])
def test_folders_that_cannot_be_scored(tmp_path, kind):
    png(tmp_path / "truth" / "a.png", square(4))
    pred = tmp_path / "pred"
    if kind != "missing":
        pred.mkdir()
    if kind == "other names":
        png(pred / "z.png", square(4))
    with pytest.raises(InputFileError) as caught:
        run(evaluate_folders(pred, tmp_path / "truth", NAMES))
    assert "pred" in caught.value.message and caught.value.hint


def test_classes_are_named_by_their_values_without_a_study(tmp_path):
    png(tmp_path / "two" / "a.png", square(4) * 2)
    png(tmp_path / "two" / "b.png", square(4))
    assert class_names_in(tmp_path / "two") == ["background", "class 1", "class 2"]
    png(tmp_path / "binary" / "a.png", square(4) * 255)
    assert class_names_in(tmp_path / "binary") == ["background", "class 1"]
    (tmp_path / "two" / "c.png").write_bytes(b"damaged")
    assert len(class_names_in(tmp_path / "two")) == 3


def test_a_gap_between_the_values_is_no_class_that_scores(tmp_path):
    truth = np.zeros((8, 8), np.uint8)
    for value in (1, 2, 4):
        truth[2 * value - 2 : 2 * value, :4] = value
    png(tmp_path / "truth" / "a.png", truth)
    png(tmp_path / "pred" / "a.png", np.where(truth == 1, truth, 0))
    report = run(evaluate_folders(tmp_path / "pred", tmp_path / "truth", None))
    assert [one.class_name for one in report.summaries] == ["class 1", "class 2", "class 4", "mean"]
    assert report.summaries[-1].mean["dice"] == pytest.approx(1 / 3)
    assert [one.class_name for one in report.cases[0].scores] == ["class 1", "class 2", "class 4"]


def test_a_class_that_the_predictions_alone_show_is_scored_without_a_study(tmp_path):
    png(tmp_path / "truth" / "a.png", square(4) * 2)
    png(tmp_path / "pred" / "a.png", square(4))
    report = run(evaluate_folders(tmp_path / "pred", tmp_path / "truth", None))
    assert [one.mean["dice"] for one in report.summaries] == [0, 0, 0]


def test_empty_masks_alone_are_scored_without_a_study(tmp_path):
    png(tmp_path / "truth" / "a.png", square(4) * 0)
    png(tmp_path / "pred" / "a.png", square(4) * 0)
    report = run(evaluate_folders(tmp_path / "pred", tmp_path / "truth", None))
    assert [one.class_name for one in report.summaries] == ["class 1", "mean"]
