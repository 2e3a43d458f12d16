"""What ``server train`` says about the pairs that it was given."""

import pytest


def test_weights_and_suspicions_are_in_the_json(escrow_chain, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    result = chain.train_server("--retrain", "--json").json
    assert sum(result["weights"].values()) == pytest.approx(1)
    assert list(result["weights"]) == list(result["pairs"])
    for one in result["suspicions"]:
        assert set(one) == {"site", "kind", "items", "message"}
    plain = chain.train_server("--retrain").out
    assert ("Ask these sites before you use the network." in plain) == bool(result["suspicions"])


def test_a_cap_that_is_no_share_is_an_error(escrow_chain, tmp_path):
    chain = escrow_chain.copy(tmp_path / "copy")
    ran = chain.train_server("--retrain", "--max-site-weight", "2", "--json", code=6)
    assert "largest weight of a site is 2" in ran.json["error"]
