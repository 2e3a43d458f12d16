"""What a file is, without its secrets; what the machine has."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image


def test_each_kind_of_file(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain
    site, card = chain.at("sites", "north"), tmp_path / "north.ppcmicard"
    ppcmi("identity", "export", card, *chain.at_home("north"))
    kinds = {
        chain.study: "study",
        chain.key("north"): "client key",
        chain.share("north"): "transform share",
        site / "image_autoencoder.safetensors": "image-autoencoder",
        chain.server / "mapping_network.safetensors": "mapping-network",
        next(chain.at("pairs", "north").iterdir()): "latent bundle",
        next(chain.at("queries", "north").iterdir()): "latent bundle",
        next(chain.at("replies", "north").iterdir()): "latent bundle",
        chain.home("north") / "identity.ppcmiid": "identity",
        chain.root / "joining" / "north.ppcmijoin": "join request",
        chain.members: "membership list",
        card: "contact card",
        next((chain.at("new", "south") / "images").iterdir()): "image (raster)",
        next((chain.at("new", "north") / "images").glob("*.nii.gz")): "image (nifti)",
    }
    for file, kind in kinds.items():
        told = ppcmi("inspect", file, "--json").json
        assert told["kind"] == kind
        assert f"kind: {kind}" in ppcmi("inspect", file).out.splitlines()
    told = ppcmi("inspect", chain.key("north"), "--json").json
    assert told["key_id"] == chain.client_key("north").key_id and told["protected"]
    told = ppcmi("inspect", chain.share("north"), "--json").json
    assert told["encrypted_to"] == chain.fingerprint("server")
    told = ppcmi("inspect", chain.members, "--json").json["members"]
    assert told == [{"name": n, "fingerprint": chain.fingerprint(n)} for n in SITES]
    assert f"members: {', '.join(SITES)}" in ppcmi("inspect", chain.members).out.splitlines()
    for file in (card, chain.home("north") / "identity.ppcmiid"):
        assert ppcmi("inspect", file, "--json").json["fingerprint"] == chain.fingerprint("north")


SITES = ("north", "south", "west")
STRANGER = {"format", "bytes", "encrypted_to", "algorithms"}
RECIPIENT = {
    "sender_name", "signature", "version", "kind", "bundle_id", "study", "sender", "recipients",
    "key_id", "epoch", "model", "items", "record_items", "size", "tensors", "digest",
}  # fmt: skip
HEADINGS = ("A stranger who", "A mail server or", "A recipient, who")


def test_each_party_sees_its_own_view_of_a_bundle(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain
    query = next(chain.at("queries", "north").iterdir())
    told = ppcmi("inspect", query, "--json").json
    assert set(told) == {"kind", "stranger", "mail_server", "recipient"}
    assert set(told["stranger"]) == STRANGER
    assert told["stranger"]["encrypted_to"] == [chain.fingerprint("server")]
    assert told["stranger"]["bytes"] == query.stat().st_size
    assert told["mail_server"]["file_name"] == query.name and told["recipient"] is None
    assert chain.fingerprint("north") not in json.dumps(told)  # the sender is no stranger's affair
    plain = ppcmi("inspect", query).out
    assert [plain.count(heading) for heading in HEADINGS] == [1, 1, 1]
    assert plain.index(HEADINGS[0]) < plain.index(HEADINGS[1]) < plain.index(HEADINGS[2])
    assert "not opened; with --open you see it" in plain.split(HEADINGS[2])[1]

    opened = ppcmi("inspect", query, "--open", *chain.acting(), "--json").json
    assert {view: opened[view] for view in ("stranger", "mail_server")} == {
        view: told[view] for view in ("stranger", "mail_server")
    }
    seen = opened["recipient"]
    assert set(seen) == RECIPIENT
    assert seen["sender_name"] == "north" and seen["kind"] == "query" and seen["items"] >= 1
    assert seen["bundle_id"] == query.stem and seen["sender"] == chain.fingerprint("north")
    plain = ppcmi("inspect", query, "--open", *chain.acting()).out
    assert "not opened" not in plain and "sender_name: north" in plain.split(HEADINGS[2])[1]
    assert "sender_name" not in plain.split(HEADINGS[2])[0]
    words = ("inspect", query, "--open", *chain.acting("south"))
    ppcmi.fails(*words, code=5, saying="encrypted to others", naming=query.name)
    words = ("inspect", query, "--open", *chain.at_home("server"))
    ppcmi.fails(*words, code=4, saying="needs a passphrase, and there is nobody to ask")


def test_things_it_does_not_know(escrow_chain, ppcmi, tmp_path):
    odd = tmp_path / "notes.txt"
    odd.write_text("hello")
    ppcmi.fails("inspect", odd, code=3, saying="not a file that ppcmi knows", naming="notes.txt")
    assert "Warning" not in ppcmi("inspect", odd, code=3).err
    ppcmi.fails("inspect", tmp_path / "no", code=3, saying="no such file", naming="no")
    content = next(escrow_chain.at("queries", "north").iterdir()).read_bytes()
    torn, odd = tmp_path / "torn.ppcmi", tmp_path / "odd.safetensors"
    torn.write_bytes(content[:99])
    ppcmi.fails("inspect", torn, code=5, saying="cut short", naming=torn.name)
    odd.write_bytes(content)
    ppcmi.fails("inspect", odd, code=5, saying="not a readable file of weights", naming=odd.name)
    ledger = escrow_chain.home("north") / "registry.sqlite"
    ppcmi.fails("inspect", ledger, code=3, saying="not a file that ppcmi knows", naming=ledger.name)
    ppcmi.fails("inspect", escrow_chain.server, code=3, saying="", naming="server")


def test_a_renamed_study_and_a_dicom_folder(escrow_chain, ppcmi, tmp_path, write_slice):
    shouted = tmp_path / "STUDY.YAML"
    shutil.copy(escrow_chain.study, shouted)
    assert ppcmi("inspect", shouted, "--json").json["kind"] == "study"
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(3):
        write_slice(
            folder / f"{number}.dcm",
            np.full((20, 24), number * 9, np.int16),
            (0, 0, number * 2),
            tags={"0010|0010": "Doe^Jane", "0020|0013": str(number)},
        )
    told = ppcmi("inspect", folder, "--json")
    assert told.json["kind"] == "image (dicom)" and told.json["shape"] == [24, 20, 3]
    assert "Doe" not in told.said


def test_one_frame_or_series_of_several(ppcmi, tmp_path, write_slice):
    """What the hints say: --frame and --series."""
    four = tmp_path / "four.nii.gz"
    values = np.zeros((9, 8, 3, 2), np.float32)
    values[..., 1] = 7
    nib.save(nib.Nifti1Image(values, np.eye(4)), four)
    ppcmi.fails("inspect", four, code=3, saying="--frame N", naming=four.name)
    told = ppcmi("inspect", four, "--frame", 1, "--json").json
    assert told["shape"] == [9, 8, 3] and told["values"] == [7, 7]
    folder = tmp_path / "series"
    folder.mkdir()
    for uid, columns in (("1.2.3", 24), ("1.2.4", 16)):
        write_slice(folder / f"{uid}.dcm", np.zeros((20, columns), np.int16), uid=uid)
    told = ppcmi("inspect", folder, "--json").json["series"]
    assert told == [{"uid": "1.2.3", "files": 1}, {"uid": "1.2.4", "files": 1}]
    assert "series: 1.2.3 (1 file), 1.2.4 (1 file)" in ppcmi("inspect", folder).out
    told = ppcmi("inspect", folder, "--series", "1.2.4", "--json").json
    assert told["kind"] == "image (dicom)" and told["shape"] == [20, 16]


def test_an_image_without_size_says_so(ppcmi, tmp_path):
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "a.png")
    told = ppcmi("inspect", tmp_path / "a.png", "--json").json
    assert told["shape"] == [9, 7] and told["spacing_mm"] is None and told["values"] == [0, 0]
    assert "None" not in ppcmi("inspect", tmp_path / "a.png").out


def test_doctor(ppcmi):
    plain = ppcmi("doctor")
    assert "torch: 2" in plain.out and "Using " in plain.out and "None" not in plain.out
    told = ppcmi("doctor", "--json").json
    assert told["round_trip_error"] < 1e-5 and told["memory_free_gib"] > 0
    assert isinstance(told["advice"], list) and told["torch"]


def test_a_key_that_others_can_read_is_pointed_at(escrow_chain, ppcmi, tmp_path):
    key = tmp_path / "open.ppcmikey"
    shutil.copy(escrow_chain.key("north"), key)
    key.chmod(0o644)
    ran = ppcmi("key", "show", key, "--json")
    assert "Warning: " in ran.err and "chmod 600" in ran.err and ran.json["site"] == "north"


@pytest.mark.parametrize(
    "words", [["site"], ["key"], ["study"], ["server"], ["identity"], ["contact"], ["join"], []]
)
def test_a_group_alone_shows_its_help(ppcmi, words):
    from typer.testing import CliRunner

    from ppcmi_sf.cli.app import app

    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "Usage:" in result.output
