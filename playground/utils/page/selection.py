"""What a viewer has selected: network, layer and variant, in the address and in marimo's states.

The address is the link to share: every control writes it, and a page that opens reads it once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Sequence
from functools import partial
from urllib.parse import urlencode

import marimo as mo

from ..markup import escape
from ..parameter_inspector import LayerRanges
from ..tables import RankedLayer
from .frames import outline_row, tint_rows

Select = Callable[..., None]
Getter = Callable[[], str | None]


def remember_selection(
    names: Sequence[str], variants: Collection[str]
) -> tuple[Getter, Getter, Select, tuple[str | None, str | None]]:
    """Return the getters of the selected layer and variant, their one setter, and the link's wish.

    The setter, ``select(layer, variant=None)``, is for every control; it writes the address too.
    The first of ``names`` is selected unless the link says otherwise, and no variant before one is
    chosen.
    """
    query = mo.query_params()
    asked = read_query("layer"), match_name(read_query("variant"), variants)
    # Their controls are in cells that read them.
    hold = partial(mo.state, allow_self_loops=True)
    get_layer, set_layer = hold(asked[0] if asked[0] in names else names[0])
    get_variant, set_variant = hold(asked[1] if asked[1] in variants else None)

    def select(name: str, variant: str | None = None) -> None:
        for key, value, get, put in (
            ("layer", name, get_layer, set_layer),
            ("variant", variant, get_variant, set_variant),
        ):
            if value is not None and value != get():
                query.set(key, value)
                put(value)

    return get_layer, get_variant, select, asked


def read_query(key: str) -> str | None:
    """Return what the address says of a key; the last where it says it more than once."""
    value = mo.query_params().get(key)
    return value[-1] if isinstance(value, list) else value


def open_network(name: str) -> None:
    """Write another network into the address, without what was selected in the one before."""
    gc.unfreeze()  # what `settle` froze can go with the network
    query = mo.query_params()
    query.remove("layer")
    query.remove("variant")
    query.set("model", name)


def explain_link(what: str, asked: str | None, names: Collection[str]) -> list[str]:
    """Return a sentence if a link asks for a network, variant or layer that is not there."""
    if asked is None or asked in names:
        return []
    return [f"The link asks for the {what} {asked!r}, which is not here: this is the overview."]


def match_name(asked: str | None, names: Collection[str]) -> str | None:
    """Return the name that a link asks for, as it is spelled here; unknown ones as they came."""
    if asked is None or asked in names:
        return asked
    return next((name for name in names if name.casefold() == asked.casefold()), asked)


def show_skip_link(words: str, heading: str) -> mo.Html:
    """Return a link to a heading of this page, which shows itself to the keyboard only.

    It names the whole address: marimo's pages have a base, which `#heading` alone would lead to.
    """
    query = mo.query_params().to_dict()
    address = escape(f"?{urlencode(query, doseq=True)}#{heading}" if query else f"#{heading}")
    return mo.Html(f'<a class="playground-skip" href="{address}">{escape(words)}</a>')


def mark_selected(
    layer: str,
    variant: str | None,
    shown_rows: Sequence[RankedLayer],
    page_ranges: Sequence[LayerRanges],
) -> mo.Html:
    """Return the style that tints the rows of a layer in the ranking, and outlines its range."""
    rows = [i for i, row in enumerate(shown_rows) if row.layer_name == layer]
    strong = [i for i in rows if shown_rows[i].variant == variant]
    names = [row.layer for row in page_ranges]
    outlined = names.index(layer) if layer in names else None
    return mo.Html(tint_rows(rows, strong) + outline_row(len(names), outlined))
