"""The verbs of the demo's three-site collaboration, in order."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

from ppcmi_sf.files import write_text

SERVER = "server"


@dataclass(frozen=True)
class Lengths:
    """How long the demo trains."""

    site_epochs: int = 20
    server_epochs: int = 14
    copies: int = 8


@dataclass(frozen=True)
class DemoSteps:
    """Lines for the shell; every party has a home of its own below ``out``."""

    out: Path
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    size: tuple[int, int]
    batch_size: int
    lengths: Lengths
    seed: int

    @property
    def passphrase_file(self) -> Path:
        """One passphrase for all parties: it is a demo."""
        return self.out / "keys" / "passphrase.txt"

    def write_passphrase(self) -> None:
        """Make up a passphrase."""
        write_text(self.passphrase_file, secrets.token_urlsafe(16) + "\n", mode=0o600)

    def home(self, name: str) -> Path:
        """A party's home folder."""
        return self.out / "homes" / name

    def _at(self, *parts: str) -> str:
        return shlex.quote(str(self.out.joinpath(*parts)))

    def _as(self, name: str) -> str:
        return (
            f"--home {shlex.quote(str(self.home(name)))} "
            f"--passphrase-file {shlex.quote(str(self.passphrase_file))}"
        )

    def _mine(self, name: str) -> str:
        key = self._at("keys", f"{name}.ppcmikey")
        return f"--site-dir {self._at('sites', name)} --key {key} {self._as(name)}"

    def agreeing(self) -> list[str]:
        """The study, and who everybody is."""
        classes = " ".join(f"--class {name}" for name in self.class_names)
        study = self._at("study.yaml")
        lines = [
            f"study new {study} --name Phantoms --modality US {classes} "
            f"--size {self.size[0]} {self.size[1]} --autoencoder small"
        ]
        lines += [f"identity new --name {n} {self._as(n)}" for n in (SERVER, *self.names)]
        lines += [
            f"join request --study {study} --out {self._at('joining', f'{n}.ppcmijoin')} "
            f"{self._as(n)}"
            for n in self.names
        ]
        return lines

    def joining(self, fingerprints: dict[str, str]) -> list[str]:
        """The server lets the sites in; ``fingerprints`` stand for the telephone calls."""
        study, listed = self._at("study.yaml"), self._at("joining", "phantoms.ppcmimembers")
        approve = [
            f"join approve {self._at('joining', f'{n}.ppcmijoin')} --study {study} --out {listed} "
            f"--fingerprint {fingerprints[n]} {self._as(SERVER)}"
            for n in self.names
        ]
        accept = [
            f"join accept {listed} --study {study} --fingerprint {fingerprints[SERVER]} "
            f"--home {shlex.quote(str(self.home(n)))}"
            for n in self.names
        ]
        return approve + accept

    def training(self) -> list[str]:
        """Keys, autoencoders, training bundles and shares; then the mapping network."""
        study, lengths = f"--study {self._at('study.yaml')}", self.lengths
        lines = []
        for name in self.names:
            key = self._at("keys", f"{name}.ppcmikey")
            lines += [
                f"key new {key} {study} --site {name} {self._as(name)}",
                f"site train {self._at('data', name, 'train')} {study} --name {name} "
                f"--site-dir {self._at('sites', name)} --epochs {lengths.site_epochs} "
                f"--batch-size {self.batch_size} --seed {self.seed}",
                f"site protect {self._at('data', name, 'train')} --pairs {self._mine(name)} "
                f"--out {self._at('outbox', name)} --copies {lengths.copies}",
                f"share-transform --key {key} {study} {self._as(name)} "
                f"--out {self._at('outbox', f'{name}.ppcmishare')}",
            ]
        outboxes = " ".join(self._at("outbox", name) for name in self.names)
        shares = " ".join(
            f"--share {self._at('outbox', f'{name}.ppcmishare')}" for name in self.names
        )
        lines.append(
            f"server train {outboxes} {study} --server-dir {self._at('server')} {shares} "
            f"--epochs {lengths.server_epochs} --seed {self.seed} {self._as(SERVER)}"
        )
        return lines

    def asking(self) -> list[str]:
        """Queries, replies, masks."""
        lines = []
        for name in self.names:
            lines += [
                f"site protect {self._at('data', name, 'test', 'images')} {self._mine(name)} "
                f"--out {self._at('outbox', name)}",
                f"server map {self._at('outbox', name)} --server-dir {self._at('server')} "
                f"--out {self._at('inbox', name)} {self._as(SERVER)}",
                f"site reveal {self._at('inbox', name)} {self._mine(name)} "
                f"--out {self._at('masks', name)}",
            ]
        return lines

    def publishing(self, name: str) -> list[str]:
        """The mapping network for one site."""
        return [
            f"server publish --to {name} --server-dir {self._at('server')} "
            f"--out {self._at('models')} {self._as(SERVER)}"
        ]

    def installing(self, name: str, bundle: Path) -> list[str]:
        """That site takes it in."""
        return [f"site install {shlex.quote(str(bundle))} {self._mine(name)}"]
