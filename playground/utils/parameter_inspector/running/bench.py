"""The children that measure together: each holds the switched model, and takes the next task."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from ..facts import EndingKind
from .comparisons import agreement_db
from .endings import RunEndedError
from .limits import Limits
from .process import Child
from .replies import Differences
from .sample_problems import ModelInput
from .samples import Samples

MOST_CHILDREN = 4
# Batch and single samples are the same where they agree by this.
SAME_BATCH_DB = 80.0
# The names of the sessions, and of the references that they left.
FLOAT, FILE, SWITCHED, STATISTICS = "float", "file", "switched", "statistics"

Task = Callable[[Child, int], None]


class Bench:
    """Children with the same samples, and how all of them run.

    Attributes:
        outputs: that are compared.
        rows_per_run: samples in each run; None for all at once.
    """

    def __init__(
        self,
        stack: ExitStack,
        samples: Samples,
        limits: Limits,
        optimized: bool,
        cancel: threading.Event | None,
    ) -> None:
        self.samples, self.limits, self.optimized = samples, limits, optimized
        self.outputs: tuple[str, ...] | None = None
        self.rows_per_run: int | None = None
        self._stack = stack
        self._cancel = cancel or threading.Event()
        self._lock = threading.Lock()
        self.children: list[Child] = []
        self.first = self._start()

    def _start(self) -> Child:
        child = self._stack.enter_context(Child(self.limits, cancel=self._cancel))
        self.children.append(child)
        child.hold("samples", self.samples.inputs, stacked=self.samples.stacked)
        return child

    def start_others(self, most: int, prepare: Callable[[Child], None]) -> None:
        """Start as many children as there are cores, four at most, and prepare each."""
        while len(self.children) < min(MOST_CHILDREN, count_cores(), most):
            self._start()
        with ThreadPoolExecutor(len(self.children)) as pool:
            list(pool.map(prepare, self.children))

    def choose_rows(self, wanted: Sequence[ModelInput], session: str, *, one_by_one: bool) -> None:
        """Choose how many samples a run takes: all where that gives what single samples give.

        Args:
            wanted: what the model asks for.
            session: a model that the first child has loaded.
            one_by_one: a sample's outputs depend on those beside it.
        """
        self.rows_per_run = self.samples.rows_per_run(wanted)
        if self.rows_per_run is None and (one_by_one or not self._is_batch_sound(session)):
            self.rows_per_run = 1

    def _is_batch_sound(self, session: str) -> bool:
        rows = range(min(2, self.samples.count))
        try:
            self.first.keep(session, session, outputs=self.outputs)
            single = self.first.compare(
                session, session, outputs=self.outputs, rows=rows, one_by_one=True
            )
        except RunEndedError as error:
            if not self.first.alive or error.ending.kind is not EndingKind.FAILED:
                raise
            return False
        return agreement_db(single) >= SAME_BATCH_DB

    def load(self, child: Child, model: bytes, session: str) -> None:
        child.load(model, session=session, optimized=self.optimized)

    def keep(
        self, child: Child, session: str, gates: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Keep what a session puts out, under its own name."""
        child.keep(
            session, session, extra=gates, outputs=self.outputs, rows_per_run=self.rows_per_run
        )

    def compare(
        self,
        child: Child,
        reference: str,
        session: str,
        gates: Mapping[str, np.ndarray] | None = None,
        *,
        rows: Sequence[int] | None = None,
        whole: bool = False,
    ) -> dict[str, Differences]:
        """Compare what a session puts out with what was kept.

        Args:
            whole: by channel, with argmaxes and labels.
        """
        return child.compare(
            reference,
            session,
            extra=gates,
            outputs=self.outputs,
            rows_per_run=self.rows_per_run,
            rows=rows,
            by_channel=whole,
            argmax=whole,
            labels=self.samples.labels if whole else None,
        )

    def share_out(self, do: Task, tasks: Iterable[int]) -> None:
        """Give each task to the child that is free next. The first error ends all."""
        waiting = iter(tasks)
        stopped = threading.Event()

        def work(child: Child) -> None:
            while not stopped.is_set():
                with self._lock:
                    task = next(waiting, None)
                if task is None:
                    return
                try:
                    do(child, task)
                except BaseException:
                    stopped.set()
                    raise

        with ThreadPoolExecutor(len(self.children)) as pool:
            done = [pool.submit(work, child) for child in self.children]
        for one in done:
            one.result()


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
