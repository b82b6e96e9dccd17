"""How low it can go: the accuracy map, measured beside the page, and a chosen cell."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import marimo as mo

from .. import exports, tables
from ..figures import (
    MapLayout,
    Picture,
    create_map_click_axes,
    pictures,
    render_accuracy_map,
)
from ..markup import escape
from ..parameter_inspector import (
    AccuracyMap,
    Comparison,
    MeasuredPlan,
    PlanName,
    Widths,
    list_widths,
    measure_accuracy_map,
    name_widths,
)
from ..spelling import capitalize
from .background import watch_viewer
from .shared_runs import RunOn, identify_run
from .shared_searches import Searching, SharedSearches
from .shown import frame_help, say, show_picture, stack
from .writing import name_file

Tell = Callable[[Any], None]
Getter = Callable[[], Any]
SECONDS_BETWEEN_PICTURES = 1.5

_searches: SharedSearches[AccuracyMap] = SharedSearches(size=32)


@dataclass(frozen=True, eq=False)
class AskedMap:
    """What a viewer asks for: the map of one variant; ``stop`` ends the measuring."""

    variant: str
    stop: threading.Event


@dataclass(frozen=True)
class MapSetters:
    """How a measuring tells its viewer: the run, the map of each variant, and the map so far."""

    run: Tell
    maps: Tell
    so_far: Tell
    get_maps: Getter


def remember_maps(
    comparison: Comparison, run_on: RunOn
) -> tuple[Getter, Getter, Getter, MapSetters]:
    """Return the getters of maps, run and map so far, and the setters of all."""
    hold = partial(mo.state, allow_self_loops=True)
    names = [name for name in comparison.variants if name != comparison.original]
    known = {n: _searches.recall(identify_run(comparison, n, run_on, False)) for n in names}
    get_maps, set_maps = hold({name: one for name, one in known.items() if one is not None})
    get_run, set_run = hold(None)
    get_so_far, set_so_far = hold(None)
    return get_maps, get_run, get_so_far, MapSetters(set_run, set_maps, set_so_far, get_maps)


def is_mapping(run: object, variant: str | None = None) -> bool:
    """Whether a map is being measured; of a variant, where one is named."""
    return isinstance(run, AskedMap) and variant in (None, run.variant)


def create_map_button(variant: str, setters: MapSetters) -> mo.ui.button:
    """Return the button that measures the map."""
    return mo.ui.button(
        label="How low can it go?",
        on_change=lambda _: setters.run(AskedMap(variant, threading.Event())),
    )


def offer_map(button: mo.ui.button) -> mo.Html:
    """Return the button with what will happen."""
    words = (
        "Quantizes the float network where this file is quantized, with weights of 2 to 8 bits and "
        "activations of 4 to 8 and 16, and measures what each pair keeps of the output on the "
        "samples: where the widths end that this network bears."
    )
    about = frame_help("What will happen", words)
    return mo.Html(f'<div class="playground-line">{button.text}{about}</div>')


def create_map_stop(asked: AskedMap) -> mo.ui.button:
    """Return the button that ends a measuring; the cells measured by then stay."""
    return mo.ui.button(label="Stop", kind="danger", on_change=lambda _: asked.stop.set())


def map_beside(comparison: Comparison, run_on: RunOn, asked: AskedMap, setters: MapSetters) -> None:
    """Measure beside the page until it is done, ``asked.stop`` is set or the viewer has left."""
    has_left, told = watch_viewer(), [0.0]

    def tell(found: AccuracyMap) -> None:
        if not has_left() and time.monotonic() - told[0] > SECONDS_BETWEEN_PICTURES:
            told[0] = time.monotonic()
            setters.so_far(found)

    def search(tell: Callable[[AccuracyMap], None], cancel: threading.Event) -> AccuracyMap:
        return measure_accuracy_map(
            comparison, asked.variant, run_on.samples, progress=tell, cancel=cancel
        )

    def work() -> None:
        key = identify_run(comparison, asked.variant, run_on, False)
        searching = Searching(key, search, lambda found: found.complete)
        found, why = _searches.follow(searching, lambda: asked.stop.is_set() or has_left(), tell)
        if has_left():
            return
        if found is not None and found.cells:
            setters.maps({**setters.get_maps(), asked.variant: found})
        setters.so_far(None)
        setters.run((f"{asked.variant}: {why}",) if why else None)

    mo.Thread(target=work, daemon=True).start()


def show_map_so_far(found: AccuracyMap | None, stop: mo.Html) -> mo.Html | None:
    """Return the button that stops a measuring, how far it is, and the map as it fills."""
    done = 0 if found is None else len(found.cells)
    most = len(list_widths(found is None or None not in {w.activation_bits for w in found.cells}))
    words = f"{done} of {most} cells" if done else "Getting ready"
    line = mo.Html(
        f'<div class="playground-line">{stop.text}<div class="playground-progress" role="status">'
        f'<progress max="{most}" value="{done}" aria-label="Cells of the map"></progress>'
        f"<span>{words}</span></div></div>"
    )
    return stack([line, show_picture(render_accuracy_map(found)) if found is not None else None])


def draw_map(found: AccuracyMap) -> Picture:
    """Return the picture of a map, drawn once for all viewers."""
    return pictures.get(("accuracy map", found), lambda: render_accuracy_map(found))


def make_map_clickable(found: AccuracyMap) -> mo.ui.matplotlib:
    """Return the element that tells where a map was clicked."""
    return mo.ui.matplotlib(
        create_map_click_axes(draw_map(found), MapLayout.of(found)), debounce=True
    )


def show_map(found: AccuracyMap, clicks: mo.ui.matplotlib) -> mo.Html | None:
    """Return the map that can be clicked, with its text alternative, and how to read it."""
    alt = escape(draw_map(found).alt)
    picture = mo.Html(
        f'<div class="playground-map" role="group" aria-label="{alt}">{clicks.text}</div>'
    )
    words = "".join(f"<div>{escape(one)}</div>" for one in tables.explain_map(found))
    return stack([mo.Html(f'<div class="playground-quiet">{words}</div>'), picture])


def find_clicked_cell(found: AccuracyMap, selection: object) -> Widths | None:
    """Return the measured cell that was clicked, None for none."""
    cell = MapLayout.of(found).clicked_cell(selection)
    return cell if cell in found.cells else None


def list_cells(found: AccuracyMap) -> dict[str, Widths]:
    """Return the label of each measured cell -> the cell: the keyboard's way to choose one."""
    return {capitalize(name_widths(widths)): widths for widths in found.cells}


def find_cell(found: AccuracyMap, chosen: Widths | None) -> Widths:
    """Return the cell that was chosen, else the file's own, else the first."""
    wanted = (one for one in (chosen, found.own) if one in found.cells)
    return next((one for one in wanted if one is not None), next(iter(found.cells)))


def create_cell_choice(found: AccuracyMap, chosen: Widths, choose: Tell) -> mo.ui.dropdown:
    """Return the control of the cell."""
    return mo.ui.dropdown(
        list_cells(found),
        value=capitalize(name_widths(chosen)),
        label="Cell",
        allow_select_none=False,
        on_change=choose,
    )


def show_cell(
    comparison: Comparison, variant: str, found: AccuracyMap, widths: Widths, network: str
) -> mo.Html | None:
    """Return what a cell keeps, and how such a build is made, where one can be."""
    sentences = [tables.describe_cell(found, widths), tables.explain_build(widths)]
    link = None
    if exports.can_be_built(widths):
        bits = f"w{widths.weight_bits}a{widths.activation_bits}-{widths.granularity}"
        link = mo.download(
            lambda: exports.write_width_recipe(comparison, variant, widths).encode(),
            f"{name_file(network)}-{bits}.py",
            "text/x-python",
            label="Recipe of this build",
        )
    return stack([say(sentences), mo.hstack([link], justify="start") if link is not None else None])


def create_reach_button(
    found: AccuracyMap | None,
    chosen: Widths | None,
    plans: tuple[MeasuredPlan, ...],
    take: Callable[[PlanName], None],
) -> mo.ui.button | None:
    """Return the button that takes the named plan which leads to a cell, None where none does."""
    if found is None:
        return None
    plan = tables.find_reaching(found, find_cell(found, chosen), plans)
    if plan is None:
        return None
    label = f"Take “{plan.name.value}”, which leads there from this file"
    return mo.ui.button(label=label, on_change=lambda _: take(plan.name))
