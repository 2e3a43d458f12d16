"""Time of each step for one 256×256 image on the CPU, and the mapping presets side by side.

    python benchmarks/speed.py

All in one run, alternating, since machines are noisy: quote the ratio.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from ppcmi_sf.bundle import new_item_id
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.transform import KeyedLatentTransform

ROUNDS = 15


def milliseconds(steps: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Run the steps in turn, after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(ROUNDS + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if round_number:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    """Measure and print."""
    study = StudySpec(name="speed", modality="US", classes=make_classes(["structure"]))
    paper_study = study.model_copy(update={"mapping": "paper"})
    image, mask = Autoencoder(study, "image").eval(), Autoencoder(study, "mask").eval()
    fused = UnifiedMappingNetwork(study, ["a", "b", "c"]).eval()
    paper = UnifiedMappingNetwork(paper_study, ["a", "b", "c"]).eval()
    share = ClientKey.generate("a", study.fingerprint).transform_share()
    transform = KeyedLatentTransform(share, study, "image")
    items = [new_item_id()]
    picture = torch.rand(1, 1, *study.image_size)
    latents = LatentPyramid({s.name: torch.randn(1, *s.shape) for s in study.scales})
    with torch.inference_mode():
        times = milliseconds(
            {
                "encode": lambda: image.encode(picture),
                "protect (KLT, all scales)": lambda: transform.protect(latents, items),
                "recover (KLT, all scales)": lambda: transform.recover(latents, items),
                "map, fused": lambda: fused({"a": latents}),
                "map, paper": lambda: paper({"a": latents}),
                "decode": lambda: mask.decode(latents),
            }
        )
    for name, values in times.items():
        print(f"{name:28} median {statistics.median(values):8.2f} ms  min {min(values):8.2f} ms")
    ratios = [p / f for p, f in zip(times["map, paper"], times["map, fused"], strict=True)]
    print(f"paper / fused, pair by pair: median {statistics.median(ratios):.1f}")
    for name, network in (("fused", fused), ("paper", paper), ("autoencoder", image)):
        print(f"{name}: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")
    print(f"threads: {torch.get_num_threads()}")


if __name__ == "__main__":
    main()
