"""A child process that runs models, kept within limits; every ending of it is a fact."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

import numpy as np

from ..facts import Ending, EndingKind
from . import limits as machine
from .endings import RunEndedError, clean_message
from .limits import Limits
from .replies import (
    BadReplyError,
    Differences,
    LoadedModel,
    NoReplyError,
    Reply,
    list_announced,
    parse_differences,
    parse_loaded,
    parse_shapes,
    read_header,
    read_reply,
)

PROGRAM = Path(__file__).with_name("child.py")
# What the child sees of the environment: what finding libraries and spelling text needs.
_ENVIRONMENT = """
    PATH LD_LIBRARY_PATH DYLD_LIBRARY_PATH LANG LC_ALL LC_CTYPE SYSTEMROOT SYSTEMDRIVE WINDIR
""".split()
# Between two looks at clock, memory and Stop: a fill of 16 GB passes its limit by some 20 MB.
_LOOK_SECONDS = 0.01 if sys.platform == "linux" else 0.25
# A killed process is gone in 0.1 s; a thread that does not end then waits for someone else's pipe.
_END_SECONDS = 10.0
_START_SECONDS = 60.0
_MOST_REPLY_BYTES = 1 << 30


class Child:
    """A process that holds models and samples, runs and compares them, within limits.

    Every method ends: with its answer, or with `RunEndedError`. After REFUSED, FAILED and a MEMORY
    that the child itself reported it can be asked further (`alive`); all other endings end it.
    After MEMORY load the model again: onnxruntime's arena then refuses what it had room for.
    One thread at a time.

    Args:
        threads: of each run.
        cancel: an event that stops whatever goes on.
        on_step: called after each run of the model, on another thread, while a request goes on.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        threads: int = 1,
        cancel: threading.Event | None = None,
        on_step: Callable[[], None] | None = None,
        program: Path = PROGRAM,
    ) -> None:
        self.limits = limits
        self.threads = threads
        self._cancel = cancel or threading.Event()
        self._on_step = on_step
        self._number = 0
        self._peak = 0
        self._ending: Ending | None = None
        self._started = time.monotonic()
        with _starting():
            self._folder = tempfile.mkdtemp(prefix="playground-")
        try:
            with _starting():
                self._process = _start(program, self._folder, limits, threads)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._exchange: Exchange | None = None

    @property
    def limits_memory(self) -> bool:
        """Whether memory is limited on this kind of machine."""
        return machine.can_read_memory()

    @property
    def alive(self) -> bool:
        return self._ending is None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def peak_memory(self) -> int:
        """The most resident bytes that were seen; also after the end."""
        self._see_peak()
        return self._peak

    def load(
        self, model: bytes, *, session: str = "switched", optimized: bool = False
    ) -> LoadedModel:
        """Open a model under a name.

        Args:
            model: an ONNX file without external data.
            optimized: let onnxruntime rewrite the graph as it does by default.

        Raises:
            RunEndedError: as every method here.
        """
        words = {"session": session, "optimized": optimized, "threads": self.threads}
        with self._trusting_nothing():
            return parse_loaded(self._ask("load", words, {"model": model}))

    def hold(self, key: str, arrays: Mapping[str, np.ndarray], *, stacked: bool = False) -> None:
        """Give samples to the child: arrays by input name, axis 0 counts the samples.

        Args:
            stacked: the model's inputs do not have that axis; each sample is run alone.
        """
        self._ask("hold", {"key": key, "stacked": stacked}, arrays)

    def drop(self, key: str) -> None:
        """Forget the session, the samples and the reference of that name."""
        self._ask("drop", {"key": key})

    def run(
        self,
        session: str,
        *,
        held: str = "samples",
        extra: Mapping[str, np.ndarray] | None = None,
        outputs: Sequence[str] | None = None,
        one_by_one: bool = False,
        rows_per_run: int | None = None,
        rows: Sequence[int] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return outputs by name: axis 0 counts the samples where the outputs have them.

        Args:
            extra: further inputs, the same for each run.
            outputs: None for all; those that numpy cannot hold are left out.
            rows_per_run: so many samples in each run; None for all at once.
            rows: which samples; None for all.
        """
        words = _run_words(session, held, outputs, 1 if one_by_one else rows_per_run, rows)
        words["most_bytes"] = self._most_bytes
        return dict(self._ask("run", words, _extra(extra)).arrays)

    def keep(
        self,
        reference: str,
        session: str,
        *,
        held: str = "samples",
        extra: Mapping[str, np.ndarray] | None = None,
        outputs: Sequence[str] | None = None,
        one_by_one: bool = False,
        rows_per_run: int | None = None,
        rows: Sequence[int] | None = None,
    ) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Run as `run` does, keep the outputs in the child, and return the shapes of each run."""
        words = _run_words(session, held, outputs, 1 if one_by_one else rows_per_run, rows)
        with self._trusting_nothing():
            return parse_shapes(self._ask("keep", {**words, "reference": reference}, _extra(extra)))

    def compare(
        self,
        reference: str,
        session: str,
        *,
        held: str = "samples",
        extra: Mapping[str, np.ndarray] | None = None,
        outputs: Sequence[str] | None = None,
        one_by_one: bool = False,
        rows_per_run: int | None = None,
        rows: Sequence[int] | None = None,
        by_channel: bool = False,
        argmax: bool = False,
        labels: np.ndarray | None = None,
    ) -> dict[str, Differences]:
        """Run as `run` does and compare with what was kept, output by output.

        Args:
            labels: of all samples that are held, in their order.
        """
        words = _run_words(session, held, outputs, 1 if one_by_one else rows_per_run, rows)
        words |= {"reference": reference, "by_channel": by_channel, "argmax": argmax}
        arrays = _extra(extra) | ({} if labels is None else {"labels": labels})
        with self._trusting_nothing():
            return parse_differences(self._ask("compare", words, arrays), by_channel)

    def close(self) -> None:
        """End the process, whatever it does. Nothing can be asked afterwards."""
        self._ending = self._ending or Ending(EndingKind.CANCELLED)
        if self._process.returncode is None:
            self._see_peak()
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
        self._close_pipes()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _most_bytes(self) -> int:
        return min(self.limits.memory_bytes, _MOST_REPLY_BYTES)

    def _ask(
        self,
        do: str,
        words: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray | bytes] | None = None,
    ) -> Reply:
        """Return the answer to one request; wait for it no longer than the limits say."""
        if self._number == 0 and do != "start":
            self._ask("start", {})
        if self._ending is not None:
            raise RunEndedError(self._ending)
        self._number += 1
        exchange = self._exchange = Exchange(
            self._process, self._number, self._most_bytes, self._on_step
        )
        exchange.start(do, words, arrays or {})
        while not exchange.done.wait(_LOOK_SECONDS):
            self._look_at_limits(exchange)
        # Once more: one who asks many short questions is to be stopped as well.
        self._look_at_limits(exchange)
        return self._judge(exchange)

    def _look_at_limits(self, exchange: Exchange) -> None:
        limits, now = self.limits, time.monotonic()
        # Before the first answer, Python and onnxruntime are imported: no work of a model.
        run_seconds = max(limits.run_seconds, _START_SECONDS if self._number == 1 else 0)
        seconds = now - exchange.begun
        if self._cancel.is_set():
            self._end(Ending(EndingKind.CANCELLED, seconds))
        if now - self._started > limits.total_seconds:
            self._end(Ending(EndingKind.TIME, limits.total_seconds, in_all=True))
        if now - exchange.last_step > run_seconds and not exchange.done.is_set():
            self._end(Ending(EndingKind.TIME, run_seconds))
        if (self._see_memory() or 0) > limits.memory_bytes:
            self._end(Ending(EndingKind.MEMORY, seconds, limits.memory_bytes))

    def _judge(self, exchange: Exchange) -> Reply:
        """Return the reply, or raise what it says or shows."""
        reply, seconds = exchange.outcome, time.monotonic() - exchange.begun
        if isinstance(reply, BadReplyError):
            self._end(Ending(EndingKind.BAD_REPLY, seconds, detail=clean_message(str(reply))))
        if isinstance(reply, (NoReplyError, OSError)):
            self._end_crashed(seconds)
        if not isinstance(reply, Reply):
            self.close()
            raise reply if reply is not None else AssertionError("no outcome")
        if reply.end == "done":
            return reply
        kind = EndingKind(reply.end)
        memory = self.limits.memory_bytes if kind is EndingKind.MEMORY else 0
        raise RunEndedError(Ending(kind, seconds, memory, detail=clean_message(reply.why)))

    def _end_crashed(self, seconds: float) -> NoReturn:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            why = "it closed its pipe and went on"
            self._end(Ending(EndingKind.BAD_REPLY, seconds, detail=why))
        if code < 0:
            self._end(Ending(EndingKind.CRASHED, seconds, signal=-code))
        self._end(Ending(EndingKind.CRASHED, seconds, detail=f"exit code {code}"))

    def _end(self, ending: Ending) -> NoReturn:
        self._ending = ending
        self.close()
        raise RunEndedError(ending)

    @contextlib.contextmanager
    def _trusting_nothing(self) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        except BadReplyError as error:
            seconds, detail = time.monotonic() - begun, clean_message(str(error))
            self._end(Ending(EndingKind.BAD_REPLY, seconds, detail=detail))

    def _close_pipes(self) -> None:
        thread = self._exchange.thread if self._exchange is not None else None
        if thread is not None:
            thread.join(_END_SECONDS)
            if thread.is_alive():  # a process of the child's has the pipe: closing it would block
                return
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not written yet has no reader
                if pipe is not None:
                    pipe.close()

    def _see_peak(self) -> None:
        if self._process.returncode is None:
            self._peak = max(self._peak, machine.read_peak_memory(self.pid) or 0)

    def _see_memory(self) -> int | None:
        """Return what the process takes now; None where it cannot be seen, or after its end."""
        if self._process.returncode is not None:
            return None
        memory = machine.read_memory(self.pid)
        self._peak = max(self._peak, memory or 0)
        return memory


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Tell what the system refuses, such as a full disk, as the end of the run that it is."""
    try:
        yield
    except OSError as error:
        detail = f"no process for it can be started: {error.strerror or type(error).__name__}"
        raise RunEndedError(Ending(EndingKind.FAILED, detail=detail)) from error


def _start(program: Path, folder: str, limits: Limits, threads: int) -> subprocess.Popen[bytes]:
    """Start the child in an empty folder.

    It is not told to die with the thread that starts it (PDEATHSIG): threads serve a request and
    end. It ends when the pipe to it does, which the system closes however this process ends.
    """
    return subprocess.Popen(
        [sys.executable, "-I", str(program), str(limits.memory_bytes), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=_environment(folder),
        close_fds=True,
    )


def _environment(folder: str) -> dict[str, str]:
    known = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    homes = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), folder)
    return {**known, **threads, **homes, "ORT_DISABLE_TELEMETRY": "1"}


def _run_words(
    session: str,
    held: str,
    outputs: Sequence[str] | None,
    rows_per_run: int | None,
    rows: Sequence[int] | None,
) -> dict[str, Any]:
    return {
        "session": session,
        "held": held,
        "outputs": None if outputs is None else list(outputs),
        "rows_per_run": rows_per_run,
        "rows": None if rows is None else [int(row) for row in rows],
    }


def _extra(extra: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray | bytes]:
    return {f"extra:{name}": array for name, array in (extra or {}).items()}


class Exchange:
    """One request and its reply, on a thread: a pipe blocks as long as the other side pleases.

    Attributes:
        begun, last_step: seconds of the monotonic clock; a step is the end of one run.
        outcome: the reply, or why there is none, once ``done`` is set.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        number: int,
        most_bytes: int,
        on_step: Callable[[], None] | None,
    ) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._to: IO[bytes] = process.stdin
        self._from: IO[bytes] = process.stdout
        self._number = number
        self._most_bytes = most_bytes
        self._on_step = on_step
        self.begun = self.last_step = time.monotonic()
        self.done = threading.Event()
        self.outcome: Reply | BaseException | None = None
        self.thread: threading.Thread | None = None

    def start(
        self, do: str, words: Mapping[str, Any], arrays: Mapping[str, np.ndarray | bytes]
    ) -> None:
        """Send the request and read its reply, on a thread of its own.

        Raises:
            TypeError: an array is not of numbers.
        """
        native = {name: _as_sent(name, one) for name, one in arrays.items()}
        header = {**words, "number": self._number, "do": do, "arrays": list_announced(native)}
        line = json.dumps(header).encode() + b"\n"
        target = self._talk
        self.thread = threading.Thread(target=target, args=(line, native), daemon=True)
        self.thread.start()

    def _talk(self, line: bytes, arrays: Mapping[str, np.ndarray | bytes]) -> None:
        try:
            self._write(line, arrays)
            self.outcome = self._read()
        except BaseException as error:  # raised again where the answer is waited for
            self.outcome = error
        finally:
            self.done.set()

    def _write(self, line: bytes, arrays: Mapping[str, np.ndarray | bytes]) -> None:
        self._to.write(line)
        for one in arrays.values():
            data = one if isinstance(one, bytes) else _bytes_of(one)
            self._to.write(data)
        self._to.flush()

    def _read(self) -> Reply:
        while True:
            header = read_header(self._from, self._number)
            if "ran" not in header:
                return read_reply(self._from, header, self._most_bytes)
            self.last_step = time.monotonic()
            if self._on_step is not None:
                self._on_step()


def _as_sent(name: str, one: np.ndarray | bytes) -> np.ndarray | bytes:
    if isinstance(one, bytes):
        return one
    if one.dtype.kind not in "biuf" or one.dtype.itemsize > 8:
        raise TypeError(f"array {name!r} has type {one.dtype}, which is not one of numbers")
    return one.astype(one.dtype.newbyteorder("="), order="C", copy=False)


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
