"""What was measured and found -> one HTML file that opens without a server or a network.

It holds names, shapes, statistics and pictures, never a weight. Every name goes through `_text`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from . import tables
from .exports import shorten_name
from .figures import (
    LAYER_CHARTS,
    OUTPUT_CHARTS,
    Drawing,
    OutputChart,
    Picture,
    draw_here,
    one_dwarfs_the_rest,
    page_variants,
    render_damage,
    render_heatmap,
)
from .markup import escape, explain_terms, fold, list_cells, mark_code, write_table
from .parameter_inspector import (
    MARKS,
    METRICS,
    SEVERITIES,
    Comparison,
    Finding,
    FindingGroup,
    MeasuredWeight,
    Metric,
    Outputs,
    VariantFolder,
    describe_check,
    describe_counts,
    describe_details,
    describe_finding,
    describe_loss,
    describe_remedy,
    group_by_cause,
    name_group,
    summarize_variant,
)
from .pointing import frame_figure
from .spelling import (
    NOTHING,
    format_db,
    format_metric,
    format_share,
    name_metric,
    shorten_uniquely,
    spell_count,
)
from .tables import RankedLayer

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]
Draw = Callable[[Sequence[Drawing]], Iterator[Picture]]

OPEN_LAYERS = 3
DETAILED_LAYERS = 20  # the worst; every chart of every layer would make a file too large to send
LONG_WORD = 30
SHARES_SHOWN = 20
REPORT_SPOTS = 30  # of one picture: a file of a hundred charts is sent by mail


@dataclass(frozen=True, eq=False)
class LayerPage:
    """What the report says of one layer.

    Attributes:
        layer_name: as the original names it.
        measured: by variant name; empty for a layer without weights.
    """

    layer_name: str
    operator: str
    measured: Mapping[str, MeasuredWeight]
    findings: tuple[Finding, ...]

    @property
    def severity(self) -> str:
        """The worst of its findings, empty without one."""
        return tables.worst_severity(self.findings)

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
    draw: Draw = draw_here,
) -> str:
    """Return the HTML text.

    Args:
        draw: makes pictures of many drawings, here or on all cores.
        progress: called with how many layers are drawn, of how many, and the layer just drawn.
    """
    pages = list_pages(comparison, findings)
    ranked = tables.rank_layers(comparison, findings)
    sections = [
        _section("verdict", "What was lost", _verdict(comparison, findings, ranked)),
        _section("overview", "Overview", _overview(folder, comparison, ranked)),
        _section("outputs", "What the output loses", _outputs(comparison)),
        _section("ranking", "Where it hurts", _ranking(pages, comparison, ranked)),
        _section("findings", "Findings", _findings(pages, findings)),
        _section("layers", "Layers", _layers(pages, comparison, progress, draw)),
        _section("rest", "Everything else", _rest(comparison, pages)),
        _section("words", "What the numbers mean", _words()),
    ]
    name = escape(shorten_name(folder.path.resolve().name, 80))
    return (
        _HEAD.format(title=name, style=_STYLE)
        + f"<header><p>Quantization report</p><h1>{name}</h1>"
        + f"<p>{_summary(comparison, pages, findings)}</p></header>"
        + f'<div class="columns">{_contents(pages)}<main>{"".join(sections)}</main></div>'
        + "</body></html>\n"
    )


def list_pages(comparison: Comparison, findings: Sequence[Finding]) -> list[LayerPage]:
    """Return every layer with a weight or a finding, in the order of the page's ranking."""
    layers = {layer.name: layer for layer in comparison.layers()}
    ranked = [one.layer_name for one in tables.rank_layers(comparison, findings)]
    about = [finding.layer_name for finding in findings if finding.layer_name]
    return [
        LayerPage(
            name,
            layers[name].op_type,
            comparison.by_variant(name),
            tuple(tables.select_about(findings, name)),
        )
        for name in dict.fromkeys([*ranked, *comparison.weights, *about])
    ]


# Sections -----------------------------------------------------------------------------------------


def _summary(
    comparison: Comparison, pages: Sequence[LayerPage], findings: Sequence[Finding]
) -> str:
    counts = [(sum(f.severity == severity for f in findings), severity) for severity in SEVERITIES]
    found = " ".join(
        f'<a href="#findings">{_badge(severity, spell_count(count, severity))}</a>'
        for count, severity in counts
        if count
    )
    names = ", ".join(map(escape, comparison.variants))
    layers = spell_count(sum(bool(page.measured) for page in pages), "layer")
    return f"{names} · {layers} with weights · {found or 'no findings'}"


def _contents(pages: Sequence[LayerPage]) -> str:
    links = "".join(
        f'<li><a href="#layer-{i}">{_mark(page.severity)}{_name(page.layer_name, 60)}</a></li>'
        for i, page in enumerate(pages)
    )
    return (
        '<nav aria-label="Contents"><a href="#verdict">What was lost</a>'
        '<a href="#overview">Overview</a>'
        '<a href="#outputs">What the output loses</a>'
        '<a href="#ranking">Where it hurts</a><a href="#findings">Findings</a>'
        f'<a href="#layers">Layers</a><ol>{links}</ol>'
        '<a href="#rest">Everything else</a><a href="#words">What the numbers mean</a></nav>'
    )


def _verdict(
    comparison: Comparison, findings: Sequence[Finding], ranked: Sequence[RankedLayer]
) -> str:
    """Return what happened to each variant, the worst first, in the words of the page."""
    return "".join(
        _say_verdict(
            tables.judge_variant(findings, variant)
            or ("fine" if variant in comparison.outputs else "note"),
            f"{variant} {tables.spell_news(comparison, findings, variant)}",
            tables.describe_variant_loss(comparison, findings, ranked, variant),
            tables.offer_way_back(comparison, variant),
        )
        for variant in tables.order_variants(comparison, findings)
    )


def _say_verdict(severity: str, title: str, sentence: str, way_back: str) -> str:
    back = f"<p><b>Take it back:</b> {explain_terms(way_back)}</p>" if way_back else ""
    return (
        f'<article class="verdict {severity}"><p><b>{escape(title)}</b></p>'
        f"<p>{explain_terms(sentence)}</p>{back}</article>"
    )


def _overview(folder: VariantFolder, comparison: Comparison, ranked: Sequence[RankedLayer]) -> str:
    summaries = [summarize_variant(name, model) for name, model in folder.variants.items()]
    parts = [_frame(tables.create_variant_table(summaries))]
    parts += [_say(sentence) for sentence in tables.explain_variants(summaries)]
    parts += [_say(reason, "warning") for reason in tables.explain_unreadable(folder)]
    ranges = [layer for layer in tables.list_ranges(ranked, comparison) if layer.ranges]
    if ranges:
        log = one_dwarfs_the_rest(ranges)
        parts.append(
            "<p>One bar per layer, in graph order, from its lowest to its highest weight. A single"
            " scale has to cover the whole bar: the wider it is, the fewer codes are left for"
            " small weights."
            + (" Axis and colours are logarithmic, as one layer dwarfs the rest." if log else "")
            + "</p>"
        )
        parts += [
            _picture(render_heatmap(tables.select_page(ranges, start), variants, log=log))
            for start in tables.list_pages(ranges).values()
            for variants in page_variants(list(comparison.variants)).values()
        ]
    return "".join(parts)


def _outputs(comparison: Comparison) -> str:
    """Return what running the variants found, a sentence and the shares of each."""
    if not comparison.outputs:
        return _say("Not measured: only the weights were judged. Run `report` with `--samples`.")
    return "".join(_output(comparison, variant) for variant in comparison.outputs)


def _output(comparison: Comparison, variant: str) -> str:
    outputs = comparison.outputs[variant]
    details = " ".join(describe_details(comparison, variant))
    counts = describe_counts(outputs)
    parts = [
        f"<h3>{escape(variant)}</h3>",
        _say(describe_loss(comparison, variant)),
        f"<p>{escape(details)}</p>",
        *(_output_chart(chart, comparison, variant) for chart in OUTPUT_CHARTS.values()),
        _shares(outputs),
        f'<p class="quiet">{escape(counts)}</p>' if counts else "",
        _curve(outputs),
        f'<p class="quiet">{escape(" ".join(describe_check(outputs)))}</p>',
    ]
    return "".join(parts)


def _output_chart(chart: OutputChart, comparison: Comparison, variant: str) -> str:
    picture = chart.render(comparison, variant)
    return _picture(picture) if picture is not None else ""


def _shares(outputs: Outputs) -> str:
    """Return the costliest quantizers, each with its share of the output's noise."""
    rows = [
        [
            _name(name_group(group)),
            _filled(group.share, format_share(group.share)),
            escape(tables.spell_gain(group.restored_db)),
        ]
        for group in outputs.groups[:SHARES_SHOWN]
    ]
    rest = outputs.groups[SHARES_SHOWN:]
    if rest:
        share = sum(group.share for group in rest)
        rows.append([f"the other {len(rest)}", _filled(share, format_share(share)), NOTHING])
    head = ["Quantizer", "Share of the noise", "Gained when it alone is off"]
    return _table(head, rows, "ranking") if rows else ""


def _curve(outputs: Outputs) -> str:
    if not outputs.recovered:
        return ""
    head = ["First by share in float", *(str(point.count) for point in outputs.recovered)]
    levels = [format_db(point.sqnr_db) for point in outputs.recovered]
    return _table(head, [["The output keeps", *levels]])


def _ranking(
    pages: Sequence[LayerPage], comparison: Comparison, ranked: Sequence[RankedLayer]
) -> str:
    """Return the six columns of the page, what the page folds away folded, and the picture."""
    if not ranked:
        return _say("No layer of this network has weights.")
    shown, folded = tables.fold_constants(ranked)
    anchors = {page.layer_name: f"#layer-{i}" for i, page in enumerate(pages)}
    rest = (
        fold(tables.count_constants(folded), _rank(folded, comparison, anchors)) if folded else ""
    )
    known = any(not math.isnan(one.metric(METRICS[0].name)) for one in ranked)
    order = (
        "<p>Worst first: by the share of the noise at the output where that is measured, else by"
        " the worst output channel. A channel under 20 dB has lost too much.</p>"
        if known
        else _say("Without a float original there is no SQNR: findings decide the order.")
    )
    return order + _damage(shown, comparison) + _rank(shown, comparison, anchors) + rest


def _rank(ranked: Sequence[RankedLayer], comparison: Comparison, anchors: Mapping[str, str]) -> str:
    ranking = tables.create_ranking(ranked, comparison)
    writers = tables.format_ranking(ranking.table)
    short = shorten_uniquely([one.layer_name for one in ranked])

    def write(column: str, cell: Any) -> str:
        if column == "layer":
            name = f'<span class=name title="{escape(cell)}">{escape(short[cell])}</span>'
            return f'<a href="{anchors[cell]}">{name}</a>' if cell in anchors else name
        text = writers[column](cell) if column in writers else str(cell)
        return _filled(cell, text) if column == ranking.bar else escape(text)

    head = list(map(str, ranking.table.columns))
    rows = ranking.table.itertuples(index=False, name=None)
    cells = [[write(*pair) for pair in zip(head, row, strict=True)] for row in rows]
    return _table(head, cells, "ranking")


def _damage(ranked: Sequence[RankedLayer], comparison: Comparison) -> str:
    """Return the picture of damage, a page of rows after the other."""
    damage = tables.list_damage(ranked, comparison)
    rows = [(one.layer, one.by_variant) for one in damage.layers if damage.is_known]
    return "".join(
        _picture(render_damage(tables.select_page(rows, start), variants, damage.what))
        for start in tables.list_pages(rows).values()
        for variants in page_variants(damage.variants).values()
        if rows
    )


def _findings(pages: Sequence[LayerPage], findings: Sequence[Finding]) -> str:
    if not findings:
        return _say("Nothing was found.")
    anchors = {page.layer_name: f"#layer-{i}" for i, page in enumerate(pages)}
    items = (_group(group, anchors) for group in group_by_cause(findings))
    return f'<ul class="findings">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def _group(group: FindingGroup, anchors: Mapping[str, str]) -> str:
    """Return the findings of one cause: what they share, then each in a list that is closed."""
    each = [_finding(one, anchors.get(one.layer_name, "#overview")) for one in group.findings]
    if len(each) == 1:
        return each[0]
    _, *sentences = tables.explain_group(group)
    return (
        f'<article class="finding {group.severity}">'
        f"<p>{_badge(group.severity, group.severity)} <b>{escape(group.variant)}</b></p>"
        f"<p><b>{escape(tables.name_rule(group.worst))}</b></p>"
        + "".join(f"<p>{mark_code(sentence)}</p>" for sentence in sentences)
        + f"</article>{fold(tables.title_group(group), ''.join(each))}"
    )


def _finding(finding: Finding, anchor: str | None = None) -> str:
    where = _name(finding.layer_name) if finding.layer_name else "the whole file"
    where = f'<a href="{anchor}">{where}</a>' if anchor else ""
    return (
        f'<article class="finding {finding.severity}">'
        f"<p>{_badge(finding.severity, finding.severity)} <b>{escape(finding.variant)}</b> {where}"
        f"</p><p><b>{escape(tables.name_findings([finding]))}</b> "
        f'<code class="rule">{escape(finding.rule)}</code></p>'
        f"<p>{mark_code(describe_finding(finding))}</p>"
        f"<p><b>What helps:</b> {mark_code(describe_remedy(finding))}</p></article>"
    )


def _layers(
    pages: Sequence[LayerPage],
    comparison: Comparison,
    progress: Progress | None,
    draw: Draw,
) -> str:
    parts = []
    drawings = [_prepare(i, page, comparison) for i, page in enumerate(pages)]
    pictures = draw([drawing for of_layer in drawings for drawing in of_layer])
    for i, page in enumerate(pages):
        is_open = i < OPEN_LAYERS and page.severity in ("error", "warning")
        parts.append(_layer(i, page, comparison, is_open, [next(pictures) for _ in drawings[i]]))
        if progress is not None:
            progress(i + 1, len(pages), page.layer_name)
    return "".join(parts)


def _prepare(i: int, page: LayerPage, comparison: Comparison) -> list[Drawing]:
    """Return what is to be drawn of a layer: every chart of the worst, the first of the others."""
    charts = list(LAYER_CHARTS.values())[: None if i < DETAILED_LAYERS else 1]
    prepared = (chart.prepare(comparison, page.layer_name, None) for chart in charts)
    return [partial(one, most_spots=REPORT_SPOTS) for one in prepared if one is not None]


def _layer(
    i: int, page: LayerPage, comparison: Comparison, is_open: bool, pictures: Sequence[Picture]
) -> str:
    """The anchor is inside: a browser opens the details that a link leads into."""
    worst = f"worst channel {format_db(page.worst_db)}" if math.isfinite(page.worst_db) else ""
    parameters = tables.create_parameter_table(comparison, page.layer_name)
    sentences = tables.explain_layer(comparison, page.layer_name)
    body = [
        *(_finding(finding) for finding in page.findings),
        *map(_say, sentences),
        *map(_picture, pictures),
        _frame(parameters.drop(columns="Meaning", errors="ignore")),
        _metrics(page, explained=i < DETAILED_LAYERS),
    ]
    return (
        f"<details{' open' if is_open else ''}><summary>{_mark(page.severity)}"
        f'<b>{_name(page.layer_name)}</b> <span class="quiet">{escape(page.operator)}</span>'
        f'<span class="quiet end">{worst}</span></summary>'
        f'<div class="layer" id="layer-{i}">{"".join(body)}</div></details>'
    )


def _metrics(page: LayerPage, *, explained: bool) -> str:
    rows = []
    for metric in METRICS:
        values = [one.metrics[metric.name] for one in page.measured.values()]
        if not all(map(math.isnan, values)):
            label = _label(metric) if explained else escape(name_metric(metric))
            rows.append([label, *(format_metric(metric, value) for value in values)])
    head = ["Metric", *page.measured]
    return _table(head, rows) if rows else ""


def _rest(comparison: Comparison, pages: Sequence[LayerPage]) -> str:
    shown = {page.layer_name for page in pages}
    others = [
        layer
        for layer in comparison.layers()
        if layer.name not in shown and comparison.named_by in layer.by_variant
    ]
    parts = []
    if others:
        rows = [[_name(one.name), escape(one.op_type)] for one in others]
        parts.append(
            _fold("layer", " without weights", len(rows), _table(["Layer", "Operator"], rows))
        )
    for noun, more, frame in (
        ("layer", " without a counterpart", tables.create_unpaired_table(comparison)),
        (
            "parameter",
            " not read or not understood",
            tables.create_not_understood_table(comparison),
        ),
    ):
        if len(frame):
            parts.append(_fold(noun, more, len(frame), _frame(frame)))
    return "".join(parts) or _say("Nothing: every layer is above, and all of it was understood.")


def _words() -> str:
    metrics = [[_label(metric), escape(metric.definition)] for metric in METRICS]
    parameters = [[escape(name), escape(meaning)] for name, meaning in tables.MEANINGS.items()]
    return (
        "<p>A quantized layer stores <b>codes</b> and computes with their <b>values</b>: value ="
        " (code − zero-point) × scale. <b>SQNR</b> compares the float weight x with its values v in"
        " decibels: 20·log10(‖x‖ / ‖x − v‖). 6 dB more is half the error.</p>"
        + _table(["Metric", "Meaning"], metrics)
        + _table(["Parameter", "Meaning"], parameters)
    )


# Pieces of HTML -----------------------------------------------------------------------------------


def _name(name: str, length: int = 120) -> str:
    return f"<span class=name>{escape(shorten_name(name, length))}</span>"


def _section(anchor: str, title: str, body: str) -> str:
    return f'<section id="{anchor}"><h2>{title}</h2>{body}</section>'


def _say(sentence: str, kind: str = "note") -> str:
    return f'<p class="say {kind}">{escape(sentence)}</p>'


def _fold(noun: str, more: str, count: int, body: str) -> str:
    return fold(spell_count(count, noun) + more, body)


def _mark(severity: str) -> str:
    if not severity:
        return '<span class="mark"></span>'
    return f'<span class="mark {severity}" title="{severity}">{MARKS[severity]}</span>'


def _label(metric: Metric) -> str:
    return f'<span title="{escape(metric.definition)}">{escape(name_metric(metric))}</span>'


def _badge(severity: str, label: str) -> str:
    return f'<span class="badge {severity}">{MARKS[severity]} {label}</span>'


def _filled(share: float, text: str, kind: str = "") -> str:
    """Return text on a bar that is filled so far."""
    part = 0.0 if math.isnan(share) else max(0.0, min(share, 1.0))
    return f'<span class="bar{kind}" style="--share:{part:.0%}">{escape(text)}</span>'


def _picture(picture: Picture) -> str:
    notes = "".join(_say(note, "warning") for note in picture.notes)
    if not picture.png:
        return notes
    return frame_figure(picture, ' loading="lazy"') + notes


def _frame(table: pd.DataFrame) -> str:
    """Return a DataFrame of `tables` as HTML."""
    head, rows = list_cells(table)
    return _table(head, [[_cell(cell) for cell in row] for row in rows])


def _cell(text: str) -> str:
    """Return a cell's text; only one with a long word may break inside it."""
    is_long = max(map(len, text.split()), default=0) > LONG_WORD
    return f"<span class=long>{escape(shorten_name(text, 400))}</span>" if is_long else escape(text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    return f'<div class="scroll">{write_table(head, rows, kind)}</div>'


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
  --line: #d9dee4; --soft: #f5f7f9; --link: #0b57b0; --bar: #c9ddf4;
  --error: #b3261e; --warning: #8a5a00; --note: #2f5f8f; --fine: #2b7a5e; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e4e7eb; --quiet: #9aa4b0;
  --line: #333a42; --soft: #1c2126; --link: #8ab8f0; --bar: #27425f;
  --error: #ff8a80; --warning: #f2b84b; --note: #8fbce6; --fine: #62c7a3; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 0 0 .75rem; }
h3 { font-size: 1.05rem; margin: 1.25rem 0 .5rem; }
header, .columns { max-width: 1560px; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 1.5rem; }
header p { margin: .25rem 0 0; color: var(--quiet); }
header h1 + p { margin-bottom: 1rem; }
nav { font-size: .875rem; padding: .75rem 0 1.5rem; }
nav > a { margin-right: 1.25rem; white-space: nowrap; display: inline-block; }
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
.scroll { overflow-x: auto; margin: .75rem 0; position: relative; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid var(--line); unicode-bidi: isolate;
  font-variant-numeric: tabular-nums; min-width: 4.5rem; }
th { font-weight: 600; }
thead th { color: var(--quiet); font-weight: 500; vertical-align: bottom; }
.long { overflow-wrap: anywhere; }
tbody tr:hover { background: var(--soft); }
.name { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .93em; overflow-wrap: anywhere; unicode-bidi: isolate; }
.bar { display: block; padding: 0 .35rem; border-radius: 3px; min-width: 4rem;
  background: linear-gradient(90deg, var(--bar) var(--share), transparent 0); }
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
.verdict { color: var(--ink); border-left: 5px solid var(--fine); padding: .1rem 0 .1rem 1rem;
  margin: 0 0 1rem; }
.verdict p { margin: 0; max-width: 90ch; overflow-wrap: anywhere; }
.verdict p + p { font-size: 1.1rem; } .verdict p:nth-child(3) { font-size: 1rem; }
.verdict.error { border-left-color: var(--error); }
.verdict.warning { border-left-color: var(--warning); }
.verdict.note { border-left-color: var(--note); }
abbr { text-decoration: underline dotted var(--quiet); text-underline-offset: .2em; cursor: help; }
abbr:focus::after { content: " (" attr(title) ")"; color: var(--quiet); font-size: .9em; }
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
figure { position: relative; max-width: 1000px; margin: .75rem 0; }
img { display: block; width: 100%; height: auto; }
.spots { position: absolute; inset: 0; pointer-events: none; }
.spots > div { position: absolute; display: flex; }
.spots > .rows { flex-direction: column; }
.spots input { appearance: none; position: relative; flex: 1 1 0; min-width: 0; margin: 0;
  pointer-events: auto; }
.spots input:is(:hover, :focus) { background: #80808033; z-index: 1;
  outline: 1px solid var(--link); }
.spots input:is(:hover, :focus)::after { content: attr(aria-label); position: absolute; left: 50%;
  bottom: 100%; transform: translateX(var(--side)); width: max-content; max-width: 22rem;
  padding: .1rem .4rem; font-size: .8rem; white-space: pre-line; overflow-wrap: anywhere;
  background: var(--page); color: var(--ink); border: 1px solid var(--quiet); border-radius: 4px;
  pointer-events: none; }
.spots .rows:not(.low) input::after { bottom: auto; top: 100%; }
.spots:hover input:focus:not(:hover)::after { display: none; }
@media (max-width: 600px) {
  header, .columns { padding: 0 .75rem; }
  th, td { min-width: 0; padding-right: .5rem; }
  .scroll:not(:has(.ranking)) table { min-width: max-content; }
  .scroll:not(:has(.ranking)) :is(th, td) { max-width: 11rem; overflow-wrap: anywhere; }
  .ranking thead { position: absolute; clip-path: inset(50%); }
  .ranking tr { display: flex; flex-wrap: wrap; gap: 0 .75rem; padding: .3rem 0;
    border-bottom: 1px solid var(--line); }
  .ranking :is(th, td) { border: 0; padding: 0; }
  .ranking tbody th { flex: 1 0 100%; }
  .ranking td:nth-child(4)::before { content: "worst channel, dB: "; color: var(--quiet); }
  .end { float: none; display: block; }
}
@media print {
  nav, .spots { display: none; }
  .columns { display: block; }
  header, .columns { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  table { table-layout: fixed; font-size: .68rem; }
  th, td { min-width: 0; padding-right: .4rem; overflow-wrap: anywhere; }
  tr, img, article { break-inside: avoid; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  * { print-color-adjust: exact; }
}
"""
