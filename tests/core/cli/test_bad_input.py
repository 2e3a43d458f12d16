"""Bad files: one plain sentence with the file's name and what to do; the others go on."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from .conftest import protect, train

EYE = np.eye(4)


def save(array, path):
    nib.save(nib.Nifti1Image(array, EYE), path)


def good_png(path):
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(path)


def corrupt(path):
    path.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\nnot really" * 9)


def truncated(path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 60)).astype(np.uint8)
    target = path.with_suffix(".png")
    Image.fromarray(noise).save(target)
    target.write_bytes(target.read_bytes()[:900])


def empty(path):
    path.with_suffix(".png").touch()


def unreadable(path):
    """Also for root, whom permissions do not stop: a link that leads nowhere."""
    path.with_suffix(".png").symlink_to(path.parent / "gone.png")


def four_axes(path):
    save(np.ones((12, 12, 3, 2), np.uint8), path.with_suffix(".nii.gz"))


def not_numbers(path):
    values = np.ones((12, 12, 3), np.float32)
    values[3, 4, 1] = np.nan
    save(values, path.with_suffix(".nii.gz"))


BAD = {
    corrupt: "damaged, cut short",
    truncated: "damaged, cut short",
    empty: "the file is empty",
    unreadable: "no such file",
    four_axes: "axis 3",
    not_numbers: "not finite numbers",
}
HINTS = ("Open it", "Export or copy", "Check the path", "--frame", "Replace them")


@pytest.fixture(params=BAD, ids=lambda make: make.__name__)
def bad(request):
    return request.param


def mask_like(data, name, shape=(64, 64), value=1):
    mask = np.zeros(shape, np.uint8)
    mask[20:40, 20:40] = value
    Image.fromarray(mask).save(data / "masks" / f"{name}.png")


def told_once(ran, name, problem):
    """The case, its file, the problem and what to do, and that it was one of many."""
    failure = next(line for line in ran.err.splitlines() if line.startswith(f"  {name}: "))
    assert name in failure.split(": ", 1)[1] and problem in failure
    after = ran.err.splitlines()[ran.err.splitlines().index(failure) + 1]
    assert after.startswith("    ") and after.endswith(".")
    assert "Error: 1 of 7 cases failed." in ran.err


def test_bad_image_in_a_training(escrow_chain, ppcmi, tmp_path, data, bad):
    bad(data / "images" / "spoiled")
    mask_like(data, "spoiled")
    ran = ppcmi(*train(escrow_chain, data, tmp_path / "site"), code=1)
    told_once(ran, "spoiled", BAD[bad])
    assert any(hint in ran.err for hint in HINTS) and "--retrain" in ran.err
    assert (tmp_path / "site" / "mask_autoencoder.safetensors").is_file()
    assert [path.name for path in (tmp_path / "site").glob(".*")] == [".ppcmi.lock"]


def test_bad_image_among_pairs(escrow_chain, ppcmi, tmp_path, data, bad, listing):
    bad(data / "images" / "spoiled")
    mask_like(data, "spoiled")
    words = protect(escrow_chain, data, tmp_path / "out", "--pairs", "--copies", 1)
    told_once(ppcmi(*words, code=1), "spoiled", BAD[bad])
    before = listing(tmp_path / "out")
    (bundle,) = (tmp_path / "out").iterdir()
    assert len(before) == 1 and escrow_chain.header(bundle).kind == "training"
    told_once(ppcmi(*words, code=1), "spoiled", BAD[bad])  # still there: still told
    assert listing(tmp_path / "out") == before


@pytest.mark.parametrize("given", [("--copies", 2), ("--parts", 2)])
def test_options_of_pairs_without_pairs(escrow_chain, ppcmi, tmp_path, data, given):
    """Somebody forgot --pairs, and would send queries of all training images."""
    words = protect(escrow_chain, data, tmp_path / "out", *given)
    ppcmi.fails(*words, code=1, saying="without --pairs none are made")
    assert not (tmp_path / "out").exists()


def test_how_volumes_are_cut_is_not_asked_for_pairs(escrow_chain, ppcmi, tmp_path, data):
    words = protect(escrow_chain, data, tmp_path / "out", "--pairs", "--frame", 0)
    ppcmi.fails(*words, code=1, saying="volumes are cut as they were")


def test_bad_image_among_queries(escrow_chain, ppcmi, tmp_path, data, bad, listing):
    bad(data / "images" / "spoiled")
    words = protect(escrow_chain, data / "images", tmp_path / "out")
    told_once(ppcmi(*words, code=1), "spoiled", BAD[bad])
    kinds = [
        escrow_chain.header(tmp_path / "out" / name).kind for name in listing(tmp_path / "out")
    ]
    assert kinds == ["query"] * 6
    ran = ppcmi(*words, "--json", code=1)
    assert len(ran.json["skipped"]) == 6 and len(ran.json["failures"]) == 1
    assert "Error: 1 of 7 cases failed." in ran.err


def test_bad_image_alone(escrow_chain, ppcmi, tmp_path, bad):
    bad(tmp_path / "spoiled")
    file = next(tmp_path.glob("spoiled*"))
    out = tmp_path / "out"
    if bad is unreadable:
        words = protect(escrow_chain, file, out)
        ppcmi.fails(*words, code=3, saying="no such", naming=file.name)
    else:
        ran = ppcmi(*protect(escrow_chain, file, out), code=1)
        assert file.name in ran.err and BAD[bad] in ran.err and "1 of 1 cases" in ran.err
    assert not out.exists()


def test_inspecting_a_bad_image(ppcmi, tmp_path, bad):
    bad(tmp_path / "spoiled")
    file = next(tmp_path.glob("spoiled*"))
    ppcmi.fails("inspect", file, code=3, saying=BAD[bad], naming=file.name)


def test_bad_masks_in_an_evaluation(escrow_chain, ppcmi, tmp_path, data, bad):
    pred = shutil.copytree(data / "masks", tmp_path / "pred")
    bad(pred / "spoiled")
    mask_like(data, "spoiled")
    table = tmp_path / "table.csv"
    words = ("evaluate", "--pred", pred, "--truth", data, "--study", escrow_chain.study)
    ran = ppcmi(*words, "--csv", table, code=1)
    # A link that leads nowhere is no file at all.
    told_once(ran, "spoiled", "no prediction" if bad is unreadable else BAD[bad])
    assert "±" in ran.out and len(table.read_text().splitlines()) == 7
    (pred / "spoiled.png").unlink(missing_ok=True)
    (pred / "spoiled.nii.gz").unlink(missing_ok=True)
    told = ppcmi(*words, "--json", code=1).json
    assert "no prediction" in told["failures"][0]["error"] and told["summary"]


@pytest.mark.parametrize("given", [["--pairs"], []], ids=["protect", "train"])
def test_masks_that_do_not_fit(escrow_chain, ppcmi, tmp_path, data, given):
    good_png(data / "images" / "size.png")
    mask_like(data, "size", shape=(41, 40))
    good_png(data / "images" / "class.png")
    mask_like(data, "class", shape=(40, 40), value=3)
    good_png(data / "images" / "none.png")
    if given:
        words = protect(escrow_chain, data, tmp_path / "out", *given)
    else:
        words = train(escrow_chain, data, tmp_path / "out")
    ran = ppcmi(*words, code=1)
    assert "size.png: the mask is 41 x 40, but its image is 40 x 40." in ran.err
    assert "class.png: the mask holds class 3, but the study has classes 0 to 1." in ran.err
    assert "none.png: there is no mask for this image." in ran.err
    assert "Error: 3 of 9 cases failed." in ran.err


def test_all_cases_bad(escrow_chain, ppcmi, tmp_path, data):
    shutil.rmtree(data / "masks")
    for words in (
        train(escrow_chain, data, tmp_path / "out"),
        protect(escrow_chain, data, tmp_path / "out", "--pairs"),
    ):
        told = ppcmi(*words, "--json", code=1)
        assert len(told.json["failures"]) == 6 and "6 of 6 cases failed" in told.json["error"]
    for image in (data / "images").iterdir():
        image.write_bytes(b"")
    told = ppcmi(*protect(escrow_chain, data / "images", tmp_path / "out"), "--json", code=1)
    assert len(told.json["failures"]) == 6
    (data / "masks").mkdir()
    for image in (data / "images").iterdir():
        mask_like(data, image.stem)
    words = train(escrow_chain, data, tmp_path / "out")
    ppcmi.fails(*words, code=6, saying="No case could be used", naming=".png")
    assert not (tmp_path / "out").exists()


def test_folders_and_names(escrow_chain, ppcmi, tmp_path, data):
    out = tmp_path / "out"
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "notes.txt").write_text("x")
    gone = tmp_path / "gone"
    for folder, saying in ((bare, "no images"), (gone, "no such folder")):
        for words in (train(escrow_chain, folder, out), protect(escrow_chain, folder, out)):
            ppcmi.fails(*words, code=3, saying=saying, naming=folder.name)
        words = ("evaluate", "--pred", folder, "--truth", data, "--study", escrow_chain.study)
        ppcmi.fails(*words, code=3, saying="no", naming=folder.name)
    ppcmi.fails(*protect(escrow_chain, bare / "notes.txt", out), code=3, saying="not an image")
    twin = sorted((data / "images").iterdir())[0]
    save(np.ones((9, 9, 2), np.uint8), data / "images" / f"{twin.stem}.nii.gz")
    for words in (train(escrow_chain, data, out), protect(escrow_chain, data / "images", out)):
        ppcmi.fails(*words, code=3, saying="case name", naming=twin.name)
    assert not out.exists()


def test_a_file_listed_twice(escrow_chain, ppcmi, tmp_path, data):
    names = sorted(path.name for path in (data / "images").iterdir())
    (data / "manifest.csv").write_text(f"file,group\n{names[0]},a\n{names[1]},a\n{names[0]},b\n")
    for words in (
        train(escrow_chain, data, tmp_path / "out"),
        protect(escrow_chain, data, tmp_path / "out", "--pairs"),
    ):
        ppcmi.fails(*words, code=3, saying="appears twice, in lines 2 and 4", naming="manifest.csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spoil", ["corrupt", "truncated", "empty", "folder", "missing"])
def test_bad_bundles(escrow_chain, ppcmi, tmp_path, spoil):
    folders = {what: tmp_path / what for what in ("queries", "replies", "pairs")}
    for what, folder in folders.items():
        shutil.copytree(escrow_chain.at(what, "north"), folder)
        file = sorted(folder.glob("*.ppcmi"))[0]
        content = file.read_bytes()
        file.unlink()
        if spoil == "folder":
            file.mkdir()
        elif spoil != "missing":
            changed = {"corrupt": b"\x07" * 99, "truncated": content[:-50], "empty": b""}[spoil]
            file.write_bytes(changed)
    done = 2 if spoil == "missing" else 3
    if spoil != "missing":
        mapped = ("server", "map", folders["queries"], "--server-dir", escrow_chain.server)
        revealed = ("site", "reveal", folders["replies"], *escrow_chain.mine("north"))
        for words, out in (((*mapped, *escrow_chain.acting()), "o1"), (revealed, "o2")):
            ran = ppcmi(*words, "--out", tmp_path / out, "--again", code=1)
            (file,) = (p for p in words[2].iterdir() if f"  {p.name}: " in ran.err)
            assert f"Error: 1 of {done} cases failed." in ran.err and str(file) in ran.err
        assert all(len(list((tmp_path / out).iterdir())) == 2 for out in ("o1", "o2"))
    server = tmp_path / "server"
    share = ("--share", escrow_chain.share("north"), "--study", escrow_chain.study)
    words = ("server", "train", folders["pairs"], *share, "--server-dir", server)
    code = 3 if spoil in ("folder", "missing") else 5
    saying = "there is no 'training' bundle" if spoil == "missing" else ".ppcmi"
    ppcmi.fails(*words, *escrow_chain.acting(), "--again", code=code, saying=saying)
    assert not server.exists()


def test_bad_studies_keys_and_shares(escrow_chain, ppcmi, tmp_path, data):
    out = tmp_path / "out"
    for number, content in enumerate((b"", b"\xff\xfe\x00", b"name: [", b"name: x\n", b"a: 1")):
        study = tmp_path / f"bad{number}.yaml"
        study.write_bytes(content)
        words = ("site", "train", data, "--study", study, "--name", "n", "--site-dir", out)
        ppcmi.fails(*words, code=3, saying="not a", naming=study.name)
        ppcmi.fails("inspect", study, code=3, saying="not a", naming=study.name)
        key = tmp_path / f"bad{number}.key"
        key.write_bytes(content)
        key.chmod(0o600)
        ppcmi.fails("key", "show", key, code=4, saying="damaged, cut short or", naming=key.name)
        words = ("site", "protect", data, "--site-dir", out, "--key", key, "--out", out)
        words = (*words, *escrow_chain.acting("north"))
        ppcmi.fails(*words, code=4, saying="damaged, cut short or", naming=key.name)
        ppcmi.fails("inspect", key, code=3, saying="not a file that ppcmi knows", naming=key.name)
    words = ("key", "show", tmp_path)
    ppcmi.fails(*words, code=4, saying="not a file.", naming=tmp_path.name)
    gone = tmp_path / "gone"
    ppcmi.fails("key", "show", gone, code=4, saying="cannot be read", naming=gone.name)
    assert not out.exists()


def test_output_that_is_a_file(escrow_chain, ppcmi, tmp_path, data):
    file = tmp_path / "taken"
    file.write_text("mine")
    server = (
        "server", "train", escrow_chain.at("pairs", "north"), "--study", escrow_chain.study,
        "--share", escrow_chain.share("north"), "--server-dir", file, "--epochs", 1, "--again",
        *escrow_chain.acting(),
    )  # fmt: skip
    mapped = (
        "server", "map", escrow_chain.at("queries", "north"), "--server-dir", escrow_chain.server,
        "--out", file, "--again", *escrow_chain.acting(),
    )  # fmt: skip
    published = (
        "server", "publish", "--to", "north", "--server-dir", escrow_chain.server, "--out", file,
        *escrow_chain.acting(),
    )  # fmt: skip
    revealed = (
        "site", "reveal", escrow_chain.at("replies", "north"), *escrow_chain.mine("north"),
        "--out", file, "--again",
    )  # fmt: skip
    joining = ("--study", escrow_chain.study, "--out", file / "x")
    for words in (
        train(escrow_chain, data, file),
        protect(escrow_chain, data / "images", file),
        protect(escrow_chain, data, file, "--pairs"),
        server,
        mapped,
        published,
        revealed,
        ("join", "request", *joining, *escrow_chain.acting("north")),
        ("join", "renew", *joining, *escrow_chain.acting()),
        ("identity", "new", "--name", "x", "--home", file, *escrow_chain.known),
        ("identity", "export", file / "x", *escrow_chain.at_home("north")),
        ("log", "export", file / "x", *escrow_chain.at_home("north")),
        ("key", "rotate", escrow_chain.key("north"), "--out", file / "x",
         *escrow_chain.acting("north")),
        ("evaluate", "--pred", data, "--truth", data, "--study", escrow_chain.study,
         "--csv", file / "x.csv"),
        ("share-transform", "--key", escrow_chain.key("north"), "--study", escrow_chain.study,
         "--out", file / "x", *escrow_chain.acting("north")),
        ("study", "new", file / "x.yaml", "--name", "a", "--modality", "MR", "--class", "b"),
        ("key", "new", file / "x.key", "--study", escrow_chain.study, "--site", "b",
         *escrow_chain.acting("north")),
    ):  # fmt: skip
        ppcmi.fails(*words, code=7, saying="written", naming="taken")
    ppcmi.fails(
        "demo", "--images-only", "--out", file, code=3, saying="not a folder", naming="taken"
    )
    assert file.read_text() == "mine"
    assert not list(tmp_path.glob(".*"))
    # Whatever the log says was sent and could not be written was withdrawn in it, too.
    entries = ppcmi("log", *escrow_chain.at_home("server"), "--json").json["entries"]
    sent = [entry["bundle_id"] for entry in entries if entry["event"] == "sent"]
    gone = [entry["bundle_id"] for entry in entries if entry["event"] == "withdrawn"]
    names = {path.stem for path in escrow_chain.root.rglob("*.ppcmi")}
    assert set(sent) - set(gone) <= names
