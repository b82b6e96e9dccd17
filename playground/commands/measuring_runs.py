"""Models run on samples, for every command that takes them: options, progress, and how it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from playground.utils.parameter_inspector import (
    MOST_SAMPLES,
    Comparison,
    EndingKind,
    Limits,
    MeasuredPlan,
    Model,
    ModelTooLargeError,
    Outputs,
    PlanProgress,
    RunEndedError,
    Samples,
    SamplesError,
    UnavailableError,
    describe_ending,
    describe_given,
    describe_plan_progress,
    describe_progress,
    measure_outputs,
    read_samples,
)

from .arguments import check_positive
from .failing import CannotRunError
from .opening import file_name
from .saying import progress_line, tell

Decorated = Callable[..., None]
Search = Callable[
    [Callable[[PlanProgress], None] | None, threading.Event], tuple[MeasuredPlan, ...]
]


def running_options(command: Decorated) -> Decorated:
    """Add what the commands that can run models share."""
    for option in (
        click.option(
            "--time-limit",
            type=float,
            callback=check_positive,
            metavar="SECONDS",
            help="Stop measuring one model after so long; half an hour if not given.",
        ),
        click.option(
            "--samples",
            type=click.Path(path_type=Path),
            help="Run the models on these inputs: an .npz file by input name, or a folder of "
            f".npy, .npz or .pb files. The first {MOST_SAMPLES} are taken.",
        ),
    ):
        command = option(command)
    return command


def read_given(comparison: Comparison, samples: Path | None) -> Samples:
    """Return the samples of a file or folder; without one, synthetic inputs."""
    try:
        return read_samples(comparison, samples)
    except SamplesError as error:
        raise CannotRunError(str(error)) from error


def measure_with_progress(
    comparison: Comparison,
    samples: Samples,
    time_limit: float | None,
    optimized: bool = False,
    skip: Container[str] = (),
) -> Comparison:
    """Return the comparison with what running each quantized variant found.

    Args:
        skip: the variants that do not run; without its original none can be measured.
    """
    quantized = [name for name in comparison.variants if name != comparison.original]
    if not quantized:
        raise CannotRunError("no model is quantized: there is nothing to measure")
    if comparison.original in skip:
        return comparison
    limits = running_limits(time_limit)
    tell(f"Measuring on {describe_given(samples)}.")
    for variant in quantized:
        if variant in skip:
            continue
        found = measure_one(comparison, variant, samples, limits, optimized)
        comparison = comparison.with_outputs({variant: found})
    return comparison


def running_limits(time_limit: float | None) -> Limits:
    """Return what a model may take of this machine, and no more time than is given."""
    limits = Limits.for_this_machine()
    if time_limit is None:
        return limits
    each = min(limits.run_seconds, time_limit)
    return replace(limits, run_seconds=each, total_seconds=time_limit)


def search_with_progress(search: Search, model: Model) -> tuple[MeasuredPlan, ...]:
    """Return the plans that a search finds; Ctrl-C keeps what there is.

    Raises:
        CannotRunError: the models could not be run at all.
    """
    cancel = threading.Event()
    with running(model, cancel), progress_line(describe_plan_progress) as progress:
        return search(progress, cancel)


def measure_one(
    comparison: Comparison, variant: str, samples: Samples, limits: Limits, optimized: bool
) -> Outputs:
    cancel = threading.Event()
    with (
        running(comparison.variants[variant], cancel),
        progress_line(describe_progress) as progress,
    ):
        found = measure_outputs(
            comparison,
            samples,
            variant,
            limits=limits,
            optimized=optimized,
            progress=progress,
            cancel=cancel,
        )
    if found.ending is not None and found.ending.kind is EndingKind.CANCELLED:
        raise KeyboardInterrupt
    return found


@contextmanager
def running(model: Model, cancel: threading.Event) -> Iterator[None]:
    """Let Ctrl-C set the event while a model runs, and say in one way why it could not.

    Raises:
        CannotRunError: the model could not be run.
        KeyboardInterrupt: it was stopped before anything was known.
    """
    name = file_name(model)
    try:
        with stopped_by_interrupt(cancel):
            yield
    except ModelTooLargeError as error:
        raise CannotRunError(f"{name}: it is too large to be run here, {error}") from error
    except (RunEndedError, UnavailableError) as error:
        if cancel.is_set():
            raise KeyboardInterrupt from error
        raise CannotRunError(f"{name}: {error}") from error


@contextmanager
def stopped_by_interrupt(cancel: threading.Event) -> Iterator[None]:
    """Let Ctrl-C set the event: what waits for children must not be torn out of its waiting."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: cancel.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def refuse_unfinished(comparison: Comparison) -> None:
    """Raise where measuring ended early: what is printed then is not all there is."""
    for variant, outputs in comparison.outputs.items():
        if outputs.ending is not None:
            name = file_name(comparison.variants[variant])
            raise CannotRunError(f"{name}: {describe_ending(outputs.ending)}")
