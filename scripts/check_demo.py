"""Compare a demo's scores with those of the sample data, which the same command made.

python scripts/check_demo.py demo-output/scores.json sample_data/scores.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PROMISED = 0.85  # mean Dice of the demo
ALIKE = 0.01  # how far a regenerated network's mean Dice may be off


def main() -> int:
    """Print both figures; return 1 if a promise is broken."""
    demo, sample = (json.loads(Path(path).read_text())["mean_dice"] for path in sys.argv[1:3])
    print(f"Mean Dice: demo {demo:.4f}, sample data {sample:.4f}, off by {abs(demo - sample):.4f}")
    return int(demo < PROMISED or abs(demo - sample) > ALIKE)


if __name__ == "__main__":
    sys.exit(main())
