"""latency.py, payload.py and scaling.py in a small setting."""

import re


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
    assert "Mapping network, fused escrow, three sites" in text


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
