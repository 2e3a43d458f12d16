"""All rows of a plan at the same time on one GPU, a process for each; seed after seed.

    python benchmarks/side_by_side.py benchmarks/plans/gpu256.yaml --out work/gpu256.jsonl

The rows of a seed begin together, once all have read their images, and have the same budget, so
that each gets as much of the GPU as the others; they share no training. 8 rows and 2 data sets want
16 cores. What a process prints is kept beside the results; run it again for what failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.plan import Plan

ACCURACY = Path(__file__).with_name("accuracy.py")


def start(
    arguments: argparse.Namespace, dataset: str, row: str, seed: int, begin: float
) -> subprocess.Popen[bytes]:
    """Begin one row of a data set."""
    out: Path = arguments.out
    name = f"{dataset}-{row}-seed-{seed}"
    words = [sys.executable, str(ACCURACY), str(arguments.plan), "--out", str(out)]
    words += ["--work", str(out.with_suffix(".work") / name), "--device", arguments.device]
    words += ["--data", str(arguments.data)] if arguments.data else []
    words += ["--datasets", dataset, "--rows", row, "--seeds", str(seed), "--begin", str(begin)]
    log = out.parent / f"{name}.log"
    with log.open("wb") as printed:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(words, stdout=printed, stderr=subprocess.STDOUT, env=environment)


def main() -> None:
    """Read the arguments and run the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="Results file (.jsonl).")
    parser.add_argument("--data", type=Path, help="Folder of the data sets.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--reading-seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    plan, failed = Plan.load(arguments.plan), 0
    for seed in plan.seeds:
        begin = time.time() + arguments.reading_seconds
        running = [
            start(arguments, dataset.name, row.name, seed, begin)
            for dataset in plan.datasets
            for row in plan.rows
        ]
        failed += sum(one.wait() != 0 for one in running)
        print(f"seed {seed}: done", flush=True)
    if failed:
        parser.exit(1, f"{failed} processes failed; their logs are in {arguments.out.parent}.\n")


if __name__ == "__main__":
    main()
