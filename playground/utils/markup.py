"""Tables, findings and sentences -> HTML, for page and report alike; every name is plain text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from .exports import escape_unprintable
from .tables import TERMS

if TYPE_CHECKING:
    import pandas as pd


def escape(text: object) -> str:
    """Return plain text: no markup, no character that turns or hides what follows."""
    return html.escape(escape_unprintable(str(text)), quote=True)


def mark_code(text: str) -> str:
    """Return plain text whose `code` in backticks looks like code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


@cache
def _find_terms() -> re.Pattern[str]:
    """A term, or its plural, that is no part of a longer word, of a name or of a path."""
    longest_first = sorted(TERMS, key=len, reverse=True)
    return re.compile(
        rf"(?<![\w/.\-])({'|'.join(map(re.escape, longest_first))})(?:s(?=\W|$))?"
        r"(?![\w/\-]|\.\w)"
    )


def explain_terms(text: str) -> str:
    """Return plain text in which each term has its meaning as a tooltip, where it is first said."""
    said: set[str] = set()
    parts, end = [], 0
    for found in _find_terms().finditer(text):
        if found[1] not in said:
            said.add(found[1])
            meaning = escape(TERMS[found[1]])
            parts.append(
                f'{escape(text[end : found.start()])}<abbr class="playground-term" tabindex="0" '
                f'title="{meaning}">{escape(found[0])}</abbr>'
            )
            end = found.end()
    return "".join(parts) + escape(text[end:])


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table.

    Args:
        head: plain text.
        rows: HTML already; the first cell of each is its heading.
        kind: the class of the table.
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def list_cells(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the cells of a table as plain text."""
    rows = table.itertuples(index=False, name=None)
    return [str(column) for column in table.columns], [[str(cell) for cell in row] for row in rows]


def fold(title: str, body: str, kind: str = "") -> str:
    """Return what is closed until it is asked for. ``body`` is HTML already."""
    return f'<details class="{kind}"><summary>{escape(title)}</summary>{body}</details>'
