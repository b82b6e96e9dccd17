"""What takes it back: a plan by measurement, searched for beside the page."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import marimo as mo

from .. import exports, tables
from ..figures import Picture, render_measured_plan
from ..markup import escape, explain_terms, fold
from ..parameter_inspector import (
    Comparison,
    MeasuredPlan,
    PlanEnd,
    PlanName,
    PlanProgress,
    Target,
    TargetKind,
    describe_plan_progress,
    plan_by_measurement,
    save_plan,
)
from .background import watch_viewer
from .shared_runs import RunOn, identify_run
from .shared_searches import Searching, SharedSearches
from .shown import frame_help, frame_table, say, show_code, show_picture, stack
from .writing import name_file

Tell = Callable[[Any], None]
Getter = Callable[[], Any]
Plans = Mapping[str, tuple[MeasuredPlan, ...]]

_searches: SharedSearches[PlanProgress] = SharedSearches(size=32)
FIRST_PLAN = PlanName.MEASURED
AS_GOOD = "as good as it gets"
KINDS: Mapping[str, TargetKind] = {
    "an output SQNR": TargetKind.OUTPUT_SQNR,
    "an accuracy": TargetKind.ACCURACY,
}


@dataclass(frozen=True, eq=False)
class AskedPlan:
    """What a viewer asks for: a plan of one variant; ``stop`` ends the search."""

    variant: str
    target: Target | None
    stop: threading.Event


@dataclass(frozen=True)
class PlanSetters:
    """How a search tells its viewer.

    Attributes:
        run: takes an `AskedPlan`, and at last the sentences about what went wrong.
        plans: the plans of each variant; changes when a search ends.
        news: how far it is, some times a second.
        steps: the news that are worth a picture: another step, or another named plan.
        get_plans: the plans of each variant; kept here for who must not run again with them.
    """

    run: Tell
    plans: Tell
    news: Tell
    steps: Tell
    get_plans: Getter


def remember_plans(
    comparison: Comparison, run_on: RunOn
) -> tuple[Getter, Getter, Getter, Getter, PlanSetters]:
    """Return the getters of plans, run, news and steps, and the setters of all.

    Plans begin with what any viewer has searched for before, without a target.
    """
    hold = partial(mo.state, allow_self_loops=True)
    get_plans, set_plans = hold(recall_plans(comparison, run_on))
    get_run, set_run = hold(None)
    get_news, set_news = hold(None)
    get_steps, set_steps = hold(None)
    setters = PlanSetters(set_run, set_plans, set_news, set_steps, get_plans)
    return get_plans, get_run, get_news, get_steps, setters


def recall_plans(comparison: Comparison, run_on: RunOn) -> dict[str, tuple[MeasuredPlan, ...]]:
    """Return the plans that were searched for before, by any viewer."""
    names = [name for name in comparison.variants if name != comparison.original]
    keys = {name: _identify(comparison, name, run_on, None) for name in names}
    found = {name: _searches.recall(key) for name, key in keys.items()}
    return {name: _list_plans(one) for name, one in found.items() if one is not None}


def _identify(
    comparison: Comparison, variant: str, run_on: RunOn, target: Target | None
) -> tuple[object, ...]:
    return identify_run(comparison, variant, run_on, False), target


def _list_plans(found: PlanProgress) -> tuple[MeasuredPlan, ...]:
    return (found.plan, *found.named) if found.plan is not None else ()


def is_planning(run: object, variant: str | None = None) -> bool:
    """Whether a search goes on; for a variant, where one is named."""
    return isinstance(run, AskedPlan) and variant in (None, run.variant)


def why_no_search(comparison: Comparison, variant: str, run_on: RunOn) -> str:
    """Return why no plan can be measured, empty where one can."""
    if comparison.original is None:
        return "There is no float original here to measure a plan against."
    if not tables.list_runnable(comparison) or variant == comparison.original:
        return "Nothing is quantized here, so there is nothing to take back."
    if run_on.samples is None:
        return (
            f"{run_on.why} "
            * bool(run_on.why)
            + "Without samples no plan can be measured: below, the weights are planned by their "
            "own error, and what that brings the output is not known. Put samples.npz beside the "
            "models: the inputs by name, and labels if there are any."
        )
    return ""


def create_target_kind(run_on: RunOn) -> mo.ui.dropdown:
    """Return the control of what a plan is to reach; an accuracy only where there are labels."""
    has_labels = run_on.samples is not None and run_on.samples.labels is not None
    kinds = [AS_GOOD, *(name for name in KINDS if has_labels or "accuracy" not in name)]
    return mo.ui.dropdown(kinds, value=AS_GOOD, label="until", allow_select_none=False)


def create_target_value(kind: str) -> mo.ui.number | None:
    """Return the control of the figure to reach, None where there is none."""
    if kind == AS_GOOD:
        return None
    if KINDS[kind] is TargetKind.OUTPUT_SQNR:
        return mo.ui.number(start=0, stop=120, step=1, value=30, label="of at least, in dB")
    return mo.ui.number(start=1, stop=100, step=1, value=99, label="of at least, in %")


def create_goal(kind: str, value: float | None) -> Target | None:
    """Return the target that the controls say."""
    if kind == AS_GOOD or value is None:
        return None
    is_share = KINDS[kind] is not TargetKind.OUTPUT_SQNR
    return Target(KINDS[kind], value / 100 if is_share else float(value))


def create_plan_button(variant: str, target: Target | None, setters: PlanSetters) -> mo.ui.button:
    """Return the button that searches for what takes the loss of a variant back."""
    return mo.ui.button(
        label="Find what takes it back",
        on_change=lambda _: setters.run(AskedPlan(variant, target, threading.Event())),
    )


def offer_plan_search(
    button: mo.ui.button, kind: mo.ui.dropdown, value: mo.ui.number | None, variant: str
) -> mo.Html:
    """Return the button, its controls, and what will happen."""
    controls = [button, kind, *([value] if value is not None else [])]
    about = frame_help("What will happen", tables.explain_search(variant))
    parts = "".join(one.text for one in controls)
    return mo.Html(f'<div class="playground-line">{parts}{about}</div>')


def create_plan_stop(asked: AskedPlan) -> mo.ui.button:
    """Return the button that ends a search; the plan found by then stays."""
    return mo.ui.button(label="Stop", kind="danger", on_change=lambda _: asked.stop.set())


def plan_beside(
    comparison: Comparison, run_on: RunOn, asked: AskedPlan, setters: PlanSetters
) -> None:
    """Search beside the page until it is done, ``asked.stop`` is set or the viewer has left."""
    has_left, drawn = watch_viewer(), [(0, 0)]

    def tell(news: PlanProgress) -> None:
        if has_left():
            return
        setters.news(news)
        known = len(news.plan.steps) if news.plan is not None else 0, len(news.named)
        if known != drawn[0]:
            drawn[0] = known
            setters.steps(news)

    def work() -> None:
        searching = _describe_search(comparison, run_on, asked)
        found, why = _searches.follow(searching, lambda: asked.stop.is_set() or has_left(), tell)
        if has_left():
            return
        if found is not None and found.plan is not None:
            plans = _mark_stopped(_list_plans(found))
            setters.plans({**setters.get_plans(), asked.variant: plans})
        setters.news(None)
        setters.steps(None)
        setters.run((f"{asked.variant}: {why}",) if why else None)

    mo.Thread(target=work, daemon=True).start()


def _describe_search(
    comparison: Comparison, run_on: RunOn, asked: AskedPlan
) -> Searching[PlanProgress]:
    def search(tell: Callable[[PlanProgress], None], cancel: threading.Event) -> PlanProgress:
        plan, *named = plan_by_measurement(
            comparison, asked.variant, run_on.samples, asked.target, progress=tell, cancel=cancel
        )
        return PlanProgress(0, plan, tuple(named))

    key = _identify(comparison, asked.variant, run_on, asked.target)
    return Searching(key, search, _is_whole)


def _is_whole(found: PlanProgress) -> bool:
    return found.plan is not None and found.plan.end in (PlanEnd.REACHED, PlanEnd.NOTHING_HELPS)


def _mark_stopped(plans: tuple[MeasuredPlan, ...]) -> tuple[MeasuredPlan, ...]:
    """Return the plans of a search that this viewer stopped: others may still follow it."""
    first, *named = plans
    return (first if first.end else replace(first, end=PlanEnd.STOPPED), *named)


def show_plan_news(news: PlanProgress | None, stop: mo.Html) -> mo.Html:
    """Return the button that stops a search, and how far that is in one line."""
    words = describe_plan_progress(news) if news is not None else "Starting the process"
    return mo.Html(
        f'<div class="playground-line">{stop.text}<div class="playground-progress" role="status">'
        f'<progress aria-label="Searching for a plan"></progress><span>{escape(words)}</span>'
        "</div></div>"
    )


def show_plan_so_far(news: PlanProgress | None) -> mo.Html | None:
    """Return the curve as far as it is known."""
    if news is None or news.plan is None:
        return None
    return show_picture(draw_plan(_list_plans(news)))


def draw_plan(plans: tuple[MeasuredPlan, ...]) -> Picture:
    """Return the curve of the first plan, the others as marks beside it."""
    return render_measured_plan(plans[0], plans[1:])


def show_found(plans: tuple[MeasuredPlan, ...], file_bytes: int) -> mo.Html | None:
    """Return what a search found: a sentence, its curve, and the named plans beside it."""
    plan = plans[0]
    sentence, kind = tables.summarize_measured(plan, file_bytes), tables.judge_plan(plan)
    rest = "".join(f"<div>{escape(one)}</div>" for one in tables.explain_measured(plan))
    verdict = mo.Html(
        f'<div class="playground-verdict playground-{kind}"><p>{explain_terms(sentence)}</p>'
        f"{rest}</div>"
    )
    table = mo.Html(frame_table(tables.create_plans_table(plans)))
    return stack([verdict, table, show_picture(draw_plan(plans)) if plan.steps else None])


def find_taken(plans: tuple[MeasuredPlan, ...], name: PlanName) -> MeasuredPlan | None:
    """Return the plan of a name; the first that changes anything where that one does not."""
    changing = [one for one in plans if one.moves]
    return next((one for one in changing if one.name is name), next(iter(changing), None))


def create_plan_choice(
    plans: tuple[MeasuredPlan, ...], taken: MeasuredPlan, choose: Callable[[PlanName], None]
) -> mo.ui.radio:
    """Return the control of the plan to take, of those that change anything."""
    names = {tables.name_plan(one): one.name for one in plans if one.moves}
    label = tables.name_plan(taken)
    return mo.ui.radio(names, value=label, inline=True, label="Take", on_change=choose)


def show_moves(plan: MeasuredPlan) -> mo.Html:
    """Return the table of what becomes of each tensor, closed where it is long."""
    table = tables.create_move_table(plan)
    title = f"What changes, tensor by tensor: {len(table)}"
    body = frame_table(table)
    return mo.Html(fold(title, body, "playground-details"))


def write_plan(
    comparison: Comparison, plan: MeasuredPlan, variant: str, run_on: RunOn, network: str
) -> mo.Html | None:
    """Return the download of the file that a plan makes, as onnxruntime ran it, or why not."""
    assert run_on.samples is not None
    name = f"{name_file(f'{network}-{variant}')}-better.onnx"
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            mo.status.spinner("Writing the file, and running it", remove_on_exit=True),
        ):
            out = Path(folder) / name
            done = save_plan(comparison, variant, plan, run_on.samples, out)
            content = out.read_bytes()
    except (ValueError, OSError) as error:
        return say([f"This cannot be written: {str(error).removesuffix('.')}."], "warn")
    sentences = tables.describe_saved_plan(done)
    link = mo.download(content, name, "application/octet-stream", label=f"Download {name}")
    kind = tables.judge_saved_plan(done)
    return stack([say(sentences, kind), mo.hstack([link], justify="start")])


def create_taking_buttons(
    comparison: Comparison, plan: MeasuredPlan, variant: str, network: str
) -> tuple[mo.ui.run_button, mo.Html]:
    """Return the button that writes a plan into a file, and the one that downloads its recipe."""
    write = mo.ui.run_button(label="Write the file")
    name = f"{name_file(f'{network}-{variant}')}-recipe.py"
    recipe = mo.download(
        lambda: exports.write_recipe(comparison, variant, plan.moves).encode(),
        name,
        "text/x-python",
        label="Recipe for quantize_static",
    )
    return write, recipe


def show_exclusions(comparison: Comparison, plan: MeasuredPlan) -> mo.Html | None:
    """Return what a plan leaves in float, as NNCF and Quark are told; each behind its name."""
    exclusion = exports.exclude_freed_layers(comparison, plan.moves)
    tools = {name: exports.EXCLUSIONS[name] for name in ("NNCF", "Quark")}
    return stack(
        mo.Html(
            fold(
                f"For {name}: the layers to leave out",
                show_code(write(exclusion), f"The text to paste for {name}").text,
                "playground-details",
            )
        )
        for name, write in tools.items()
    )
