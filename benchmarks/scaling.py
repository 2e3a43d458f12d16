"""Time and memory of training the mapping network, over sites, pairs and image size.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --sites 1 2 --pairs 16 32 --sizes 64 --preset small --steps 3

Each setting runs in a process of its own. Latents are random numbers: neither time nor memory
depends on what they are. Memory is the largest resident size of the process; without the pairs
themselves, which the server holds in float16, in the last column.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import torch

from harness.budget import Portioned
from harness.installed import own_peak_mib, speed_study
from harness.traffic import bundle_bytes
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Progress, run
from ppcmi_sf.study import AUTOENCODER_WIDTHS, StudySpec
from ppcmi_sf.training.fit_options import MAPPING_FIT
from ppcmi_sf.training.loop import fit
from ppcmi_sf.training.mapping import MappingOptions, MappingTask, SitePairs

DEFAULTS = {"sites": [1, 3, 10, 30], "pairs": [500, 1000, 2000], "sizes": [128, 256, 512]}
HEADS = ["sites", "pairs", "size", "s to start", "s a step", "s a pass", "M parameters"]
HEADS += ["MB sent", "peak MiB", "without pairs MiB"]


def random_pairs(study: StudySpec, count: int, seed: int) -> SitePairs:
    """Pairs of one site."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = (
        LatentPyramid(
            {
                s.name: torch.randn(count, *s.shape, generator=generator).to(torch.float16)
                for s in study.scales
            }
        )
        for _ in range(2)
    )
    return SitePairs(inputs, targets, np.zeros(count, np.bool_))


def measure(sites: int, pairs: int, size: int, preset: str, steps: int) -> dict[str, float]:
    """Train for some steps; seconds a step, memory, bytes of the pairs."""
    study = speed_study(image_size=(size, size), autoencoder=preset)
    each = max(2, pairs // sites)
    given = {f"site{n}": random_pairs(study, each, n) for n in range(sites)}
    options = MappingOptions(fit=replace(MAPPING_FIT, epochs=1))
    started = time.perf_counter()
    task = MappingTask(study, given, options, torch.device("cpu"))
    prepared, times, last = time.perf_counter() - started, [], time.perf_counter()

    def note(step: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        if step.done > 1:  # the first step also builds the machine code
            times.append(now - last)
        last = now

    run(fit(Portioned(task, steps), options.fit), note)
    numbers = sum(s.channels * s.rows * s.columns for s in study.scales)
    held = sites * each * 2 * numbers * 2 / 2**20
    peak = own_peak_mib()
    return {
        "prepare_s": prepared,
        "step_s": statistics.median(times),
        "pass_s": statistics.median(times) * task.steps(),
        "parameters": sum(value.numel() for value in task.network.parameters()) / 1e6,
        "sent_mb": sites * bundle_bytes(study, "training", each) / 1e6,
        "peak_mib": peak,
        "without_pairs_mib": peak - held,
    }


def main() -> None:
    """Measure each setting in a fresh process, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, values in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", default=values)
    parser.add_argument("--preset", choices=AUTOENCODER_WIDTHS, default="fine")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="Measure one setting in this process.")
    arguments = parser.parse_args()
    lists = {name: getattr(arguments, name) for name in DEFAULTS}
    if arguments.here:
        torch.set_num_threads(arguments.threads)
        first = [values[0] for values in lists.values()]
        print(json.dumps(measure(*first, arguments.preset, arguments.steps)))
        return
    print(f"| {' | '.join(HEADS)} |")
    print("|---" * len(HEADS) + "|")
    # Each list varied by itself, the others at their first value but one.
    middle = {name: values[min(1, len(values) - 1)] for name, values in lists.items()}
    settings = dict.fromkeys(
        tuple((middle | {name: value}).values())
        for name, value in itertools.chain.from_iterable(
            ((name, value) for value in values) for name, values in lists.items()
        )
    )
    for sites, pairs, size in settings:
        words = [sys.executable, __file__, "--here", "--preset", arguments.preset]
        words += ["--sites", str(sites), "--pairs", str(pairs), "--sizes", str(size)]
        words += ["--steps", str(arguments.steps), "--threads", str(arguments.threads)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        cells = [str(sites), str(pairs), str(size), f"{found['prepare_s']:.2f}"]
        cells += [f"{found['step_s']:.3f}", f"{found['pass_s']:.1f}", f"{found['parameters']:.2f}"]
        cells += [f"{found[name]:.0f}" for name in ("sent_mb", "peak_mib", "without_pairs_mib")]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
