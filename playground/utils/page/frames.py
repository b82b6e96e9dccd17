"""The page around the pictures, and what is selected. The style itself is `page.css`.

The selection is laid over heatmap and ranking by style alone: neither is made again for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..figures import HeatmapLayout, Picture
from ..figures.style import SELECTED
from ..markup import escape
from ..pointing import frame_figure, frame_spots


def frame_heatmap(chart: str, picture: Picture) -> str:
    """Return the heatmap's element with its text alternative and, over it, the empty outline.

    A click goes through its spots to the element below: `page.html` finds the one that is pointed
    at.
    """
    return (
        f'<div class="playground-heatmap" role="group" '
        f'aria-label="{escape(picture.alt)}">{chart}'
        '<div class="playground-outline" data-testid="selected-row"></div>'
        f"{frame_spots(picture)}</div>"
    )


def frame_picture(picture: Picture) -> str:
    """Return a chart's element with its text alternative, its bytes within the page.

    A link to the bytes would break where the layer changes while they are on their way.
    """
    return (
        '<div class="playground-chart" tabindex="0" role="region" aria-label="Chart">'
        f"{frame_figure(picture)}</div>"
    )


def outline_row(row_count: int, row: int | None) -> str:
    """Return the style that moves the outline to ``row`` of the heatmap."""
    if row is None:
        return "<style>:root { --selected-row-display: none; }</style>"
    top, height = HeatmapLayout(row_count).row_box(row)
    return (
        f"<style>:root {{ --selected-row-display: block; --selected-row-top: {top:.3%}; "
        f"--selected-row-height: {height:.3%}; }}</style>"
    )


def tint_rows(rows: Sequence[int], strong: Sequence[int] = ()) -> str:
    """Return the style that tints ``rows`` of the ranking: it is not made again for that.

    Args:
        strong: those of ``rows`` that stand out, of the selected variant.
    """
    colors = " ".join(
        f"--table-row-{row}: {SELECTED}{'66' if row in strong else '33'};" for row in rows
    )
    return f"<style>:root {{ {colors} }}</style>"


def style_row(row: str, column: str, value: object) -> dict[str, str]:
    """Return the style of a table's cell: a tint that `tint_rows` turns on from outside."""
    return {"backgroundColor": f"var(--table-row-{int(row)}, transparent)"}


def frame_name(name: str, short: str) -> str:
    """Return a layer's name as an element: short, the whole one on hover."""
    return f'<span class="playground-name" title="{escape(name)}">{escape(short)}</span>'


def frame_bar(part: object, text: str) -> str:
    """Return a number on a bar that is filled so far; ``part`` is 0 to 1, or no number."""
    known = isinstance(part, int | float) and part == part
    filled = min(max(float(part), 0.0), 1.0) if known and isinstance(part, int | float) else 0.0
    return f'<span class="playground-bar" style="--part:{filled:.1%}">{escape(text)}</span>'


def frame_cut(text: str) -> str:
    """Return a text on one line, cut where it is longer than its cell; the whole one on hover."""
    return f'<span class="playground-cut" title="{escape(text)}">{escape(text)}</span>'
