"""What was measured and found -> one HTML file that opens without a server or a network.

It holds names, shapes, statistics and pictures, never a weight. Every name goes through `_text`.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import figures, tables
from .exports import escape_unprintable, shorten_name
from .figures.style import Picture
from .parameter_inspector import (
    METRICS,
    Comparison,
    LayerRanges,
    MeasuredWeight,
    Metric,
    Model,
    VariantFolder,
    count_codes,
    layer_names,
    list_layers,
    summarize_variant,
)
from .parameter_inspector.judging.rules import SEVERITIES, Finding

Progress = Callable[[int, int, str], None]

MARKS = {"error": "✕", "warning": "▲", "note": "●"}
OPEN_LAYERS = 3
DETAILED_LAYERS = 20  # the worst; every chart of every layer would make a file too large to send
LONG_WORD = 30
FULL_BAR_DB = 50.0
DWARFING = 20.0
"""A layer this many times as wide as the median one leaves nothing to see on a linear axis."""


@dataclass(frozen=True, eq=False)
class LayerPage:
    """What the report says of one layer.

    Attributes:
        row: the layer as the reference names it.
        names: what it is called in each variant that has it.
        measured: by variant name; empty for a layer without weights.
    """

    layer_name: str
    operator: str
    names: Mapping[str, str]
    measured: Mapping[str, MeasuredWeight]
    findings: tuple[Finding, ...]

    @property
    def severity(self) -> str:
        """The worst of its findings, empty without one."""
        return min((f.severity for f in self.findings), key=SEVERITIES.index, default="")

    @property
    def worst_db(self) -> float:
        """The lowest SQNR of an output channel in any variant; +inf where none is known."""
        known = [one.metrics["worst_channel_sqnr_db"] for one in self.measured.values()]
        return min((db for db in known if not math.isnan(db)), default=math.inf)


def create_report(
    folder: VariantFolder,
    comparison: Comparison,
    findings: Sequence[Finding],
    progress: Progress | None = None,
) -> str:
    """Return the HTML text.

    Args:
        progress: called with how many layers are drawn, of how many, and the layer just drawn.
    """
    variants = folder.variants
    pages = list_pages(comparison, findings)
    sections = [
        _section("overview", "Overview", _overview(folder, comparison)),
        _section("ranking", "Where it hurts", _ranking(pages, variants)),
        _section("findings", "Findings", _findings(pages, findings)),
        _section("layers", "Layers", _layers(pages, comparison, progress)),
        _section("rest", "What is not above", _rest(comparison, pages)),
        _section("words", "What the numbers mean", _words()),
    ]
    name = _text(shorten_name(folder.path.resolve().name, 80))
    return (
        _HEAD.format(title=name, style=_STYLE)
        + f"<header><p>Quantization report</p><h1>{name}</h1>"
        + f"<p>{_summary(variants, pages, findings)}</p></header>"
        + f'<div class="columns">{_contents(pages)}<main>{"".join(sections)}</main></div>'
        + "</body></html>\n"
    )


def list_pages(comparison: Comparison, findings: Sequence[Finding]) -> list[LayerPage]:
    """Return every layer with a weight or a finding, in the order of the page's ranking."""
    rows = dict.fromkeys([*comparison.weights, *(f.layer for f in findings if f.layer)])
    operators = {
        (name, layer.name): layer.op_type
        for name, model in comparison.variants.items()
        for layer in list_layers(model)
    }
    pages = []
    for layer_name in rows:
        names = layer_names(comparison.variants, layer_name, comparison.pairings)
        operator = next(operators[place] for place in names.items())
        about = tuple(finding for finding in findings if finding.layer == layer_name)
        pages.append(
            LayerPage(layer_name, operator, names, comparison.by_variant(layer_name), about)
        )
    ranked = [one.layer for one in tables.ranking.rank_layers(comparison, findings)]
    position = {layer_name: i for i, layer_name in reversed(list(enumerate(ranked)))}
    return sorted(pages, key=lambda page: position.get(page.layer_name, len(ranked)))


# Sections -----------------------------------------------------------------------------------------


def _summary(
    variants: Mapping[str, Model], pages: Sequence[LayerPage], findings: Sequence[Finding]
) -> str:
    counts = [(sum(f.severity == severity for f in findings), severity) for severity in SEVERITIES]
    said = " ".join(
        f'<a href="#findings">{_badge(severity, f"{count} {severity}{_s(count)}")}</a>'
        for count, severity in counts
        if count
    )
    names = ", ".join(_text(name) for name in variants)
    layers = sum(bool(page.measured) for page in pages)
    return f"{names} · {layers} layer{_s(layers)} with weights · {said or 'no findings'}"


def _contents(pages: Sequence[LayerPage]) -> str:
    links = "".join(
        f'<li><a href="#layer-{i}">{_mark(page.severity)}{_name(page.layer_name, 60)}</a></li>'
        for i, page in enumerate(pages)
    )
    return (
        '<nav aria-label="Contents"><a href="#overview">Overview</a>'
        '<a href="#ranking">Where it hurts</a><a href="#findings">Findings</a>'
        f'<a href="#layers">Layers</a><ol>{links}</ol>'
        '<a href="#rest">What is not above</a><a href="#words">What the numbers mean</a></nav>'
    )


def _overview(folder: VariantFolder, comparison: Comparison) -> str:
    summaries = [summarize_variant(name, model) for name, model in folder.variants.items()]
    parts = [_frame(tables.overview.create_variant_table(summaries))]
    parts += [_say(sentence) for sentence in tables.overview.explain_variants(summaries)]
    parts += [_say(reason, "warning") for reason in folder.unreadable.values()]
    ranges = [layer_name for layer_name in comparison.ranges if layer_name.ranges]
    if ranges:
        log = _one_dwarfs_the_rest(ranges)
        parts.append(
            "<p>One bar per layer, in graph order, from its lowest to its highest weight. One scale"
            " must reach across a whole bar: the wider it is, the fewer codes are left for the"
            " small weights."
            + (" Axis and colours are logarithmic: one layer dwarfs the rest." if log else "")
            + "</p>"
        )
        parts += [
            _picture(figures.heatmap.render_heatmap(ranges, variants, log=log))
            for variants in figures.heatmap.page_variants(list(folder.variants)).values()
        ]
    return "".join(parts)


def _one_dwarfs_the_rest(ranges: Sequence[LayerRanges]) -> bool:
    widths = sorted(high - low for layer_name in ranges for low, high in layer_name.ranges.values())
    return widths[-1] > DWARFING * widths[len(widths) // 2] > 0


def _ranking(pages: Sequence[LayerPage], variants: Mapping[str, Model]) -> str:
    if not pages:
        return _say("No layer of this network has weights.")
    compared = [
        name
        for name in variants
        if any(not math.isnan(_metric(page, name, "sqnr_db")) for page in pages)
    ]
    head = ["Layer", "Operator", "Finding", *(f"{name} worst channel, dB" for name in compared)]
    head += [f"{name} SQNR, dB" for name in compared]
    rows = [
        [
            f'<a href="#layer-{i}">{_name(page.layer_name)}</a>',
            _text(page.operator),
            _rules(page),
            *(_bar(_metric(page, name, "worst_channel_sqnr_db")) for name in compared),
            *(_bar(_metric(page, name, "sqnr_db")) for name in compared),
        ]
        for i, page in enumerate(pages)
    ]
    intro = (
        "<p>Worst first: by the severity of the findings, then by the SQNR of the worst output"
        " channel. Under 20 dB a channel is badly off; a bar is full at 50 dB.</p>"
        if compared
        else _say("Without a float original there is no SQNR: the order is that of the findings.")
    )
    return intro + _table(head, rows, "ranking")


def _rules(page: LayerPage) -> str:
    if not page.severity:
        return "–"
    rules = dict.fromkeys(finding.rule for finding in page.findings)
    return f"{_badge(page.severity, page.severity)} <code>{_text(', '.join(rules))}</code>"


def _findings(pages: Sequence[LayerPage], findings: Sequence[Finding]) -> str:
    if not findings:
        return _say("Nothing was found.")
    anchors = {page.layer_name: f"#layer-{i}" for i, page in enumerate(pages)}
    items = "".join(f"<li>{_finding(f, anchors.get(f.layer, '#overview'))}</li>" for f in findings)
    return f'<ul class="findings">{items}</ul>'


def _finding(finding: Finding, anchor: str | None = None) -> str:
    where = _name(finding.layer) if finding.layer else "the whole file"
    where = f'<a href="{anchor}">{where}</a>' if anchor else ""
    return (
        f'<article class="finding {finding.severity}">'
        f"<p>{_badge(finding.severity, finding.severity)} <b>{_text(finding.variant)}</b> {where} "
        f'<code class="rule">{_text(finding.rule)}</code></p>'
        f"<p>{_prose(finding.evidence)}</p>"
        f"<p><b>What to do:</b> {_prose(finding.remedy)}</p></article>"
    )


def _layers(
    pages: Sequence[LayerPage],
    comparison: Comparison,
    progress: Progress | None,
) -> str:
    parts = []
    for i, page in enumerate(pages):
        is_open = i < OPEN_LAYERS and page.severity in ("error", "warning")
        parts.append(_layer(i, page, comparison, is_open))
        if progress is not None:
            progress(i + 1, len(pages), page.layer_name)
    return "".join(parts)


def _layer(i: int, page: LayerPage, comparison: Comparison, is_open: bool) -> str:
    """The anchor is inside: a browser opens the details that a link leads into."""
    worst = f"worst channel {page.worst_db:.1f} dB" if math.isfinite(page.worst_db) else ""
    parameters = tables.layer_tables.create_parameter_table(comparison.variants, page.names)
    charts = [*LAYER_CHARTS, *(DETAILED_CHARTS if i < DETAILED_LAYERS else ())]
    body = [
        *(_finding(finding) for finding in page.findings),
        *(
            _say(sentence)
            for sentence in tables.layer_tables.explain_layer(comparison.variants, page.names)
        ),
        *(_chart(chart, page, comparison) for chart in charts),
        _frame(parameters.drop(columns="In words", errors="ignore")),
        _metrics(page),
    ]
    return (
        f"<details{' open' if is_open else ''}><summary>{_mark(page.severity)}"
        f'<b>{_name(page.layer_name)}</b> <span class="quiet">{_text(page.operator)}</span>'
        f'<span class="quiet end">{worst}</span></summary>'
        f'<div class="layer" id="layer-{i}">{"".join(body)}</div></details>'
    )


def _metrics(page: LayerPage) -> str:
    rows = []
    for metric in METRICS:
        values = [one.metrics[metric.name] for one in page.measured.values()]
        if not all(map(math.isnan, values)):
            rows.append([_label(metric), *map(_number, values)])
    head = ["Metric", *page.measured]
    return _table(head, rows) if rows else ""


def _rest(comparison: Comparison, pages: Sequence[LayerPage]) -> str:
    first, original = next(iter(comparison.variants.items()))
    shown = {page.names.get(first) for page in pages}
    others = [one for one in list_layers(original) if one.name not in shown]
    parts = []
    if others:
        rows = [[_name(one.name), _text(one.op_type)] for one in others]
        parts.append(
            _fold("layers without weights", len(rows), _table(["Layer", "Operator"], rows))
        )
    for title, frame in (
        (
            "layers without a partner",
            tables.pairing_tables.create_unpaired_table(first, comparison.pairings),
        ),
        (
            "parameters not read or not understood",
            tables.pairing_tables.create_not_understood_table(comparison),
        ),
    ):
        if len(frame):
            parts.append(_fold(title, len(frame), _frame(frame)))
    return "".join(parts) or _say("Nothing: every layer is above, and all of it was understood.")


def _words() -> str:
    metrics = [[_label(metric), _text(metric.definition)] for metric in METRICS]
    parameters = [
        [_text(name), _text(meaning)] for name, meaning in tables.layer_tables.MEANINGS.items()
    ]
    return (
        "<p>A quantized layer stores <b>codes</b> and computes with their <b>values</b>: value ="
        " (code − zero-point) × scale. <b>SQNR</b> compares the float weight x with its values v in"
        " decibels: 20·log10(‖x‖ / ‖x − v‖). 6 dB more is half the error.</p>"
        + _table(["Metric", "In words"], metrics)
        + _table(["Parameter", "In words"], parameters)
    )


# Charts of a layer: a new one is a function here and an entry in one of the two lists below -------


def _draw_histograms(page: LayerPage, comparison: Comparison) -> Picture | None:
    histograms, problems = tables.count_tables.count_weights(comparison, page.layer_name)
    if histograms is None or not any(counts.any() for counts in histograms.counts.values()):
        return Picture(b"", "", tuple(problems)) if problems else None
    # Where one bin holds most weights, the others are too low to see on a linear axis.
    log = any(2 * counts.max() > counts.sum() for counts in histograms.counts.values())
    picture = figures.weight_charts.render_histograms(histograms, log=log, about=page.layer_name)
    return Picture(picture.png, picture.alt, tuple(problems))


def _quantized(page: LayerPage) -> dict[str, MeasuredWeight]:
    return {name: one for name, one in page.measured.items() if one.quantization is not None}


def _draw_channels(page: LayerPage, comparison: Comparison) -> Picture | None:
    measured = _quantized(page)
    colors = figures.style.color_variants(list(comparison.variants))
    return (
        figures.channel_charts.render_channels(measured, colors, about=page.layer_name)
        if measured
        else None
    )


def _draw_codes(page: LayerPage, comparison: Comparison) -> Picture | None:
    codes = count_codes(_quantized(page))
    colors = figures.style.color_variants(list(comparison.variants))
    return figures.code_charts.render_codes(codes, colors, about=page.layer_name) if codes else None


def _draw_errors(page: LayerPage, comparison: Comparison) -> Picture | None:
    errors, problems = tables.count_tables.compute_layer_errors(comparison, page.layer_name)
    if not errors:
        return Picture(b"", "", tuple(problems)) if problems else None
    colors = figures.style.color_variants(list(comparison.variants))
    picture = figures.weight_charts.render_errors(errors, colors, about=page.layer_name)
    return Picture(picture.png, picture.alt, tuple(problems))


LayerChart = Callable[[LayerPage, Comparison], Picture | None]

LAYER_CHARTS: tuple[LayerChart, ...] = (_draw_histograms,)
DETAILED_CHARTS: tuple[LayerChart, ...] = (_draw_channels, _draw_codes, _draw_errors)


def _chart(chart: LayerChart, page: LayerPage, comparison: Comparison) -> str:
    picture = chart(page, comparison)
    return _picture(picture) if picture is not None else ""


# Pieces of HTML -----------------------------------------------------------------------------------


def _text(text: str) -> str:
    """Return plain text: no markup, no character that turns or hides what follows."""
    return html.escape(escape_unprintable(str(text)), quote=True)


def _prose(text: str) -> str:
    """Return plain text whose `code` in backticks looks like code."""
    parts = [_text(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return _text(text)
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def _name(name: str, length: int = 120) -> str:
    return f"<span class=name>{_text(shorten_name(name, length))}</span>"


def _section(anchor: str, title: str, body: str) -> str:
    return f'<section id="{anchor}"><h2>{title}</h2>{body}</section>'


def _say(sentence: str, kind: str = "note") -> str:
    return f'<p class="say {kind}">{_text(sentence)}</p>'


def _fold(title: str, count: int, body: str) -> str:
    return f"<details><summary>{count} {title}</summary>{body}</details>"


def _mark(severity: str) -> str:
    if not severity:
        return '<span class="mark"></span>'
    return f'<span class="mark {severity}" title="{severity}">{MARKS[severity]}</span>'


def _label(metric: Metric) -> str:
    unit = f" [{metric.unit}]" if metric.unit else ""
    return f'<span title="{_text(metric.definition)}">{_text(metric.label + unit)}</span>'


def _badge(severity: str, label: str) -> str:
    return f'<span class="badge {severity}">{MARKS[severity]} {label}</span>'


def _bar(db: float) -> str:
    if math.isnan(db):
        return "–"
    share = max(0.0, min(db / FULL_BAR_DB, 1.0))
    number = f"{db:.1f}".replace("-", "−") if math.isfinite(db) else "exact"
    return (
        f'<span class="bar{" low" if db < 20 else ""}" style="--share:{share:.0%}">{number}</span>'
    )


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return (
        figures.style.format_number(value) if math.isfinite(value) else ("∞" if value > 0 else "−∞")
    )


def _metric(page: LayerPage, variant: str, metric: str) -> float:
    one = page.measured.get(variant)
    return one.metrics[metric] if one is not None else math.nan


def _picture(picture: Picture) -> str:
    notes = "".join(_say(note, "warning") for note in picture.notes)
    if not picture.png:
        return notes
    data = base64.b64encode(picture.png).decode("ascii")
    alt = _text(picture.alt)
    return f'<img loading="lazy" alt="{alt}" src="data:image/png;base64,{data}">{notes}'


def _frame(frame: object) -> str:
    """Return a DataFrame of `tables` as HTML."""
    cells = frame.itertuples(index=False, name=None)  # type: ignore[attr-defined]
    head = [str(column) for column in frame.columns]  # type: ignore[attr-defined]
    return _table(head, [[_cell(str(cell)) for cell in layer_name] for layer_name in cells])


def _cell(text: str) -> str:
    """Return a cell's text; only one with a long word may break inside it."""
    words = text.split()
    is_long = max(map(len, words), default=0) > LONG_WORD
    return f"<span class=long>{_text(shorten_name(text, 400))}</span>" if is_long else _text(text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table; ``rows`` are HTML already, ``head`` is plain. First column: row headings."""
    top = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


# No script and no address is allowed to load, whatever a name tries.
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} – quantization report</title><style>{style}</style></head><body>
"""

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --quiet: #59626d;
  --line: #d9dee4; --soft: #f5f7f9; --link: #0b57b0; --bar: #c9ddf4; --low: #f6c9c4;
  --error: #b3261e; --warning: #8a5a00; --note: #2f5f8f; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e4e7eb; --quiet: #9aa4b0;
  --line: #333a42; --soft: #1c2126; --link: #8ab8f0; --bar: #27425f; --low: #5e2b28;
  --error: #ff8a80; --warning: #f2b84b; --note: #8fbce6; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 0 0 .75rem; }
header, .columns { max-width: 1560px; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 1.5rem; }
header p { margin: .25rem 0 0; color: var(--quiet); }
header h1 + p { margin-bottom: 1rem; }
nav { font-size: .875rem; padding: .75rem 0 1.5rem; }
nav > a { margin-right: 1.25rem; white-space: nowrap; }
nav ol { display: none; }
section { margin-bottom: 3rem; }
section > p { max-width: 75ch; }
.columns { padding-bottom: 4rem; }
@media (min-width: 1300px) {
  .columns { display: grid; grid-template-columns: 260px minmax(0, 1fr); gap: 2.5rem; }
  nav { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; }
  nav > a { display: block; margin: 0; padding: .2rem 0; font-weight: 600; }
  nav ol { display: block; list-style: none; margin: 0 0 .5rem; padding: 0; }
  nav li { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; line-height: 1.7; }
}
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid var(--line); unicode-bidi: isolate;
  font-variant-numeric: tabular-nums; min-width: 4.5rem; }
th { font-weight: 600; }
thead th { color: var(--quiet); font-weight: 500; vertical-align: bottom; }
.long { overflow-wrap: anywhere; }
tbody tr:hover { background: var(--soft); }
.ranking th:first-child { min-width: 14rem; }
.name { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .93em; overflow-wrap: anywhere; unicode-bidi: isolate; }
.bar { display: block; padding: 0 .35rem; border-radius: 3px; min-width: 4rem;
  background: linear-gradient(90deg, var(--bar) var(--share), transparent 0); }
.bar.low { font-weight: 700;
  background: linear-gradient(90deg, var(--low) var(--share), transparent 0); }
.bar.low::after { content: " ▼"; font-size: .7em; color: var(--error); }
.badge { white-space: nowrap; font-size: .8rem; font-weight: 600; padding: .05rem .5rem;
  border: 1px solid currentColor; border-radius: 1rem; }
.mark { display: inline-block; width: 1.2em; font-size: .8em; }
.error { color: var(--error); } .warning { color: var(--warning); } .note { color: var(--note); }
.findings { list-style: none; margin: 0; padding: 0; }
.finding, .say { color: var(--ink); border-left: 3px solid var(--line); background: var(--soft);
  border-radius: 0 4px 4px 0; padding: .6rem 1rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
.finding p { margin: 0 0 .25rem; max-width: 90ch; }
.finding.error, .say.error { border-left-color: var(--error); }
.finding.warning, .say.warning { border-left-color: var(--warning); }
.finding.note, .say.note { border-left-color: var(--note); }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .9em; overflow-wrap: anywhere; }
.rule { color: var(--quiet); font-size: .85em; }
details { border-top: 1px solid var(--line); }
details:last-of-type { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; padding: .5rem 0; }
summary:hover { background: var(--soft); }
.quiet { color: var(--quiet); font-size: .875rem; }
.end { float: right; font-variant-numeric: tabular-nums; }
.layer { scroll-margin-top: 3rem; padding: .5rem 0 1.5rem 1.2rem; }
img { display: block; width: 100%; max-width: 1000px; height: auto; margin: .75rem 0; }
@media print { nav { display: none; } }
"""
