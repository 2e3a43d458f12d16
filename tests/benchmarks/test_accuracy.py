"""A plan from beginning to end: every kind of row, going on, tables and plots from the file."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from harness.data import SITE_NAMES, cases_of, load_data
from harness.plan import Plan
from harness.results import ResultsFile
from harness.runner import Runner
from harness.tables import report
from ppcmi_sf.figures import MARGIN, TEXT, TILE

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BUDGET = 1.5
CPU = torch.device("cpu")
ROWS = [
    "central-unet",
    "site-unet",
    "fedavg",
    "no-ppm",
    {"base": "privacy-sf", "name": "bottleneck"},
    "fused-escrow",
    {"base": "fused-blind-aligned", "name": "aligned", "alignment": "held-back"},
    {"base": "fused-separate", "site_counts": [1, 2]},
    "new-site",
]
NAMES = {
    ("central-unet", 3),
    ("site-unet", 3),
    ("fedavg", 3),
    ("no-ppm", 3),
    ("bottleneck", 3),
    ("fused-escrow", 3),
    ("aligned", 3),
    ("fused-separate", 1),
    ("fused-separate", 2),
    ("new-site-4", 3),
    ("new-site-6", 3),
}


def fields(**changes):
    return {
        "name": "ci",
        "image_size": [64, 64],
        "autoencoder": "small",
        "budget_cpu_seconds": BUDGET,
        "checks": 4,
        "copies": 3,
        "new_site_pairs": [4, 6],
        "datasets": [
            {
                "name": "phantoms",
                "phantoms": {"per_style": 16, "size": 64},
                "modality": "US",
                "classes": ["head", "cavity"],
            }
        ],
        "rows": ROWS,
    } | changes


def runner(root, plan, said=None) -> Runner:
    results = ResultsFile(root / "results.jsonl")
    say = (said if said is not None else []).append
    return Runner(plan, root, root / "work", results, say, CPU, root / "pictures")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Everything, once; its folder and its runs by row and number of sites."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("accuracy")
    assert runner(root, Plan.model_validate(fields())).run() == len(NAMES)
    torch.set_num_threads(threads)
    runs = ResultsFile(root / "results.jsonl").read()
    return root, {(run["key"]["row"], run["key"]["sites"]): run for run in runs}


def test_every_row_is_there(finished):
    assert set(finished[1]) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_a_run_tells(name, finished):
    run = finished[1][name]
    sites = SITE_NAMES[: name[1]] if "new-site" not in name[0] else ("west",)
    assert {case["site"] for case in run["cases"]} == set(sites)
    assert {case["class"] for case in run["cases"]} == {"head", "cavity"}
    assert len({(c["site"], c["case"], c["class"]) for c in run["cases"]}) == len(run["cases"])
    for case in run["cases"]:
        assert 0 <= case["iou"] <= case["dice"] <= 1
        assert case["hd95"] >= 0
        assert 0 <= case["dice_flips"] <= 1
        assert case["asd"] >= 0
        assert case["group"]
    assert run["cpu_seconds"] == pytest.approx(sum(s["cpu_seconds"] for s in run["stages"]))
    assert run["cpu_seconds"] < 3 * BUDGET
    assert run["versions"]["torch"] == torch.__version__
    assert set(run) >= {"commit", "dirty", "machine", "wall_seconds", "slices"}
    assert all(count > 0 for count in run["parameters"].values())


def bytes_of_a_copy(run) -> float:
    """How many copies there is time for depends on how busy the machine is."""
    stages = [stage for stage in run["stages"] if stage["name"] == "pairs"]
    return run["bytes"]["training"] / stages[-1]["notes"]["copies"]


def test_training_bytes(finished):
    runs = finished[1]
    assert runs["central-unet", 3]["bytes"] == {"training": 0}
    rounds = runs["fedavg", 3]["stages"][0]["notes"]["rounds"]
    weights = 4 * runs["fedavg", 3]["parameters"]["unet"]
    assert runs["fedavg", 3]["bytes"]["training"] == rounds * 3 * 2 * weights
    fused, aligned = (runs[name, 3]["bytes"] for name in ("fused-escrow", "aligned"))
    assert fused["training"] > fused["query"] > 2000
    assert aligned["query"] == fused["query"]
    assert runs["bottleneck", 3]["bytes"]["query"] < fused["query"] / 3
    assert bytes_of_a_copy(runs["new-site-4", 3]) < bytes_of_a_copy(runs["new-site-6", 3])


def test_rows_share_trainings_and_each_counts_them(finished):
    runs = finished[1]
    stages = [
        [s for s in runs[name, 3]["stages"] if s["name"] == "image-autoencoder"]
        for name in ("fused-escrow", "aligned")
    ]
    assert stages[0] == stages[1]
    assert len(stages[0]) == 3
    assert stages[0][0]["cpu_seconds"] > 0
    own = [
        [s["site"] for s in runs["fused-separate", n]["stages"] if s["name"] == "mapping"]
        for n in (1, 2)
    ]
    assert own == [["north"], ["north", "south"]]


def test_nothing_is_done_twice(finished):
    root, said = finished[0], []
    before = (root / "results.jsonl").read_bytes()
    assert runner(root, Plan.model_validate(fields()), said).run() == 0
    assert (root / "results.jsonl").read_bytes() == before
    assert said == []


def test_what_is_missing_is_done_alone(finished, tmp_path):
    root = finished[0]
    lines = (root / "results.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["key"]["row"] != "new-site-6"]
    (tmp_path / "results.jsonl").write_text("\n".join(kept) + "\n")
    results = ResultsFile(tmp_path / "results.jsonl")
    plan = Plan.model_validate(fields())
    assert Runner(plan, root, root / "work", results, lambda _line: None, CPU).run() == 1
    assert results.read()[-1]["key"]["row"] == "new-site-6"


def test_a_new_site_has_no_row_for_more_pairs_than_it_has_slices(finished, tmp_path):
    root, runs = finished
    there = runs["new-site-4", 3]["notes"]["training_slices"]
    assert there == runs["new-site-4", 3]["slices"]["west"][0]
    plan = Plan.model_validate(fields(rows=["new-site"], new_site_pairs=[there + 1, 4]))
    results, said = ResultsFile(tmp_path / "results.jsonl"), []
    assert Runner(plan, root, root / "work", results, said.append, CPU).run() == 1
    assert [run["key"]["row"] for run in results.read()] == ["new-site-4"]
    assert any(f"new-site-{there + 1} left out: west has {there} training" in one for one in said)
    told = len(said)
    assert Runner(plan, root, root / "work", results, said.append, CPU).run() == 0
    assert len(said) == told + 1, "nothing was trained again"


def damaged_folder(root, cases=10):
    """Some cases and a table of groups; one case has no mask, one row no file."""
    picture = np.full((64, 64), 90, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40], picture[20:40, 20:40] = 1, 200
    for number in range(cases):
        for kind, values in (("images", picture), ("masks", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / kind / f"c{number}.png")
    (root / "masks" / "c0.png").unlink()
    rows = "".join(f"c{number}.png,p{number}\n" for number in range(cases))
    (root / "manifest.csv").write_text(f"file,group\n{rows}gone.png,p\n")
    return mask


def test_what_cannot_be_used_is_left_out_and_told_and_the_next_data_set_has_its_turn(tmp_path):
    one = {"modality": "US", "classes": ["a"]}
    sets = [{"name": name, "path": name} | one for name in ("few", "damaged")]
    for name, count in (("few", 3), ("damaged", 10)):
        mask = damaged_folder(tmp_path / name, count)
    rows = ["central-unet"]
    plan = Plan.model_validate(fields(datasets=sets, rows=rows, budget_cpu_seconds=0.2))
    cases, problems = cases_of(plan.datasets[1], tmp_path, tmp_path)
    assert [name for name, _ in problems] == ["c0", "gone.png"]
    whole = load_data(plan, plan.datasets[1], cases, None)
    unread = {whole.test[0].name, whole.sites["north"].training.cases[0]}
    for name in unread:
        Image.fromarray(mask * 9).save(tmp_path / "damaged" / "masks" / f"{name}.png")
    said = []
    one_run = runner(tmp_path, plan, said)
    assert one_run.run() == 1
    assert list(one_run.stopped) == ["few"]
    assert any("few: stopped. 1 groups" in line for line in said)
    (run,) = ResultsFile(tmp_path / "results.jsonl").read()
    assert set(run["left_out"]) == {"c0", "gone.png", *unread}
    assert sum("left out" in line for line in said) == 4
    assert not {case["case"] for case in run["cases"]} & unread
    assert "Left out: c0," in report([run])


def test_a_plan_that_was_not_finished_ends_with_1(tmp_path):
    (tmp_path / "plan.yaml").write_text(
        yaml.safe_dump(
            fields(datasets=[{"name": "a", "path": "a", "modality": "US", "classes": ["a"]}])
        )
    )
    words = [sys.executable, str(BENCHMARKS / "accuracy.py"), str(tmp_path / "plan.yaml")]
    words += ["--out", str(tmp_path / "out.jsonl"), "--data", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Not finished:\na: " in done.stderr and "no such folder" in done.stderr


def test_tables_and_plots_come_from_the_file_alone(finished, script, tmp_path):
    text = script("accuracy_table.py", finished[0] / "results.jsonl", "--plots", tmp_path / "p")
    assert "## phantoms, 64 x 64, 3 sites" in text
    assert "## phantoms, 64 x 64, 1 site\n" in text
    for name, _ in NAMES:
        assert f"| {name} |" in text
    table = text.split("\n\n")[3]
    row = next(line for line in table.splitlines() if line.startswith("| fused-escrow |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    cases = finished[1]["fused-escrow", 3]["cases"]
    assert cells[1] == f"{sum(case['dice'] for case in cases) / len(cases):.3f}"
    assert "[" in cells[6], "the difference to the central U-Net has an interval"
    assert cells[7].startswith(
        f"{_mean_dice(finished, 'fused-escrow') - _mean_dice(finished):+.3f}"
    )
    plots = {path.stem for path in (tmp_path / "p").glob("*.svg")}
    assert {"phantoms-64-3-sites-dice", "phantoms-64-3-sites-new-site"} <= plots
    assert {"phantoms-64-over-sites", "phantoms-64-3-sites-mapping-curves"} <= plots
    for path in (tmp_path / "p").glob("*.svg"):
        assert path.read_text().count("<svg") == path.read_text().count("</svg>") == 1


def test_every_run_has_a_picture_of_what_each_site_sees(finished):
    root, runs = finished
    for (row, sites), run in runs.items():
        path = root / "pictures" / f"phantoms-64-{sites}-sites-{row}-seed-0.png"
        picture = np.asarray(Image.open(path).convert("RGB"), dtype=int)
        seen_by = len({case["site"] for case in run["cases"]})
        band = TILE + MARGIN
        assert picture.shape[0] == TEXT + 2 * MARGIN + (1 + seen_by) * band
        true = picture[TEXT + 2 * MARGIN :][:band]
        assert (true.max(axis=2) - true.min(axis=2)).max() > 50, "the true masks are in colour"
    assert len(list((root / "pictures").iterdir())) == len(runs)


def _mean_dice(finished, row="site-unet"):
    cases = finished[1][row, 3]["cases"]
    return sum(case["dice"] for case in cases) / len(cases)


def test_a_killed_run_leaves_nothing_half_written(tmp_path):
    plan = tmp_path / "plan.yaml"
    rows = ["fused-escrow", "fused-blind"]
    plan.write_text(yaml.safe_dump(fields(rows=rows, budget_cpu_seconds=60)))
    out, work = tmp_path / "out.jsonl", tmp_path / "work"
    words = [sys.executable, str(BENCHMARKS / "accuracy.py"), str(plan), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*words, "--work", str(work)], stdout=subprocess.DEVNULL, env=environment
    ) as process:
        until = time.monotonic() + 120
        while not list((work / "stages").glob("image-*")) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    kept = list((work / "stages").glob("image-autoencoder-*"))
    assert kept
    assert ResultsFile(out).read() == []
    for folder in kept:
        assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "stage.json"}
        json.loads((folder / "stage.json").read_text())
