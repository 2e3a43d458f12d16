"""The scripts of benchmarks/ import each other by name, as they do when they are run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(scope="session")
def script():
    """Run a script of benchmarks/ as its documentation says; what it prints."""

    def call(name, *arguments):
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / name), *map(str, arguments)],
            capture_output=True,
            # Not the locale's: in a worker that ran a test of the window, Qt has set it to ASCII.
            encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call
