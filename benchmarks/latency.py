"""How long one image takes and how much memory, and a whole volume in one command.

    python benchmarks/latency.py                                   # in full
    python benchmarks/latency.py --size 64 --preset small --rounds 3 --volume-side 64 --slices 4 8

One image: every step, and all of them from image to mask (encode, protect, map at the server
with recovering and protecting, recover, decode), `fused` and `paper` in turn in one run, since
machines are noisy: quote the ratio. Memory: the largest resident size of a process of its own,
which segments one image from a file. Volumes: `ppcmi site segment`, start of the program included.
Networks are untrained; that changes no time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from harness.exchange import new_items
from harness.installed import (
    SITE,
    Installed,
    install,
    segment_command,
    speed_study,
    write_volume,
)
from ppcmi_sf.device import place
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.roles import MappingServer, Site
from ppcmi_sf.study import AUTOENCODER_WIDTHS, StudySpec

SITES = [SITE, "south", "west"]
CPU = torch.device("cpu")
SEGMENTED = 20  # single images, for the peak of memory
Steps = dict[str, Callable[[], object]]


def parties(study: StudySpec) -> tuple[Site, MappingServer]:
    """A site and a server in their roles, networks placed as the folders' are."""
    key = ClientKey.generate(SITE, study.fingerprint)
    image, mask = (place(Autoencoder(study, role), CPU) for role in ("image", "mask"))
    shares = {SITE: key.transform_share()} if study.arrangement == "escrow" else {}
    network = place(UnifiedMappingNetwork(study, SITES), CPU)
    return Site(study, image, mask, key), MappingServer(study, shares, network)


def steps_of(label: str, study: StudySpec) -> Steps:
    """The steps of one image, and all of them together."""
    site, server = parties(study)
    image = torch.rand(1, study.channels, *study.image_size)
    items = new_items(1)
    query = site.protect_images(image, items)
    reply = server.map(SITE, query, items)
    return {
        f"{label}: encode + protect": lambda: site.protect_images(image, items),
        f"{label}: server": lambda: server.map(SITE, query, items),
        f"{label}: recover + decode": lambda: site.reveal_masks(reply, items),
        f"{label}: all": lambda: whole(site, server, image),
    }


def whole(site: Site, server: MappingServer, image: torch.Tensor) -> torch.Tensor:
    """From image to class probabilities, as a new item."""
    items = new_items(len(image))
    return site.reveal_masks(server.map(SITE, site.protect_images(image, items), items), items)


def milliseconds(steps: Steps, rounds: int) -> dict[str, list[float]]:
    """Run the steps in turn, after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def one_image(size: int, preset: str, rounds: int) -> None:
    """Print the steps' times, and the ratio of the whole."""
    published = "ppcmi-sf" if preset == "fine" else preset  # the paper has scales of its own
    studies = {
        f"{mapping} {arrangement}": speed_study(
            image_size=(size, size),
            autoencoder=autoencoder,
            mapping=mapping,
            arrangement=arrangement,
        )
        for mapping, arrangement, autoencoder in (
            ("fused", "escrow", preset),
            ("fused", "blind", preset),
            ("paper", "escrow", published),
        )
    }
    steps: Steps = {}
    for label, study in studies.items():
        steps |= steps_of(label, study)
    times = milliseconds(steps, rounds)
    print(f"| {size} x {size}, {torch.get_num_threads()} threads | median, ms | least, ms |")
    print("|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} |")
    for label in ("fused escrow", "fused blind"):
        pairs = zip(times["paper escrow: all"], times[f"{label}: all"], strict=True)
        ratio = statistics.median(slow / fast for slow, fast in pairs)
        print(f"\npaper escrow / {label}, image to mask, pair by pair: median {ratio:.1f}")
    print()
    for label, study in studies.items():
        network = UnifiedMappingNetwork(study, SITES)
        count = sum(value.numel() for value in network.parameters()) / 1e6
        own = sum(value.numel() for value in Autoencoder(study, "image").parameters()) / 1e6
        print(
            f"{label}, three sites: mapping network of {count:.2f} M parameters, "
            f"an autoencoder of {own:.2f} M"
        )


def segmented_images(where: Installed, size: int, threads: int, root: Path) -> None:
    """Print the peak memory of a process that segments single images."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(SEGMENTED):
        picture = rng.integers(0, 255, (size, size), dtype=np.uint8)
        (root / "images").mkdir(exist_ok=True)
        Image.fromarray(picture).save(root / "images" / f"{number}.png")
    took = segment_command(where, root / "images", root / "masks", threads)
    print(
        f"\n{SEGMENTED} images of {size} x {size} in one command: {took.seconds:.1f} s, "
        f"peak memory {took.peak_mib:.0f} MiB"
    )


def volumes(where: Installed, side: int, slices: list[int], threads: int, root: Path) -> None:
    """Print time and peak memory of volumes."""
    for count in slices:
        path = root / f"volume-{count}.nii.gz"
        write_volume(path, side, count)
        took = segment_command(where, path, root / "masks", threads)
        print(
            f"Volume of {side} x {side} x {count} in one command: {took.seconds:.1f} s, "
            f"peak memory {took.peak_mib:.0f} MiB"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--preset", choices=AUTOENCODER_WIDTHS, default="fine")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--volume-side", type=int, default=512)
    parser.add_argument("--slices", type=int, nargs="*", default=[120, 480])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    one_image(arguments.size, arguments.preset, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        root, size = Path(folder), (arguments.size, arguments.size)
        where = install(root, speed_study(image_size=size, autoencoder=arguments.preset))
        sizes = where.model_bytes()
        print(f"\nFiles of weights at a site: {sum(sizes.values()) / 1e6:.1f} MB ({sizes})")
        segmented_images(where, arguments.size, arguments.threads, root)
        volumes(where, arguments.volume_side, arguments.slices, arguments.threads, root)


if __name__ == "__main__":
    main()
