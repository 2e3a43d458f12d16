"""A site with an installed mapping network, untrained: for times and memory, not for scores."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from ppcmi_sf.files import write_text
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import ModelHeader, SiteLink, save_model, weights_id
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.workflows.folders import SiteFolder, TrainingRecord, save_mapping_network

SITE = "north"
POLL_SECONDS = 0.01


def speed_study(**fields: object) -> StudySpec:
    """A study of one structure in the size of the paper, unless told."""
    wanted = {"name": "speed", "modality": "US", "classes": make_classes(["structure"])}
    return StudySpec.model_validate(wanted | fields)


@dataclass(frozen=True)
class Installed:
    """Where things of a site are."""

    root: Path

    @property
    def site(self) -> Path:
        return self.root / "site"

    @property
    def key(self) -> Path:
        return self.root / "site.ppcmikey"

    @property
    def passphrase(self) -> Path:
        return self.root / "passphrase.txt"

    def model_bytes(self) -> dict[str, int]:
        """Bytes of each file of weights."""
        return {path.name: path.stat().st_size for path in self.site.glob("*.safetensors")}


def install(root: Path, study: StudySpec) -> Installed:
    """Write a site folder and a key for it."""
    where = Installed(root)
    folder, key = SiteFolder(where.site), ClientKey.generate(SITE, study.fingerprint)
    study.save(folder.study_file)
    folder.save_record(
        TrainingRecord(site=SITE, seed=0, validation_groups=(), slice_axis=None, frame=None)
    )
    models = {role: Autoencoder(study, role) for role in ("image", "mask")}
    for role, kind in (("image", "image-autoencoder"), ("mask", "mask-autoencoder")):
        header = ModelHeader(kind=kind, study=study.fingerprint, site=SITE)
        save_model(folder.model_file(role), models[role], header)
    network = UnifiedMappingNetwork(study, [SITE])
    link = SiteLink(
        name=SITE,
        fingerprint="0" * 64,
        epoch=1,
        transform=key.transform_share().key_id,
        encoders=weights_id(models["image"].encoder, models["mask"].encoder),
    )
    save_mapping_network(folder.mapping_file, network, study, [link])
    words = secrets.token_hex(12)
    write_text(where.passphrase, words + "\n", mode=0o600)
    key.save(where.key, SecretStr(words))
    return where


def write_volume(path: Path, side: int, slices: int) -> None:
    """A NIfTI volume of noise over a gradient, int16."""
    import nibabel

    rng = np.random.default_rng(0)
    plane = np.linspace(0, 800, side)[:, None] + np.linspace(0, 200, side)[None]
    volume = np.empty((side, side, slices), np.int16)
    for index in range(slices):
        volume[:, :, index] = plane + rng.normal(0, 40, plane.shape)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.7, 0.7, 1.5, 1.0])), path)


@dataclass(frozen=True)
class Command:
    """What a command took: wall seconds, and the largest resident size of its process."""

    seconds: float
    peak_mib: float


def run_command(words: list[str], threads: int) -> Command:
    """Run a command as a user would, and watch its process."""
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env=environment)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _high_water_mib(process.pid))
            time.sleep(POLL_SECONDS)
        output.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{output.read()}")
    return Command(time.perf_counter() - started, peak)


def _high_water_mib(pid: int) -> float:
    """Largest resident size so far; not rusage's, which starts at the parent's size at the fork."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # it has just ended
    return 0.0


def segment_command(where: Installed, image: Path, out: Path, threads: int) -> Command:
    """`ppcmi site segment` of one file, start of the program included."""
    words = [sys.executable, "-c", "from ppcmi_sf.cli import main; main()", "site", "segment"]
    words += [str(image), "--site-dir", str(where.site), "--key", str(where.key)]
    words += ["--out", str(out), "--passphrase-file", str(where.passphrase), "--device", "cpu"]
    return run_command(words, threads)


def own_peak_mib() -> float:
    """Largest resident size of this process so far."""
    return _high_water_mib(os.getpid())
