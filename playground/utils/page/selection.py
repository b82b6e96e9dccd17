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
from ..tables import RankedLayer
from .frames import outline_row, tint_rows

Select = Callable[..., None]
Getter = Callable[[], str | None]


def remember_selection(
    names: Sequence[str], variants: Sequence[str]
) -> tuple[Getter, Getter, Getter, Select, tuple[str | None, str | None]]:
    """Return the getters of layer, variant and tab, their one setter, and the link's wish.

    The setter, ``select(layer=None, variant=None)``, is for every control; it writes the address
    too, and leaves alone what it is not given or what is not there. The first of ``names`` and of
    ``variants`` are selected unless the link says otherwise. The tab is the variant as others than
    the tabs chose it (``by_tab``): tabs that were made again for their own choice lose the focus.
    """
    query = mo.query_params()
    asked = read_query("layer"), match_name(read_query("variant"), variants)
    # Their controls are in cells that read them.
    hold = partial(mo.state, allow_self_loops=True)
    get_layer, set_layer = hold(asked[0] if asked[0] in names else names[0])
    get_variant, set_variant = hold(asked[1] if asked[1] in variants else variants[0])
    get_tab, set_tab = hold(get_variant())

    def select(
        layer: str | None = None, variant: str | None = None, *, by_tab: bool = False
    ) -> None:
        if variant in variants and variant != get_variant() and not by_tab:
            set_tab(variant)
        for key, value, known, get, put in (
            ("layer", layer, names, get_layer, set_layer),
            ("variant", variant, variants, get_variant, set_variant),
        ):
            if value is None or value not in known:
                continue
            if read_query(key) != value:
                query.set(key, value)
            if value != get():
                put(value)

    return get_layer, get_variant, get_tab, select, asked


def read_query(key: str) -> str | None:
    """Return what the address says of a key; the last where it says it more than once."""
    value = mo.query_params().get(key)
    return value[-1] if isinstance(value, list) else value


def find_tab(tab: str, panels: Collection[str]) -> str:
    """Return the tab to open where tabs are made again: the address knows the variant best."""
    asked = match_name(read_query("variant"), panels)
    return asked if asked is not None and asked in panels else tab


def read_columns() -> list[str]:
    """Return the columns of the ranking that the address asks for beside the six."""
    return mo.query_params().get_all("columns")


def write_columns(names: Sequence[object]) -> None:
    """Write the chosen columns into the address."""
    query = mo.query_params()
    query.remove("columns")
    for name in names:
        query.append("columns", str(name))


def open_network(name: str) -> None:
    """Write another network into the address, without what was selected in the one before."""
    gc.unfreeze()  # what `settle` froze can go with the network
    query = mo.query_params()
    query.remove("layer")
    query.remove("variant")
    query.set("model", name)


def was_asked() -> bool:
    """Whether somebody chose a layer, by a link or on the page: the address says so."""
    return read_query("layer") is not None


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


def show_skip_link(words: str, anchor: str) -> mo.Html:
    """Return a link to a place of this page, which shows itself to the keyboard only.

    It names the whole address: marimo's pages have a base, which `#anchor` alone would lead to.
    """
    query = mo.query_params().to_dict()
    address = escape(f"?{urlencode(query, doseq=True)}#{anchor}" if query else f"#{anchor}")
    return mo.Html(f'<a class="playground-skip" href="{address}">{escape(words)}</a>')


def mark_selected(
    layer: str,
    variant: str | None,
    shown_rows: Sequence[RankedLayer],
    pictured: Sequence[str],
) -> mo.Html:
    """Return the style that tints the rows of a layer in the ranking, and outlines it in a picture.

    Args:
        pictured: the layers of the picture, from top to bottom; empty while there is none.
    """
    rows = [i for i, row in enumerate(shown_rows) if row.layer_name == layer]
    strong = [i for i in rows if shown_rows[i].variant == variant]
    outlined = list(pictured).index(layer) if layer in pictured else None
    return mo.Html(tint_rows(rows, strong) + outline_row(len(pictured), outlined))
