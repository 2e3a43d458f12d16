"""No text claims what nobody has measured: in the window, on the command line, in the pages."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

# Each would need a measurement or a proof beside it, and there is none.
UNMEASURED = re.compile(
    r"\b(anonym\w+|de-?identif\w+|(non|un)-?invertible|not invertible|irreversibl\w+|one-way"
    r"|(cannot|can not|can never) be (inverted|reversed|reconstructed|broken|cracked)"
    r"|secured?|securely|safe|safer|safely|safety|complian\w+|GDPR|HIPAA|unbreakable|uncrackable"
    r"|(military|bank|hospital)-grade|(tamper|bullet|leak|hacker|future)-?proof|risk-free|no risk"
    r"|zero[- ]knowledge|provabl[ey]|guarantee\w*|100 ?% private|fully private|perfectly \w+"
    r"|privacy-preserving|impossible to)\b",
    re.IGNORECASE,
)
# What is allowed all the same, and why. An entry that allows nothing any more is an error.
ALLOWED = {
    r"safetensors": "the name of a file format and of its library",
    r"Privacy-Preserving Collaborative Medical Image Segmentation": "the title of the paper",
    r"Words such as \*encrypted\*, \*anonymous\* or \*secure\* need a measured claim": "the rule",
    r"Online Authenticated-Encryption": "the title of a paper",
    r"encryption of our own making, inside an encryption that is standard": "why there is none",
    r"stream NumPy guarantees \(NEP 19\)": "NumPy's own promise about random numbers",
}

ENCRYPT = re.compile(r"\bencrypt(s|ed|ing|ion)?\b", re.IGNORECASE)
# Only files and what is in them go through HPKE and ChaCha20-Poly1305.
REALLY_ENCRYPTED = re.compile(
    r"bundle|shares?\b|\bfile|repl(y|ies)|quer(y|ies)|header|signature|payload|chunk|card|contact"
    r"|passphrase|recipient|identity|HPKE|ChaCha|RFC \d"
    r"|encrypted to (it|others|them|you|X|who|one server)\b",
    re.IGNORECASE,
)
NOT_ENCRYPTED = (
    r"(protected |mixed |transformed )*(latents?|features?|images?|masks?|transforms?|KLT)"
)
OF_THE_TRANSFORM = re.compile(
    rf"encrypted {NOT_ENCRYPTED}\b|\b{NOT_ENCRYPTED} (is|are|was|were|get|gets|stays?|remains?) "
    r"(\w+ )?encrypted|(keyed|latent) transforms?\b|\bKLT\b|homomorphic",
    re.IGNORECASE,
)
DENIED = re.compile(r"\b(not|never|no|nor|neither|without|nothing)\b", re.IGNORECASE)


def plain(text: str) -> str:
    """On one line, without what is allowed."""
    flat = re.sub(r"\s+", " ", text)
    for pattern in ALLOWED:
        flat = re.sub(pattern, "", flat)
    return flat


def faults(text: str) -> list[str]:
    """What a text claims without a measurement."""
    flat = plain(text)
    found = [f"'{hit.group()}': {_around(flat, hit)}" for hit in UNMEASURED.finditer(flat)]
    for sentence in re.split(r"(?<=[.;:|?!])\s", flat):
        if not ENCRYPT.search(sentence):
            continue
        claims = OF_THE_TRANSFORM.search(sentence) and not DENIED.search(sentence)
        names_it = REALLY_ENCRYPTED.search(flat) or DENIED.search(sentence)
        if claims or not names_it:
            found.append(f"encrypted, by what? {sentence.strip()}")
    return found


def _around(text: str, hit: re.Match[str]) -> str:
    return text[max(0, hit.start() - 60) : hit.end() + 40]


def page_texts(repository: Path) -> Iterator[tuple[str, str]]:
    """Each paragraph, item and table row of each page."""
    pages = [*repository.glob("*.md"), *(repository / "sample_data").rglob("*.md")]
    for folder in ("docs", "benchmarks", "src_core", "napari_ppcmi"):
        pages += (repository / folder).rglob("*.md")
    for page in sorted(pages):
        blocks = re.split(r"\n\s*\n|\n(?=\||[-*] |\d+\. )", page.read_text(encoding="utf-8"))
        for block in blocks:
            yield str(page.relative_to(repository)), block


def code_texts(repository: Path) -> Iterator[tuple[str, str]]:
    """Every string of engine and plugin, help of the command line included; fields are 'X'."""
    for folder in ("napari_ppcmi", "src_core/ppcmi_sf"):
        for path in sorted((repository / folder).rglob("*.py")):
            for line, text in strings_of(ast.parse(path.read_text(encoding="utf-8"))):
                if re.search(r"\w \w", text):  # a word alone is a name in the code
                    yield f"{path.relative_to(repository)}:{line}", text


def strings_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for node in joined for part in node.values}
    for node in joined:
        parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
        yield node.lineno, "".join(map(str, parts))
    for node in ast.walk(tree):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Constant) and isinstance(value, str) and id(node) not in inside:
            yield node.lineno, value


def metadata_texts(repository: Path) -> Iterator[tuple[str, str]]:
    """The manifest, and what a package index shows."""
    manifest = repository / "napari_ppcmi" / "napari.yaml"
    yield from (("napari.yaml", text) for text in _leaves(yaml.safe_load(manifest.read_bytes())))
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from (("pyproject.toml", text) for text in (project["description"], *project["keywords"]))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, str):
        yield value


def every_text(repository: Path) -> list[tuple[str, str]]:
    return [
        *page_texts(repository),
        *code_texts(repository),
        *metadata_texts(repository),
    ]


def test_no_text_claims_what_was_not_measured(repository: Path) -> None:
    texts = every_text(repository)
    places = {where.split(":")[0] for where, _ in texts}
    assert {"README.md", "docs/privacy.md", "napari.yaml", "pyproject.toml"} <= places
    assert len(texts) > 2000, "the texts are not found any more"
    found = [f"{where}: {fault}" for where, text in texts for fault in faults(text)]
    assert not found, "\n".join(found)


def test_everything_that_is_allowed_is_there(repository: Path) -> None:
    everything = "\n".join(re.sub(r"\s+", " ", text) for _, text in every_text(repository))
    left_over = [pattern for pattern in ALLOWED if not re.search(pattern, everything)]
    assert not left_over, "take these out of the list"
    assert all(reason.strip() for reason in ALLOWED.values())


@pytest.mark.parametrize(
    "planted",
    [
        "The protected features are anonymous.",
        "Latents are anonymised before they leave.",
        "The transform is non-invertible.",
        "The mixing is irreversible without the key.",
        "Your images are safe with us.",
        "Nobody can read it: the exchange is secure.",
        "This makes the study GDPR-compliant.",
        "Fit for HIPAA.",
        "Military-grade protection.",
        "The features cannot be inverted.",
        "A privacy-preserving method.",
        "The latents are encrypted.",
        "The features are then encrypted with the site's key.",
        "The keyed transform encrypts the latents in each bundle.",
        "A bundle holds encrypted latents.",
        "Encrypted segmentation.",
        "Everything is encrypted.",
    ],
)
def test_the_checker_sees_a_planted_claim(planted: str) -> None:
    assert faults(planted)
    assert faults(f"Choose a folder.\n{planted} Then go on.")


@pytest.mark.parametrize(
    "sound",
    [
        "Weights are kept as safetensors.",
        "Bundles are encrypted to named recipients and signed.",
        "The keyed transform of the latents is not encryption.",
        "Each reply is encrypted to the sender of its query.",
        "The audit gives numbers with their intervals.",
    ],
)
def test_the_checker_lets_sound_texts_through(sound: str) -> None:
    assert not faults(sound)
