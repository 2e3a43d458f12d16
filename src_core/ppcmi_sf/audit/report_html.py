"""The report as one HTML file: readable without network, without scripts, by anybody.

It shows images of patients, so it is written for the owner of the file alone (mode 0600).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ppcmi_sf.audit.result import AttackResult, AuditPicture, AuditReport, Measurement
from ppcmi_sf.audit.run import NOT_A_PROMISE
from ppcmi_sf.files import write_text

HTML_NAME = "audit.html"
JSON_NAME = "audit.json"
_OWNER_ONLY = 0o600
_LEAST_SIDE = 192  # small feature maps are enlarged, pixel by pixel

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { border-bottom: 1px solid #ccc; padding: 0.35rem 0.5rem; text-align: left;
  vertical-align: top; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.missed { font-weight: 600; color: #8f1d14; } .met { color: #14532d; }
.note { border-left: 4px solid #b45309; background: #fff7ed; padding: 0.6rem 1rem; }
figure { display: inline-block; margin: 0.5rem 1rem 0.5rem 0; width: 192px;
  vertical-align: top; }
figure img { width: 192px; image-rendering: pixelated; border: 1px solid #ccc; }
figcaption { font-size: 0.8rem; } dt { font-weight: 600; } dd { margin: 0 0 0.5rem 0; }
code { font-size: 0.85rem; overflow-wrap: anywhere; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")


def write_report(report: AuditReport, folder: Path) -> tuple[Path, Path]:
    """Write ``audit.html`` and ``audit.json`` into a folder, each whole or not at all.

    Returns
    -------
    The two files.

    Raises
    ------
    ResourceError
        They cannot be written.
    """
    page, data = Path(folder) / HTML_NAME, Path(folder) / JSON_NAME
    text = json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n"
    write_text(page, render(report), mode=_OWNER_ONLY)
    write_text(data, text, mode=_OWNER_ONLY)
    return page, data


def render(report: AuditReport) -> str:
    """The report as HTML (well-formed XML, too)."""
    title = f"Privacy audit of site {report.site}"
    body = "\n".join(
        [
            f"<h1>{_text(title)}</h1>",
            '<p class="note">This report shows images of patients, and what was made of their '
            "latents. Treat it as patient data. Research software, not a medical device.</p>",
            _facts(report),
            _summary(report.results),
            _missed(report.results),
            *(_attack(result) for result in report.results),
            _left_open(report.results),
            _versions(report),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; img-src data:; style-src 'sha256-{_STYLE_HASH}'\"/>\n"
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def headlines(result: AttackResult) -> tuple[Measurement, ...]:
    """What stands in the summary: the first measurement, and each that has an aim."""
    return tuple(
        one for index, one in enumerate(result.measurements) if index == 0 or one.met is not None
    )


def number(value: float | None) -> str:
    """``0.342``; very small and very large numbers with an exponent; ``none`` for none."""
    if value is None or not np.isfinite(value):
        return "none"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3f}"
    return f"{value:.1e}"


def interval(one: Measurement) -> str:
    """``0.310 to 0.370``, or that there is none."""
    if one.low is None or one.high is None:
        return "no interval"
    return f"{number(one.low)} to {number(one.high)}"


def aim_words(one: Measurement) -> str:
    """``at most 0.34: met``, or that the number alone meets it, or that there is no aim."""
    if one.met is None:
        return one.aim or "no aim"
    if not one.met:
        return f"{one.aim}: NOT met"
    return f"{one.aim}: met" if one.shown else f"{one.aim}: by the number alone, NOT shown"


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _facts(report: AuditReport) -> str:
    facts = [
        ("Study", f"{report.study} ({report.study_fingerprint[:16]}…)"),
        ("Arrangement", report.arrangement),
        ("Site, client key", f"{report.site}, id {report.key_id}, epoch {report.epoch}"),
        ("Autoencoders, mapping network", f"{report.encoders}, {report.network or 'none'}"),
        ("Switched on", "; ".join(report.defences)),
        ("Data", "; ".join(report.data)),
        ("Thoroughness", "quick: few items, short trainings" if report.quick else "full"),
        ("Seed", str(report.seed)),
    ]
    rows = "".join(f"<tr><th>{_text(a)}</th><td>{_text(b)}</td></tr>" for a, b in facts)
    return f"<table>{rows}</table>"


def _summary(results: Sequence[AttackResult]) -> str:
    rows = []
    for result in results:
        first = f"<td>{_text(result.attack.title)}</td><td>{_text(result.attack.attacker)}</td>"
        if result.problem:
            rows.append(f'<tr>{first}<td colspan="6">Not run: {_text(result.problem)}</td></tr>')
        rows += [f"<tr>{first}{_cells(one)}</tr>" for one in headlines(result)]
    return (
        "<h2>Summary</h2>\n"
        f"<p>{_text(NOT_A_PROMISE)} Intervals are 95 %, over patients. Chance is what somebody "
        "gets who knows nothing.</p>\n<table><thead><tr><th>Attack</th><th>Attacker</th>"
        f"{_MEASURED}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


_MEASURED = "<th>Measured</th><th>Number</th><th>Interval</th><th>n</th><th>Chance</th><th>Aim</th>"


def _cells(one: Measurement) -> str:
    kind = "" if one.met is None else ' class="met"' if one.shown else ' class="missed"'
    numbers = (number(one.value), interval(one), str(one.n), number(one.chance))
    cells = "".join(f'<td class="number">{_text(value)}</td>' for value in numbers)
    return f"<td>{_text(one.name)}</td>{cells}<td{kind}>{_text(aim_words(one))}</td>"


def _missed(results: Sequence[AttackResult]) -> str:
    """What is not as it should be, and what may happen."""
    items = [
        f"<li><b>{_text(result.attack.title)}</b>: {_text(one.name)} is {number(one.value)}; it "
        f"should be {_text(one.aim)}. Risk: {_text(result.attack.risk or 'see the attack')}.</li>"
        for result in results
        for one in result.measurements
        if one.met is False
    ]
    listed = f"<ul>{''.join(items)}</ul>" if items else "<p>None of those that were measured.</p>"
    return f"<h2>Aims that are not met</h2>\n{listed}\n{_not_shown(results)}"


def _not_shown(results: Sequence[AttackResult]) -> str:
    """Numbers that are as they should be, perhaps by chance."""
    items = [
        f"<li><b>{_text(result.attack.title)}</b>: {_text(one.name)} is {number(one.value)}, and "
        f"should be {_text(one.aim)}; its interval is {interval(one)}.</li>"
        for result in results
        for one in result.measurements
        if one.met and not one.shown
    ]
    if not items:
        return ""
    return (
        "<h2>Aims that are met by the number alone</h2>\n<p>The interval goes beyond the aim, or "
        "there is none, or it does not leave out what a planted weakness gets: with so few "
        "patients it is not shown that they are met.</p>\n"
        f"<ul>{''.join(items)}</ul>"
    )


def _attack(result: AttackResult) -> str:
    attack = result.attack
    described = [
        ("Attacker", attack.attacker),
        ("Assumed to know and to have", attack.knowledge),
        ("Method", attack.method),
        ("Source", attack.source),
        ("What the numbers mean", attack.meaning),
    ]
    listed = "".join(f"<dt>{a}</dt><dd>{_text(b)}</dd>" for a, b in described)
    parts = [f"<h2>{_text(attack.title)}</h2>", f"<dl>{listed}</dl>"]
    if result.problem:
        parts.append(f'<p class="missed">Not run: {_text(result.problem)}</p>')
    if result.reading:
        parts.append(f"<p><b>{_text(result.reading)}</b></p>")
    if result.measurements:
        rows = "".join(f"<tr>{_cells(one)}</tr>" for one in result.measurements)
        head = f"<thead><tr>{_MEASURED}</tr></thead>"
        parts.append(f"<table>{head}<tbody>{rows}</tbody></table>")
    parts += [_figure(picture) for picture in result.pictures]
    return "\n".join(parts)


def _figure(picture: AuditPicture) -> str:
    title = _text(picture.title)
    return (
        f'<figure><img alt="{title}" src="data:image/png;base64,{_png(picture)}"/>'
        f"<figcaption>{title}</figcaption></figure>"
    )


def _png(picture: AuditPicture) -> str:
    pixels = np.nan_to_num(np.clip(picture.pixels, 0, 1)) * 255
    image = Image.fromarray(pixels.round().astype(np.uint8))
    times = max(1, _LEAST_SIDE // max(image.size))
    if times > 1:
        size = (image.width * times, image.height * times)
        image = image.resize(size, Image.Resampling.NEAREST)
    data = io.BytesIO()
    image.save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode("ascii")


def _left_open(results: Iterable[AttackResult]) -> str:
    lines = [
        f"<li>{_text(result.attack.title)}: {_text(line)}</li>"
        for result in results
        for line in result.not_tested
    ]
    lines.append("<li>attacks that are not in the summary above</li>")
    return f"<h2>What was not tested</h2>\n<ul>{''.join(lines)}</ul>"


def _versions(report: AuditReport) -> str:
    listed = ", ".join(f"{name} {which}" for name, which in report.versions.items())
    return f"<h2>Versions</h2>\n<p><code>{_text(listed)}</code></p>"
