"""The list of layers, and beside it the one that is chosen: what it is, why, and its charts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterator, Sequence

import marimo as mo

from .. import tables
from ..figures import LAYER_CHARTS, Picture
from ..markup import escape, explain_terms, fold, mark_code
from ..parameter_inspector import Comparison, Finding
from .drawing import draw_layer_chart
from .frames import frame_picture
from .selection import was_asked
from .shown import frame_table, write_finding

DETAIL = "layer"
"""The anchor of the chosen layer."""
NOTHING_TO_DRAW = "This layer has no weights to draw."


def place_beside(parts: Sequence[mo.Html | None], detail: str, *, wide: bool = False) -> mo.Html:
    """Return the list of layers with the chosen one beside it; below it on narrow screens.

    Args:
        wide: the list is a picture, and takes the larger half.
    """
    listed = "".join(f"<div>{part.text}</div>" for part in parts if part is not None)
    return mo.Html(
        f'<div class="playground-both{" wide" if wide else ""}">'
        f'<div class="playground-list" id="layers">{listed}</div>'
        f'<div class="playground-detail" id="{DETAIL}">{detail}</div></div>'
    )


def pair(left: mo.Html, right: mo.Html) -> mo.Html:
    """Return two controls in a line, the left one as wide as there is room."""
    return mo.Html(f'<div class="playground-list-controls">{left.text}{right.text}</div>')


def show_both(
    parts: Sequence[mo.Html | None], details: Iterator[str], *, wide: bool = False
) -> mo.Html:
    """Return `place_beside` with the last of ``details``; those before are shown meanwhile."""
    detail = next(details)
    for later in details:
        mo.output.replace(place_beside(parts, detail, wide=wide))
        detail = later
    return place_beside(parts, detail, wide=wide)


def write_details(
    comparison: Comparison,
    files: Hashable,
    findings: Sequence[Finding],
    layer: str,
    variant: str,
    log_counts: mo.ui.switch,
    sharing: str,
) -> Iterator[str]:
    """Yield the chosen layer as HTML: first with one picture, then with all there is.

    Args:
        log_counts: whether counts are logarithmic.
        sharing: the buttons beside the layer's name, as HTML.
    """
    about = sorted(
        tables.select_about(findings, layer), key=lambda finding: finding.variant != variant
    )
    names, log = order_charts(comparison, layer, variant), log_counts.value
    mark = mark_chosen(layer) if was_asked() else ""
    head = mark + sharing + write_head(comparison, about, layer, variant)
    first = _draw(names[0], comparison, files, layer, log)
    shown = frame_chart(names[0], first) or f"<p>{NOTHING_TO_DRAW}</p>"
    yield head + shown
    pictures = [(name, _draw(name, comparison, files, layer, log)) for name in names[1:]]
    charts = "".join(frame_chart(name, picture) for name, picture in pictures)
    yield head + shown + write_rest(comparison, about, layer, log_counts) + charts


def _draw(name: str, comparison: Comparison, files: Hashable, layer: str, log: bool) -> Picture:
    """Return a chart that decides by itself whether counts are logarithmic, unless they have to."""
    return draw_layer_chart(name, comparison, files, layer, log or None)


def order_charts(comparison: Comparison, layer: str, variant: str) -> list[str]:
    """Return the names of the charts: what costs the output most is seen first."""
    names = list(LAYER_CHARTS)
    if tables.is_lost_by_activations(comparison, layer, variant):
        names.sort(key=lambda name: not LAYER_CHARTS[name].of_outputs)
    return names


def mark_chosen(layer: str) -> str:
    """Return the mark that `page.html` scrolls by; it changes with the layer."""
    of = hashlib.sha256(layer.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f'<span hidden data-scroll-to="{DETAIL}" data-of="{of}"></span>'


def write_head(
    comparison: Comparison, findings: Sequence[Finding], layer: str, variant: str
) -> str:
    """Return what the layer is, and what is wrong with it, in a line each."""
    lines = [explain_terms(tables.describe_chosen(comparison, layer, variant))]
    lines += [f"<b>{escape(tables.title_finding(finding))}</b>" for finding in findings[:2]]
    body = "".join(f"<div>{line}</div>" for line in lines)
    return (
        '<p class="playground-back playground-quiet"><a href="#layers">Back to the layers</a></p>'
        f'<h3>{escape(layer)}</h3><div class="playground-quiet">{body}</div>'
    )


def frame_chart(name: str, picture: Picture) -> str:
    """Return a chart under its title, the explanation behind the question mark; or why not."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in picture.notes)
    if not picture.png:
        return notes
    return f"{frame_caption(LAYER_CHARTS[name].caption)}{frame_picture(picture)}{notes}"


def frame_caption(caption: str) -> str:
    """Return a caption of ``**Title**: explanation`` with the explanation folded away."""
    title, _, explanation = caption.partition(": ")
    words = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(explanation))
    title = escape(title.strip("*"))
    return (
        f'<details class="playground-help"><summary><b>{title}</b></summary>'
        f"<p>{words[:1].upper()}{words[1:]}</p></details>"
    )


def write_rest(
    comparison: Comparison, findings: Sequence[Finding], layer: str, switch: mo.Html
) -> str:
    """Return the findings, the parameters and the numbers of a layer."""
    told = "".join(
        f'<div class="playground-verdict playground-{finding.severity}">{write_finding(finding)}'
        "</div>"
        for finding in findings
    )
    said = "".join(f"<p>{mark_code(one)}</p>" for one in tables.explain_layer(comparison, layer))
    parameters = frame_table(tables.create_parameter_table(comparison, layer), explained=True)
    activations = tables.create_activation_table(comparison, layer)
    flow = frame_table(activations) if len(activations) else ""
    matched = tables.create_pairing_table(comparison, layer)
    known = (
        fold("How this layer was recognized", frame_table(matched), "playground-details")
        if len(matched)
        else ""
    )
    return f"{told}{said}{parameters}{flow}{known}{switch.text}"
