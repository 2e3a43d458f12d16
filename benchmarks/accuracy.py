"""Accuracy of every row of a plan at one budget of training time; a line for each finished run.

    python benchmarks/accuracy.py benchmarks/plans/cardiac.yaml --out work/cardiac.jsonl

Run it again to go on where it was stopped, and with other rows or seeds in the plan to add
theirs. `python benchmarks/accuracy_table.py work/cardiac.jsonl` makes tables and plots.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from harness.plan import Plan
from harness.results import ResultsFile
from harness.runner import Runner
from ppcmi_sf.device import DEVICE_NAMES, choose_device
from ppcmi_sf.errors import PPCMIError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    """Read the arguments and run the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="Results file (.jsonl).")
    parser.add_argument("--work", type=Path, help="Trainings that rows share; default OUT.work.")
    parser.add_argument("--data", type=Path, default=DATA, help="Folder of the data sets.")
    parser.add_argument("--rows", nargs="+", default=[], help="Only these rows of the plan.")
    parser.add_argument("--datasets", nargs="+", default=[], help="Only these data sets.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="Only these seeds.")
    parser.add_argument("--pictures", type=Path, help="Folder for masks over test images (PNG).")
    parser.add_argument("--begin", type=float, default=0.0, help="Not before (seconds since 1970).")
    parser.add_argument("--device", choices=DEVICE_NAMES, default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.monotonic()
    work = arguments.work or arguments.out.with_suffix(".work")
    try:
        plan = Plan.load(arguments.plan)
    except PPCMIError as error:
        parser.exit(1, f"{error.message} {error.hint}\n")
    runner = Runner(
        plan,
        arguments.data,
        work,
        ResultsFile(arguments.out),
        lambda line: print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True),
        choose_device(arguments.device),
        arguments.pictures,
        arguments.begin,
    )
    count = runner.run(arguments.rows, arguments.datasets, arguments.seeds)
    print(f"{count} runs added to {arguments.out}")
    if runner.left_out:
        print(
            f"{len(runner.left_out)} cases were left out; each is listed above, and in its runs. "
            "For runs with them, mend them and begin another results file."
        )
    if runner.stopped:
        told = [f"{name}: {error}" for name, error in runner.stopped.items()]
        parser.exit(1, "\n".join(["Not finished:", *told, ""]))


if __name__ == "__main__":
    main()
