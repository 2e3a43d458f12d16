"""Writing and reading encrypted, signed query bundles: MB/s and peak memory.

    python benchmarks/bundle_speed.py --items 250 1000 4000

Each number of items in a process of its own, without torch; the bundle lies in a temporary
folder. MB are of the file. Reading checks signature, hashes, shapes and finiteness, and turns
float16 into float32.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ppcmi_sf.bundle import create_bundle, item_layout, make_header, open_bundle
from ppcmi_sf.bundle.payload import decode, encode
from ppcmi_sf.identity import Identity
from ppcmi_sf.study import StudySpec, make_classes

BATCH = 8


def peak_mib() -> float:
    """Largest resident size of this process so far, in MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(items: int) -> str:
    """Write and read one bundle of so many items at 256×256."""
    study = StudySpec(name="speed", modality="US", classes=make_classes(["structure"]))
    site, server = Identity.generate("north"), Identity.generate("server")
    generator = np.random.default_rng(0)
    latents = {
        s.name: generator.normal(size=(BATCH, *s.shape)).astype(np.float32) for s in study.scales
    }
    header = make_header(
        "query",
        study=study.fingerprint,
        sender=site,
        recipients=[server.card],
        key_id="0" * 16,
        epoch=1,
        model="0" * 16,
        items=items,
        layout=item_layout(study, "query", "float16"),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "query.ppcmi"
        started = time.perf_counter()
        with create_bundle(path, header, site, [server.card]) as writer:
            for at in range(0, items, BATCH):
                count = min(BATCH, items - at)
                pseudonyms = np.frombuffer(generator.bytes(8 * count), np.uint8)
                tensors = {"item": pseudonyms.reshape(count, 8)}
                for name, value in latents.items():
                    tensors |= encode(f"image.{name}", value[:count], "float16")
                writer.append(tensors)
            writer.finish()
        written = time.perf_counter()
        read = 0
        with open_bundle(path, server, lambda _fingerprint: site.card) as reader:
            for record in reader.records():
                for name in latents:
                    decode(f"image.{name}", record)
                read += len(record["item"])
        done = time.perf_counter()
        assert read == items
        megabytes = path.stat().st_size / 1e6
    assert "torch" not in sys.modules
    return (
        f"{items:6d} items, {megabytes:7.1f} MB: "
        f"write {megabytes / (written - started):5.0f} MB/s, "
        f"read {megabytes / (done - written):5.0f} MB/s, peak {peak_mib():4.0f} MiB"
    )


def main() -> None:
    """Measure each number of items in a fresh process, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[250, 1000, 4000])
    parser.add_argument("--here", action="store_true", help="Measure one number in this process.")
    arguments = parser.parse_args()
    for items in arguments.items:
        if arguments.here:
            print(measure(items))
        else:
            words = [sys.executable, __file__, "--here", "--items", str(items)]
            print(subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
