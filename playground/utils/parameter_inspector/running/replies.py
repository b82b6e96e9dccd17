"""What the child process says, checked field by field before anything believes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

# A line of JSON: names and shapes, no numbers of arrays.
MAX_HEADER_BYTES = 16 << 20
MAX_ARRAYS = 100_000
_DATA_TYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
)
_ENDS = frozenset(("done", "refused", "failed", "memory"))


class BadReplyError(ValueError):
    """The reply is not what the protocol says; the message tells what is wrong."""


class NoReplyError(EOFError):
    """The child is gone."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a loaded model.

    Attributes:
        data_type: as onnxruntime spells it: ``tensor(float)``.
        shape: None for each dimension that is not fixed.
        comparable: numpy has its elements as numbers; if not, `run` and `compare` leave it out.
    """

    name: str
    data_type: str
    shape: tuple[int | None, ...]
    comparable: bool


@dataclass(frozen=True)
class LoadedModel:
    """A model that the child holds open.

    Attributes:
        seconds: that opening it took.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Differences:
    """How one output of runs differs from a reference, summed in float64.

    A *unit* is a sample where the output's first axis counts the samples, else one run.

    Attributes:
        noise: sums of squared differences, (units,). Infinite where an element is NaN or infinite
            and not the same in the reference, or where the shapes differ.
        signal: sums of squares of the reference, (units,), without its NaN and infinities.
        channel_noise, channel_signal: the same for each index of axis 1, (units, channels);
            None if not asked for or the channels differ in number.
        positions: how many argmaxes each unit has; 0 if none.
        agreeing: in how many of them the argmax is that of the reference, (units,); or None.
        correct: in how many it is the label, (units,); None without labels or if they do not fit.
        shapes_differ: the output has another shape than the reference.
    """

    noise: np.ndarray
    signal: np.ndarray
    channel_noise: np.ndarray | None = None
    channel_signal: np.ndarray | None = None
    positions: int = 0
    agreeing: np.ndarray | None = None
    correct: np.ndarray | None = None
    shapes_differ: bool = False


@dataclass(frozen=True, eq=False)
class Reply:
    """One whole reply: how it ended, why, its words and arrays."""

    end: str
    why: str
    words: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def read_header(stream: IO[bytes], number: int) -> dict[str, Any]:
    """Return the next line of the child.

    Raises:
        NoReplyError: there is none.
        BadReplyError: it is not a reply to request ``number``.
    """
    line = stream.readline(MAX_HEADER_BYTES)
    if not line:
        raise NoReplyError
    require(line.endswith(b"\n"), "a line without end")
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadReplyError("a line that is not JSON") from error
    require(isinstance(header, dict), "a line that is no object")
    require(type(header.get("number")) is int, "no number")
    require(header["number"] == number, "a reply to something else")
    return dict(header)


def read_reply(stream: IO[bytes], header: Mapping[str, Any], most_bytes: int) -> Reply:
    """Return the reply that a header begins, with its arrays."""
    require(header.get("end") in _ENDS, "an unknown end")
    require(isinstance(header.get("why"), str), "no reason")
    arrays: dict[str, np.ndarray] = {}
    for name, dtype, shape in _check_arrays(header.get("arrays"), most_bytes):
        arrays[name] = _read_array(stream, dtype, shape)
    return Reply(header["end"], header["why"], header, arrays)


def _check_arrays(listed: Any, most_bytes: int) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
    """Check all that is announced before anything of its size is allocated."""
    require(isinstance(listed, list) and len(listed) <= MAX_ARRAYS, "no list of arrays")
    found = []
    for entry in listed:
        require(isinstance(entry, list) and len(entry) == 3, "an array without name, type, shape")
        name, dtype, shape = entry
        require(isinstance(name, str), "an array without name")
        require(isinstance(dtype, str) and dtype in _DATA_TYPES, "an array of an unknown type")
        found.append((name, np.dtype(dtype), check_shape(shape)))
        most_bytes -= math.prod(found[-1][2]) * found[-1][1].itemsize
        require(most_bytes >= 0, "arrays larger than the limit")
    require(len({name for name, _, _ in found}) == len(found), "two arrays of one name")
    return found


def _read_array(stream: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    filled = 0
    while filled < len(array):
        count = stream.readinto(array.data[filled:])  # type: ignore[attr-defined]
        if not count:
            raise NoReplyError
        filled += count
    array = array.view(dtype).reshape(shape)
    array.flags.writeable = False
    return array


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise BadReplyError(otherwise)


def check_shape(shape: Any) -> tuple[int, ...]:
    require(isinstance(shape, list) and len(shape) <= 64, "an impossible shape")
    require(all(type(d) is int and 0 <= d < 1 << 48 for d in shape), "an impossible shape")
    return tuple(shape)


def parse_loaded(reply: Reply) -> LoadedModel:
    seconds = reply.words.get("seconds")
    require(isinstance(seconds, float) and 0 <= seconds < math.inf, "no time of loading")
    return LoadedModel(
        _parse_ports(reply.words.get("inputs")),
        _parse_ports(reply.words.get("outputs")),
        float(seconds or 0),
    )


def _parse_ports(listed: Any) -> tuple[Port, ...]:
    require(isinstance(listed, list), "no list of inputs and outputs")
    return tuple(_parse_port(entry) for entry in listed)


def _parse_port(entry: Any) -> Port:
    require(isinstance(entry, list) and len(entry) == 4, "an input or output of another form")
    name, data_type, shape, comparable = entry
    require(isinstance(name, str) and isinstance(data_type, str), "an input without name")
    require(isinstance(shape, list) and len(shape) <= 64, "an impossible shape")
    require(all(d is None or (type(d) is int and abs(d) < 1 << 48) for d in shape), "a shape")
    require(isinstance(comparable, bool), "an output of unknown kind")
    return Port(name, data_type, tuple(shape), comparable)


def parse_shapes(reply: Reply) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return the shape of each output, for each run."""
    shapes = reply.words.get("shapes")
    require(isinstance(shapes, dict), "no shapes")
    found = {}
    for name, listed in dict(shapes or {}).items():
        require(isinstance(listed, list), "no shapes")
        found[str(name)] = tuple(check_shape(shape) for shape in listed)
    return found


def parse_differences(reply: Reply, by_channel: bool) -> dict[str, Differences]:
    compared = reply.words.get("compared")
    require(isinstance(compared, dict), "no comparison")
    return {
        name: _parse_difference(entry, _Arrays(reply.arrays, number), by_channel)
        for number, (name, entry) in enumerate(dict(compared or {}).items())
    }


def _parse_difference(entry: Any, arrays: _Arrays, by_channel: bool) -> Differences:
    require(isinstance(entry, list) and len(entry) == 2, "a comparison of another form")
    positions, shapes_differ = entry
    require(type(positions) is int and 0 <= positions < 1 << 48, "an impossible count")
    require(isinstance(shapes_differ, bool), "a comparison of another form")
    noise, signal = arrays.sums("noise"), arrays.sums("signal")
    require(len(noise) == len(signal), "sums of differing length")
    channels = by_channel and noise.shape == signal.shape
    return Differences(
        noise=_add_channels(noise),
        signal=_add_channels(signal),
        channel_noise=noise if channels else None,
        channel_signal=signal if channels else None,
        positions=positions,
        agreeing=arrays.counts("agreeing", len(noise), positions),
        correct=arrays.counts("correct", len(noise), positions),
        shapes_differ=shapes_differ,
    )


def _add_channels(sums: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = sums.sum(axis=1)
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class _Arrays:
    """The arrays of one output in a comparison."""

    arrays: Mapping[str, np.ndarray]
    number: int

    def sums(self, key: str) -> np.ndarray:
        array = self.arrays.get(f"{self.number}:{key}")
        if array is None or array.ndim != 2 or array.dtype != np.float64:
            raise BadReplyError(f"no {key}")
        require(not (array < 0).any() and not np.isnan(array).any(), f"an impossible {key}")
        return array

    def counts(self, key: str, units: int, positions: int) -> np.ndarray | None:
        array = self.arrays.get(f"{self.number}:{key}")
        if array is None:
            return None
        require(array.shape == (units,) and array.dtype == np.int64, f"an impossible {key}")
        require(not ((array < 0) | (array > positions)).any(), f"an impossible {key}")
        return array


def list_announced(arrays: Mapping[str, np.ndarray | bytes]) -> Sequence[list[Any]]:
    """Return name, type and shape of what a request carries, as the child reads it."""
    return [
        [name, "bytes", [len(one)]]
        if isinstance(one, bytes)
        else [name, one.dtype.name, list(one.shape)]
        for name, one in arrays.items()
    ]
