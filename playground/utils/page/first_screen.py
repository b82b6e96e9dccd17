"""The first screen: variants as tabs, what happened to the one that is shown, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlencode

import marimo as mo

from .. import tables
from ..exports import escape_unprintable
from ..markup import escape, explain_terms, fold
from ..parameter_inspector import Comparison, Finding, MeasuredPlan
from .measuring_outputs import frame_trust
from .shown import write_group

Select = Callable[[str], None]
FIX = "what-would-fix-it"
"""The anchor of the section that takes the loss back."""


def create_variant_tabs(
    panels: Mapping[str, str], news: Mapping[str, str], chosen: str, select: Select
) -> mo.ui.tabs:
    """Return a tab for each variant, labelled with its worst news; its panel is HTML."""
    labels = {name: label_tab(name, news[name]) for name in panels}
    names = {label: name for name, label in labels.items()}
    return mo.ui.tabs(
        {labels[name]: mo.Html(panel) for name, panel in panels.items()},
        value=labels[chosen],
        on_change=lambda label: select(names[label]),
    )


def label_tab(variant: str, news: str) -> str:
    """Return the label of a tab as HTML in which nothing is left for Markdown to read."""
    return (
        f'<span class="playground-tab"><b>{_spell_out(variant)}</b> '
        f"<span>{_spell_out(news)}</span></span>"
    )


def _spell_out(text: str) -> str:
    """Return every character that is no letter, digit or blank by its number."""
    return "".join(
        char if char.isalnum() or char == " " else f"&#{ord(char)};"
        for char in escape_unprintable(text)
    )


def frame_panels(
    comparison: Comparison,
    findings: Sequence[Finding],
    ranked: Sequence[tables.RankedLayer],
    plans: Mapping[str, Sequence[MeasuredPlan]] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the panel of each variant's tab as HTML, the worst variant first."""
    return {
        name: frame_panel(comparison, findings, ranked, name, next(iter(plans.get(name, ())), None))
        for name in tables.order_variants(comparison, findings)
    }


def frame_panel(
    comparison: Comparison,
    findings: Sequence[Finding],
    ranked: Sequence[tables.RankedLayer],
    variant: str,
    plan: MeasuredPlan | None = None,
) -> str:
    """Return what happened to a variant, large, and what takes it back; the rest folded.

    Args:
        plan: that was measured, where one was: what it brings stands beside the button.
    """
    sentence = tables.describe_variant_loss(comparison, findings, ranked, variant)
    is_fine = variant in comparison.outputs
    severity = tables.judge_variant(findings, variant) or ("fine" if is_fine else "note")
    gain = tables.offer_way_back(comparison, variant) if plan is None else tables.offer_plan(plan)
    line = (
        f'<a class="playground-button" href="#{FIX}">Take it back</a><span>{explain_terms(gain)}'
        "</span>"
        if gain
        else f'<a class="playground-button quiet" href="#{FIX}">What would fix it?</a>'
    )
    mine = [finding for finding in findings if finding.variant == variant]
    groups = "".join(write_group(group) for group in tables.group_for_verdict(mine))
    trust = frame_trust(comparison, variant) if is_fine else ""
    more = (
        fold("What was found, and how far to trust it", trust + groups, "playground-details")
        if trust + groups
        else ""
    )
    return (
        f'<div class="playground-verdict playground-{severity}"><p>{explain_terms(sentence)}</p>'
        f'<div class="playground-line">{line}{more}</div></div>'
    )


def frame_sharing(report: mo.Html, link: str) -> str:
    """Return the buttons that share what is shown, as HTML: the report, and a link to this."""
    return f'<div class="playground-sharing">{link}{report.text}</div>'


def frame_link(model: str, layer: str, variant: str | None) -> str:
    """Return a link to what is shown, which is copied where the page may do that.

    It names all that is shown, though the page may have opened so of itself.
    """
    query = {"model": model, "layer": layer} | ({"variant": variant} if variant else {})
    return (
        f'<a class="playground-button quiet" data-copy="Copied" href="?{escape(urlencode(query))}">'
        "Copy link</a>"
    )
