"""The script behind `make` that looks for what pip cannot install."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux needs a virtual display and system packages"
)


def _run(repository: Path, what: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    script = repository / "scripts" / "system_packages.sh"
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, str(script), what],
        env={"PATH": str(path), "HOME": str(path), **env},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH with little in it: no apt, no virtual display, no Python."""
    for name in ("find", "id", "uname"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    return tmp_path


def test_what_is_missing_is_named_with_its_package(repository: Path, bare: Path) -> None:
    result = _run(repository, "display", bare)
    assert result.returncode == 1
    assert "command:xvfb-run  (Debian/Ubuntu package xvfb)" in result.stderr
    assert "command:xauth  (Debian/Ubuntu package xauth)" in result.stderr
    assert "package manager" in result.stderr


def test_a_machine_without_python_is_told_so(repository: Path, bare: Path) -> None:
    result = _run(repository, "venv", bare)
    assert result.returncode == 1
    assert "package python3)" in result.stderr
    assert "package python3-venv)" in result.stderr


def test_a_python_that_can_do_it_is_enough(repository: Path, bare: Path) -> None:
    result = _run(repository, "venv", bare, PYTHON=sys.executable)
    assert (result.returncode, result.stderr) == (0, "")


def test_any_other_word_is_refused(repository: Path, bare: Path) -> None:
    result = _run(repository, "everything", bare)
    assert result.returncode == 2
    assert "usage" in result.stderr
