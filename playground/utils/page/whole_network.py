"""The whole network as a picture: what each layer loses, or its ranges, in the same place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import marimo as mo

from .. import tables
from ..figures import HeatmapLayout, Picture, one_dwarfs_the_rest, page_variants
from ..parameter_inspector import Comparison, LayerRanges
from .drawing import NOTHING_DRAWN, draw_damage, draw_heatmap, show_heatmap
from .layer_detail import frame_caption

VIEWS = ("list", "damage", "ranges")
LIST, DAMAGE, RANGES = VIEWS
CAPTIONS = {
    DAMAGE: "**The damage**: a row for each layer in graph order, a column for each variant. The "
    "colour is the layer's share of the noise at the output; until that is measured, the error of "
    "its worst channel. Click a row to choose its layer.",
    RANGES: "**The ranges**: a bar from the lowest to the highest weight of each layer; its colour "
    "tells how wide that is. A single scale has to cover a whole bar, so one far wider than the "
    "others leaves few codes for small weights. Click a row to choose its layer.",
}
NOTHING_KNOWN = {
    DAMAGE: "Nothing is known here before the outputs are measured: no weight could be compared.",
    RANGES: "No layer of this network has weights.",
}


@dataclass(frozen=True, eq=False)
class Pictured:
    """What the picture of the whole network shows; no rows while the list is shown.

    Attributes:
        damage: of which ``rows`` are the layers; None where they are ranges.
    """

    view: str
    rows: Sequence[tables.LayerDamage] | Sequence[LayerRanges]
    variants: Sequence[str]
    damage: tables.Damage | None = None


def list_pictured(
    view: str, ranked: Sequence[tables.RankedLayer], comparison: Comparison
) -> Pictured:
    """Return the rows of a picture, without constants and one-dimensional parameters."""
    if view == DAMAGE:
        damage = tables.list_damage(tables.fold_constants(ranked)[0], comparison)
        known = damage.layers if damage.is_known else ()
        return Pictured(view, known, damage.variants, damage)
    rows = tables.list_ranges(ranked, comparison) if view == RANGES else []
    return Pictured(view, rows, list(comparison.variants))


def create_range_switch(pictured: Pictured) -> mo.ui.switch:
    """Return the control of the axis, logarithmic by itself where one layer dwarfs the rest."""
    rows = [row for row in pictured.rows if isinstance(row, LayerRanges)]
    return mo.ui.switch(one_dwarfs_the_rest(rows), label="Logarithmic")


def draw_pictured(
    pictured: Pictured,
    rows: Sequence[tables.LayerDamage] | Sequence[LayerRanges],
    variants: Sequence[str],
    files: Hashable,
    log: bool,
) -> Picture:
    """Return the picture of one page of rows; one without a PNG where there are none."""
    if not rows:
        return NOTHING_DRAWN
    if pictured.damage is not None:
        damages = [row for row in rows if isinstance(row, tables.LayerDamage)]
        return draw_damage(pictured.damage, damages, variants, files)
    ranges = [row for row in rows if isinstance(row, LayerRanges)]
    return draw_heatmap(ranges, variants, files, log=log)


def find_clicked(clicks: mo.ui.matplotlib | None, row_count: int) -> int | None:
    """Return the row that was clicked, None for none."""
    return HeatmapLayout(row_count).clicked_row(clicks.value) if clicks is not None else None


def show_pictured(
    pictured: Pictured,
    picture: Picture,
    clicks: mo.ui.matplotlib | None,
    controls: Sequence[mo.Html],
) -> mo.Html | None:
    """Return the picture with its controls, None while the list is shown.

    Args:
        controls: of its rows, its variants and its axis; those that have nothing to choose are
            left out.
    """
    if pictured.view == LIST:
        return None
    if clicks is None:
        return mo.Html(f"<p>{NOTHING_KNOWN[pictured.view]}</p>")
    rows, variants, log = controls
    shown = [rows] * (len(tables.list_pages(pictured.rows)) > 1)
    shown += [variants] * (len(page_variants(pictured.variants)) > 1)
    shown += [log] * (pictured.damage is None)
    line = "".join(control.text for control in shown)
    chart = show_heatmap(clicks, picture).text
    return mo.Html(
        f'{frame_caption(CAPTIONS[pictured.view])}<div class="playground-line">{line}</div>'
        '<div class="playground-view" tabindex="0" role="region" '
        f'aria-label="Picture of all layers">{chart}</div>'
    )
