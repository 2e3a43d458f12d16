"""What a file is, without its secrets; what the machine has."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from ppcmi_sf.keys import ClientKey


def test_each_kind_of_file(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain
    site = chain.at("sites", "north")
    kinds = {
        chain.study: "study",
        chain.key("north"): "client key",
        chain.share("north"): "transform share",
        site / "image_autoencoder.safetensors": "image-autoencoder",
        chain.server / "mapping_network.safetensors": "mapping-network",
        next(chain.at("pairs", "north").iterdir()): "training",
        next(chain.at("queries", "north").iterdir()): "query",
        next(chain.at("replies", "north").iterdir()): "reply",
        next((chain.at("new", "south") / "images").iterdir()): "image (raster)",
        next((chain.at("new", "north") / "images").glob("*.nii.gz")): "image (nifti)",
    }
    for file, kind in kinds.items():
        told = ppcmi("inspect", file, "--json").json
        assert told["kind"] == kind
        assert f"kind: {kind}" in ppcmi("inspect", file).out.splitlines()
    told = ppcmi("inspect", next(chain.at("pairs", "north").iterdir()), "--json").json
    assert told["site"] == "north" and told["items"] > told["validation_items"] >= 1
    key = ClientKey.load(chain.key("north"))
    assert ppcmi("inspect", chain.key("north"), "--json").json["key_id"] == key.key_id


def test_things_it_does_not_know(escrow_chain, ppcmi, tmp_path):
    odd = tmp_path / "notes.txt"
    odd.write_text("hello")
    ppcmi.fails("inspect", odd, code=3, saying="not a file that ppcmi knows", naming="notes.txt")
    assert "Warning" not in ppcmi("inspect", odd, code=3).err
    ppcmi.fails("inspect", tmp_path / "no", code=3, saying="no such file", naming="no")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(next(escrow_chain.at("queries", "north").iterdir()).read_bytes()[:99])
    ppcmi.fails("inspect", torn, code=3, saying="neither a latent bundle", naming=torn.name)
    ledger = escrow_chain.at("sites", "north") / "registry.sqlite"
    ppcmi.fails("inspect", ledger, code=3, saying="not a file that ppcmi knows", naming=ledger.name)
    ppcmi.fails("inspect", escrow_chain.server, code=3, saying="", naming="server")


def test_a_renamed_study_and_a_dicom_folder(escrow_chain, ppcmi, tmp_path):
    shouted = tmp_path / "STUDY.YAML"
    shutil.copy(escrow_chain.study, shouted)
    assert ppcmi("inspect", shouted, "--json").json["kind"] == "study"
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(3):
        slice_ = sitk.GetImageFromArray(np.full((1, 20, 24), number * 9, np.int16))
        for tag, value in {
            "0020|000e": "1.2.3", "0020|000d": "1.2", "0008|0060": "MR",
            "0020|0032": f"0\\0\\{number * 2}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number), "0010|0010": "Doe^Jane",
        }.items():  # fmt: skip
            slice_.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(slice_)
    told = ppcmi("inspect", folder, "--json")
    assert told.json["kind"] == "image (dicom)" and told.json["shape"] == [24, 20, 3]
    assert "Doe" not in told.said


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


@pytest.mark.parametrize("words", [["site"], ["key"], ["study"], ["server"], []])
def test_a_group_alone_shows_its_help(ppcmi, words):
    from typer.testing import CliRunner

    from ppcmi_sf.cli.app import app

    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "Usage:" in result.output
