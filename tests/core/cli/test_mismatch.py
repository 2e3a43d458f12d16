"""Things that do not belong together: the right exit code and a sentence that names the file."""

from __future__ import annotations

import shutil

import pytest

from ppcmi_sf.share import write_share


def first(folder, pattern="*.ppcmi"):
    return sorted(folder.glob(pattern))[0]


@pytest.fixture
def other_study(escrow_chain, ppcmi, tmp_path_factory):
    """A study of another name, and a key of site north for it."""
    folder = tmp_path_factory.mktemp("other")
    ppcmi(
        "study", "new", folder / "other.yaml", "--name", "Other", "--modality", "US",
        "--class", "ellipse", "--size", 64, 64, "--autoencoder", "small",
    )  # fmt: skip
    ppcmi(
        "key", "new", folder / "other.ppcmikey", "--study", folder / "other.yaml",
        "--site", "north", *escrow_chain.acting("north"),
    )  # fmt: skip
    return folder


def protect(chain, site_dir, key, out, images=None):
    return (
        "site", "protect", images or chain.at("new", "north") / "images",
        "--site-dir", site_dir, "--key", key, "--out", out, *chain.acting("north"),
        "--to", "server",
    )  # fmt: skip


def test_key_of_another_site(chain, ppcmi, tmp_path):
    words = protect(chain, chain.at("sites", "north"), chain.key("south"), tmp_path / "out")
    ppcmi.fails(*words, code=4, saying="'south'", naming="north")
    reveal = ("site", "reveal", chain.at("replies", "north"), *words[3:-2])
    ppcmi.fails(*reveal, code=4, saying="'south'", naming="north")
    assert not (tmp_path / "out").exists()


def test_key_of_another_study(escrow_chain, ppcmi, tmp_path, other_study):
    key = other_study / "other.ppcmikey"
    words = protect(escrow_chain, escrow_chain.at("sites", "north"), key, tmp_path / "out")
    ppcmi.fails(*words, code=4, saying="another study", naming="north")
    assert not (tmp_path / "out").exists()


def test_another_key_of_the_same_site(escrow_chain, ppcmi, tmp_path):
    key = tmp_path / "new.ppcmikey"
    words = ("--study", escrow_chain.study, "--site", "north", *escrow_chain.known)
    ppcmi("key", "new", key, *words, "--home", tmp_path / "home")  # which knows of no key yet
    replies = escrow_chain.at("replies", "north")
    out = ("--site-dir", escrow_chain.at("sites", "north"), "--key", key, "--out", tmp_path / "o")
    out = (*out, *escrow_chain.acting("north"))
    told = ppcmi("site", "reveal", replies, *out, "--json", code=1).json
    assert all("another key" in failure["error"] for failure in told["failures"]), told
    assert not (tmp_path / "o").exists()


@pytest.fixture
def for_the_other_chain(escrow_chain, blind_chain, ppcmi, tmp_path):
    """Bundles of the blind study, written by and for the parties of the escrow study."""
    key = tmp_path / "k.ppcmikey"
    chain = escrow_chain
    words = ("key", "new", key, "--study", blind_chain.study, "--site", "north")
    ppcmi(*words, *chain.acting("north"))
    site = blind_chain.at("sites", "north")
    made = {}
    for what, data, more in (
        ("query", blind_chain.at("new", "south") / "images", ()),
        ("pairs", blind_chain.at("data", "south"), ("--pairs", "--copies", 1)),
    ):
        words = protect(chain, site, key, tmp_path / what, data)
        ppcmi(*words, *more)
        made[what] = first(tmp_path / what)
    return made


def test_bundles_of_another_study(escrow_chain, ppcmi, tmp_path, for_the_other_chain):
    chain, out = escrow_chain, tmp_path / "o"
    query, pairs = for_the_other_chain["query"], for_the_other_chain["pairs"]
    words = ("server", "map", query, "--server-dir", chain.server, *chain.acting(), "--out", out)
    told = ppcmi(*words, "--json", code=1).json["failures"]
    assert query.name in told[0]["error"] and "another study" in told[0]["error"]
    words = ("server", "train", pairs, "--study", chain.study, *chain.acting())
    words = (*words, "--server-dir", tmp_path / "s")
    ppcmi.fails(*words, code=4, saying="another study", naming=pairs.name)
    assert not out.exists() and not (tmp_path / "s").exists()


def test_bundles_of_strangers(escrow_chain, blind_chain, ppcmi, tmp_path):
    """Another server and other sites of the same names: it is the keys that count."""
    query, reply = (first(blind_chain.at(what, "north")) for what in ("queries", "replies"))
    pairs, chain = first(blind_chain.at("pairs", "north")), escrow_chain
    mapped = ("server", "map", query, "--server-dir", chain.server, *chain.acting())
    revealed = ("site", "reveal", reply, *chain.mine("north"))
    for words, file in ((mapped, query), (revealed, reply)):
        told = ppcmi(*words, "--out", tmp_path / "o", "--json", code=1).json["failures"]
        assert file.name in told[0]["error"] and "encrypted to others" in told[0]["error"]
    words = ("server", "train", pairs, "--study", chain.study, *chain.acting())
    words = (*words, "--server-dir", tmp_path / "s")
    ppcmi.fails(*words, code=5, saying="encrypted to others", naming=pairs.name)
    folder = ("server", "map", query.parent, *mapped[3:], "--out", tmp_path / "o")
    ppcmi.fails(*folder, code=3, saying="no 'query' bundle for 'server'", naming="north")
    assert list(tmp_path.iterdir()) == []


def server_train(chain, tmp_path, *shares, bundles=None):
    given = [word for share in shares for word in ("--share", share)]
    return (
        "server", "train", *(bundles or [chain.at("pairs", "north")]), "--study", chain.study,
        "--server-dir", tmp_path / "server", "--epochs", 1, *given, "--again", *chain.acting(),
    )  # fmt: skip


def test_missing_wrong_and_second_share(escrow_chain, ppcmi, tmp_path, other_study):
    share = escrow_chain.share("north")
    ppcmi.fails(
        *server_train(escrow_chain, tmp_path), code=4, saying="no transform share of site 'north'"
    )
    words = server_train(escrow_chain, tmp_path, escrow_chain.share("south"))
    ppcmi.fails(*words, code=4, saying="no transform share of site 'north'")
    words = server_train(escrow_chain, tmp_path, share, share)
    ppcmi.fails(*words, code=3, saying="second transform share", naming=share.name)
    words = server_train(escrow_chain, tmp_path, escrow_chain.key("north"))
    ppcmi.fails(*words, code=4, saying="not a transform share", naming="north.ppcmikey")
    other = tmp_path / "other.share"
    words = ("--key", other_study / "other.ppcmikey", "--study", other_study / "other.yaml")
    ppcmi("share-transform", *words, "--to", "server", "--out", other,
          *escrow_chain.acting("north"))  # fmt: skip
    words = server_train(escrow_chain, tmp_path, other)
    ppcmi.fails(*words, code=4, saying="another study", naming=other.name)
    assert [path.name for path in tmp_path.iterdir()] == ["other.share"]


def test_share_of_another_epoch(escrow_chain, ppcmi, tmp_path):
    key, share = tmp_path / "k.ppcmikey", tmp_path / "next.ppcmishare"
    words = ("key", "rotate", escrow_chain.key("north"), "--out", key)
    ppcmi(*words, *escrow_chain.acting("north"))
    escrow_chain.send_share("north", share, key)
    ppcmi.fails(*server_train(escrow_chain, tmp_path, share), code=4, saying="epoch 2")


def test_share_for_another_server_of_a_stranger_or_in_its_name(
    escrow_chain, blind_chain, ppcmi, tmp_path
):
    chain = escrow_chain
    other, foreign = tmp_path / "south.ppcmishare", tmp_path / "foreign.ppcmishare"
    for site, name, out in (("north", "south", other), ("south", "server", foreign)):
        card = tmp_path / f"{name}.ppcmicard"
        ppcmi("identity", "export", card, *chain.at_home(name))
        words = ("--key", chain.key(site), "--study", chain.study, "--to", name, "--out", out)
        home = chain.acting(site)
        if site == "south":  # a site that the server has never heard of
            home = ("--home", tmp_path / "stranger", *chain.known)
            ppcmi("identity", "new", "--name", "south", *home)
        ppcmi("contact", "add", card, "--fingerprint", chain.fingerprint(name), *home[:2])
        ppcmi("share-transform", *words, *home)
    words = server_train(chain, tmp_path, other)
    ppcmi.fails(*words, code=4, saying="for another server", naming=other.name)
    words = server_train(chain, tmp_path, foreign)
    ppcmi.fails(*words, code=5, saying="the sender is unknown", naming=foreign.name)
    assert not (tmp_path / "server").exists()


def test_a_share_is_not_made_for_another_or_a_blind_study(
    escrow_chain, blind_chain, ppcmi, tmp_path
):
    share = tmp_path / "share.json"
    words = ("share-transform", *blind_chain.acting("north"), "--out", share)
    words = (*words, "--key", blind_chain.key("north"), "--study")
    ppcmi.fails(*words, blind_chain.study, code=4, saying="blind")
    ppcmi.fails(*words, escrow_chain.study, code=4, saying="another study")
    assert not share.exists()


def test_share_in_a_blind_study(blind_chain, ppcmi, tmp_path):
    share, chain = tmp_path / "share.ppcmishare", blind_chain
    north, server = chain.party("north"), chain.party("server")
    write_share(share, chain.client_key("north").transform_share(), north.identity,
                server.identity.card)  # fmt: skip
    words = server_train(blind_chain, tmp_path, share)
    ppcmi.fails(*words, code=4, saying="holds no transform shares")


def test_unknown_site_at_the_server(escrow_chain, ppcmi, tmp_path):
    ppcmi(*server_train(escrow_chain, tmp_path, escrow_chain.share("north")))
    query = first(escrow_chain.at("queries", "south"))
    words = ("server", "map", query, "--server-dir", tmp_path / "server", "--out", tmp_path / "o")
    told = ppcmi(*words, *escrow_chain.acting(), "--json", code=1).json["failures"]
    assert query.name in told[0]["error"] and "'south'" in told[0]["error"]
    assert "Train it again" in told[0]["hint"]
    assert not (tmp_path / "o").exists()


def test_retrained_site(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    chain.train_site("north", "--retrain", "--seed", 5)
    told = chain.reveal("north", "--json", code=1).json["failures"]
    assert "anew" in told[0]["error"] and "Protect the images again" in told[0]["hint"]
    words = server_train(
        chain, tmp_path, chain.share("north"), bundles=[chain.at("pairs", "north")]
    )
    chain.protect_pairs("north")
    ppcmi.fails(*words, code=5, saying="other autoencoders", naming=".ppcmi")


@pytest.mark.parametrize(
    ("verb", "given", "wanted"),
    [
        ("reveal", "queries", "encrypted to others"),
        ("reveal", "pairs", "encrypted to others"),
        ("reveal", "model", "not a reply"),
        ("map", "replies", "encrypted to others"),
        ("map", "pairs", "not a query"),
    ],
)
def test_bundle_of_another_kind(escrow_chain, ppcmi, tmp_path, verb, given, wanted):
    if given == "model":
        words = ("--server-dir", escrow_chain.server, "--out", tmp_path / "m", "--to", "north")
        ppcmi("server", "publish", *words, *escrow_chain.acting())
        file = first(tmp_path / "m")
    else:
        file = first(escrow_chain.at(given, "north"))
    if verb == "reveal":
        words = ("site", "reveal", file, *escrow_chain.mine("north"))
    else:
        words = ("server", "map", file, "--server-dir", escrow_chain.server, *escrow_chain.acting())
    ran = ppcmi(*words, "--out", tmp_path / "o", code=1)
    assert wanted in ran.err and file.name in ran.err
    assert "come from" in ran.err or "encrypted to others" in ran.err
    assert not (tmp_path / "o").exists()


def test_query_as_training_bundle_and_a_bundle_twice(escrow_chain, ppcmi, tmp_path):
    query, share = first(escrow_chain.at("queries", "north")), escrow_chain.share("north")
    words = server_train(escrow_chain, tmp_path, share, bundles=[query])
    ppcmi.fails(*words, code=5, saying="not a training bundle", naming=query.name)
    pairs = first(escrow_chain.at("pairs", "north"))
    copy = tmp_path / "copy.ppcmi"
    copy.write_bytes(pairs.read_bytes())
    words = server_train(escrow_chain, tmp_path, share, bundles=[pairs, copy])
    ppcmi.fails(*words, code=5, saying="the same bundle", naming=copy.name)


def test_the_same_file_given_twice_counts_once(escrow_chain, ppcmi, tmp_path):
    pairs = first(escrow_chain.at("pairs", "north"))
    words = server_train(
        escrow_chain, tmp_path, escrow_chain.share("north"), bundles=[pairs.parent, pairs]
    )
    assert ppcmi(*words, "--json").json["pairs"]["north"] > 0


def test_model_given_as_a_bundle(escrow_chain, ppcmi, tmp_path):
    model = escrow_chain.at("sites", "north") / "image_autoencoder.safetensors"
    for words in (
        ("server", "map", model, "--server-dir", escrow_chain.server, *escrow_chain.acting()),
        ("site", "reveal", model, *escrow_chain.mine("north")),
    ):
        ran = ppcmi(*words, "--out", tmp_path / "o", code=1)
        assert model.name in ran.err and "not a latent bundle" in ran.err
    words = server_train(escrow_chain, tmp_path, bundles=[model])
    ppcmi.fails(*words, code=5, saying="not a latent bundle", naming=model.name)


def test_models_of_another_site_or_role(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    image, mask = (
        chain.at("sites", "north") / f"{role}_autoencoder.safetensors" for role in ("image", "mask")
    )
    good = image.read_bytes()
    words = protect(chain, chain.at("sites", "north"), chain.key("north"), tmp_path / "out")
    image.write_bytes(mask.read_bytes())
    ppcmi.fails(*words, code=5, saying="not the image autoencoder", naming=image.name)
    image.write_bytes((chain.at("sites", "south") / image.name).read_bytes())
    ppcmi.fails(*words, code=5, saying="not the image autoencoder", naming=image.name)
    image.write_bytes(good[:-100])
    ppcmi.fails(*words, code=5, saying="not a readable file of weights", naming=image.name)
    image.unlink()
    ppcmi.fails(*words, code=5, saying="no such file of weights", naming=image.name)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_something_else(escrow_chain, ppcmi, tmp_path):
    words = protect(escrow_chain, tmp_path / "nowhere", escrow_chain.key("north"), tmp_path / "o")
    ppcmi.fails(*words, code=3, saying="not a site folder", naming="nowhere")
    words = protect(escrow_chain, escrow_chain.server, escrow_chain.key("north"), tmp_path / "o")
    ppcmi.fails(*words, code=3, saying="ppcmi site train", naming="training.json")
    query = escrow_chain.at("queries", "north")
    site = escrow_chain.at("sites", "north")
    out = ("--out", tmp_path / "o", *escrow_chain.acting())
    words = ("server", "map", query, "--server-dir", site, *out)
    ppcmi.fails(*words, code=5, saying="mapping_network", naming="mapping_network")
    empty = tmp_path / "empty"
    empty.mkdir()
    words = ("server", "map", empty, "--server-dir", escrow_chain.server, *out)
    ppcmi.fails(*words, code=3, saying="no 'query' bundle", naming="empty")
    words = ("server", "map", tmp_path / "gone", *words[3:])
    ppcmi.fails(*words, code=3, saying="no such file or folder", naming="gone")


def test_reply_of_another_sites_query(escrow_chain, ppcmi, tmp_path):
    reply = first(escrow_chain.at("replies", "south"))
    words = ("site", "reveal", reply, *escrow_chain.mine("north"), "--out", tmp_path / "o")
    ran = ppcmi(*words, code=1)
    assert reply.name in ran.err and "encrypted to others, not to 'north'" in ran.err
    # With the identity of south, but the folder, key and registry of north:
    home = tmp_path / "home"
    shutil.copytree(escrow_chain.home("north"), home)
    shutil.copy(escrow_chain.home("south") / "identity.ppcmiid", home)
    words = (*words[:5], "--key", escrow_chain.key("north"), "--home", home, *escrow_chain.known)
    ran = ppcmi(*words, "--out", tmp_path / "o", code=1)
    assert reply.name in ran.err and "answers no query of this site" in ran.err
    assert not (tmp_path / "o").exists()


def test_names_and_options_that_cannot_be(escrow_chain, ppcmi, tmp_path):
    data = escrow_chain.at("data", "north")
    words = ("site", "train", data, "--study", escrow_chain.study, "--site-dir", tmp_path / "s")
    ppcmi.fails(*words, "--name", "St. Mary's", code=6, saying="cannot be the name of a site")
    key = tmp_path / "k"
    words = ("key", "new", key, "--study", escrow_chain.study, "--site", "../x")
    ppcmi.fails(*words, *escrow_chain.acting("north"), code=4, saying="Site names are")
    assert not key.exists()
    study = tmp_path / "s.yaml"
    base = ("study", "new", study, "--name", "x", "--modality")
    ppcmi.fails(*base, "MR", "--class", "a", "--size", 100, 64, code=4, saying="multiple of 32")
    ppcmi.fails(*base, "MR", "--class", "a", "--class", "a", code=4, saying="may be used once")
    ppcmi.fails(*base, "CT", "--class", "a", code=4, saying="fixed window")
    assert ppcmi(*base, "PET", "--class", "a", "--json", code=2).json["exit_code"] == 2
    assert not study.exists()


def test_who_makes_a_blind_study_is_told_what_it_shows(tmp_path, ppcmi):
    words = ("--name", "x", "--modality", "MR", "--class", "a", "--arrangement")
    for arrangement, told in (("blind", True), ("escrow", False)):
        ran = ppcmi("study", "new", tmp_path / f"{arrangement}.yaml", *words, arrangement, "--json")
        assert ("the layout of its images" in ran.err) is told
        assert len(ran.json["fingerprint"]) == 64


def test_files_that_are_there_are_kept(escrow_chain, ppcmi):
    before = escrow_chain.study.read_bytes(), escrow_chain.key("north").read_bytes()
    words = ("study", "new", escrow_chain.study, "--name", "x", "--modality", "MR", "--class", "a")
    ppcmi.fails(*words, code=3, saying="exists already", naming="study.yaml")
    north = escrow_chain.acting("north")
    words = ("key", "new", escrow_chain.key("north"), "--study", escrow_chain.study, "--site", "n")
    ppcmi.fails(*words, *north, code=4, saying="never overwritten", naming="north.ppcmikey")
    words = ("key", "rotate", escrow_chain.key("north"), "--out", escrow_chain.key("south"))
    ppcmi.fails(*words, *north, code=4, saying="never overwritten", naming="south.ppcmikey")
    words = ("identity", "new", "--name", "x", *north)
    ppcmi.fails(*words, code=4, saying="never overwritten", naming="identity.ppcmiid")
    words = ("share-transform", "--key", escrow_chain.key("north"), "--study", escrow_chain.study)
    words = (*words, *north, "--out", escrow_chain.key("south"))
    ppcmi.fails(*words, code=4, saying="maybe a key", naming="south.ppcmikey")
    words = ("study", "new", escrow_chain.key("north"), "--name", "x", "--modality", "MR")
    ppcmi.fails(*words, "--class", "a", "--force", code=3, saying="not a study", naming="north")
    assert before == (escrow_chain.study.read_bytes(), escrow_chain.key("north").read_bytes())


def test_what_may_be_written_again(escrow_chain, ppcmi, tmp_path):
    share, study = tmp_path / "share.json", tmp_path / "s.yaml"
    for _ in range(2):
        words = ("--key", escrow_chain.key("north"), "--study", escrow_chain.study)
        ppcmi("share-transform", *words, "--out", share, *escrow_chain.acting("north"))
        words = ("--name", "x", "--modality", "MR", "--class", "a", "--force")
        ppcmi("study", "new", study, *words)
