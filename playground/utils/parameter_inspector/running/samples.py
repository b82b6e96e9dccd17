"""Samples to run a model on: read from files and checked against what the model asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ..facts import SampleKind
from ..reading.model_file import Model, spell_data_type
from .sample_files import (
    Reading,
    check_file,
    check_inside,
    is_folder,
    list_files,
    read_npy,
    read_npz,
    unreadable,
)
from .sample_layout import find_layout, fixed_rows, lay_out_sets
from .sample_problems import ModelInput, SampleProblem, SampleProblemKind, SamplesError, Shape
from .tensor_files import read_pb

Kind = SampleProblemKind
Arrays = dict[str, np.ndarray]
LABELS = "labels"
MOST_BYTES = 2 << 30
# What a child process can be given: ONNX's names, which are numpy's.
DATA_TYPES = frozenset(
    "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()
)
_TEST_SET = re.compile(r"test_data_set_\d+")
_TEST_INPUT = re.compile(r"input_(\d{1,6})\.pb")


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs to run a model on.

    Attributes:
        inputs: by the model's input names, read-only; axis 0 counts the samples.
        labels: integers, axis 0 counts the samples; or None.
        source: the name of the file or folder; empty for synthetic ones.
        count: of samples that are held.
        available: of samples in the file; more than ``count`` where only the first were taken.
        stacked: the model's inputs do not have that axis: each sample is fed without it, alone.
    """

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None
    kind: SampleKind
    source: str
    count: int
    available: int
    stacked: bool = False

    def batchable(self, wanted: Sequence[ModelInput]) -> bool:
        """Return whether the model takes any number of samples in one run."""
        return not self.stacked and self.rows_per_run(wanted) is None

    def rows_per_run(self, wanted: Sequence[ModelInput]) -> int | None:
        """Return how many samples a run takes: None for any number, 1 for each alone."""
        return 1 if self.stacked else fixed_rows(wanted)


def take_rows(samples: Samples, rows: Sequence[int]) -> Samples:
    """Return some of the samples."""

    def take(array: np.ndarray) -> np.ndarray:
        taken = array[list(rows)]
        taken.flags.writeable = False
        return taken

    inputs = MappingProxyType({name: take(array) for name, array in samples.inputs.items()})
    labels = None if samples.labels is None else take(samples.labels)
    return replace(samples, inputs=inputs, labels=labels, count=len(rows))


def list_inputs(model: Model) -> tuple[ModelInput, ...]:
    """Return what a model asks for, in its order; initializers are no inputs."""
    graph = model.graph
    return tuple(
        ModelInput(value.name or "", _type_of(value.dtype), _shape_of(value.shape))
        for value in graph.inputs
        if value.name not in graph.initializers
    )


def _type_of(dtype: object) -> str:
    return "no tensor" if dtype is None else spell_data_type(dtype)  # type: ignore[arg-type]


def _shape_of(shape: Iterable[object] | None) -> Shape | None:
    if shape is None:
        return None
    return tuple(d if isinstance(d, int) else _name_of(d) for d in shape)


def _name_of(dimension: object) -> str | None:
    """Return the name of an open dimension; some exporters call all of them "?"."""
    name = getattr(dimension, "value", None)
    return name if isinstance(name, str) and name.strip("?") else None


def load_samples(
    path: Path,
    wanted: Sequence[ModelInput],
    *,
    most_samples: int | None = None,
    most_bytes: int = MOST_BYTES,
    inside: Path | None = None,
) -> Samples:
    """Return samples from a file or a folder, checked against what the model asks for.

    Args:
        path: ``.npz`` with an array for each input name (and ``labels``); ``.npy`` for a model of
            one input; or a folder of such files, of ``.pb`` files, or of ONNX's test data sets.
        most_samples: take the first ones only.
        most_bytes: of all arrays together, in their types and in the model's.
        inside: a folder that a link is not followed out of.

    Raises:
        SamplesError: they cannot be used; the sentence says what the model asks for.
    """
    for one in wanted:
        if one.data_type not in DATA_TYPES:
            raise SamplesError(SampleProblem(Kind.UNSUPPORTED, path.name, one.name, one))
    if inside is not None:
        check_inside(path, inside)
    most = most_samples and _round_up(most_samples, fixed_rows(wanted) or 1)
    becomes = {one.name: np.dtype(one.data_type) for one in wanted}
    # Files of a folder are joined in a copy.
    read, share = (_read_folder, 2) if is_folder(path) else (_read_file, 1)
    most_rows = dict.fromkeys(_names_of_rows(wanted), most)
    reading = Reading(most_bytes // share, most_rows, becomes)
    try:
        found = read(path, wanted, reading)
        samples = _fit(found, wanted, path.name, most_samples, reading.rows)
    except MemoryError as error:
        raise unreadable(path.name, error) from error
    _check_size(samples, most_bytes)
    return samples


def _check_size(samples: Samples, most_bytes: int) -> None:
    """Refuse samples that grow as they are given to the model, one input repeated for each.

    Raises:
        SamplesError: TOO_LARGE.
    """
    size = sum(array.nbytes for array in samples.inputs.values())
    if size > most_bytes:
        problem = SampleProblem(Kind.TOO_LARGE, samples.source, count=size, other_count=most_bytes)
        raise SamplesError(problem)


def check_samples(arrays: Mapping[str, np.ndarray], wanted: Sequence[ModelInput]) -> Samples:
    """Return arrays by input name (and ``labels``) as samples, checked as those of a file are.

    Raises:
        SamplesError: as `load_samples`.
    """
    return _fit(Found(arrays, names=tuple(arrays)), wanted, "the samples", None, {})


def _round_up(count: int, step: int) -> int:
    return -(-count // max(step, 1)) * max(step, 1)


def _names_of_rows(wanted: Sequence[ModelInput]) -> list[str]:
    """Return what can be cut after some rows: not an input that the model takes as a whole."""
    cut = [o.name for o in wanted if not o.shape or o.shape[0] == 1 or _is_open(o.shape[0])]
    return [*cut, LABELS]


def _is_open(dimension: int | str | None) -> bool:
    return not isinstance(dimension, int)


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Found:
    """What files hold: arrays with an axis of samples, or whole inputs of the model, set by set."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    sets: Sequence[Mapping[str, np.ndarray]] = ()
    names: tuple[str, ...] = ()


def _read_file(path: Path, wanted: Sequence[ModelInput], reading: Reading) -> Found:
    target = check_file(path)
    if path.suffix == ".npy":
        name = _only_input(path, wanted)
        return Found({name: read_npy(target, name, reading)})
    if path.suffix == ".pb":
        name = _only_input(path, wanted)
        return Found(sets=[{name: read_pb(target, name, reading)}])
    arrays, names = read_npz(target, _names(wanted), reading)
    return Found(arrays, names=names)


def _only_input(path: Path, wanted: Sequence[ModelInput]) -> str:
    if len(wanted) != 1:
        problem = SampleProblem(Kind.ONE_INPUT_ONLY, path.name, inputs=tuple(wanted))
        raise SamplesError(problem)
    return wanted[0].name


def _names(wanted: Sequence[ModelInput]) -> tuple[str, ...]:
    return (*(one.name for one in wanted), LABELS)


def _read_folder(path: Path, wanted: Sequence[ModelInput], reading: Reading) -> Found:
    entries = list_files(path)
    test_sets = [one for one in entries if _TEST_SET.fullmatch(one.name)]
    if test_sets:
        chosen = test_sets[: reading.most_rows.get(LABELS)]
        return Found(sets=[_read_test_set(path, one, wanted, reading) for one in chosen])
    if any(_TEST_INPUT.fullmatch(one.name) for one in entries):
        return Found(sets=[_read_test_set(path, path, wanted, reading)])
    return _read_loose_files(path, entries, wanted, reading)


def _read_test_set(
    folder: Path, test_set: Path, wanted: Sequence[ModelInput], reading: Reading
) -> Arrays:
    arrays: Arrays = {}
    # A folder may be a link as well.
    if not test_set.resolve().is_relative_to(folder.resolve()):
        raise SamplesError(SampleProblem(Kind.OUTSIDE, test_set.name))
    for path in list_files(test_set):
        match = _TEST_INPUT.fullmatch(path.name)
        if match and int(match[1]) < len(wanted):
            name = wanted[int(match[1])].name
            arrays[name] = read_pb(check_file(path, folder), name, reading)
    return arrays


def _read_loose_files(
    folder: Path,
    entries: Sequence[Path],
    wanted: Sequence[ModelInput],
    reading: Reading,
) -> Found:
    """Read ``.npz`` files as further samples each, other files as the input of their name."""
    pieces: dict[str, list[np.ndarray]] = {}
    names: list[str] = []
    known = _names(wanted)
    files = [one for one in entries if one.suffix in (".npy", ".npz", ".pb")]
    # Without a file of an input's name, the files of a model with one input are its samples.
    nameless = len(wanted) == 1 and not any(one.stem in known[:-1] for one in files)
    for path in files:
        if path.suffix == ".npz":
            arrays, there = read_npz(check_file(path, folder), known, reading)
            names.extend(there)
        else:
            name = wanted[0].name if nameless and path.stem != LABELS else path.stem
            names.append(name)
            arrays = {name: _read_one(path, folder, name, reading)} if name in known else {}
        for key, array in arrays.items():
            pieces.setdefault(key, []).append(array)
    joined = {name: _join(folder, name, arrays, wanted) for name, arrays in pieces.items()}
    reading.rows.update({n: len(joined[n]) for n, arrays in pieces.items() if len(arrays) > 1})
    return Found(joined, names=tuple(dict.fromkeys(names)))


def _read_one(path: Path, folder: Path, name: str, reading: Reading) -> np.ndarray:
    read = read_pb if path.suffix == ".pb" else read_npy
    return read(check_file(path, folder), name, reading)


def _join(
    folder: Path, name: str, arrays: Sequence[np.ndarray], wanted: Sequence[ModelInput]
) -> np.ndarray:
    """Return the samples of several files; one without an axis of samples is one of them."""
    if len(arrays) == 1:
        return arrays[0]
    rank = next((len(one.shape) for one in wanted if one.name == name and one.shape), None)
    rows = [a[np.newaxis] if rank is not None and a.ndim == rank - 1 else a for a in arrays]
    return _concatenate(folder.name, name, rows)


def _concatenate(source: str, name: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
    if len({(a.shape[1:], a.ndim, a.dtype) for a in arrays}) > 1 or not arrays[0].ndim:
        raise SamplesError(SampleProblem(Kind.SETS_DIFFER, source, name))
    return np.concatenate(arrays)


# --- fitting -------------------------------------------------------------------------------------


def _fit(
    found: Found,
    wanted: Sequence[ModelInput],
    source: str,
    most: int | None,
    rows: Mapping[str, int],
) -> Samples:
    """Return the samples in the model's types, laid out as the child takes them."""
    sets = found.sets or [found.arrays]
    for one in wanted:
        if not all(one.name in arrays for arrays in sets):
            names = found.names or tuple(sets[0])
            raise SamplesError(SampleProblem(Kind.ABSENT, source, wanted=one, names=names))
    converted = [{o.name: convert(a[o.name], o, source) for o in wanted} for a in sets]
    layout = (
        lay_out_sets(converted, wanted, source)
        if found.sets
        else find_layout(converted[0], wanted, source)
    )
    _check_counts(layout.counted, found.arrays, rows, source)
    most = most if layout.stacked or most is None else _round_up(most, fixed_rows(wanted) or 1)
    labels = _check_labels(found.arrays.get(LABELS), layout.count, source)
    return create_samples(
        {name: array[:most] for name, array in layout.arrays.items()},
        labels=None if labels is None else labels[:most],
        kind=SampleKind.FILE,
        source=source,
        stacked=layout.stacked,
        available=rows.get(layout.counted[0]) if found.arrays and layout.counted else None,
    )


def _check_counts(
    counted: Sequence[str], arrays: Mapping[str, np.ndarray], rows: Mapping[str, int], source: str
) -> None:
    """Refuse what differs in its number of samples, also behind those that were read.

    Raises:
        SamplesError: COUNTS_DIFFER.
    """
    known = {name: rows[name] for name in (*counted, LABELS) if name in arrays and name in rows}
    first = next(iter(known.values()), 0)
    for name, count in known.items():
        if count != first:
            problem = SampleProblem(Kind.COUNTS_DIFFER, source, name)
            raise SamplesError(replace(problem, count=count, other_count=first))


def _check_labels(labels: np.ndarray | None, count: int, source: str) -> np.ndarray | None:
    if labels is None:
        return None
    whole = labels.dtype.kind in "iu" and labels.ndim >= 1 and len(labels) == count
    if not whole or (labels.dtype.kind == "i" and (labels < 0).any()):
        given = labels.dtype.name if labels.dtype.kind in "biufc" else "no numbers"
        problem = SampleProblem(Kind.LABELS, source, LABELS, data_type=given, shape=labels.shape)
        raise SamplesError(replace(problem, count=count))
    return labels


def create_samples(
    inputs: Mapping[str, np.ndarray],
    *,
    labels: np.ndarray | None = None,
    kind: SampleKind,
    source: str = "",
    stacked: bool = False,
    available: int | None = None,
) -> Samples:
    """Return the record; all arrays become read-only."""
    frozen = {name: _freeze(array) for name, array in inputs.items()}
    count = len(next(iter(frozen.values()))) if frozen else 1
    kept = None if labels is None else _freeze(labels)
    there = count if available is None else max(available, count)
    return Samples(MappingProxyType(frozen), kept, kind, source, count, there, stacked)


def _freeze(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def convert(array: np.ndarray, wanted: ModelInput, source: str) -> np.ndarray:
    """Return the array in the type that the model asks for.

    float64 becomes float32, and integers another width, where they hold all values.

    Raises:
        SamplesError: DATA_TYPE, VALUES or NOT_FINITE.
    """
    given = array.dtype.name if array.dtype.kind in "biufc" else "no numbers"
    problem = SampleProblem(Kind.DATA_TYPE, source, wanted.name, wanted, data_type=given)
    target = np.dtype(wanted.data_type)
    if not _same_kind(array.dtype, target):
        raise SamplesError(problem)
    if target.kind == "f":
        _check_finite(array, problem)
    with np.errstate(over="ignore"):
        converted = array.astype(target, copy=False)
    if not _holds_all(array, converted):
        raise SamplesError(replace(problem, kind=Kind.VALUES))
    return converted


def _same_kind(given: np.dtype, target: np.dtype) -> bool:
    if target.kind in "iu":
        return given.kind in "biu"
    return given.kind == target.kind and given.itemsize <= 8


def _check_finite(array: np.ndarray, problem: SampleProblem) -> None:
    wrong = array.size - int(np.count_nonzero(np.isfinite(array)))
    if wrong:
        raise SamplesError(replace(problem, kind=Kind.NOT_FINITE, count=wrong))


def _holds_all(array: np.ndarray, converted: np.ndarray) -> bool:
    if array.dtype == converted.dtype:
        return True
    if converted.dtype.kind == "f":
        return bool(np.isfinite(converted).all())
    # Equal as numbers: numpy compares int64 with uint64 exactly.
    return bool(np.array_equal(array, converted))
