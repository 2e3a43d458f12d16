"""How long an audit takes, and how soon it can be cancelled.

    python benchmarks/audit_pace.py --images 100 [--quick]

A site of phantoms in the size of the paper with untrained networks: times do not depend on what
they learned. A job is cancelled between two of its steps, so the longest time between two steps is
the longest that anybody waits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.installed import Installed, install, speed_study
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.run import choose_attacks
from ppcmi_sf.data import DEMO_SITES, find_cases, write_phantom_folder
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.passphrase import read_passphrase_file
from ppcmi_sf.progress import Job, Result, run
from ppcmi_sf.study import AUTOENCODER_WIDTHS, make_classes
from ppcmi_sf.training.dataset import choose_validation_groups
from ppcmi_sf.workflows.audit_site import AuditSources, load_subject
from ppcmi_sf.workflows.folders import SiteFolder

VALIDATION = 0.3  # enough patients to ask who was in the training
CPU = torch.device("cpu")


@dataclass
class Pace:
    """Of a job: how long it took, and its longest steps with what was said before them."""

    seconds: float = 0.0
    steps: list[tuple[float, str]] = field(default_factory=list)

    @property
    def longest(self) -> tuple[float, str]:
        return max(self.steps)


def paced(job: Job[Result]) -> tuple[Result, Pace]:
    """Drive a job to its end and time each of its steps."""
    pace, said = Pace(), "beginning"
    started = last = time.perf_counter()
    while True:
        try:
            progress = next(job)
        except StopIteration as end:
            now = time.perf_counter()
            pace.steps.append((now - last, said))
            pace.seconds = now - started
            return end.value, pace
        now = time.perf_counter()
        pace.steps.append((now - last, said))
        last, said = now, progress.message


def sources(root: Path, images: int, size: int, preset: str) -> AuditSources:
    """A site of phantoms, with a mapping network, and what is its own."""
    study = speed_study(
        image_size=(size, size),
        autoencoder=preset,
        classes=make_classes(["head", "cavity"]),
    )
    where: Installed = install(root, study)
    run(write_phantom_folder(root / "data", DEMO_SITES[0], images, 0, (size, size)))
    cases = find_cases(root / "data", need_masks=True)
    folder = SiteFolder(where.site)
    apart = choose_validation_groups(cases, VALIDATION, 0)
    folder.save_record(
        folder.record().model_copy(update={"validation_groups": tuple(sorted(apart))})
    )
    key = ClientKey.load(where.key, read_passphrase_file(where.passphrase))
    return AuditSources(where.site, key, cases)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--preset", choices=AUTOENCODER_WIDTHS, default="fine")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--attack", action="append", default=[], help="Only this one; repeatable.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = AuditOptions(quick=arguments.quick)
    with tempfile.TemporaryDirectory() as folder:
        made = sources(Path(folder), arguments.images, arguments.size, arguments.preset)
        (subject, _), loading = paced(load_subject(made, device=CPU))
        print(
            f"| attack | s | longest step, s | in |\n|---|---|---|---|\n{row('loading', loading)}"
        )
        total = loading.seconds
        for entry in choose_attacks(arguments.attack):
            _, pace = paced(entry.run(subject, options))
            total += pace.seconds
            print(row(entry.attack.id, pace), flush=True)
    print(f"\n{arguments.images} images of {arguments.size} x {arguments.size}: {total:.0f} s")


def row(name: str, pace: Pace) -> str:
    """A line of the table."""
    longest, said = pace.longest
    return f"| {name} | {pace.seconds:.1f} | {longest:.2f} | {said} |"


if __name__ == "__main__":
    main()
