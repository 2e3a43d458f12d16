"""The rules of CONTRIBUTING.md that no linter checks as we need them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
ENGINE = TOP / "src_core" / "ppcmi_sf"
PLUGIN = TOP / "napari_ppcmi"
MODULES = sorted([*ENGINE.rglob("*.py"), *PLUGIN.rglob("*.py")])

MODULE_LINES = 400
FUNCTION_LINES = 80

GUI = {"napari", "napari_ppcmi", "qtpy", "magicgui", "superqt"}
BINDINGS = {"PyQt5", "PyQt6", "PySide2", "PySide6"}
# Reading any of these runs code that the file brings along.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = (
    {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
    | {"torch.load", "torch.jit.load", "torch.hub.load"}
    | {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"}
)
HEAVY = {"torch", "monai", "SimpleITK", "nibabel", "napari", "qtpy"}


def _name(path: Path) -> str:
    return path.relative_to(TOP).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported absolutely, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _banned_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of every call that hostile input must never reach."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {word.arg: word.value for word in node.keywords}
        shell = keywords.get("shell")
        if called in BANNED_CALLS:
            yield node.lineno, called
        elif called.endswith(("np.load", "numpy.load")) and "allow_pickle" in keywords:
            yield node.lineno, f"{called}(allow_pickle=...)"
        elif shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            yield node.lineno, f"{called}(shell=...)"


def test_there_are_modules_to_check() -> None:
    assert ENGINE / "study.py" in MODULES
    assert PLUGIN / "_sample_data.py" in MODULES


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_stay_short(path: Path) -> None:
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= MODULE_LINES, f"{_name(path)} has {count} lines; divide it"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_functions_stay_short(path: Path) -> None:
    long = [
        f"{_name(path)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long, long


@pytest.mark.parametrize("path", [p for p in MODULES if ENGINE in p.parents], ids=_name)
def test_the_engine_knows_neither_qt_nor_napari(path: Path) -> None:
    found = [item for item in _imports(_tree(path)) if item[1].split(".")[0] in GUI | BINDINGS]
    assert not found, f"{_name(path)} imports {found}"


@pytest.mark.parametrize("path", [p for p in MODULES if PLUGIN in p.parents], ids=_name)
def test_the_plugin_names_no_qt_binding(path: Path) -> None:
    found = [item for item in _imports(_tree(path)) if item[1].split(".")[0] in BINDINGS]
    assert not found, f"{_name(path)} imports {found}; the user chooses the binding (qtpy)"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_unpickles_evaluates_or_starts_a_shell(path: Path) -> None:
    tree = _tree(path)
    imported = [
        item
        for item in _imports(tree)
        if item[1].split(".")[0] in UNPICKLERS or item[1] in {"torch.load", "yaml.load"}
    ]
    called = list(_banned_calls(tree))
    assert not imported + called, f"{_name(path)}: {imported + called}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("eval('1')", "eval"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=True)", "torch.load"),
        ("yaml.load(text, Loader=yaml.SafeLoader)", "yaml.load"),
        ("subprocess.run(line, shell=True)", "subprocess.run(shell=...)"),
        ("subprocess.run(line, shell=flag)", "subprocess.run(shell=...)"),
        ("np.load(path, allow_pickle=True)", "np.load(allow_pickle=...)"),
    ],
)
def test_the_check_itself_sees_what_is_banned(code: str, found: str) -> None:
    assert [name for _, name in _banned_calls(ast.parse(code))] == [found]


def test_the_check_itself_lets_harmless_calls_pass() -> None:
    harmless = "yaml.safe_load(t); subprocess.run(a, shell=False); model.eval(); re.compile('a')"
    assert list(_banned_calls(ast.parse(harmless))) == []


@pytest.mark.parametrize(
    "module",
    [
        "ppcmi_sf",
        "ppcmi_sf.data.sample",
        "ppcmi_sf.imaging",
        "ppcmi_sf.keys",
        "ppcmi_sf.study",
        "napari_ppcmi",
        "napari_ppcmi._sample_data",
    ],
)
def test_importing_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    """napari opens quickly, and torch is never loaded into its process by looking at us."""
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    # A fresh interpreter: this one has long since imported everything.
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert result.stdout.split() == []
