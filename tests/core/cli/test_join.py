"""Joining a study takes one file each way; who comes or goes is no affair of the others."""

from __future__ import annotations

import json
import shutil

import pytest

OTHERS = ("north", "west")


@pytest.fixture
def members(escrow_chain, tmp_path):
    """Where the server writes its next list; the chain's own stays as it is."""
    return tmp_path / "list.ppcmimembers"


def serve(chain, verb, *words, out):
    return chain.ppcmi("join", verb, *words, "--study", chain.study, "--out", out, *chain.acting())


def shown(chain, name):
    words = ("join", "show", "--study", chain.study, *chain.at_home(name))
    return chain.ppcmi(*words, "--json").json


def newcomer(chain, folder, name="east"):
    """A site that asks to take part; give its request."""
    chain.ppcmi("identity", "new", "--name", name, *chain.acting(name))
    request = folder / f"{name}.ppcmijoin"
    words = ("join", "request", "--study", chain.study, "--out", request, *chain.acting(name))
    chain.ppcmi(*words)
    return request


def approve(chain, request, name, out):
    given = ("--fingerprint", chain.fingerprint(name))
    return serve(chain, "approve", request, *given, out=out)


def goes_on(chain, site, folder):
    """The site's new query is answered, and the answer revealed."""
    ppcmi, image = chain.ppcmi, next((chain.at("new", site) / "images").glob("*.png"))
    words = ("site", "protect", image, *chain.mine(site), "--out", folder / "q")
    assert len(ppcmi(*words, "--json").json["bundles"]) == 1
    words = ("server", "map", folder / "q", "--server-dir", chain.server, *chain.acting())
    assert len(ppcmi(*words, "--out", folder / "r", "--json").json["replies"]) == 1
    words = ("site", "reveal", folder / "r", *chain.mine(site), "--out", folder / "m")
    assert len(ppcmi(*words, "--json").json["masks"]) == 1
    shutil.rmtree(folder)


def test_what_the_files_say(escrow_chain, ppcmi, tmp_path, members):
    chain = escrow_chain
    request = newcomer(chain, tmp_path)
    fields = json.loads(request.read_text())
    assert set(fields) == {"format", "version", "study", "card", "signature"}
    words = ("join", "request", "--study", chain.study, "--out", request, *chain.acting("east"))
    ran = ppcmi(*words, "--json")
    told = ran.json
    assert (told["file"], told["fingerprint"]) == (str(request), chain.fingerprint("east"))
    spoken = ppcmi("identity", "fingerprint", "--words", *chain.at_home("east")).out.strip()
    assert spoken in ppcmi(*words).out and spoken == told["words"]
    before = shown(chain, "server")
    ran = approve(chain, request, "east", members)
    assert "east, north, south, west" in ran.out
    told = shown(chain, "server")
    assert told["serial"] == before["serial"] + 1 and told["server"] == "server"
    assert told["server_fingerprint"] == chain.fingerprint("server")
    assert told["server_words"] in ppcmi("identity", "show", *chain.at_home("server")).out
    assert [one["name"] for one in told["members"]] == ["east", "north", "south", "west"]
    fields = json.loads(members.read_text())
    assert set(fields) == {
        "format", "version", "study", "serial", "created", "expires", "server", "members",
        "signature",
    }  # fmt: skip
    accepted = chain.accept("east", members)
    assert "east, north, south, west" in accepted.out and "Note" not in accepted.err
    assert shown(chain, "east") == told
    assert "valid to" in ppcmi("join", "show", "--study", chain.study, *chain.at_home("east")).out


def test_one_comes_and_nothing_changes_for_the_others(escrow_chain, tmp_path, members):
    chain = escrow_chain
    approve(chain, newcomer(chain, tmp_path), "east", members)
    for site in OTHERS:
        goes_on(chain, site, tmp_path / site)  # with the list that it has
    for site in OTHERS:
        chain.accept(site, members)
        goes_on(chain, site, tmp_path / site)


def test_one_goes_and_nothing_changes_for_the_others(escrow_chain, ppcmi, tmp_path, members):
    chain = escrow_chain
    assert "north, west" in serve(chain, "remove", "south", out=members).out
    for site in OTHERS:
        goes_on(chain, site, tmp_path / site)
    queries = chain.at("queries", "south")
    words = ("server", "map", queries, "--server-dir", chain.server, *chain.acting(), "--again")
    told = ppcmi(*words, "--out", tmp_path / "r", "--json", code=1).json["failures"]
    assert len(told) == 2 and not (tmp_path / "r").exists()
    for failure in told:
        assert failure["case"].endswith(".ppcmi")
        assert "'south' does not take part in this study" in failure["error"]
        assert "join approve" in failure["hint"]
    trained = (
        "server", "train", chain.at("pairs", "south"), "--study", chain.study, *chain.acting(),
        "--share", chain.share("south"), "--server-dir", tmp_path / "s", "--again",
    )  # fmt: skip
    ppcmi.fails(*trained, code=5, saying="'south' does not take part in this study")
    assert not (tmp_path / "s").exists()
    ran = chain.accept("south", members)
    assert "you are not in this list" in ran.err
    words = ("join", "remove", "south", "--study", chain.study, "--out", members)
    ppcmi.fails(*words, *chain.acting(), code=4, saying="'south' does not take part")
    # It may come back; its contact and so its fingerprint are known.
    request = chain.root / "joining" / "south.ppcmijoin"
    serve(chain, "approve", request, out=members)
    assert len(
        ppcmi(*words[:1], "show", *words[3:5], *chain.acting()[:2], "--json").json["members"]
    )
    told = shown(chain, "server")
    assert [one["name"] for one in told["members"]] == ["north", "south", "west"]
    words = ("server", "map", queries, "--server-dir", chain.server, *chain.acting(), "--again")
    assert len(ppcmi(*words, "--out", tmp_path / "r", "--json").json["replies"]) == 2


def test_one_renews_and_nothing_changes_for_the_others(escrow_chain, ppcmi, tmp_path, members):
    chain = escrow_chain
    card = tmp_path / "south.ppcmicard"
    ppcmi("identity", "renew", "--valid-days", 1500, *chain.acting("south"))
    ppcmi("identity", "export", card, *chain.at_home("south"))
    ppcmi("contact", "add", card, *chain.at_home("server"))
    before = shown(chain, "server")["serial"]
    serve(chain, "renew", out=members)
    assert shown(chain, "server")["serial"] == before + 1
    renewed = json.loads(card.read_text())
    listed = json.loads(members.read_text())["members"]
    assert renewed in listed and len(listed) == 3
    for site in ("north", "south"):
        goes_on(chain, site, tmp_path / site)
        chain.accept(site, members)
        goes_on(chain, site, tmp_path / site)


def test_the_server_renews_itself(escrow_chain, ppcmi, tmp_path, members):
    """Its new card reaches the sites within the list, without another telephone call."""
    chain = escrow_chain
    ppcmi("identity", "renew", "--valid-days", 1500, *chain.acting())
    serve(chain, "renew", out=members)
    words = ("join", "accept", members, "--study", chain.study, *chain.at_home("north"))
    ppcmi(*words)
    (told,) = ppcmi("contact", "list", *chain.at_home("north"), "--json").json["contacts"]
    card = ppcmi("identity", "show", *chain.at_home("server"), "--json").json
    assert told["expires"] == card["expires"]
    goes_on(chain, "north", tmp_path / "north")
    goes_on(chain, "west", tmp_path / "west")  # which has not heard of it yet


def test_an_older_list_is_refused_for_ever(escrow_chain, ppcmi, tmp_path, members):
    chain, first = escrow_chain, tmp_path / "first.ppcmimembers"
    shutil.copy(chain.members, first)
    number = shown(chain, "north")["serial"]
    serve(chain, "remove", "south", out=members)
    chain.accept("north", members)
    words = ("join", "accept", first, "--study", chain.study, *chain.at_home("north"))
    for _ in range(2):
        ran = ppcmi.fails(*words, code=4, saying=f"has number {number}; number {number + 1}")
        assert "current list" in ran.err
    assert [one["name"] for one in shown(chain, "north")["members"]] == ["north", "west"]
    chain.accept("north", members)  # the very same once more is no harm
    log = ppcmi("log", *chain.at_home("north"), "--json").json["entries"]
    assert [entry["event"] for entry in log].count("membership accepted") == 3


def test_a_server_that_lost_its_registry_goes_on_with_a_higher_number(
    escrow_chain, ppcmi, tmp_path, members
):
    chain = escrow_chain.copy(tmp_path / "copy")
    shown = ("join", "show", "--study", chain.study, "--json")
    known = ppcmi(*shown, *chain.at_home("north")).json["serial"]
    for path in chain.home("server").glob("registry.sqlite*"):
        path.unlink()
    for site in ("north", "south", "west"):
        request = chain.root / "joining" / f"{site}.ppcmijoin"
        words = ("--fingerprint", chain.fingerprint(site))
        serve(chain, "approve", request, *words, out=members)
        if site == "north":
            refused = chain.accept("north", members, code=4)
            assert f"number {known} was seen before" in refused.err
    serve(chain, "renew", "--serial", known + 7, out=members)
    chain.accept("north", members)
    assert ppcmi(*shown, *chain.at_home("north")).json["serial"] == known + 7
    serve(chain, "renew", "--serial", 2, out=members)  # it never falls
    assert ppcmi(*shown, *chain.at_home("server")).json["serial"] == known + 8


def test_lists_of_others_are_refused(escrow_chain, blind_chain, ppcmi, tmp_path, members):
    chain = escrow_chain
    words = ("join", "accept", blind_chain.members, "--study", chain.study)
    words = (*words, *chain.at_home("north"))
    ppcmi.fails(*words, code=4, saying="another study", naming=blind_chain.members.name)
    before = shown(chain, "north")
    # Somebody who calls itself the server, and has a list for this study.
    evil = (*("--home", tmp_path / "evil"), *chain.known)
    ppcmi("identity", "new", "--name", "server", *evil)
    request = chain.root / "joining" / "north.ppcmijoin"
    approving = ("join", "approve", request, "--study", chain.study, "--out", members)
    ppcmi(*approving, "--fingerprint", chain.fingerprint("north"), *evil)
    accepting = ("join", "accept", members, "--study", chain.study, *chain.at_home("north"))
    ppcmi.fails(*accepting, code=4, saying="came from 'server' so far")
    accepting = (*accepting, "--new-server")
    ppcmi.fails(*accepting, code=4, saying="Nobody has compared the fingerprint")
    given = ("--fingerprint", chain.fingerprint("server"))
    ppcmi.fails(*accepting, *given, code=4, saying="has another fingerprint")
    theirs = ppcmi("identity", "fingerprint", *evil[:2]).out.strip()
    words = (*accepting, "--fingerprint", theirs)  # as if the owner had been fooled
    ppcmi.fails(*words, code=4, saying="contact 'server' with another fingerprint already")
    assert shown(chain, "north") == before
    goes_on(chain, "north", tmp_path / "north")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"serial":3', b'"serial":4'),
        (b'"expires":"20', b'"expires":"21'),
        (b'"name":"south"', b'"name":"sauth"'),
        (b'"members":[{', b'"members":[{}, {'),
        (b"{", b"{ "),
        (b'"version":1', b'"version":2'),
    ],
)
def test_changed_files_are_refused(escrow_chain, ppcmi, tmp_path, before, after):
    chain = escrow_chain
    request = chain.root / "joining" / "south.ppcmijoin"
    serving = ("--out", tmp_path / "x", *chain.acting())
    for file, words, noun in (
        (chain.members, ("accept", *chain.at_home("north")), "membership list"),
        (request, ("approve", *serving), "join request"),
    ):
        content = file.read_bytes()
        if before not in content:
            continue
        spoiled = tmp_path / file.name
        spoiled.write_bytes(content.replace(before, after))
        words = ("join", words[0], spoiled, "--study", chain.study, *words[1:])
        ppcmi.fails(*words, code=4, saying=f"not a valid {noun}", naming=spoiled.name)
        ppcmi.fails("inspect", spoiled, code=4, saying=f"not a valid {noun}", naming=spoiled.name)
    assert not (tmp_path / "x").exists()


def test_a_request_that_nobody_compared(escrow_chain, ppcmi, tmp_path, members):
    chain = escrow_chain
    request = newcomer(chain, tmp_path)
    before = shown(chain, "server")
    words = ("join", "approve", request, "--study", chain.study, "--out", members)
    words = (*words, *chain.acting())
    ppcmi.fails(*words, code=4, saying="Nobody has compared the fingerprint")
    given = ("--fingerprint", chain.fingerprint("north"))
    ppcmi.fails(*words, *given, code=4, saying="another fingerprint", naming="'east'")
    assert shown(chain, "server") == before and not members.exists()
    names = ppcmi("contact", "list", *chain.at_home("server"), "--json").json["contacts"]
    assert "east" not in {contact["name"] for contact in names}
    # A second site of a name that is taken.
    other = (*("--home", tmp_path / "twin"), *chain.known)
    ppcmi("identity", "new", "--name", "south", *other)
    ppcmi("join", "request", "--study", chain.study, "--out", request, *other)
    theirs = ppcmi("identity", "fingerprint", *other[:2]).out.strip()
    ppcmi.fails(*words, "--fingerprint", theirs, code=4, saying="contact 'south' with another")
    assert shown(chain, "server") == before and not members.exists()


def test_nobody_has_joined_yet(escrow_chain, ppcmi, tmp_path, members):
    chain = escrow_chain
    home = (*("--home", tmp_path / "new"), *chain.known)
    ppcmi("identity", "new", "--name", "new", *home)
    study = ("--study", chain.study)
    ppcmi.fails("join", "show", *study, *home[:2], code=4, saying="no membership list")
    words = ("join", "renew", *study, "--out", members, *home)
    ppcmi.fails(*words, code=4, saying="no membership list")
    words = ("join", "remove", "south", *study, "--out", members, *home)
    ppcmi.fails(*words, code=4, saying="'south' does not take part")
    key = ("--site-dir", chain.at("sites", "north"), "--key", chain.key("north"), *home)
    words = ("site", "protect", chain.at("new", "north") / "images", *key, "--out", tmp_path / "q")
    ran = ppcmi.fails(*words, code=4, saying="No mapping server of this study is known here")
    assert "--to" in ran.err and "join accept" in ran.err
    assert not members.exists() and not (tmp_path / "q").exists()
