"""The page around the pictures: its style, and what is selected.

The selection is laid over heatmap and ranking by style alone: neither is made again for it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from ..figures import HeatmapLayout, Picture
from ..figures.style import SELECTED
from ..markup import escape

PAGE_STYLE = """
.playground-heatmap { position: relative; margin: 0 auto; }
.playground-heatmap marimo-ui-element, .playground-heatmap marimo-matplotlib {
  display: block; line-height: 0; }
.playground-outline { position: absolute; left: 0; right: 7.5%; pointer-events: none;
  top: var(--selected-row-top, 0); height: var(--selected-row-height, 0);
  display: var(--selected-row-display, none);
  border: 2px solid #e8590c; border-radius: 4px; }
.dark .playground-heatmap, .dark .playground-chart img { filter: brightness(1.3); }
.playground-chart { overflow-x: auto; }
.playground-chart img { width: 100%; min-width: 40rem; }
.playground-finding code { font-size: 0.8rem; }
.playground-finding div { margin-top: 0.25rem; }
.playground-table { overflow-x: auto; font-size: 0.875rem; }
.playground-table table { border-collapse: collapse; width: 100%; margin: 0; }
.playground-table th, .playground-table td { text-align: left; vertical-align: top;
  padding: 0.3rem 0.75rem; border: 0; border-bottom: 1px solid #80808033;
  overflow-wrap: anywhere; min-width: 6.5rem; }
.playground-table th { font-weight: 600; overflow-wrap: normal; }
.playground-table tbody tr:hover { background: #80808018; }
.playground-explained td:last-child { opacity: 0.75; min-width: 14rem; }
.playground-details summary { cursor: pointer; }
.playground-controls { display: grid; gap: 0.5rem 1rem; align-items: end;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
.playground-skip { position: absolute; opacity: 0; }
.playground-skip:focus { position: static; opacity: 1; }
.playground-progress { display: flex; gap: 0.75rem; align-items: center; flex-wrap: wrap; }
.playground-progress span { overflow-wrap: anywhere; }
.playground-progress progress { min-width: 14rem; }
.playground-loss { border-left: 4px solid #80808066; margin: 0.25rem 0;
  padding: 0.1rem 0 0.1rem 1rem; }
.playground-loss p { font-size: 1.2rem; line-height: 1.45; font-weight: 500; margin: 0 0 0.5rem; }
.playground-loss > div, .playground-loss > details { margin-top: 0.2rem; }
.playground-error { border-color: #d6336c; } .playground-warning { border-color: #d9822b; }
.playground-note { border-color: #4c8fd0; } .playground-fine { border-color: #3aa17e; }
.playground-code { overflow-x: auto; max-height: 26rem; padding: 0.75rem; margin: 0;
  border: 1px solid #80808033; border-radius: 4px; font-size: 0.8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
"""


def frame_heatmap(chart: str, alt: str) -> str:
    """Return the heatmap's element with its text alternative and, over it, the empty outline."""
    return (
        f'<div class="playground-heatmap" role="group" '
        f'aria-label="{escape(alt)}">{chart}'
        '<div class="playground-outline" data-testid="selected-row"></div></div>'
    )


def frame_picture(picture: Picture) -> str:
    """Return a chart's element with its text alternative, its bytes within the page.

    A link to the bytes would break where the layer changes while they are on their way.
    """
    data = base64.b64encode(picture.png).decode("ascii")
    alt = escape(picture.alt)
    return (
        f'<div class="playground-chart"><img src="data:image/png;base64,{data}" alt="{alt}"></div>'
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
