"""Running variants on samples beside the page: one run for all viewers who ask for the same.

The child processes do the work. A run goes on while somebody follows it: it ends early when the
last of them has left or pressed Stop. What was measured wholly is kept for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..parameter_inspector import (
    Comparison,
    Ending,
    EndingKind,
    Limits,
    Outputs,
    Progress,
    RunEndedError,
    Samples,
    SamplesError,
    SharedCache,
    Turn,
    identify_file,
    measure_outputs,
    read_samples,
)
from ..spelling import capitalize
from .background import SECONDS_BETWEEN_NEWS
from .followed import Followed

SAMPLES = "samples.npz"
FAILED = "Measuring failed; the log of the server says why."
Measure = Callable[[Callable[[Progress], None], threading.Event], Outputs]

# What one variant lost, by the files and samples that it was measured with: a megabyte at most.
_outputs: SharedCache[Outputs] = SharedCache(size=48)
_comparisons: SharedCache[Comparison] = SharedCache(size=8)


@dataclass(frozen=True, eq=False)
class RunOn:
    """What the variants of a folder are run on.

    Attributes:
        samples: None for synthetic inputs.
        why: the sentence why the samples of the folder cannot be used, empty otherwise.
        identity: changes when the file does.
    """

    samples: Samples | None
    why: str
    identity: Hashable


_samples: SharedCache[RunOn] = SharedCache(size=4)


def find_samples(comparison: Comparison) -> RunOn:
    """Return the first samples beside the original, read once for all viewers."""
    model = comparison.naming_model
    path = None if model.path is None else model.path.parent / SAMPLES
    if path is None or not path.exists():
        return RunOn(None, "", None)
    identity = (identify_file(path), identify_file(model.path))

    def load() -> RunOn:
        try:
            found = read_samples(comparison, path, path.parent)
        except SamplesError as error:
            return RunOn(None, capitalize(str(error)), None)
        return RunOn(found, "", identity)

    return _samples.get(identity, load)


def identify_run(comparison: Comparison, variant: str, run_on: RunOn, optimized: bool) -> Hashable:
    """Return what a result belongs to: both files, the samples, and how they were run."""
    models = comparison.naming_model, comparison.variants[variant]
    return (*(identify_file(model.path) for model in models), run_on.identity, optimized)


def recall_outputs(comparison: Comparison, run_on: RunOn, optimized: bool) -> dict[str, Outputs]:
    """Return what was measured before, by any viewer."""
    found = {
        name: _outputs.peek(identify_run(comparison, name, run_on, optimized))
        for name in comparison.variants
        if name != comparison.original
    }
    return {name: outputs for name, outputs in found.items() if outputs is not None}


def add_outputs(comparison: Comparison, outputs: Mapping[str, Outputs]) -> Comparison:
    """Return the comparison with what was measured: one record for all viewers."""
    if not outputs:
        return comparison
    key = (comparison, *outputs.items())
    return _comparisons.get(key, lambda: comparison.with_outputs(outputs))


class SharedRun:
    """One measuring, in a thread of its own, for all who follow it."""

    def __init__(self, measure: Measure) -> None:
        self.done = threading.Event()
        self.progress: Progress | None = None
        self.outputs: Outputs | None = None
        self.why = ""
        self.followers = 0
        self.cancel = threading.Event()
        self._turn = Turn(self.cancel)
        self._measure = measure

    @property
    def ahead(self) -> int:
        """How many runs of this server come before this one."""
        return self._turn.ahead

    def work(self) -> None:
        """Measure when the turn has come. What goes wrong is one sentence in ``why``."""
        self.why = FAILED
        try:
            with self._turn:
                self.outputs = self._measure(self._tell, self.cancel)
            self.why = ""
        except (RunEndedError, ValueError, OSError, MemoryError) as ended:
            self.why = capitalize(str(ended) or "there is not enough memory.")
        finally:
            self.done.set()

    def _tell(self, progress: Progress) -> None:
        self.progress = progress

    def known(self) -> Outputs | None:
        """Return what is known so far, as of a measuring that was stopped now."""
        if self.progress is None or self.progress.outputs.sqnr_db is None:
            return None
        return replace(self.progress.outputs, ending=Ending(EndingKind.CANCELLED))


_running: Followed[SharedRun] = Followed()


@dataclass(frozen=True, eq=False)
class News:
    """How far the measuring of some variants is.

    Attributes:
        variant: that is measured now, the ``number``-th of ``count``.
        ahead: how many other runs of the server come first.
        progress: None before the first step.
    """

    variant: str
    number: int
    count: int
    ahead: int = 0
    progress: Progress | None = None

    @property
    def has_shares(self) -> bool:
        return self.progress is not None and bool(self.progress.outputs.groups)


@dataclass(frozen=True, eq=False)
class Wish:
    """What a viewer wants to have measured: these variants, on this, optimized or not."""

    comparison: Comparison
    variants: Sequence[str]
    run_on: RunOn
    optimized: bool
    limits: Limits | None = None


def follow_runs(
    wish: Wish,
    cancelled: Callable[[], bool],
    tell: Callable[[News], None],
    keep: Callable[[str, Outputs], None],
) -> list[str]:
    """Measure variants one after the other; return a sentence for each that could not be.

    Args:
        tell: is called with the news, some times a second.
        keep: is called with what was found of a variant, partial if that was stopped.
    """
    sentences = []
    for number, variant in enumerate(wish.variants, 1):
        if cancelled():
            break
        news = News(variant, number, len(wish.variants))
        outputs, why = _follow_one(wish, news, cancelled, tell)
        if outputs is not None:
            keep(variant, outputs)
        if why:
            sentences.append(f"{variant}: {why}")
    return sentences


def _follow_one(
    wish: Wish, news: News, cancelled: Callable[[], bool], tell: Callable[[News], None]
) -> tuple[Outputs | None, str]:
    key = identify_run(wish.comparison, news.variant, wish.run_on, wish.optimized)
    known = _outputs.peek(key)
    if known is not None:
        return known, ""
    measure = partial(_measure, wish, news.variant, key)
    run = _running.join(key, lambda: SharedRun(measure))
    try:
        tell(news)
        while not run.done.wait(SECONDS_BETWEEN_NEWS):
            if cancelled():
                return run.known(), ""
            tell(replace(news, ahead=run.ahead, progress=run.progress))
    finally:
        _running.leave(run)
    return run.outputs, run.why


def _measure(
    wish: Wish,
    variant: str,
    key: Hashable,
    progress: Callable[[Progress], None],
    cancel: threading.Event,
) -> Outputs:
    """Measure one variant; what is complete is kept for all viewers."""
    known = _outputs.peek(key)  # another may have ended while this one began
    if known is not None:
        return known
    outputs = measure_outputs(
        wish.comparison,
        wish.run_on.samples,
        variant,
        limits=wish.limits,
        optimized=wish.optimized,
        progress=progress,
        cancel=cancel,
    )
    return _outputs.get(key, lambda: outputs) if outputs.complete else outputs
