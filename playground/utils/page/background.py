"""Work beside the page: measuring, searching and watching in threads that end with their viewer.

marimo ends a viewer's own thread with the page, but not what that thread started: each of these
looks whether the viewer is still there.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import marimo as mo

from ..parameter_inspector import (
    FolderLooks,
    Opening,
    Place,
    SharedCache,
    VariantFolder,
    VariantSummary,
    WorkCancelledError,
    compare_folder,
    find_problems,
)
from ..spelling import capitalize

Tell = Callable[[Any], None]
Progress = Callable[[int, int, str], None]
Cancelled = Callable[[], bool]

# What came of each search, for all viewers.
searched: SharedCache[Any] = SharedCache(size=16)

SECONDS_BETWEEN_NEWS = 0.3
SECONDS_BETWEEN_LOOKS = 1.0
_looks = FolderLooks(SECONDS_BETWEEN_LOOKS)


def start_beside(work: Callable[[Progress, Cancelled], None], set_progress: Tell) -> None:
    """Call ``work(progress, cancelled)`` in a thread, so that the page goes on meanwhile.

    It is cancelled with the page, and when the cell that started it runs again.
    """
    # Asked by the threads that measure too, which are none of marimo's.
    cancelled, said = watch_viewer(lambda: thread), [0.0]

    def progress(done: int, total: int, layer_name: str) -> None:
        if time.monotonic() - said[0] > SECONDS_BETWEEN_NEWS and not cancelled():
            said[0] = time.monotonic()
            set_progress((done, total, layer_name))

    thread = mo.Thread(target=lambda: work(progress, cancelled), daemon=True)
    thread.start()


def watch_viewer(get_thread: Callable[[], mo.Thread] = mo.current_thread) -> Cancelled:
    """Return what tells that who is looking now has left.

    Or that the cell which started ``get_thread()`` has run again; that is the thread which asks,
    one of marimo's, where none is given.
    """
    viewer = threading.current_thread()
    return lambda: not viewer.is_alive() or get_thread().should_exit


def takes_long(summaries: Iterable[VariantSummary]) -> bool:
    """Whether there is a page, and measuring the weights takes it longer than half a second."""
    seconds = sum(2e-3 * one.weight_layer_count + 4e-9 * one.weight_count for one in summaries)
    return seconds > 0.5 and has_viewer()


def has_viewer() -> bool:
    """Whether somebody looks at the page; nobody does where it runs as a script."""
    return mo.app_meta().mode in ("edit", "run")


def start_measuring(folder: VariantFolder, set_measured: Tell, set_progress: Tell) -> None:
    """Measure and judge a folder beside the page, and then call ``set_measured(True)``."""

    def work(progress: Progress, cancelled: Cancelled) -> None:
        with suppress(WorkCancelledError):
            try:
                find_problems(compare_folder(folder, progress, cancelled))
            finally:
                # Where that failed, the page tries again and shows why.
                if not cancelled():
                    set_measured(True)

    start_beside(work, set_progress)


def search_beside(
    key: Hashable,
    search: Callable[[Progress, Cancelled], Any],
    run: threading.Event,
    set_run: Tell,
    set_progress: Tell,
) -> None:
    """Call ``search(progress, cancelled)`` beside the page; ``set_run`` gets what came of it.

    That is its result, or a sentence. It ends early when ``run`` is set.
    """

    def work(progress: Progress, cancelled: Cancelled) -> None:
        set_progress((0, 1, ""))
        result: Any
        try:
            result = searched.get(
                key, lambda: search(progress, lambda: run.is_set() or cancelled())
            )
        except (WorkCancelledError, ValueError, OSError, MemoryError) as ended:
            result = capitalize(f"{str(ended) or 'there is not enough memory'}.")
        set_run(result)

    start_beside(work, set_progress)


def watch_folder(
    place: Place, opened: Hashable, tell: Tell, opening: Sequence[Opening] = ()
) -> None:
    """Call ``tell(True)`` once the models of the place are no longer those that were opened.

    That is also when a file is open that nobody waited for. Looks once a second while there is a
    page to tell, at each folder once for all viewers; as a script there is none.
    """
    viewer = threading.current_thread()

    def look() -> None:
        changed = False
        while viewer.is_alive() and not (changed or mo.current_thread().should_exit):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            changed = _looks.look(place) != opened or any(one.is_done for one in opening)
        if changed:
            tell(True)
        gc.unfreeze()  # what `settle` froze can go with the page

    if has_viewer():
        mo.Thread(target=look, daemon=True).start()


def settle() -> None:
    """Collect garbage now, and never look through what remains until a page ends or opens another.

    While Python looks through all that there is, every viewer waits: half a second with two dozen
    of them, more than anything else that a switch of the layer may wait for.
    """
    if mo.app_meta().mode == "run":
        gc.collect()
        gc.freeze()
