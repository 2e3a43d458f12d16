"""latency.py, payload.py, scaling.py, audit_pace.py and reconstruction.py in a small setting."""

import re
import shutil

from ppcmi_sf.data.sample import sample_data_folder


def test_latency(script):
    text = script(
        *("latency.py", "--size", 64, "--preset", "small", "--rounds", 2, "--threads", 1),
        *("--volume-side", 64, "--slices", 3),
    )
    for label in ("fused escrow", "fused blind", "paper escrow"):
        for step in ("encode + protect", "server", "recover + decode", "all"):
            assert f"| {label}: {step} |" in text
    assert text.count("pair by pair: median") == 2
    assert re.search(r"Volume of 64 x 64 x 3 in one command: [\d.]+ s, peak memory \d+ MiB", text)
    assert "fused escrow, three sites: mapping network of" in text


def test_payload(script):
    text = script(
        *("payload.py", "--size", 64, "--preset", "small", "--slices", 30, "--copies", 1, 2),
        *("--rounds", 10),
    )
    assert "| three scales | 2 | 60 |" in text
    assert re.search(r"\| 10 \| 390\.0 \|", text), "10 rounds, 3 sites, both ways, 1.63 M float32"


def test_scaling(script):
    text = script(
        *("scaling.py", "--sites", 1, 2, "--pairs", 16, "--sizes", 64, "--preset", "small"),
        *("--steps", 3),
    )
    assert "| 1 | 16 | 64 |" in text
    assert "| 2 | 16 | 64 |" in text


def test_audit_pace(script):
    text = script(
        *("audit_pace.py", "--images", 16, "--size", 64, "--preset", "small", "--quick"),
        *("--threads", 1),
    )
    for attack in ("loading", "cross-decoder", "membership", "malicious-site"):
        found = re.search(rf"\| {attack} \| ([\d.]+) \| ([\d.]+) \|", text)
        assert found, attack
        assert 0 < float(found[2]) <= float(found[1]) + 0.1


def test_reconstruction(script, tmp_path):
    """Of the sample site on its own test images: masks come back far better than images."""
    sample = sample_data_folder()
    for name in ("north.ppcmikey", "passphrase.txt"):
        shutil.copy(sample / "site" / name, tmp_path)
        (tmp_path / name).chmod(0o600)
    text = script(
        *("reconstruction.py", sample / "site", sample / "ultrasound"),
        *("--key", tmp_path / "north.ppcmikey"),
        *("--passphrase-file", tmp_path / "passphrase.txt"),
    )
    figures = dict(re.findall(r"(image PSNR|image SSIM|mask PSNR)[^:]*: mean ([\d.]+)", text))
    assert 10 < float(figures["image PSNR"]) < float(figures["mask PSNR"])
    assert 0 < float(figures["image SSIM"]) < 1
