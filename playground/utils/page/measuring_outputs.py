"""What the outputs lose: the button that measures, how far it is, how far to trust it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import marimo as mo

from .. import tables
from ..figures import OUTPUT_CHARTS, Picture, pictures
from ..markup import escape, fold
from ..parameter_inspector import (
    Comparison,
    Outputs,
    describe_check,
    describe_counts,
    describe_details,
    describe_progress,
    describe_waiting,
)
from .background import watch_viewer
from .drawing import NOTHING_DRAWN
from .frames import frame_picture
from .shared_runs import News, RunOn, Wish, follow_runs, recall_outputs
from .shown import frame_help, frame_table, show_details, show_picture, stack

Tell = Callable[[Any], None]
Getter = Callable[[], Any]
SECONDS_BETWEEN_CHARTS = 2.0


@dataclass(frozen=True)
class RunSetters:
    """How a measuring tells its viewer.

    Attributes:
        run: takes the event that stops it, and at last the sentences about what went wrong.
        outputs: what is known of each variant; changes when a variant ends.
        news: how far it is, some times a second.
        shares: the news that are worth a picture.
        get_outputs: what is known of each variant; kept here for who must not run again with it.
    """

    run: Tell
    outputs: Tell
    news: Tell
    shares: Tell
    get_outputs: Getter


def remember_runs(
    comparison: Comparison, run_on: RunOn, optimized: bool
) -> tuple[Getter, Getter, Getter, Getter, RunSetters]:
    """Return the getters of outputs, run, news and shares, and the setters of all.

    Outputs begin with what any viewer has measured before.
    """
    hold = partial(mo.state, allow_self_loops=True)
    get_outputs, set_outputs = hold(recall_outputs(comparison, run_on, optimized))
    get_run, set_run = hold(None)
    get_news, set_news = hold(None)
    get_shares, set_shares = hold(None)
    setters = RunSetters(set_run, set_outputs, set_news, set_shares, get_outputs)
    return get_outputs, get_run, get_news, get_shares, setters


def create_measuring_controls(comparison: Comparison) -> tuple[mo.ui.dropdown, mo.ui.switch]:
    """Return the controls of a measuring: which variants, and onnxruntime's optimizations."""
    options = tables.list_runnable(comparison)
    which = mo.ui.dropdown(
        options, value=next(iter(options), None), label="Variant", allow_select_none=not options
    )
    optimized = mo.ui.switch(label="with onnxruntime's default optimizations of the graph")
    return which, optimized


def create_measure_button(run_on: RunOn, setters: RunSetters) -> mo.ui.button:
    """Return the button that measures."""
    return mo.ui.button(
        label=f"Measure on {tables.spell_samples(run_on.samples)}",
        on_change=lambda _: setters.run(threading.Event()),
    )


def offer_measuring(
    comparison: Comparison,
    run_on: RunOn,
    button: mo.ui.button,
    variants: mo.ui.dropdown,
    optimized: mo.ui.switch,
) -> mo.Html | None:
    """Return button and controls with what will happen; None where nothing is quantized."""
    if not variants.value:
        return None
    choice = [variants] if len(variants.options) > 1 else []
    _, *words = tables.explain_measuring(comparison, variants.value, run_on.samples)
    wrong = f"<div>{escape(run_on.why)}</div>" if run_on.why else ""
    parts = "".join(one.text for one in (button, *choice, optimized))
    about = frame_help("What will happen", " ".join(words))
    return mo.Html(f'<div class="playground-line playground-tight">{wrong}{parts}{about}</div>')


def offer_other_level(optimized: mo.ui.switch) -> mo.Html:
    """Return the switch of a measuring that is done, to measure again the other way."""
    how = "optimized as by default" if optimized.value else "without optimizations"
    words = mo.Html(f"<span>Measured {how}; the other way:</span>")
    return mo.hstack([words, optimized], justify="start", wrap=True, align="center")


def is_measured(comparison: Comparison, outputs: Mapping[str, Outputs]) -> bool:
    """Whether every quantized variant was measured wholly, and there is one."""
    names = [name for name in comparison.variants if name != comparison.original]
    return bool(names) and all(name in outputs and outputs[name].complete for name in names)


def run_beside(wish: Wish, run: threading.Event, setters: RunSetters) -> None:
    """Measure beside the page until it is done, ``run`` is set or the viewer has left."""
    has_left, found, drawn = watch_viewer(), dict(setters.get_outputs()), [0.0]

    def keep(variant: str, outputs: Outputs) -> None:
        found[variant] = outputs
        if not has_left():
            setters.shares(None)
            setters.outputs(dict(found))

    def tell(news: News) -> None:
        if has_left():
            return
        setters.news(news)
        if time.monotonic() - drawn[0] > SECONDS_BETWEEN_CHARTS and news.has_shares:
            drawn[0] = time.monotonic()
            setters.shares(news)

    def work() -> None:
        sentences = follow_runs(wish, lambda: run.is_set() or has_left(), tell, keep)
        if not has_left():
            setters.shares(None)
            setters.run(tuple(sentences))

    mo.Thread(target=work, daemon=True).start()


def show_news(news: News | None, stop: mo.Html) -> mo.Html:
    """Return the button that stops a measuring, and how far that is, in numbers and in words."""
    return mo.Html(f'<div class="playground-line">{stop.text}{frame_news(news)}</div>')


def frame_news(news: News | None) -> str:
    """Return how far a measuring is as HTML."""
    if news is None:
        return _frame_news("", 0, None, "Starting the process that runs the models")
    which = f"{news.variant} ({news.number} of {news.count})" if news.count > 1 else news.variant
    if news.progress is None:
        words = describe_waiting(news.ahead) if news.ahead else "Looking for the quantizers"
        return _frame_news(which, 0, None, words)
    done, left = news.progress.runs_done, news.progress.runs_left
    return _frame_news(which, done, done + left, describe_progress(news.progress))


def _frame_news(which: str, done: int, total: int | None, words: str) -> str:
    much = f'max="{max(1, total)}" value="{done}"' if total else ""
    return (
        f'<div class="playground-progress" role="status"><b>{escape(which)}</b><progress {much} '
        f'aria-label="Runs of the network"></progress><span>{escape(words)}</span></div>'
    )


def create_stop_button(run: threading.Event) -> mo.ui.button:
    """Return the button that ends a measuring; what is known by then stays."""
    return mo.ui.button(label="Stop", kind="danger", on_change=lambda _: run.set())


def frame_trust(comparison: Comparison, variant: str) -> str:
    """Return what else was seen of a measured variant, and how far to trust it, as HTML."""
    outputs = comparison.outputs[variant]
    seen = [
        *describe_details(comparison, variant),
        *describe_check(outputs),
        describe_counts(outputs),
    ]
    table = frame_table(tables.create_output_table(outputs)) if outputs.losses else ""
    return "".join(f"<div>{escape(one)}</div>" for one in seen if one) + table


def draw_output_chart(name: str, comparison: Comparison, variant: str, files: Hashable) -> Picture:
    """Return one of `OUTPUT_CHARTS`, drawn once for all viewers."""
    outputs = comparison.outputs[variant]

    def draw() -> Picture:
        return OUTPUT_CHARTS[name].render(comparison, variant) or NOTHING_DRAWN

    return pictures.get((name, files, variant, outputs), draw)


def show_output_charts(comparison: Comparison, variant: str, files: Hashable) -> mo.Html | None:
    """Return the charts of what a variant loses, and below them the numbers of all quantizers."""
    charts = [
        show_picture(draw_output_chart(name, comparison, variant, files), mo.md(chart.caption))
        for name, chart in OUTPUT_CHARTS.items()
    ]
    table = tables.create_share_table(comparison.outputs[variant])
    numbers = show_details(f"The quantizers of {variant}, by share", table) if len(table) else None
    return stack([*charts, numbers])


def show_so_far(comparison: Comparison, news: News | None) -> mo.Html | None:
    """Return the shares that are known while a variant is measured, behind a line."""
    if news is None or news.progress is None:
        return None
    known = comparison.with_outputs({news.variant: news.progress.outputs})
    picture = OUTPUT_CHARTS["shares"].render(known, news.variant)
    if picture is None:
        return None
    return mo.Html(fold("The shares so far", frame_picture(picture), "playground-details"))
