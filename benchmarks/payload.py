"""Bytes that a collaboration exchanges, for training and for a query, beside federated averaging.

    python benchmarks/payload.py --slices 175 --sites 3 --copies 1 3 6 24 --rounds 50 100 200

All sizes are of whole files: header, signature and encryption included, by the same functions
that write them. Training pairs travel once, from each site to the server. In federated averaging
every site gets and sends the weights of MONAI's U-Net (float32) in every round.
"""

from __future__ import annotations

import argparse

from monai.networks.nets import UNet

from harness.installed import speed_study
from harness.traffic import (
    bundle_bytes,
    fedavg_bytes,
    joining_bytes,
    pair_bytes,
    query_bytes,
    reply_bytes,
)
from harness.unet import make_unet
from ppcmi_sf.study import AUTOENCODER_WIDTHS


def training_table(size: int, preset: str, slices: int, sites: int, copies: list[int]) -> str:
    """Bytes of the training pairs of all sites, by arrangement and number of copies."""
    lines = ["| | copies | pairs | MB |", "|---|---|---|---|"]
    for skips in (True, False):
        study = speed_study(image_size=(size, size), autoencoder=preset, use_skips=skips)
        for number in copies:
            pairs = [slices * number // sites] * sites
            total = sum(pair_bytes(study, count) + joining_bytes("escrow") for count in pairs)
            name = "three scales" if skips else "bottleneck alone"
            lines.append(f"| {name} | {number} | {sum(pairs)} | {total / 1e6:.1f} |")
    return "\n".join(lines)


def fedavg_table(sites: int, rounds: list[int], network: UNet) -> str:
    """Bytes of federated averaging by number of rounds."""
    lines = ["| rounds | MB |", "|---|---|"]
    lines += [f"| {n} | {fedavg_bytes(network, sites, n) / 1e6:.1f} |" for n in rounds]
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--preset", choices=AUTOENCODER_WIDTHS, default="fine")
    parser.add_argument("--slices", type=int, default=175, help="Training slices of all sites.")
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 3, 6, 24])
    parser.add_argument("--rounds", type=int, nargs="+", default=[50, 100, 200])
    arguments = parser.parse_args()
    size, preset = arguments.size, arguments.preset
    study = speed_study(image_size=(size, size), autoencoder=preset)
    print(f"A query of {size} x {size}: {query_bytes(study)} bytes, reply {reply_bytes(study)}")
    print(f"A training pair, alone: {bundle_bytes(study, 'training', 1)} bytes")
    print(f"Cards and transform share of a site: {joining_bytes('escrow')} bytes\n")
    print(training_table(size, preset, arguments.slices, arguments.sites, arguments.copies))
    print(f"\nFederated averaging of the U-Net, {arguments.sites} sites\n")
    print(fedavg_table(arguments.sites, arguments.rounds, make_unet(study)))


if __name__ == "__main__":
    main()
