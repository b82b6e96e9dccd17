"""What can be wrong with samples: a kind and its numbers, and the one sentence for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ..reading.model_file import printable

Shape = tuple[int | str | None, ...]


class SampleProblemKind(Enum):
    MISSING = auto()
    NOT_A_FILE = auto()
    OUTSIDE = auto()
    TOO_MANY_FILES = auto()
    UNREADABLE = auto()
    PICKLED = auto()
    TOO_LARGE = auto()
    ABSENT = auto()
    ONE_INPUT_ONLY = auto()
    UNSUPPORTED = auto()
    DATA_TYPE = auto()
    VALUES = auto()
    SHAPE = auto()
    SETS_DIFFER = auto()
    COUNTS_DIFFER = auto()
    EMPTY = auto()
    NOT_FINITE = auto()
    LABELS = auto()


@dataclass(frozen=True)
class ModelInput:
    """What a model asks for.

    Attributes:
        data_type: as ONNX spells it: ``float32``, ``int64``, ``string``.
        shape: a number for each fixed dimension, its name or None for each other; None where the
            file does not say how many dimensions there are.
    """

    name: str
    data_type: str
    shape: Shape | None


@dataclass(frozen=True)
class SampleProblem:
    """Why samples cannot be used.

    Attributes:
        source: the file's name.
        array: the array's name.
        wanted: what the model asks for; ``inputs`` are all of them.
        data_type, shape: of what was given.
        names: what is there instead.
        count, other_count: how many there are and how many there should be; ``count`` of TOO_LARGE
            and ``other_count`` are bytes.
        detail: of UNREADABLE.
    """

    kind: SampleProblemKind
    source: str = ""
    array: str = ""
    wanted: ModelInput | None = None
    inputs: tuple[ModelInput, ...] = ()
    data_type: str = ""
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    count: int = 0
    other_count: int = 0
    detail: str = ""


class SamplesError(ValueError):
    """Samples cannot be used. The message is the sentence of `describe_problem`."""

    def __init__(self, problem: SampleProblem) -> None:
        super().__init__(describe_problem(problem))
        self.problem = problem


def describe_problem(problem: SampleProblem) -> str:
    """Return one sentence: what the model asks for, and what was given."""
    return printable(f"{_place(problem)} {_SENTENCES[problem.kind](problem)}.")


def describe_input(wanted: ModelInput) -> str:
    """Return an input as text: ``'x' (float32, batch × 3 × ? × ?)``."""
    return f"{wanted.name!r} ({wanted.data_type}, {_spell_shape(wanted.shape)})"


def _place(problem: SampleProblem) -> str:
    source = f"samples {_shorten(problem.source)!r}" if problem.source else "samples"
    return f"{source}, {_shorten(problem.array)!r}:" if problem.array else f"{source}:"


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."


def _spell_shape(shape: Shape | None) -> str:
    if shape is None:
        return "any shape"
    if not shape:
        return "a single number"
    return " × ".join("?" if d is None else str(d) for d in shape)


def _ask(problem: SampleProblem) -> str:
    wanted = (problem.wanted,) if problem.wanted else problem.inputs
    shown = [_shorten(describe_input(one)) for one in wanted[:4]]
    more = f" and {len(wanted) - 4} more" if len(wanted) > 4 else ""
    return f"the model asks for {', '.join(shown)}{more}"


def _list_names(problem: SampleProblem) -> str:
    shown = [repr(_shorten(name)) for name in problem.names[:6]]
    more = f" and {len(problem.names) - 6} more" if len(problem.names) > 6 else ""
    return f"{', '.join(shown)}{more}" if shown else "nothing"


def _say_size(problem: SampleProblem) -> str:
    return f"it takes {problem.count:,} bytes, more than the {problem.other_count:,} that are read"


def _say_data_type(problem: SampleProblem) -> str:
    return f"{_ask(problem)}, given is {problem.data_type}"


def _say_values(problem: SampleProblem) -> str:
    return f"{_ask(problem)}, which cannot hold the {problem.data_type} values that are given"


def _say_shape(problem: SampleProblem) -> str:
    return f"{_ask(problem)}, given is {_spell_shape(problem.shape)}"


def _say_labels(problem: SampleProblem) -> str:
    given = f"{problem.data_type}, {_spell_shape(problem.shape)}"
    return f"labels have to be integers from 0 on, {problem.count:,} of them: given are {given}"


_SENTENCES = {
    SampleProblemKind.MISSING: lambda p: "there is no such file or folder",
    SampleProblemKind.NOT_A_FILE: lambda p: "it is not a regular file",
    SampleProblemKind.OUTSIDE: lambda p: "it is a link out of the folder",
    SampleProblemKind.TOO_MANY_FILES: lambda p: (
        f"the folder holds more than {p.other_count:,} files"
    ),
    SampleProblemKind.UNREADABLE: lambda p: f"it cannot be read: {p.detail}",
    SampleProblemKind.PICKLED: lambda p: "it holds Python objects, which are never loaded",
    SampleProblemKind.TOO_LARGE: _say_size,
    SampleProblemKind.ABSENT: lambda p: f"{_ask(p)}, but given is {_list_names(p)}",
    SampleProblemKind.ONE_INPUT_ONLY: lambda p: (
        f"one array without a name does not do, {_ask(p)}: name them in an .npz file"
    ),
    SampleProblemKind.UNSUPPORTED: lambda p: f"{_ask(p)}, which samples cannot hold",
    SampleProblemKind.DATA_TYPE: _say_data_type,
    SampleProblemKind.VALUES: _say_values,
    SampleProblemKind.SHAPE: _say_shape,
    SampleProblemKind.SETS_DIFFER: lambda p: "the samples differ in shape from each other",
    SampleProblemKind.COUNTS_DIFFER: lambda p: (
        f"it has {p.count:,} samples where another input has {p.other_count:,}"
    ),
    SampleProblemKind.EMPTY: lambda p: f"there is no sample: {_ask(p)}",
    SampleProblemKind.NOT_FINITE: lambda p: (
        f"{p.count:,} of its values are NaN or infinite: a sample has to be all numbers"
    ),
    SampleProblemKind.LABELS: _say_labels,
}
