"""The summary of a job: the verdict and a row for each cause, whatever the names are."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hostile_names import HOSTILE, make_hostile
from markdown import markdown
from planted_findings import plant_finding

from playground.utils import exports
from playground.utils.exports.escaping import escape_markdown
from playground.utils.parameter_inspector import compare_folder, open_folder

DSCNN = Path(__file__).resolve().parents[1] / "models" / "dscnn"


def render(text: str) -> ET.Element:
    """Return the summary as another program shows it."""
    return ET.fromstring(f"<div>{markdown(text, extensions=['tables'])}</div>")


@pytest.fixture(scope="module")
def comparison():
    return compare_folder(open_folder(DSCNN))


def test_a_row_says_how_bad_it_is_where_what_is_wrong_and_what_helps(comparison):
    finding = plant_finding("a-rule", "error", "INT8", "conv1", "It is so.", "Do this.")
    shown = render(exports.create_job_summary(comparison, [finding], "2 files: 1 error"))
    head, row = ([cell.text for cell in line] for line in shown.iter("tr"))
    assert head == ["Severity", "File", "What is wrong", "What helps"]
    assert row == ["✕ error", "int8.onnx (INT8)", "conv1: It is so. (a-rule)", "Do this."]
    assert shown.find("p").text == "2 files: 1 error"


def test_without_a_finding_there_is_the_verdict_and_no_table(comparison):
    shown = render(exports.create_job_summary(comparison, [], "nothing found"))
    assert [one.tag for one in shown] == ["h2", "p"]


def test_no_name_becomes_markup_or_leaves_its_cell():
    comparison, findings = make_hostile()
    shown = render(exports.create_job_summary(comparison, findings, HOSTILE[0]))
    tags = {one.tag for one in shown.iter()}
    assert tags == {"div", "h2", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert {len(row) for row in shown.iter("tr")} == {4}
    assert shown.find("p").text == HOSTILE[0]


@pytest.mark.parametrize(
    "text",
    ["https://a.b/c", "www.a.b", "@somebody", "#12", "a|b", "~~a~~", "$a$", "\\`b`", "**a**"],
)
def test_nothing_that_a_forge_would_link_or_format_is_left_as_it_is(text):
    written = escape_markdown(text)
    assert not re.search(r"://|www\.|[@|~$`*\\]|#(?!\d+;)", written)
    assert render(written).find("p").text == text
