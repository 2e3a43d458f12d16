"""Three sites and a server, by verbs alone; a second run does nothing twice."""

import shutil
import stat

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ppcmi_sf.bundle import read_header

SITES = ("north", "south", "west")


def files(folder, pattern="*"):
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def test_every_image_gets_a_mask_in_its_own_grid(chain):
    for site in SITES:
        for image in files(chain.at("new", site) / "images"):
            mask = chain.at("masks", site) / image.name
            if image.suffix == ".png":
                with Image.open(image) as one, Image.open(mask) as other:
                    assert one.size == other.size
                    assert set(np.unique(other)) <= {0, 1}
            else:
                one, other = nib.load(image), nib.load(mask)
                assert one.shape == other.shape
                np.testing.assert_array_equal(one.affine, other.affine)
        assert len(files(chain.at("masks", site))) == len(files(chain.at("new", site) / "images"))


def test_what_lies_where(chain):
    for site in SITES:
        assert [p.name for p in files(chain.at("sites", site))] == [
            "image_autoencoder.safetensors", "mask_autoencoder.safetensors", "pairs.json",
            "registry.sqlite", "study.yaml", "training.json",
        ]  # fmt: skip
        assert len(files(chain.at("pairs", site), "training-*.safetensors")) == 1
        assert stat.S_IMODE(chain.key(site).stat().st_mode) == 0o600
    shares = files(chain.server / "shares")
    assert [p.stem for p in shares] == ([] if chain.arrangement == "blind" else list(SITES))
    assert not list(chain.root.rglob(".*"))


def test_copies_are_made_of_training_patients_only(escrow_chain):
    header = read_header(files(escrow_chain.at("pairs", "north"))[0])
    assert len(header.items) == 2 * (6 - len(header.validation)) + len(header.validation)


def test_a_second_run_of_each_batch_does_nothing_and_says_so(chain, listing):
    for site in SITES:
        count = len(files(chain.at("new", site) / "images"))
        for verb, folder, done in (
            (chain.protect_pairs, "pairs", 6),
            (chain.protect, "queries", count),
            (chain.map, "replies", count),
            (chain.reveal, "masks", count),
        ):
            before = listing(chain.at(folder, site))
            ran = verb(site, "--json")
            assert len(ran.json["skipped"]) == done and not ran.json["failures"]
            plain = verb(site).out
            assert ("there already" in plain) or (f"Done before: {done} cases" in plain)
            assert listing(chain.at(folder, site)) == before


def test_training_refuses_to_replace(chain, listing):
    before = listing(chain.root)
    for verb in (
        lambda *more, code: chain.train_site("north", *more, code=code),
        chain.train_server,
    ):
        plain = verb(code=5)
        assert "trained already" in plain.err and "--retrain" in plain.err and not plain.out
        assert verb("--json", code=5).json["exit_code"] == 5
    assert listing(chain.root) == before


def test_json_of_every_verb_is_one_object(escrow_chain, tmp_path, ppcmi):
    chain = escrow_chain.copy(tmp_path / "copy")
    made = ppcmi(
        "study",
        "new",
        tmp_path / "s.yaml",
        "--name",
        "a",
        "--modality",
        "mr",
        "--class",
        "b",
        "--json",
    ).json
    assert len(made["fingerprint"]) == 64
    key = tmp_path / "k.ppcmikey"
    new = ppcmi("key", "new", key, "--study", chain.study, "--site", "east", "--json").json
    assert ppcmi("key", "show", key, "--json").json == new
    share = tmp_path / "share"
    words = ("share-transform", "--key", key, "--study", chain.study, "--out", share)
    share = ppcmi(*words, "--json").json
    assert share["kind"] == "transform share" and share["key_id"] != new["key_id"]
    trained = chain.train_site("north", "--retrain", "--seed", 1, "--json").json
    assert trained["training_slices"] + trained["validation_slices"] == 6
    pairs = chain.protect_pairs("north", "--json").json
    assert len(pairs["bundles"]) == 1 and pairs["bytes"] > 0
    queries = chain.protect("north", "--json").json
    assert len(queries["bundles"]) == 3 and queries["items"] == 5
    refused = chain.map("north", "--json", code=1).json
    assert len(refused["failures"]) == 3 and "anew" in refused["failures"][0]["error"]
    for old in files(chain.at("pairs", "north"))[:]:
        if old.name not in pairs["bundles"]:
            old.unlink()
    served = chain.train_server("--retrain", "--json").json
    assert sum(served["pairs"].values()) > 0 and served["fit"]["epochs"] == 1
    shutil.rmtree(chain.at("queries", "north"))
    chain.protect("north")
    shutil.rmtree(chain.at("replies", "north"))
    assert len(chain.map("north", "--json").json["replies"]) == 3
    assert len(chain.reveal("north", "--overwrite", "--json").json["masks"]) == 3


def test_an_answer_of_an_older_network_is_given_again(escrow_chain, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    assert not chain.map("south", "--json").json["replies"]
    chain.train_server("--retrain")
    assert len(chain.map("south", "--json").json["replies"]) == 2


def test_a_second_export_of_other_pairs_is_pointed_at(escrow_chain, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    again = chain.protect_pairs("south", "--precision", "float32")
    assert "1 training bundle of site 'south' from earlier" in again.err


@pytest.mark.parametrize("preset", ["paper", "fused"])
def test_study_without_validation_part_and_with_other_networks(
    preset, tmp_path, ppcmi, ellipses, make_cases
):
    study, data = tmp_path / "s.yaml", tmp_path / "data"
    make_cases(data, *ellipses(1, 2))
    ppcmi(
        "study", "new", study, "--name", "a", "--modality", "US", "--class", "b", "--size", 64, 64,
        "--autoencoder", "small", "--mapping", preset, "--no-skips",
    )  # fmt: skip
    site = tmp_path / "site"
    trained = ppcmi(
        "site", "train", data, "--study", study, "--name", "n", "--site-dir", site, "--epochs", 1,
        "--validation", 0, "--json",
    )  # fmt: skip
    assert trained.json["image"]["best_loss"] is None
