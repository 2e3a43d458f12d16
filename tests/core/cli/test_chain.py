"""Three sites and a server, by verbs alone; a second run does nothing twice."""

import re
import shutil
import stat

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ppcmi_sf.bundle import open_bundle

SITES = ("north", "south", "west")
LOCK = ".ppcmi.lock"


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
            LOCK, "image_autoencoder.safetensors", "mask_autoencoder.safetensors", "pairs.json",
            "study.yaml", "training.json",
        ]  # fmt: skip
        (pairs,) = files(chain.at("pairs", site))
        assert chain.header(pairs).kind == "training"
        assert stat.S_IMODE(chain.key(site).stat().st_mode) == 0o600
    shares = files(chain.server / "shares")
    pattern = r"(.+)\.[0-9a-f]{16}\.[0-9a-f]{16}\.ppcmishare"  # site, key and identity
    named = [re.fullmatch(pattern, path.name)[1] for path in shares]
    assert named == ([] if chain.arrangement == "blind" else list(SITES))
    for name in ("server", *SITES):
        home = files(chain.home(name))
        assert [p.name for p in home] == ["identity.ppcmiid", "registry.sqlite"]
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in home)
    assert {path.name for path in chain.root.rglob(".*")} == {LOCK}


def test_bundles_are_named_by_a_random_id(chain):
    for what in ("pairs", "queries", "replies"):
        for site in SITES:
            found = files(chain.at(what, site))
            assert found and all(re.fullmatch(r"[0-9a-f]{32}\.ppcmi", path.name) for path in found)


def test_a_named_home_leaves_the_users_own_alone(chain, nobodys_home):
    assert not nobodys_home.exists()


def test_copies_are_made_of_training_patients_only(escrow_chain):
    (pairs,) = files(escrow_chain.at("pairs", "north"))
    server = escrow_chain.party("server")
    with open_bundle(pairs, server.identity, server.sender) as bundle:
        flags = np.concatenate([record["validation"] for record in bundle.records()])
        items = bundle.header.items
    kept_apart = int(flags.sum())
    assert kept_apart >= 1 and items == 2 * (6 - kept_apart) + kept_apart


def test_a_second_run_of_each_batch_does_nothing_and_says_so(chain, listing):
    for site in SITES[:2]:
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
    words = ("--name", "a", "--modality", "mr", "--class", "b", "--json")
    made = ppcmi("study", "new", tmp_path / "s.yaml", *words).json
    assert made["file"] == str(tmp_path / "s.yaml") and len(made["fingerprint"]) == 64
    key = tmp_path / "k.ppcmikey"
    new = chain.new_key("east", key, "--json").json
    assert ppcmi("key", "show", key, "--json").json == new
    words = ("share-transform", "--key", key, "--study", chain.study, "--out", tmp_path / "share")
    share = ppcmi(*words, *chain.acting("north"), "--json").json
    assert share["kind"] == "transform share" and share["key_id"] != new["key_id"]
    assert share["to"] == "server"
    trained = chain.train_site("north", "--retrain", "--seed", 1, "--json").json
    assert trained["training_slices"] + trained["validation_slices"] == 6
    assert trained["image"]["kept_loss"] == trained["image"]["validation_losses"][-1]
    pairs = chain.protect_pairs("north", "--json").json
    assert len(pairs["bundles"]) == 1 and pairs["bytes"] > 0
    queries = chain.protect("north", "--json").json
    assert len(queries["bundles"]) == 3 and queries["items"] == 5
    old = [p for p in files(chain.at("queries", "north")) if p.name not in queries["bundles"]]
    assert len(old) == 3
    refused = chain.map("north", "--json", code=1).json
    assert len(refused["failures"]) == 6
    told = [failure["error"] for failure in refused["failures"]]
    assert sum("anew" in error for error in told) == 3
    assert sum("accepted before" in error for error in told) == 3  # the old ones
    for path in [*files(chain.at("pairs", "north")), *old]:
        if path.name not in pairs["bundles"]:
            path.unlink()
    served = chain.train_server("--retrain", "--json").json
    assert sum(served["pairs"].values()) > 0 and served["fit"]["epochs"] == 1
    shutil.rmtree(chain.at("replies", "north"))
    assert len(chain.map("north", "--json").json["replies"]) == 3
    assert len(chain.reveal("north", "--overwrite", "--json").json["masks"]) == 3
    published = publish(chain, "south", tmp_path / "models", "--json").json
    assert published["to"] == "south" and published["bytes"] > 0
    installed = install(chain, "south", tmp_path / "models" / published["bundle"], "--json").json
    assert len(installed["model"]) == 16
    assert len(segment(chain, "south", tmp_path / "masks", "--json").json["masks"]) == 2


def publish(chain, site, out, *more, code=0):
    words = ("server", "publish", "--to", site, "--server-dir", chain.server, "--out", out)
    return chain.ppcmi(*words, *chain.acting(), *more, code=code)


def install(chain, site, bundle, *more, code=0):
    return chain.ppcmi("site", "install", bundle, *chain.mine(site), *more, code=code)


def segment(chain, site, out, *more, code=0):
    return chain.ppcmi(
        "site", "segment", chain.at("new", site) / "images", "--site-dir", chain.at("sites", site),
        "--key", chain.key(site), *chain.known, "--out", out, *more, code=code,
    )  # fmt: skip


def test_a_site_segments_alone_what_the_server_would_have_answered(chain, tmp_path, listing):
    copy = chain.copy(tmp_path / "copy")
    none = segment(copy, "north", tmp_path / "none", code=5)
    assert "no mapping network at this site" in none.err and "site install" in none.err
    publish(copy, "north", tmp_path / "models")
    (bundle,) = files(tmp_path / "models")
    assert copy.header(bundle, "north").kind == "model"
    install(copy, "north", bundle)
    again = install(copy, "north", bundle, code=5)
    assert "accepted before" in again.err and bundle.name in again.err and "--again" in again.err
    install(copy, "north", bundle, "--again")
    refused = install(copy, "south", bundle, code=5)
    assert "encrypted to others" in refused.err and bundle.name in refused.err
    homes = {path: path.read_bytes() for path in copy.homes.rglob("*") if path.is_file()}
    ran = segment(copy, "north", tmp_path / "masks")
    assert "Wrote 3 masks" in ran.out
    for mask in files(tmp_path / "masks"):
        other = copy.at("masks", "north") / mask.name
        if mask.suffix == ".png":
            one, two = np.asarray(Image.open(mask)), np.asarray(Image.open(other))
        else:
            one, two = (np.asarray(nib.load(path).dataobj) for path in (mask, other))
        assert (one != two).mean() < 0.02  # float16 on the way to the server and back
    told = "3 were there already (--overwrite replaces them)"
    assert told in segment(copy, "north", tmp_path / "masks").out
    assert "Wrote 3 masks" in segment(copy, "north", tmp_path / "masks", "--overwrite").out
    assert homes == {path: path.read_bytes() for path in copy.homes.rglob("*") if path.is_file()}


def test_sizes_of_the_three_precisions(escrow_chain, tmp_path, ppcmi):
    chain, sizes, types = escrow_chain, {}, {}
    (image, *_) = files(chain.at("new", "south") / "images")
    for precision in ("float32", "float16", "int8"):
        out = tmp_path / precision
        words = ("site", "protect", image, *chain.mine("south"), "--out", out)
        ppcmi(*words, "--precision", precision)
        header = chain.header(files(out)[0])
        sizes[precision] = header.size
        types[precision] = {tensor.dtype for tensor in header.layout} - {"U8"}
        words = ("server", "map", out, "--server-dir", chain.server, *chain.acting())
        ppcmi(*words, "--out", tmp_path / f"to-{precision}", "--precision", precision)
        words = ("site", "reveal", tmp_path / f"to-{precision}", *chain.mine("south"))
        masks = ppcmi(*words, "--out", tmp_path / f"mask-{precision}", "--json").json["masks"]
        assert len(masks) == 1
    assert types == {"float32": {"F32"}, "float16": {"F16"}, "int8": {"I8", "F32"}}
    assert sizes["int8"] < 0.8 * sizes["float16"] < 0.5 * sizes["float32"]


def test_a_bundle_for_several_readers(escrow_chain, tmp_path, ppcmi):
    chain = escrow_chain
    card = tmp_path / "south.ppcmicard"
    ppcmi("identity", "export", card, *chain.at_home("south"))
    words = ("contact", "add", card, "--fingerprint", chain.fingerprint("south"))
    ppcmi(*words, *chain.at_home("north"))
    (image, *_) = files(chain.at("new", "north") / "images", "*.png")
    words = ("site", "protect", image, *chain.mine("north"), "--out", tmp_path / "out")
    ran = ppcmi(*words, "--to", "server", "--to", "south")
    assert "Encrypted to 'server', 'south'" in ran.err
    (bundle,) = files(tmp_path / "out")
    readers = sorted(chain.fingerprint(name) for name in ("server", "south"))
    for name in ("server", "south"):
        assert list(chain.header(bundle, name).recipients) == readers
    ppcmi.fails(*words, "--to", "nobody", code=4, saying="no contact 'nobody'")


def test_an_answer_of_an_older_network_is_given_again(escrow_chain, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    chain.train_server("--retrain")
    refused = chain.map("south", "--json", code=1).json
    assert not refused["replies"]
    assert all("accepted before" in failure["error"] for failure in refused["failures"])
    assert all("--again" in failure["hint"] for failure in refused["failures"])
    assert len(chain.map("south", "--again", "--json").json["replies"]) == 2


def test_bundles_are_accepted_once(escrow_chain, tmp_path, ppcmi):
    chain = escrow_chain
    query, reply = chain.at("queries", "south"), chain.at("replies", "south")
    mapped = ("server", "map", query, "--server-dir", chain.server, *chain.acting())
    revealed = ("site", "reveal", reply, *chain.mine("south"))
    for words in (mapped, revealed):
        out = tmp_path / words[1]
        told = ppcmi(*words, "--out", out, "--json", code=1).json["failures"]
        assert len(told) == 2 and not out.exists()
        assert all("was accepted before, on 2" in failure["error"] for failure in told)
        ppcmi(*words, "--out", out, "--again")
        assert len(files(out)) == 2
    words = ("--study", chain.study, "--share", chain.share("south"), *chain.acting())
    trained = ("server", "train", chain.at("pairs", "south"), *words, "--epochs", 1)
    trained = (*trained, "--server-dir", tmp_path / "server")
    ppcmi.fails(*trained, code=5, saying="accepted before", naming=".ppcmi")
    assert not (tmp_path / "server").exists()
    ppcmi(*trained, "--again")


def test_a_second_export_of_other_pairs_is_pointed_at(escrow_chain, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    chain.protect_pairs("south")  # the registry of the copy knows those of the original
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
