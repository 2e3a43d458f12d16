"""The report: whole, well formed, escaped, without scripts, and plain about what is not met."""

import json
import re
import stat
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from ppcmi_sf.audit.report_html import (
    _STYLE_HASH,
    aim_words,
    headlines,
    interval,
    number,
    render,
    write_report,
)
from ppcmi_sf.audit.result import (
    Attack,
    AttackResult,
    AuditPicture,
    AuditReport,
    Measurement,
)

ATTACK = Attack(
    id="peek",
    title='Peeking <at> "pictures" & more',
    attacker="a <b>neighbour</b>",
    knowledge="nothing",
    method="looking",
    source="ours",
    meaning="how much is seen",
    risk="somebody sees <something>",
)


@pytest.fixture
def report():
    measurements = (
        Measurement("headline", 0.345678, 0.3, 0.4, 12, 0.31),
        Measurement("too high", 0.5, None, None, 12, 0.0, "at most 0.34", False),
        Measurement("low enough", 1.5e-7, 1e-7, 2e-7, 3, 1.0, "at most 1", True, True),
        Measurement("low, perhaps", 0.2, 0.0, 0.7, 3, None, "at most 0.3", True),
        Measurement("a detail", float("nan"), None, None, 0),
    )
    pixels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    result = AttackResult(
        ATTACK,
        measurements,
        (AuditPicture("a <picture>", pixels),),
        "It shows.",
        ("the other <eye>",),
        1.5,
    )
    broken = AttackResult(replace(ATTACK, id="x", title="Broken"), problem="there is <too> little")
    return AuditReport(
        study="lv <script>alert(1)</script>",
        site="north",
        arrangement="escrow",
        study_fingerprint="ab" * 32,
        key_id="0123456789abcdef",
        epoch=2,
        encoders="fedcba9876543210",
        network="",
        defences=("keyed transform",),
        data=("12 slices",),
        versions={"ppcmi": "1"},
        seed=3,
        quick=True,
        results=(result, broken),
    )


def test_it_is_well_formed_and_everything_is_escaped(report):
    page = render(report)
    root = ET.fromstring(page.replace("<!DOCTYPE html>\n", ""))
    assert not list(root.iter("script"))
    text = "".join(root.itertext())
    assert "lv <script>alert(1)</script>" in text
    assert 'Peeking <at> "pictures" & more' in text
    assert "somebody sees <something>" in text
    assert [image.get("alt") for image in root.iter("img")] == ["a <picture>"]


def test_it_needs_neither_network_nor_scripts(report):
    page = render(report).lower()
    for word in ("http://", "https://", "<script", 'src="//', "javascript:", "@import", "url("):
        assert word not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("word", ["safe", "secure", "anonymous", "non-invertible", "compliant"])
def test_it_claims_nothing(report, word):
    page = re.sub(r'base64,[^"]*', "", render(report))  # any letters may come in a picture
    assert word not in page.replace(_STYLE_HASH, "").lower()


def test_what_is_not_met_is_said_with_its_risk(report):
    root = ET.fromstring(render(report).replace("<!DOCTYPE html>\n", ""))
    (line,) = [item for item in root.iter("li") if "Risk:" in "".join(item.itertext())]
    text = "".join(line.itertext())
    for words in ("too high", "0.500", "at most 0.34", "somebody sees <something>"):
        assert words in text


def test_what_the_number_alone_meets_is_not_called_met(report):
    """Nor is it counted among what is not met: it is told apart, with its interval."""
    text = "".join(ET.fromstring(render(report).replace("<!DOCTYPE html>\n", "")).itertext())
    told = text[text.index("met by the number alone") :]
    assert "low, perhaps is 0.200" in told and "0.000 to 0.700" in told
    assert "low, perhaps" not in text[text.index("that are not met") : text.index(told)]


def test_the_summary_comes_first_and_tells_what_was_not_run(report):
    text = "".join(ET.fromstring(render(report).replace("<!DOCTYPE html>\n", "")).itertext())
    assert text.index("Summary") < text.index("Assumed to know")
    assert "Not run: there is <too> little" in text
    assert "the other <eye>" in text
    assert "a detail" in text


def test_headlines_are_the_first_and_those_with_an_aim(report):
    names = [one.name for one in headlines(report.results[0])]
    assert names == ["headline", "too high", "low enough", "low, perhaps"]


def test_words_for_numbers():
    one = Measurement("m", 0.5, 0.25, 0.75, 4, None, "at most 0.4", False)
    assert (interval(one), aim_words(one)) == ("0.250 to 0.750", "at most 0.4: NOT met")
    assert aim_words(Measurement("m", 1.0)) == "no aim"
    wide, narrow = ((0.2, 0.1, 0.5), (0.2, 0.1, 0.3))
    for found, words in (
        (wide, "at most 0.4: by the number alone, NOT shown"),
        (narrow, "at most 0.4: met"),
        ((0.2, float("nan"), float("nan")), "at most 0.4: by the number alone, NOT shown"),
        ((0.5, 0.4, 0.6), "at most 0.4: NOT met"),
    ):
        assert aim_words(Measurement.aimed("m", found, 4, most=0.4)) == words
    both = Measurement.aimed("m", (0.5, 0.48, 0.52), 4, least=0.47, most=0.53)
    assert aim_words(both) == "0.47 to 0.53: met"
    assert aim_words(Measurement.aimed("m", (0.9, 0.8, 1.0), 4, least=0.7)) == "at least 0.7: met"
    assert Measurement.aimed("m", narrow, 4).met is None
    assert [number(value) for value in (0.0, 1.2e-7, 0.3456, None)] == [
        "0.000",
        "1.2e-07",
        "0.346",
        "none",
    ]


def test_files_are_for_the_owner_alone_and_json_is_plain(report, tmp_path):
    page, data = write_report(report, tmp_path / "audits" / "north")
    assert page.read_text(encoding="utf-8") == render(report)
    assert stat.S_IMODE(page.stat().st_mode) == stat.S_IMODE(data.stat().st_mode) == 0o600
    fields = json.loads(data.read_text(encoding="utf-8"))
    assert fields["format"] == "ppcmi-audit"
    assert fields["results"][0]["measurements"][4]["value"] is None
    assert fields["results"][0]["measurements"][1]["met"] is False
    assert fields["results"][1]["problem"] == "there is <too> little"
    assert sorted(path.name for path in page.parent.iterdir()) == ["audit.html", "audit.json"]
