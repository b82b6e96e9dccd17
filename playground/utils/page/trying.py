"""What would fix one layer: its weight on trial, the controls of a scheme, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

import marimo as mo

from .. import tables
from ..parameter_inspector import (
    Candidate,
    Comparison,
    Scheme,
    SharedCache,
    Trial,
    WeightOnTrial,
    change_scheme,
    open_weight,
)
from ..spelling import capitalize
from .drawing import LARGE_WEIGHT, spin_if_many
from .shown import say, show_table, stack

T = TypeVar("T")

# What viewers share: the weights on trial, the last ones only, and what came of schemes.
opened_weights: SharedCache[WeightOnTrial] = SharedCache(size=4)
attempted_schemes: SharedCache[Trial] = SharedCache(size=64)
listed_candidates: SharedCache[tuple[Candidate, ...]] = SharedCache(size=64)


def explain_failure(compute: Callable[[], T]) -> tuple[T | None, str]:
    """Return what ``compute`` returns, or None and the sentence why there is nothing."""
    try:
        return compute(), ""
    except ValueError as error:
        return None, capitalize(f"{error}.")


def is_large(on_trial: WeightOnTrial) -> bool:
    """Whether trying many schemes on this weight is worth a question first."""
    return on_trial.original.size > LARGE_WEIGHT


def open_trial_weight(
    files: Hashable, comparison: Comparison, variant: str, layer: str
) -> tuple[WeightOnTrial | None, str]:
    """Return the weight of a layer to try schemes on, or None and why there is none.

    Very large weights are read each time, so that what viewers share stays bounded.
    """
    size = math.prod(comparison.measured(layer, variant).weight.shape)
    read = partial(open_weight, comparison, variant, layer)
    shared = partial(opened_weights.get, (files, variant, layer), read)
    with spin_if_many("Reading", size):
        return explain_failure(read if size > LARGE_WEIGHT else shared)


def attempt_scheme(
    files: Hashable, variant: str, on_trial: WeightOnTrial, scheme: Scheme
) -> tuple[Trial | None, str]:
    """Return what a scheme would make of a weight, or None and why it cannot."""
    key = files, variant, on_trial.layer_name, scheme
    with spin_if_many("Quantizing", on_trial.original.size):
        return explain_failure(lambda: attempted_schemes.get(key, lambda: on_trial.attempt(scheme)))


def find_candidates(
    files: Hashable, variant: str, on_trial: WeightOnTrial
) -> tuple[tuple[Candidate, ...] | None, str]:
    """Return the schemes worth trying, or None and why."""
    key = files, variant, on_trial.layer_name
    with spin_if_many("Trying the candidates on", on_trial.original.size):
        return explain_failure(lambda: listed_candidates.get(key, on_trial.list_candidates))


def create_controls(
    scheme: Scheme, on_trial: WeightOnTrial, set_scheme: Callable[[Scheme], None]
) -> list[mo.Html]:
    """Return a control for each part of a scheme, and one that undoes all."""
    controls: list[mo.Html] = [
        _create_control(part, label, scheme, on_trial, set_scheme)
        for part, (label, _) in tables.CONTROLS.items()
    ]
    undo = mo.ui.button(
        label="Undo changes",
        disabled=scheme == on_trial.scheme,
        on_change=lambda _: set_scheme(on_trial.scheme),
    )
    return [*controls, undo]


def _create_control(
    part: str,
    label: str,
    scheme: Scheme,
    on_trial: WeightOnTrial,
    set_scheme: Callable[[Scheme], None],
) -> mo.ui.dropdown:
    options = tables.create_control_options(scheme, part, on_trial)
    values: dict[Any, str] = {value: name for name, value in options.items()}
    return mo.ui.dropdown(
        options,
        value=values[getattr(scheme, part)],
        label=label,
        allow_select_none=False,
        full_width=True,
        disabled=len(options) == 1,
        on_change=lambda value: set_scheme(change_scheme(scheme, part, value)),
    )


def show_trial_numbers(trial: Trial) -> mo.Html | None:
    """Return the current scheme beside the proposed one, and a warning where that cannot run."""
    table = show_table(tables.create_trial_table(trial))
    return stack([table, say(tables.explain_trial(trial), "warn")])
