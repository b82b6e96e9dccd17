"""Names in marimo's tables: text, and nothing that a browser would fetch or follow.

marimo makes a link or a picture of a text that holds an address. An element it leaves alone; what
the table searches, sorts and hands to a download is the text itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import marimo as mo

from ..markup import escape

if TYPE_CHECKING:
    import pandas as pd


def show_name(name: object) -> mo.Html:
    """Return a name as an element of plain text."""
    return mo.Html(f"<span>{escape(name)}</span>")


def format_names(table: pd.DataFrame) -> dict[str, str | Callable[..., Any]]:
    """Return how each column that holds no numbers is shown, for marimo's ``format_mapping``."""
    numbers = set(map(str, table.select_dtypes("number")))
    return {name: show_name for name in map(str, table.columns) if name not in numbers}
