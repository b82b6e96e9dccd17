"""What the page shows: sentences, findings, tables, pictures, cards. All names are plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import marimo as mo

from .. import tables
from ..figures import LAYER_CHARTS, Picture
from ..markup import escape, fold, list_cells, mark_code, write_table
from ..parameter_inspector import (
    Finding,
    FindingGroup,
    Plan,
    VariantSummary,
)
from ..spelling import spell_count
from .frames import frame_picture

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["danger", "warn", "info", "success"]
CAPTIONS = {
    "candidates": "**The candidates**: the schemes worth trying for this weight, sorted by the "
    "worst channel they leave, best first.",
    "check": "**Check it**: write a copy of the model with only this change, then download it or "
    "run it beside the original.",
}


def say(sentences: Sequence[str], kind: Kind = "info") -> mo.Html | None:
    """Return a callout of plain text, None if there is nothing to say."""
    text = "".join(f"<div>{escape(sentence)}</div>" for sentence in sentences)
    return mo.callout(mo.Html(text), kind=kind) if sentences else None


def stack(parts: Iterable[mo.Html | None]) -> mo.Html | None:
    """Return what there is of the parts, one below the other; None if there is nothing."""
    shown = [part for part in parts if part is not None]
    return mo.vstack(shown) if len(shown) > 1 else next(iter(shown), None)


def write_finding(finding: Finding) -> str:
    """Return a finding as HTML: a title, and its sentences."""
    return _write_lines(tables.explain_finding(finding))


def _write_lines(lines: Sequence[str]) -> str:
    title, *sentences = map(mark_code, lines)
    rest = "".join(f"<div>{sentence}</div>" for sentence in sentences)
    return f'<div class="playground-finding"><b>{title}</b>{rest}</div>'


def write_group(group: FindingGroup) -> str:
    """Return the findings of one cause as HTML; each of several in a list that is closed."""
    each = "".join(
        f"<h4>{escape(one.layer_name)}</h4>{write_finding(one)}" for one in group.findings
    )
    several = len(group.findings) > 1
    details = fold(tables.title_group(group), each, "playground-details") if several else ""
    text = _write_lines(tables.explain_group(group))
    return f'<div class="playground-verdict playground-{group.severity}">{text}{details}</div>'


def frame_help(title: str, words: str) -> str:
    """Return a title whose explanation stands behind a question mark. Both are plain text."""
    return (
        f'<details class="playground-help"><summary>{escape(title)}</summary>'
        f"<p>{escape(words)}</p></details>"
    )


def show_picture(picture: Picture, explanation: Any = None, otherwise: str = "") -> mo.Html | None:
    """Return a chart with its text alternative and its notes, a sentence where there is none."""
    if not picture.png:
        return say([*picture.notes] or [otherwise] * bool(otherwise))
    chart = mo.Html(frame_picture(picture))
    return stack([explanation, chart, say(picture.notes, "warn")])


def show_table(table: pd.DataFrame, *, explained: bool = False) -> mo.Html:
    """Return a table for the page, its names as plain text.

    Args:
        explained: the last column explains the others, and steps back.
    """
    return mo.Html(frame_table(table, explained=explained))


def frame_table(table: pd.DataFrame, *, explained: bool = False) -> str:
    """Return a table that scrolls by itself and that a reader can find. First: row headings."""
    head, rows = list_cells(table)
    body = write_table(head, ([escape(cell) for cell in row] for row in rows))
    kind = "playground-table playground-explained" if explained else "playground-table"
    label = escape(f"Table by {head[0]}".lower().capitalize())
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{label}">{body}</div>'


def show_details(title: str, table: pd.DataFrame, *, explained: bool = False) -> mo.Html:
    """Return a table that is closed until it is asked for."""
    return mo.Html(fold(title, frame_table(table, explained=explained), "playground-details"))


def show_problems(noun: str, problem: str, table: pd.DataFrame) -> mo.Html | None:
    """Return a closed list behind a warning, None if the list is empty.

    Args:
        noun, problem: what the rows are, and what is wrong with them: its title counts them.
    """
    title = f"{spell_count(len(table), noun)} {problem}"
    return mo.callout(show_details(title, table), "warn") if len(table) else None


def show_code(text: str, label: str) -> mo.Html:
    """Return a text to copy, which the keyboard reaches and a reader announces by its label."""
    lines = "\n".join(map(escape, text.split("\n")))
    return mo.Html(
        f'<pre class="playground-code" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"{lines}</pre>"
    )


def show_progress(what: str, done: int, total: int, layer_name: str) -> mo.Html:
    """Return how far something is; ``what`` such as ``Layers tried`` labels the bar."""
    words = f"{done} of {total} {what.lower()}" if done else "Reading the first layer"
    return mo.Html(
        f'<div class="playground-progress"><progress max="{max(1, total)}" value="{done}" '
        f'aria-label="{escape(what)}"></progress><span>{words}</span> '
        f"<span>{escape(layer_name)}</span></div>"
    )


def show_bar(title: str, total: int) -> Any:
    """Return a bar that goes when it is full."""
    return mo.status.progress_bar(total=total, title=title, remove_on_exit=True)


def count_weights(summaries: Iterable[VariantSummary]) -> int:
    """Return how many weights are measured, in all variants together."""
    return sum(summary.weight_layer_count for summary in summaries)


def show_plan(plan: Plan) -> mo.Html | None:
    """Return what a plan comes to and what it cannot reach; unmeasured, it is not green."""
    missed = say(tables.explain_unreachable(plan), "warn")
    return stack([say([tables.summarize_plan(plan), *tables.explain_plan(plan)], "info"), missed])


def render_captions() -> dict[str, mo.Html]:
    """Return the texts above the parts of a layer's sections, rendered once for all layers."""
    captions = {name: chart.caption for name, chart in LAYER_CHARTS.items()} | CAPTIONS
    return {name: mo.md(caption) for name, caption in captions.items()}
