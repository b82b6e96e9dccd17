"""The program of the child process: it holds sessions and samples, runs them, and compares.

It stands alone: started as ``python -I child.py``, it imports numpy, onnxruntime and the standard
library, never the package around it. A request and its reply are a line of JSON and the bytes of
arrays; each array crosses the pipe once. It ends when its standard input does.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

Array = np.ndarray
# Which samples: by their numbers.
Rows = range | tuple[int, ...]
# What onnxruntime says when an allocation fails, at the several places where one can.
_MEMORY_WORDS = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory")
_MESSAGE_CHARACTERS = 4000
# Elements that are compared at a time: 8 MB as float64.
_CHUNK = 1 << 20
# The element types that numpy has as well; what else a model gives out cannot be compared.
_NUMPY_TYPES = {
    f"tensor({name})"
    for name in (
        "float16 float double bool int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()
    )
}


class RequestError(ValueError):
    """The request cannot be done; the message says why."""


@dataclass(frozen=True, eq=False)
class Request:
    """One thing that is asked for: what to do, its words, its arrays (or bytes) by name."""

    number: int
    do: str
    words: Mapping[str, Any]
    arrays: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Reply:
    words: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Held:
    """Samples: axis 0 of each array counts them.

    Attributes:
        stacked: a sample is fed without that axis, alone.
    """

    arrays: Mapping[str, Array]
    stacked: bool

    @property
    def count(self) -> int:
        return min((len(array) for array in self.arrays.values()), default=1)

    def feed(self, rows: Rows) -> dict[str, Array]:
        if self.stacked:
            return {name: array[rows[0]] for name, array in self.arrays.items()}
        chosen = slice(rows.start, rows.stop) if isinstance(rows, range) else list(rows)
        return {name: np.ascontiguousarray(array[chosen]) for name, array in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class Part:
    """One output of one run.

    Attributes:
        rows: the samples that ran.
        by_sample: axis 0 of the array counts those samples; else it is of the run as a whole.
    """

    rows: Rows
    array: Array
    by_sample: bool

    @property
    def units(self) -> int:
        """What is judged one by one: samples, or the run."""
        return len(self.rows) if self.by_sample else 1

    @property
    def stack(self) -> Array:
        """The array with an axis 0 that counts the units."""
        return self.array if self.by_sample else self.array[np.newaxis]


def _as_part(rows: Rows, array: Array, stacked: bool) -> Part:
    return Part(rows, array, not stacked and array.shape[:1] == (len(rows),))


Parts = dict[str, list[Part]]


class Opened:
    """A session, and what it takes and gives: outputs with their types."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs = frozenset(one.name for one in session.get_inputs())
        self.outputs = {one.name: one.type for one in session.get_outputs()}

    def choose_outputs(self, asked: Sequence[str] | None) -> list[str]:
        """Return the outputs that numpy can hold, of those asked for."""
        missing = sorted(set(asked or ()) - set(self.outputs))
        if missing:
            raise RequestError(f"the model has no output {missing[0]!r}")
        known = [name for name, kind in self.outputs.items() if kind in _NUMPY_TYPES]
        chosen = [name for name in known if asked is None or name in asked]
        if not chosen:  # onnxruntime would take an empty list for all
            raise RequestError("none of its outputs are numbers")
        return chosen


# --- reading and writing -------------------------------------------------------------------------


def read_requests(stream: BinaryIO, requests: queue.Queue[Request]) -> None:
    """Put requests into the queue until the other side is gone, then end this process."""
    try:
        for line in stream:
            requests.put(_read_request(line, stream))
    finally:
        # Also while a model runs: nobody is left to hear of it.
        os._exit(0)


def _read_request(line: bytes, stream: BinaryIO) -> Request:
    words = json.loads(line)
    arrays: dict[str, Any] = {}
    try:
        for name, dtype, shape in words["arrays"]:
            arrays[name] = _read_array(stream, dtype, shape)
    except MemoryError:
        left = sum(_size(*one[1:]) for one in words["arrays"][len(arrays) :])
        while left:
            left -= len(stream.read(min(left, 1 << 20)))
        return Request(words["number"], "refuse", {}, {})
    return Request(words["number"], words["do"], words, arrays)


def _size(dtype: str, shape: list[int]) -> int:
    return math.prod(shape) * (1 if dtype == "bytes" else np.dtype(dtype).itemsize)


def _read_array(stream: BinaryIO, dtype: str, shape: list[int]) -> Any:
    data = stream.read(_size(dtype, shape))
    return data if dtype == "bytes" else np.frombuffer(data, dtype).reshape(shape)


def write_reply(stream: BinaryIO, number: int, end: str, why: str, reply: Reply) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in reply.arrays.items()}
    header = {
        "number": number,
        "end": end,
        "why": why[:_MESSAGE_CHARACTERS],
        **reply.words,
        "arrays": [[name, a.dtype.name, reply.arrays[name].shape] for name, a in arrays.items()],
    }
    stream.write(json.dumps(header).encode() + b"\n")
    for array in arrays.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


# --- running -------------------------------------------------------------------------------------


class Worker:
    """What the child holds, and one method for each thing that it can be asked to do."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.sessions: dict[str, Opened] = {}
        self.held: dict[str, Held] = {}
        self.references: dict[str, Reference] = {}

    def do(self, request: Request) -> Reply:
        actions = {
            "refuse": self.refuse,
            "start": self.start,
            "load": self.load,
            "hold": self.hold,
            "drop": self.drop,
            "run": self.run,
            "keep": self.keep,
            "compare": self.compare,
        }
        return actions[request.do](request)

    def start(self, _request: Request) -> Reply:
        onnxruntime = import_runtime()
        onnxruntime.disable_telemetry_events()
        return Reply({"version": str(onnxruntime.__version__)})

    def refuse(self, _request: Request) -> Reply:
        raise MemoryError

    def load(self, request: Request) -> Reply:
        words = request.words
        begun = time.perf_counter()
        model = request.arrays["model"]
        session = _open_session(model, words["optimized"], words["threads"])
        self.sessions[words["session"]] = Opened(session)
        return Reply(
            {
                "seconds": time.perf_counter() - begun,
                "inputs": [_describe_port(one) for one in session.get_inputs()],
                "outputs": [_describe_port(one) for one in session.get_outputs()],
            }
        )

    def hold(self, request: Request) -> Reply:
        self.held[request.words["key"]] = Held(request.arrays, request.words["stacked"])
        return Reply()

    def drop(self, request: Request) -> Reply:
        for kind in (self.sessions, self.held, self.references):
            kind.pop(request.words["key"], None)
        return Reply()

    def run(self, request: Request) -> Reply:
        arrays = {name: _join(name, parts) for name, parts in self._collect(request).items()}
        size = sum(array.nbytes for array in arrays.values())
        if size > request.words["most_bytes"]:
            most = request.words["most_bytes"]
            raise RequestError(f"its outputs take {size:,} bytes, more than {most:,}")
        return Reply({}, arrays)

    def keep(self, request: Request) -> Reply:
        parts = self._collect(request)
        self.references[request.words["reference"]] = Reference(parts)
        shapes = {name: [list(p.array.shape) for p in these] for name, these in parts.items()}
        return Reply({"shapes": shapes})

    def compare(self, request: Request) -> Reply:
        words = request.words
        reference = self.references.get(words["reference"])
        if reference is None:
            raise RequestError(f"no reference {words['reference']!r} is kept")
        tally = Tally(reference, words["by_channel"], words["argmax"], request.arrays.get("labels"))
        for parts in self._runs(request):
            for name, part in parts.items():
                if name in reference.parts:
                    tally.add(name, part)
        return tally.reply()

    def _collect(self, request: Request) -> Parts:
        collected: Parts = {}
        for parts in self._runs(request):
            for name, part in parts.items():
                collected.setdefault(name, []).append(part)
        return collected

    def _runs(self, request: Request) -> Iterator[dict[str, Part]]:
        """Run the samples that are asked for, and yield the outputs of each run."""
        words = request.words
        opened, held = self._look_up(words)
        outputs = opened.choose_outputs(words["outputs"])
        rows = range(held.count) if words["rows"] is None else _as_rows(words["rows"])
        if rows and not 0 <= min(rows) <= max(rows) < held.count:
            raise RequestError(f"there are {held.count} samples, asked for up to {max(rows)}")
        extra = {
            k.removeprefix("extra:"): a for k, a in request.arrays.items() if k[:6] == "extra:"
        }
        options = import_runtime().RunOptions()
        options.log_severity_level = 4
        for these in _split(rows, 1 if held.stacked else words["rows_per_run"]):
            samples = {k: a for k, a in held.feed(these).items() if k in opened.inputs}
            found = opened.session.run(outputs, {**samples, **extra}, options)
            named = zip(outputs, found, strict=True)
            yield {name: _as_part(these, array, held.stacked) for name, array in named}
            del found, named
            self._tell_that_one_ran(request.number)

    def _look_up(self, words: Mapping[str, Any]) -> tuple[Opened, Held]:
        session, held = self.sessions.get(words["session"]), self.held.get(words["held"])
        if session is None:
            raise RequestError(f"no session {words['session']!r} is loaded")
        if held is None:
            raise RequestError(f"no samples {words['held']!r} are held")
        return session, held

    def _tell_that_one_ran(self, number: int) -> None:
        self.stream.write(json.dumps({"number": number, "ran": 1}).encode() + b"\n")
        self.stream.flush()


def import_runtime() -> Any:
    """Return onnxruntime, imported when it is asked for: what is wrong with it is then a reply."""
    import onnxruntime  # type: ignore[import-untyped]

    return onnxruntime


def _open_session(model: Any, optimized: bool, threads: int) -> Any:
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    )
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Looking for buffers to use again takes time with the square of the nodes: 35 s for 9,000. It
    # saves nothing: the arena uses them again.
    options.enable_mem_reuse = False
    # In the order of the file, where tensors that are compared stand next to each other.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # Else the bytes are looked at, and onnxruntime's own format would be taken, which trusts them.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _describe_port(port: Any) -> list[Any]:
    """Return name, type, shape (None where not fixed), and whether numpy can hold it."""
    shape = [d if isinstance(d, int) else None for d in port.shape or ()]
    return [port.name, port.type, shape, port.type in _NUMPY_TYPES]


def _split(rows: Rows, size: int | None) -> Iterator[Rows]:
    size = size or max(len(rows), 1)
    for start in range(0, len(rows), size):
        yield _as_rows(rows[start : start + size])


def _as_rows(rows: Sequence[int]) -> Rows:
    """Return a range where the rows follow each other: it takes no copy, and finds at once."""
    if isinstance(rows, range):
        return rows
    if rows and all(b - a == 1 for a, b in itertools.pairwise(rows)):
        return range(rows[0], rows[-1] + 1)
    return tuple(rows)


def _join(name: str, parts: list[Part]) -> Array:
    if len(parts) == 1 and parts[0].by_sample:
        return parts[0].array
    shapes = {part.array.shape[part.by_sample :] for part in parts}
    if len(shapes) > 1 or len({part.by_sample for part in parts}) > 1:
        raise RequestError(f"output {name!r} has another shape for each sample")
    return np.concatenate([part.stack for part in parts])


# --- comparing -----------------------------------------------------------------------------------


class Reference:
    """Outputs that others are compared with, found again by the samples they came from."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._signals: dict[tuple[int, bool], Array] = {}

    def stretches(self, name: str, part: Part) -> Iterator[tuple[slice, Part, slice]]:
        """Yield which units of ``part`` are which units of a part kept here.

        Raises:
            RequestError: they were not kept.
        """
        start = 0
        while start < part.units:
            kept, first = self._find(name, part, start)
            length = part.units if not start and kept.rows == part.rows else 1
            while (
                start + length < part.units
                and first + length < kept.units
                and kept.rows[first + length] == part.rows[start + length]
            ):
                length += 1
            yield slice(start, start + length), kept, slice(first, first + length)
            start += length

    def _find(self, name: str, part: Part, start: int) -> tuple[Part, int]:
        for kept in self.parts[name]:
            if kept.by_sample and part.by_sample and part.rows[start] in kept.rows:
                return kept, kept.rows.index(part.rows[start])
            if not kept.by_sample and not part.by_sample and kept.rows == part.rows:
                return kept, 0
        raise RequestError(f"the reference of output {name!r} was not kept for these samples")

    def signal(self, kept: Part, by_channel: bool) -> Array:
        """Return the sums of squares, float64 (units, channels), computed once."""
        key = (id(kept), by_channel)
        if key not in self._signals:
            self._signals[key] = sum_squares(_three_axes(kept.stack, by_channel))
        return self._signals[key]


@dataclass(eq=False)
class Difference:
    """What is known of one output, a list entry for each stretch of samples."""

    noise: list[Array] = field(default_factory=list)
    signal: list[Array] = field(default_factory=list)
    agreeing: list[Array] = field(default_factory=list)
    correct: list[Array] = field(default_factory=list)
    positions: int = 0
    shapes_differ: bool = False


class Tally:
    """Adds up what differs between the outputs of runs and a reference."""

    def __init__(
        self, reference: Reference, by_channel: bool, argmax: bool, labels: Array | None
    ) -> None:
        self.reference = reference
        self.by_channel = by_channel
        self.argmax = argmax
        self.labels = labels
        self.found: dict[str, Difference] = {}

    def add(self, name: str, part: Part) -> None:
        found = self.found.setdefault(name, Difference())
        for mine, kept, theirs in self.reference.stretches(name, part):
            self._add_stretch(found, part.stack[mine], kept, theirs, part.rows[mine])

    def _add_stretch(
        self, found: Difference, got: Array, kept: Part, theirs: slice, rows: Rows
    ) -> None:
        exact = kept.stack[theirs]
        signal = self.reference.signal(kept, self.by_channel)[theirs]
        found.signal.append(signal)
        if got.shape != exact.shape:
            found.shapes_differ = True
            found.noise.append(np.full(signal.shape, np.inf))
            return
        axes = _three_axes(got, self.by_channel), _three_axes(exact, self.by_channel)
        found.noise.append(sum_squared_differences(*axes))
        if self.argmax and got.ndim >= 2 and got.shape[-1] > 1 and got.size:
            self._count_argmax(found, got, exact, rows)

    def _count_argmax(self, found: Difference, got: Array, exact: Array, rows: Rows) -> None:
        best, valid = _argmax(got)
        wanted, _ = _argmax(exact)
        found.positions = best.shape[1]
        found.agreeing.append(np.count_nonzero((best == wanted) & valid, axis=1))
        if self.labels is None or len(rows) != len(best):
            return
        labels = self.labels[list(rows)].reshape(len(rows), -1)
        if labels.shape == best.shape:
            found.correct.append(np.count_nonzero((best == labels) & valid, axis=1))

    def reply(self) -> Reply:
        arrays: dict[str, Array] = {}
        words: dict[str, Any] = {}
        for number, (name, found) in enumerate(self.found.items()):
            lists = {
                "noise": found.noise,
                "signal": found.signal,
                "agreeing": found.agreeing,
                "correct": found.correct,
            }
            for key, pieces in lists.items():
                if pieces and not (found.shapes_differ and key in ("agreeing", "correct")):
                    arrays[f"{number}:{key}"] = _join_pieces(pieces)
            words[name] = [found.positions, found.shapes_differ]
        return Reply({"compared": words}, arrays)


def _join_pieces(pieces: list[Array]) -> Array:
    """Return the stretches one after another; channels of differing number become one."""
    if len({piece.shape[1:] for piece in pieces}) > 1:
        pieces = [piece.sum(axis=1, keepdims=True) for piece in pieces]
    return np.concatenate(pieces)


def _three_axes(array: Array, by_channel: bool) -> Array:
    """Return the array as (units, channels, rest); axis 1 are the channels, if they are asked."""
    units = array.shape[0]
    channels = array.shape[1] if by_channel and array.ndim > 1 else 1
    return array.reshape(units, channels, math.prod(array.shape[1:]) // max(channels, 1))


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice, slice]]:
    """Yield blocks of an array of three axes, each of about `_CHUNK` elements at most."""
    units, channels, rest = shape
    rest_step = max(min(rest, _CHUNK), 1)
    channel_step = max(min(channels, _CHUNK // rest_step), 1)
    unit_step = max(_CHUNK // (rest_step * channel_step), 1)
    for u in range(0, units, unit_step):
        for c in range(0, channels, channel_step):
            for r in range(0, rest, rest_step):
                yield (
                    slice(u, u + unit_step),
                    slice(c, c + channel_step),
                    slice(r, r + rest_step),
                )


def sum_squares(array: Array) -> Array:
    """Return the sums of squares over the last of three axes, float64; NaN, infinities left out."""
    total = np.zeros(array.shape[:2])
    for block in _blocks(array.shape):
        values = array[block].astype(np.float64)
        values[~np.isfinite(values)] = 0.0
        with np.errstate(over="ignore"):
            total[block[:2]] += np.einsum("ucr,ucr->uc", values, values)
    return total


def sum_squared_differences(got: Array, exact: Array) -> Array:
    """Return the sums of squared differences over the last of three axes, float64.

    NaN in both and equal infinities are no difference, any other NaN or infinity an infinite one.
    """
    total = np.zeros(got.shape[:2])
    for block in _blocks(got.shape):
        one, two = got[block], exact[block]
        with np.errstate(invalid="ignore", over="ignore"):
            difference = one.astype(np.float64) - two
            if not np.isfinite(difference).all():
                same = (one == two) | ((one != one) & (two != two))
                difference[same] = 0.0
                difference[np.isnan(difference)] = np.inf
            total[block[:2]] += np.einsum("ucr,ucr->uc", difference, difference)
    return total


def _argmax(array: Array) -> tuple[Array, Array]:
    """Return the argmax over the last axis as (units, positions), and where it is not a NaN."""
    best = array.argmax(axis=-1)
    top = np.take_along_axis(array, best[..., np.newaxis], axis=-1)[..., 0]
    units = array.shape[0]
    return best.reshape(units, -1), (top == top).reshape(units, -1)


# --- the process ---------------------------------------------------------------------------------


def limit_this_process(memory_bytes: int, threads: int) -> None:
    """Bound what can be allocated, where the system can; no file of a crash is written."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes and sys.platform == "linux":
        # Python with onnxruntime takes 70 MB before a model is there, and each thread 8.
        most = memory_bytes + (100 << 20) + (threads + 2) * (8 << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return the pipes to the parent, away from where native code prints to and reads from."""
    requests, replies = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def answer(worker: Worker, request: Request) -> tuple[str, str, Reply]:
    """Return how the request ended ("done", "refused", "failed", "memory"), why, and the reply."""
    try:
        return "done", "", worker.do(request)
    except RequestError as error:
        return "failed", str(error), Reply()
    except MemoryError:
        return "memory", "", Reply()
    except Exception as error:  # onnxruntime raises kinds of its own, and whatever numpy does
        why = f"{error}"
        if any(word in why.lower() for word in _MEMORY_WORDS):
            return "memory", why, Reply()
        return "refused" if request.do == "load" else "failed", why, Reply()


def main(memory_bytes: int, threads: int) -> None:
    # The parent decides what an interrupt at the terminal means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_this_process(memory_bytes, threads)
    incoming, outgoing = take_pipes()
    requests: queue.Queue[Request] = queue.Queue()
    threading.Thread(target=read_requests, args=(incoming, requests), daemon=True).start()
    worker = Worker(outgoing)
    while True:
        request = requests.get()
        end, why, reply = answer(worker, request)
        write_reply(outgoing, request.number, end, why, reply)
        # The queue is waited at for long: nothing of the last request is held meanwhile.
        del request, reply


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
