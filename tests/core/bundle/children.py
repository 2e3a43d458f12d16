"""What the tests run in a process of its own, without torch: ``children.py NAME ARGUMENT...``.

Each prints one line of JSON. The tests load this file, too, for what they share with it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ppcmi_sf.bundle import create_bundle, item_layout, make_header, open_bundle
from ppcmi_sf.cards import ContactCard, SenderLookup
from ppcmi_sf.errors import PPCMIError, UntrustedSenderError
from ppcmi_sf.home import Home
from ppcmi_sf.identity import Identity
from ppcmi_sf.study import StudySpec, make_classes

VECTORS = Path(__file__).parents[1] / "vectors" / "bundles"
BIG = StudySpec(name="big", modality="MR", classes=make_classes(["a"]), autoencoder="ppcmi-sf")


def peak_bytes() -> int:
    """The most memory that this process has used.

    Not ``getrusage`` where there is something better: a process that a large one starts
    begins with the large one's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


def vector_people() -> dict[str, Identity]:
    """The test-only identities, as good as new but for the one that expired."""
    fields = json.loads((VECTORS / "TEST-ONLY-identities.json").read_text())
    people = {}
    for name, one in fields.items():
        secrets = (bytes.fromhex(one[f"{half}_secret"]) for half in ("sign", "encrypt"))
        identity = Identity(ContactCard.from_fields(one["card"]), *secrets)
        people[name] = identity if name == "expired" else identity.renew()
    return people


def contact_book(root: Path, people: dict[str, Identity]) -> Home:
    """A home that trusts whom README.md of the vectors says."""
    home = Home(root)
    for name in ("north", "south", "second", "revoked", "expired"):
        home.contacts.add(people[name].card)
    home.contacts.revoke("revoked")
    return home


def open_vector(path: Path, identity: Identity, sender_of: SenderLookup) -> int:
    """Read everything that is in a file; give the number of records."""
    if path.suffix == ".ppcmicard":
        ContactCard.load(path)
        return 0
    with open_bundle(path, identity, sender_of) as reader:
        return sum(1 for _ in reader.records())


def hostile(root: str) -> dict[str, Any]:
    """Open every vector."""
    people = vector_people()
    home = contact_book(Path(root), people)
    found = {}
    for name in json.loads((VECTORS / "index.json").read_text()):
        start = time.perf_counter()
        try:
            open_vector(VECTORS / name, people["server"], home.contacts.sender)
            error = None
        except PPCMIError as caught:
            error = type(caught).__name__
        found[name] = (error, time.perf_counter() - start)
    return {"found": found}


# -- writing ----------------------------------------------------------------------


def write(
    path: Path, number: int, items: int, sender: Identity, to: ContactCard, portion: int = 16
) -> None:
    """A bundle whose latents and epoch are all ``number``."""
    layout = item_layout(BIG, "query", "float16")
    header = make_header(
        "query",
        study=BIG.fingerprint,
        sender=sender,
        recipients=[to],
        key_id="0" * 16,
        epoch=number,
        model="0" * 16,
        items=items,
        layout=layout,
    )
    types = {"U8": np.uint8, "F16": np.float16}
    with create_bundle(path, header, sender, [to]) as writer:
        for start in range(0, items, portion):
            count = min(portion, items - start)
            writer.append(
                {e.name: np.full((count, *e.shape), number, types[e.dtype]) for e in layout}
            )
        writer.finish()


def read(path: Path, identity: Identity, sender: ContactCard) -> tuple[int, int]:
    """Number and items of a bundle of :func:`write`, every value of which is looked at."""

    def sender_of(fingerprint: str) -> ContactCard:
        if fingerprint != sender.fingerprint:
            raise UntrustedSenderError("The sender is unknown.", hint="-")
        return sender

    items = 0
    with open_bundle(path, identity, sender_of) as reader:
        number = reader.header.epoch
        for tensors in reader.records():
            items += len(tensors["item"])
            assert all((value == number).all() for value in tensors.values())
    return number, items


def crash(folder: str, kills: str) -> dict[str, Any]:
    """Kill processes that replace one bundle by the next, and look at what they leave."""
    target = Path(folder) / "query.ppcmi"
    north, server = Identity.generate("north"), Identity.generate("server")
    start = time.perf_counter()
    write(target, 1, 8, north, server.card)
    longest = min(4 * (time.perf_counter() - start), 0.5)
    midway, seen = 0, [1]
    for _ in range(int(kills)):
        child = os.fork()
        if child == 0:
            for number in range(seen[-1] + 1, 200):
                write(target, number, 8, north, server.card)
            os._exit(0)
        time.sleep(random.uniform(0.001, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        number, items = read(target, server, north.card)
        assert items == 8 and number >= seen[-1]
        seen.append(number)
        left = [path for path in target.parent.iterdir() if path != target]
        assert all(path.name.endswith(".part.query.ppcmi") for path in left)
        midway += bool(left)
        for path in left:
            path.unlink()
    return {"midway": midway, "replaced": len(set(seen)) - 1}


def full(folder: str, limit: str) -> dict[str, Any]:
    """Replace a bundle by one that does not fit, with files limited to so many bytes (0: not)."""
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    target = Path(folder) / "query.ppcmi"
    north, server = Identity.generate("north"), Identity.generate("server")
    write(target, 1, 1, north, server.card)
    try:
        write(target, 2, 40, north, server.card)
        error = None
    except PPCMIError as caught:
        error = [type(caught).__name__, caught.message, caught.hint]
    left = sorted(path.name for path in target.parent.iterdir())
    return {"error": error, "left": left, "kept": read(target, server, north.card)}


def streaming(folder: str, *counts: str) -> dict[str, Any]:
    """Write and read bundles of so many items, one after the other."""
    north, server = Identity.generate("north"), Identity.generate("server")
    path, peaks = Path(folder) / "query.ppcmi", []
    for count in map(int, counts):
        write(path, 5, count, north, server.card, portion=7)
        assert read(path, server, north.card) == (5, count)
        peaks.append(peak_bytes())
    return {"peaks": peaks}


if __name__ == "__main__":
    tasks = {task.__name__: task for task in (hostile, crash, full, streaming)}
    outcome = tasks[sys.argv[1]](*sys.argv[2:])
    outcome |= {"peak": peak_bytes(), "torch": "torch" in sys.modules}
    print(json.dumps(outcome))
