"""All rows at the same time: every process adds its run, one that fails is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.results import ResultsFile

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PLAN = {
    "name": "side by side",
    "image_size": [64, 64],
    "autoencoder": "small",
    "budget_cpu_seconds": 1.0,
    "checks": 2,
    "seeds": [0, 1],
    "datasets": [
        {
            "name": "phantoms",
            "phantoms": {"per_style": 12, "size": 64},
            "modality": "US",
            "classes": ["head", "cavity"],
        }
    ],
    "rows": ["central-unet", "fedavg"],
}


def side_by_side(folder: Path, plan: dict[str, object]) -> subprocess.CompletedProcess[str]:
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    words = [sys.executable, str(BENCHMARKS / "side_by_side.py"), str(folder / "plan.yaml")]
    words += ["--out", str(folder / "out" / "runs.jsonl"), "--data", str(folder)]
    words += ["--device", "cpu", "--reading-seconds", "0.5"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_every_row_and_seed_is_in_the_results(tmp_path):
    done = side_by_side(tmp_path, PLAN)
    assert done.returncode == 0, done.stderr
    runs = ResultsFile(tmp_path / "out" / "runs.jsonl").read()
    found = [(run["key"]["row"], run["key"]["seed"]) for run in runs]
    assert sorted(found) == [(row, seed) for row in ("central-unet", "fedavg") for seed in (0, 1)]
    assert all(run["device"] for run in runs)
    logs = sorted(path.name for path in (tmp_path / "out").glob("*.log"))
    assert logs[0] == "phantoms-central-unet-seed-0.log"
    assert len(logs) == 4


def test_a_row_that_fails_is_told_with_where_its_log_is(tmp_path):
    missing = {"name": "gone", "path": "gone", "modality": "US", "classes": ["head"]}
    done = side_by_side(tmp_path, PLAN | {"datasets": [missing], "seeds": [0]})
    assert done.returncode == 1
    assert f"2 processes failed; their logs are in {tmp_path / 'out'}" in done.stderr
    log = (tmp_path / "out" / "gone-fedavg-seed-0.log").read_text()
    assert "gone" in log
    assert "Traceback" not in log
