"""The keyed transform again, from its description alone: NumPy and the standard library.

``python tests/core/vectors/reference.py`` writes ``transform.json``. Do that only
when the format changes on purpose: sites with other vectors cannot work together.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import numpy as np

SHARE = bytes(range(32))
ROLES = ("image", "mask")
SCALES = {  # name: channels, rows, columns; of both presets at 256 × 256
    "ppcmi-sf": {"skip3": (64, 32, 32), "skip4": (128, 16, 16), "bottleneck": (256, 8, 8)},
    "small": {"skip3": (32, 32, 32), "skip4": (48, 16, 16), "bottleneck": (64, 8, 8)},
}
FILE = Path(__file__).with_name("transform.json")


def seed_of(share: bytes, role: str, scale: str, part: str) -> bytes:
    """HKDF-Expand (RFC 5869) to 32 bytes: a single HMAC."""
    info = "|".join(("ppcmi-sf/v1", "stream", role, scale, part)).encode()
    return hmac.digest(share, info + b"\x01", "sha256")


def words_of(seed: bytes, count: int) -> list[int]:
    """The first ``count`` little-endian 64-bit words of SHAKE-256."""
    stream = hashlib.shake_256(seed).digest(8 * count)
    return [int.from_bytes(stream[at : at + 8], "little") for at in range(0, 8 * count, 8)]


def normals_of(seed: bytes, count: int) -> np.ndarray:
    """Box-Muller on the two halves of the uniforms; cosines first, then sines."""
    half = -(-count // 2)
    uniforms = np.array([((word >> 11) + 0.5) / 2**53 for word in words_of(seed, 2 * half)])
    radius = np.sqrt(-2 * np.log(uniforms[:half]))
    angle = 2 * np.pi * uniforms[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def transform_of(share: bytes, role: str, scale: str, shape: tuple[int, int, int]):
    """``Q``, ``b`` and ``P`` of one scale."""
    channels, rows, columns = shape
    gauss = normals_of(seed_of(share, role, scale, "mixing"), channels**2)
    q, r = np.linalg.qr(gauss.reshape(channels, channels))
    for column in range(channels):
        if r[column, column] < 0:
            q[:, column] = -q[:, column]
    bias = normals_of(seed_of(share, role, scale, "bias"), channels)
    words = words_of(seed_of(share, role, scale, "positions"), rows * columns)
    positions = sorted(range(rows * columns), key=lambda place: words[place])
    return q, bias, np.array(positions)


def protect(latents: np.ndarray, q: np.ndarray, bias: np.ndarray, positions: np.ndarray | None):
    """``P (Qᵀ z + b)`` of latents (C, H, W), in float64."""
    flat = latents.reshape(len(latents), -1)
    mixed = q.T @ flat + bias[:, None]
    if positions is not None:
        mixed = mixed[:, positions]
    return mixed.reshape(latents.shape)


def item_of(share: bytes, role: str, scale: str, shape: tuple[int, int, int], item: str):
    """``g`` and the three sign patterns of one item."""
    count = shape[0] * shape[1] * shape[2]
    each = -(-count // 8)
    stream = hashlib.shake_256(seed_of(share, role, scale, f"item/{item}")).digest(8 + 3 * each)
    uniform = ((int.from_bytes(stream[:8], "little") >> 11) + 0.5) / 2**53
    signs = []
    for number in range(3):
        part = stream[8 + number * each : 8 + (number + 1) * each]
        bits = "".join(f"{byte:08b}" for byte in part)[:count]
        signs.append(np.array([1.0 if bit == "1" else -1.0 for bit in bits]).reshape(shape))
    return 4 ** (uniform - 0.5), signs


def cosines(values: np.ndarray) -> np.ndarray:
    """The orthonormal DCT-II along all three axes, written as a sum."""
    for axis, size in enumerate(values.shape):
        rows = [
            [np.cos(np.pi * (2 * place + 1) * frequency / (2 * size)) for place in range(size)]
            for frequency in range(size)
        ]
        basis = np.sqrt(2 / size) * np.array(rows)
        basis[0] = np.sqrt(1 / size)
        values = np.moveaxis(np.tensordot(basis, values, axes=(1, axis)), 0, axis)
    return values


def protect_item(mixed: np.ndarray, gain: float, signs: list[np.ndarray]) -> np.ndarray:
    """``g S₃ F S₂ F S₁ z'`` of what :func:`protect` gave."""
    return gain * signs[2] * cosines(signs[1] * cosines(signs[0] * mixed))


def summary(q: np.ndarray, bias: np.ndarray, positions: np.ndarray) -> dict[str, object]:
    """First entries, and a weighted sum over all of them that no change leaves as it was."""
    weights = np.cos(np.arange(q.size))
    return {
        "Q_first": q[0, :4].tolist(),
        "Q_sum": float(weights @ q.ravel()),
        "b_first": bias[:4].tolist(),
        "b_sum": float(weights[: bias.size] @ bias),
        "P_first": positions[:8].tolist(),
        "P_sha256": hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest(),
    }


def vectors() -> dict[str, object]:
    """The content of ``transform.json``."""
    return {
        "share": SHARE.hex(),
        "transforms": {
            preset: {
                role: {
                    scale: summary(*transform_of(SHARE, role, scale, shape))
                    for scale, shape in scales.items()
                }
                for role in ROLES
            }
            for preset, scales in SCALES.items()
        },
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n")
