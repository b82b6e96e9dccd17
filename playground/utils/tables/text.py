"""What every table shares: numbers and names as words, and the way into HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlencode

import pandas as pd

NOTHING = "–"


def format_bytes(count: int) -> str:
    """Return a file size as people say it: 999 B, 82.9 kB, 3.59 MB."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


def format_shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def describe_progress(what: str, done: int, total: int, layer: str) -> str:
    """Return how far something is, as HTML; ``what`` such as ``Layers tried`` labels the bar."""
    words = f"{done} of {total} {what.lower()}" if done else "Reading the first layer"
    return (
        f'<div class="playground-progress"><progress max="{max(1, total)}" value="{done}" '
        f'aria-label="{what}"></progress><span>{words}</span> '
        f"<span>{escape(layer)}</span></div>"
    )


def explain_link(what: str, asked: str | None, names: Collection[str]) -> list[str]:
    """Return a sentence if a link asks for a network, variant or layer that is not there."""
    if asked is None or asked in names:
        return []
    return [f"The link asks for the {what} {asked!r}, which is not here: this is the overview."]


def to_skip_link(words: str, heading: str, query: Mapping[str, str]) -> str:
    """Return a link to a heading of this page, which shows itself to the keyboard only.

    It names the whole address: marimo's pages have a base, which `#heading` alone would lead to.
    """
    address = f"?{urlencode(query)}" if query else ""
    return f'<a class="playground-skip" href="{escape(address)}#{heading}">{escape(words)}</a>'


def match_name(asked: str | None, names: Collection[str]) -> str | None:
    """Return the name that a link asks for, as it is spelled here; unknown ones as they came."""
    if asked is None or asked in names:
        return asked
    return next((name for name in names if name.casefold() == asked.casefold()), asked)


def name_file(name: str) -> str:
    """Return a name that every file system takes, made from a network's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def to_callout(lines: Sequence[str]) -> str:
    """Return a title and sentences as HTML: names are plain text, what has backticks is code."""
    title, *rest = (re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line)) for line in lines)
    sentences = "".join(f"<div>{sentence}</div>" for sentence in rest)
    return f'<div class="playground-finding"><b>{title}</b>{sentences}</div>'


def to_html(table: pd.DataFrame) -> str:
    """Return a table for the page, every name in it as plain text. First column: row headings."""
    words = " playground-words" if "In words" in table.columns else ""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = (
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in table.itertuples(index=False, name=None)
    )
    label = escape(f"Table by {table.columns[0]}".lower().capitalize())
    return (
        f'<div class="playground-table{words}" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def to_details(title: str, table: pd.DataFrame) -> str:
    """Return a table that is closed until it is asked for."""
    return (
        f'<details class="playground-details"><summary>{escape(title)}</summary>'
        f"{to_html(table)}</details>"
    )


def to_code(text: str, label: str) -> str:
    """Return a text to copy, which the keyboard reaches and a reader announces by its label."""
    return (
        f'<pre class="playground-code" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"{escape(text)}</pre>"
    )


def escape(cell: object) -> str:
    return html.escape(str(cell), quote=True)


def join_names(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
