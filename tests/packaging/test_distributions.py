"""The wheel and the source distribution: what is in them, and that they work."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import napari_ppcmi
import ppcmi_sf

# How a checkout names what the wheel has under another name.
MOVED = {"src_core/ppcmi_sf/": "ppcmi_sf/", "sample_data/": "ppcmi_sf/sample_data/"}


@pytest.fixture(scope="session")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions; the wheel is made from the source distribution."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)]
    result = subprocess.run([*command, str(repository)], capture_output=True, encoding="utf-8")
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def sdist(built: Path) -> Path:
    (path,) = built.glob("*.tar.gz")
    return path


@pytest.fixture(scope="session")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    return target


def _metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [n for n in archive.namelist() if n.endswith(f".dist-info/{name}")]
        return archive.read(member).decode()


def _sources(repository: Path, folder: str) -> set[str]:
    """Files of the checkout that belong into the wheel."""
    return {
        path.relative_to(repository).as_posix()
        for path in (repository / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_of_engine_plugin_and_samples(
    repository: Path, wheel_names: set[str]
) -> None:
    expected = _sources(repository, "napari_ppcmi")
    for folder, inside in MOVED.items():
        expected |= {n.replace(folder, inside, 1) for n in _sources(repository, folder)}
    assert expected == {n for n in wheel_names if ".dist-info/" not in n}
    assert {"napari_ppcmi/napari.yaml", "ppcmi_sf/py.typed", "napari_ppcmi/py.typed"} <= expected
    assert "ppcmi_sf/sample_data/volume/image.nii.gz" in expected
    assert "ppcmi_sf/sample_data/ultrasound/images/north_000.png" in expected


def test_the_wheel_has_nothing_else_at_its_top(wheel_names: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    (info,) = [top for top in tops if top.endswith(".dist-info")]
    assert tops == {"napari_ppcmi", "ppcmi_sf", info}
    assert not [n for n in wheel_names if "test" in n.lower() or "__pycache__" in n]
    assert f"{info}/licenses/LICENSE" in wheel_names


def test_the_wheel_is_small(wheel: Path) -> None:
    """Sample data and sample networks together stay under 12 MB."""
    assert wheel.stat().st_size < 12 * 1024 * 1024


def test_entry_points(wheel: Path) -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string(_metadata(wheel, "entry_points.txt"))
    assert {name: dict(parsed[name]) for name in parsed.sections()} == {
        "console_scripts": {"ppcmi": "ppcmi_sf.cli:main"},
        "napari.manifest": {"napari-ppcmi": "napari_ppcmi:napari.yaml"},
    }


def test_the_version_is_one_and_the_same(repository: Path, wheel: Path, sdist: Path) -> None:
    version = ppcmi_sf.__version__
    assert napari_ppcmi.__version__ == version
    assert Parser().parsestr(_metadata(wheel, "METADATA"))["Version"] == version
    assert wheel.name == f"napari_ppcmi-{version}-py3-none-any.whl"
    assert sdist.name == f"napari_ppcmi-{version}.tar.gz"
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


def test_no_qt_binding_is_a_plain_dependency(wheel: Path) -> None:
    """The user chooses the binding, and PyQt's licence, with an extra."""
    required = Parser().parsestr(_metadata(wheel, "METADATA")).get_all("Requires-Dist", [])
    plain = [line for line in required if "extra ==" not in line]
    assert plain
    assert not [line for line in plain if re.match(r"(PyQt|PySide|napari|qtpy)", line)]


def test_the_source_distribution_can_be_worked_with(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (top,) = tmp_path.iterdir()
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        assert (top / name).is_file(), name
    assert (top / "tests" / "packaging" / Path(__file__).name).is_file()
    # npe2 looks inside the package; people look at the top: one file, two names.
    manifest = top / "napari_ppcmi" / "napari.yaml"
    assert (top / "napari.yaml").read_text(encoding="utf-8") == manifest.read_text(encoding="utf-8")
    assert (top / "napari.yaml").resolve() == manifest.resolve()


LOOK_AROUND = """
import json
from pathlib import Path

import napari_ppcmi
import ppcmi_sf
from napari_ppcmi import _sample_data
from npe2 import PluginManifest
from ppcmi_sf.data.sample import sample_data_folder

plugin = Path(napari_ppcmi.__file__).parent
print(json.dumps({
    "version": ppcmi_sf.__version__,
    "manifest": PluginManifest.from_file(plugin / "napari.yaml").name,
    "layers": [kind for _, _, kind in _sample_data.open_volume()],
    "places": [str(plugin), ppcmi_sf.__file__, str(sample_data_folder())],
}))
"""


def test_the_installed_wheel_works_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOOK_AROUND],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["version"] == ppcmi_sf.__version__
    assert report["manifest"] == "napari-ppcmi"
    assert report["layers"] == ["image", "labels"]
    # Found in the wheel and not, by accident, in the checkout.
    assert all(Path(place).is_relative_to(installed) for place in report["places"]), report


LOOK_FOR_THE_PLUGIN = """
import json
import site
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
site.addsitedir(sys.argv[1])  # an editable install is a .pth file

from importlib.metadata import distribution
from npe2 import PluginManager

manager = PluginManager()
manager.discover()
found = manager.get_manifest("napari-ppcmi")
manager.activate("napari-ppcmi")
commands = [command.id for command in found.contributions.commands]
for name in commands:
    manager.commands.get(name)  # imports it
print(json.dumps({
    "installed": str(distribution("napari-ppcmi").locate_file(".")),
    "version": found.package_version,
    "commands": commands,
    "widgets": [widget.display_name for widget in found.contributions.widgets],
    "from": sys.modules["napari_ppcmi"].__file__,
}))
"""


@pytest.fixture(scope="session")
def edited(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout, installed as editable into a folder of its own."""
    target = tmp_path_factory.mktemp("editable")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), "-e", str(repository)]
    subprocess.run(command, check=True)
    return target


@pytest.mark.parametrize("how", ["installed", "edited"])
def test_napari_finds_the_plugin_of_a_wheel_and_of_an_editable_install(
    how: str, request: pytest.FixtureRequest, repository: Path, tmp_path: Path
) -> None:
    target: Path = request.getfixturevalue(how)
    result = subprocess.run(
        [sys.executable, "-c", LOOK_FOR_THE_PLUGIN, str(target)],
        cwd=tmp_path,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert Path(report["installed"]) == target
    assert report["version"] == ppcmi_sf.__version__
    assert "PPCMI-SF workspace" in report["widgets"]
    assert "napari-ppcmi.segment" in report["commands"]
    assert Path(report["from"]).is_relative_to(repository if how == "edited" else target)


@pytest.mark.parametrize("where", ["checkout", "installed"])
def test_npe2_finds_nothing_wrong_with_the_manifest(
    where: str, request: pytest.FixtureRequest, repository: Path
) -> None:
    top = repository if where == "checkout" else request.getfixturevalue("installed")
    manifest = top / "napari_ppcmi" / "napari.yaml"
    command = [sys.executable, "-m", "npe2", "validate", "--imports", str(manifest)]
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(top), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "valid" in result.stdout
