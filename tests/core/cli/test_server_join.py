"""``ppcmi server join``: a site joins a network that another has trained."""

import pytest


@pytest.fixture
def of_one(chain, tmp_path):
    copy = chain.copy(tmp_path / "copy")
    copy.train_server("--retrain", sites=["north"])
    return copy


def join(chain, site, *more, code=0):
    share = () if chain.arrangement == "blind" else ("--share", chain.share(site))
    return chain.ppcmi(
        "server", "join", chain.at("pairs", site), "--server-dir", chain.server, *share,
        *chain.acting(), "--epochs", 2, "--again", *more, code=code,
    )  # fmt: skip


def test_a_site_joins_and_its_queries_are_answered(of_one, tmp_path):
    queries = of_one.at("queries", "south")
    ask = (
        "server", "map", queries, "--server-dir", of_one.server, *of_one.acting(), "--again",
        "--out", tmp_path / "replies",
    )  # fmt: skip
    assert "was not trained with" in of_one.ppcmi(*ask, code=1).err
    told = join(of_one, "south", "--json").json
    assert list(told["pairs"]) == ["south"]
    assert told["fit"]["epochs"] == 2
    assert of_one.ppcmi(*ask, "--json").json["replies"]


def test_what_is_wrong_is_said(of_one, tmp_path):
    refused = join(of_one, "north", code=5)
    assert "takes part in this mapping network already" in refused.err
    text = join(of_one, "south").out
    assert "Trained adapters for a new site" in text and "of south" in text
    of_one.ppcmi.fails(
        "server", "join", of_one.at("pairs", "south"), "--server-dir", tmp_path / "none",
        *of_one.acting(), code=3, saying="no mapping network to join",
    )  # fmt: skip
