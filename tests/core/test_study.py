"""StudySpec: what sites agree on, its file and its fingerprint."""

import os
from pathlib import Path

import pytest
import yaml

from ppcmi_sf.errors import InputFileError, StudyError
from ppcmi_sf.study import (
    MAX_STUDY_BYTES,
    PercentileNormalization,
    StudySpec,
    WindowNormalization,
    make_classes,
)

FIXED = StudySpec(
    name="Fetal heads ü",
    modality="US",
    classes=make_classes(["head", "cavity"]),
    image_size=(256, 192),
    channels=1,
    normalization=PercentileNormalization(low=1.0, high=99.0),
    arrangement="blind",
    autoencoder="ppcmi-sf",
    mapping="fused",
    use_skips=True,
)
# Everything that sites exchange names this: if it changes, the format has changed, and
# FORMAT_VERSION must, too.
FIXED_FINGERPRINT = "c59a89f5634d2379ea70aa1c9bf08bc2dcbbd5c794991cabcbd41409f2b76cce"

CHANGES = {
    "name": "Other",
    "modality": "CT",
    "classes": make_classes(["head"]),
    "image_size": (192, 256),
    "channels": 3,
    "normalization": PercentileNormalization(low=1.0, high=99.5),
    "arrangement": "escrow",
    "autoencoder": "small",
    "mapping": "paper",
    "use_skips": False,
}


# A terminal's commands, 8-bit ones, a line break, text that turns its direction, nothing to see.
UNSEEN = ("\x1b", "\x9b", "\n", "\u202e", "\u200b")


def fields(**changes) -> dict:
    plain = yaml.safe_load(FIXED.to_yaml())
    return plain | changes


def load(folder: Path, content) -> StudySpec:
    path = folder / "study.yaml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return StudySpec.load(path)


@pytest.mark.parametrize(
    "study",
    [
        FIXED,
        FIXED.model_copy(update={"normalization": WindowNormalization(center=40.0, width=400.0)}),
        FIXED.model_copy(update={"image_size": (32, 2048), "use_skips": False}),
    ],
)
def test_file_gives_the_same_study_back(study, tmp_path):
    study.save(tmp_path / "study.yaml")
    again = StudySpec.load(tmp_path / "study.yaml")
    assert again == study
    assert again.fingerprint == study.fingerprint


def test_fingerprint_of_a_fixed_study_stays():
    assert FIXED.fingerprint == FIXED_FINGERPRINT


def test_every_field_changes_the_fingerprint():
    assert set(CHANGES) == set(StudySpec.model_fields) - {"format"}
    prints = {FIXED.model_copy(update={name: new}).fingerprint for name, new in CHANGES.items()}
    assert len(prints | {FIXED.fingerprint}) == len(CHANGES) + 1


def test_fingerprint_ignores_how_the_file_is_laid_out(tmp_path):
    shuffled = dict(reversed(list(fields().items())))
    assert load(tmp_path, yaml.safe_dump(shuffled, sort_keys=False)).fingerprint == (
        FIXED_FINGERPRINT
    )


WHITE, BLACK = {"name": "a", "color": "#ffffff"}, {"name": "b", "color": "#000000"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("format", "1"),
        ("name", ""),
        ("name", 5),
        ("name", "x" * 101),
        ("modality", "PET"),
        ("classes", [WHITE]),
        ("classes", "background"),
        ("classes", [WHITE, dict(WHITE)]),
        ("classes", [{**WHITE, "name": f"c{n}"} for n in range(33)]),
        ("classes", [WHITE, {**BLACK, "color": "red"}]),
        ("classes", [WHITE, {**BLACK, "extra": 1}]),
        ("image_size", [250, 256]),
        ("image_size", [0, 256]),
        ("image_size", [4096, 256]),
        ("image_size", [256]),
        ("image_size", ["256", 256]),
        ("image_size", [256.0, 256]),
        ("image_size", 256),
        ("channels", 0),
        ("channels", 9),
        ("channels", True),
        ("channels", "1"),
        ("normalization", {"kind": "window", "center": 1.0, "width": 0.0}),
        ("normalization", {"kind": "window", "center": float("nan"), "width": 1.0}),
        ("normalization", {"kind": "window", "center": 1.0, "width": float("inf")}),
        ("normalization", {"kind": "percentile", "low": 50.0, "high": 50.0}),
        ("normalization", {"kind": "histogram"}),
        ("normalization", None),
        ("arrangement", "trusted"),
        ("autoencoder", "big"),
        ("mapping", "unet"),
        ("use_skips", "yes"),
        ("use_skips", 1),
        ("patient", "Jane Doe"),
        *[("name", f"a{letter}b") for letter in UNSEEN],
        *[
            (
                "classes",
                [{"name": f"a{letter}", "color": "#000000"}, {"name": "b", "color": "#000000"}],
            )
            for letter in UNSEEN
        ],
    ],
)
def test_an_invalid_field_is_named_with_the_file(field, value, tmp_path):
    with pytest.raises(InputFileError) as caught:
        load(tmp_path, fields(**{field: value}))
    message = caught.value.message
    assert str(tmp_path / "study.yaml") in message
    assert field in message
    assert "Value error" not in message
    assert caught.value.hint


@pytest.mark.parametrize("field", ["name", "modality", "classes"])
def test_a_missing_field_is_named(field, tmp_path):
    plain = fields()
    del plain[field]
    with pytest.raises(InputFileError, match=f"{field}: Field required"):
        load(tmp_path, plain)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just words",
        "- a\n- b",
        "a: [1,",
        "\0",
        b"\xff\xfe\x00",
        "[" * 30_000,
        "&a [*a]",
        "a: 2024-13-45",
        "channels: " + "1" * 5000,
        "!!python/object/apply:os.system [id]",
        "!!timestamp x",
        "!!bool x",
        "!!int ''",
        "? [a]\n: b",
        "--- a\n--- b",
    ],
)
def test_a_file_that_is_no_study_is_refused(content, tmp_path):
    with pytest.raises(InputFileError, match=r"study\.yaml") as caught:
        load(tmp_path, content)
    assert caught.value.hint


def bomb(merge: str) -> str:
    """Each line takes the one before twice: 2**60 of the first, if it is resolved."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {merge.replace('?', f'*a{n - 1}')}" for n in range(1, 60)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "content",
    [
        bomb("[?, ?]"),
        bomb("{<<: [?, ?]}"),
        FIXED.to_yaml().replace("name: Fetal", "name: &a Fetal", 1),
        FIXED.to_yaml() + "<<: {use_skips: true}\n",
    ],
    ids=["aliases", "merges", "an anchor", "a merge key"],
)
def test_a_study_with_aliases_or_merge_keys_is_refused_at_once(content, tmp_path, monkeypatch):
    monkeypatch.setattr(yaml, "safe_load", None)  # which takes for ever
    with pytest.raises(InputFileError, match=r"not a study file, .* aliases or merge keys"):
        load(tmp_path, content)


def test_yaml_runs_nothing(tmp_path):
    target = tmp_path / "made"
    with pytest.raises(InputFileError):
        load(tmp_path, f"!!python/object/apply:os.mkdir ['{target}']")
    assert not target.exists()


def test_a_huge_file_is_refused_unread(tmp_path):
    with pytest.raises(InputFileError, match="too large"):
        load(tmp_path, yaml.safe_dump(fields()) + "#" * MAX_STUDY_BYTES)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputFileError, match=r"cannot be read|not a file but a folder"):
            StudySpec.load(path)


def test_require_refuses_another_study():
    FIXED.require(FIXED.fingerprint, "It")
    other = FIXED.model_copy(update={"name": "Other"})
    with pytest.raises(StudyError, match="The bundle x belongs to another study") as caught:
        FIXED.require(other.fingerprint, "The bundle x")
    assert other.fingerprint[:12] in caught.value.message
    assert FIXED.fingerprint[:12] in caught.value.message


def test_scales_follow_size_preset_and_skips():
    assert [scale.shape for scale in FIXED.scales] == [(64, 32, 24), (128, 16, 12), (256, 8, 6)]
    small = FIXED.model_copy(update={"autoencoder": "small", "use_skips": False})
    assert [(scale.name, scale.shape) for scale in small.scales] == [("bottleneck", (64, 8, 6))]


def test_a_study_does_not_change_in_place():
    with pytest.raises(ValueError, match="frozen"):
        FIXED.name = "Other"


def test_make_classes_gives_valid_colours_of_their_own():
    classes = make_classes([f"c{n}" for n in range(7)])
    assert classes[0].name == "background"
    assert len({item.color for item in classes}) == 8


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_holds_nothing_up(tmp_path):
    os.mkfifo(tmp_path / "study.yaml")
    with pytest.raises(InputFileError, match="not a file but a pipe"):
        StudySpec.load(tmp_path / "study.yaml")


def test_a_link_to_a_study_is_followed(tmp_path):
    study = StudySpec(name="a", modality="MR", classes=make_classes(["b"]))
    study.save(tmp_path / "real.yaml")
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    assert StudySpec.load(tmp_path / "link.yaml") == study
