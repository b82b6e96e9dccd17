"""What sentences are made from: refusals, evidence, foldings. Kinds, names and numbers, no prose.

`wording` makes the sentences, once, where they are shown. No code reads a sentence back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class RefusalKind(Enum):
    """Why something in a file cannot be read or measured."""

    # A scale, a zero-point and codes that do not fit each other.
    AXIS_OUTSIDE = auto()
    SCALE_SHAPE = auto()
    BLOCK_SCALE_SHAPE = auto()
    SCALE_AGAINST_WEIGHT = auto()
    SCALE_AGAINST_CODES = auto()
    ZERO_POINT_SHAPE = auto()
    CODES_TYPE = auto()
    SCALE_TYPE = auto()
    ZERO_POINT_TYPE = auto()
    NO_SCALE = auto()
    NO_CONSTANT_CODES = auto()
    # Forms of storage that are not known, or not filled as they ask for.
    INPUT_NOT_CONSTANT = auto()
    ROUNDING_MODE = auto()
    CODES_TOO_WIDE = auto()
    PREPACKED = auto()
    LAYOUT_LEFT_TO_DEVICE = auto()
    PACKED_SHAPE = auto()
    CODEBOOK_SHAPES = auto()
    QUANT_TYPE = auto()
    QUANT_TYPE_NOT_DECODED = auto()
    GROUP_INDEX = auto()
    NOT_THREE_DIMENSIONS = auto()
    GROUPS = auto()
    DOES_NOT_FIT = auto()
    # Operators on the way from the constant to the layer, or from integers to their scale.
    NOT_IN_FILE = auto()
    FEEDS_ITSELF = auto()
    TOO_MANY_STEPS = auto()
    UNKNOWN_ON_THE_WAY = auto()
    LAYOUT_STEP = auto()
    COMPUTED_FROM_CODES = auto()
    NEVER_SCALED = auto()
    SCALES_IN_CIRCLE = auto()
    SCALE_COMPUTED = auto()
    SCALES_MULTIPLIED = auto()
    MALFORMED_AFTER = auto()
    # Operators that are recognized, but not decoded, or not known at all.
    QONNX_NOT_DECODED = auto()
    QUARK_NOT_DECODED = auto()
    OWN_LAYOUT = auto()
    VENDOR_BLOB = auto()
    REORDERED_FOR_CPU = auto()
    UNKNOWN_OPERATOR = auto()
    # Constants that cannot be computed.
    GROWS_TOO_LARGE = auto()
    OPERATOR_GROWS = auto()
    OPERATOR_FAILS = auto()
    # Tensors whose bytes are not there, or are not what the header says.
    DOES_NOT_UNPACK = auto()
    UNPACKED_SHAPE = auto()
    TENSOR_UNREADABLE = auto()
    TENSOR_ENTRIES = auto()
    TENSOR_BYTES = auto()
    TENSOR_SHAPE = auto()
    TENSOR_TYPE = auto()
    DATA_UNREADABLE = auto()
    DATA_CUT_OFF = auto()
    DATA_SHRANK = auto()
    EXTERNAL_MISSING = auto()
    EXTERNAL_OUTSIDE = auto()
    EXTERNAL_NOT_REGULAR = auto()
    # Files that are no model.
    NO_FILE = auto()
    FILE_UNREADABLE = auto()
    FILE_EMPTY = auto()
    FILE_INCOMPLETE = auto()
    LINK_OUTSIDE = auto()
    GIT_LFS_POINTER = auto()
    WEB_PAGE = auto()
    ORT_FORMAT = auto()
    NO_GRAPH = auto()
    GRAPH_TOO_LARGE = auto()
    GRAPH_UNREADABLE = auto()
    NAME_NOT_TEXT = auto()
    NAME_DEFINED_TWICE = auto()
    FUNCTION_CALLS_ITSELF = auto()
    TOO_MANY_NODES = auto()
    # What stands in the way of measuring.
    ORIGINAL_SHAPE = auto()
    LIBRARY = auto()


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Refusal:
    """Why something could not be read: a kind, and what it is about. Most kinds use a few fields.

    Attributes:
        slot, op_type: the operand and the layer's operator where it is a layer's parameter.
        name: of the tensor, the file or the layer.
        operator, domain: the operator that is refused.
        shape: of what is refused (codes, blob, tensor, zero-point).
        expected_shape: what it, or its scale, would have to have.
        scale_shape: of the scale.
        weight_shape: rows and columns (N, K) that an operator's attributes promise.
        shapes: of the inputs of the operator.
        axis, block_size, bits: as the operator's attributes say.
        data_type, expected_type: of what is refused, and what it would have to be.
        count, limit: how many there are, and how many there may or should be.
        index: which input of the operator.
        code_range: lowest and highest code.
        location: of the external file as the model spells it; None for the model file itself.
        names: constants or operators.
        value: of the attribute that is refused.
        reason: what a library said, on one line.
    """

    kind: RefusalKind
    slot: str = ""
    op_type: str = ""
    name: str = ""
    operator: str = ""
    domain: str = ""
    shape: Shape = ()
    expected_shape: Shape = ()
    scale_shape: Shape | None = None
    weight_shape: Shape = ()
    shapes: tuple[Shape, ...] = ()
    axis: int = 0
    block_size: int = 0
    bits: int = 0
    data_type: str = ""
    expected_type: str = ""
    count: int = 0
    limit: int = 0
    index: int = 0
    code_range: tuple[float, float] = (0.0, 0.0)
    location: str | None = None
    names: tuple[str, ...] = ()
    value: object = ""
    reason: str = ""


class Evidence(Enum):
    """On what evidence two layers are a pair, the surest first."""

    NAME_AND_VALUES = auto()
    VALUES = auto()
    NAME_ONLY = auto()
    """The names are equal, the values differ."""
    ORDER = auto()
    """Neither: the next that was left. A guess."""
    NAME = auto()
    """The names are equal; there is no weight to compare."""
    STRUCTURE = auto()
    """They stand at the same place between layers that are pairs; there is no weight."""

    @property
    def is_sure(self) -> bool:
        """Whether the weights themselves say that the two are the same layer."""
        return self in (Evidence.NAME_AND_VALUES, Evidence.VALUES)


@dataclass(frozen=True)
class Folding:
    """What was done to a float weight before it was quantized, in this order.

    Attributes:
        batch_norm: the batch-norm behind the layer was folded into it.
        alpha: Gemm's factor, where it was folded.
        rescaled: lowest and highest factor of the channels, where each was rescaled by its own
            (equalization).
    """

    batch_norm: bool = False
    alpha: float | None = None
    rescaled: tuple[float, float] | None = None


class Grid(Enum):
    """What a float weight that lies on a grid of few levels looks like."""

    INTEGERS = auto()
    FEW_LEVELS = auto()


class QuantizerKind(Enum):
    WEIGHT = "weight"
    ACTIVATION = "activation"


class UnplacedReason(Enum):
    """Why a quantizer of the variant is not in the switched model."""

    LAYER_UNPAIRED = "layer unpaired"  # the original has no such layer, or it was not found
    SHAPE = "shape"  # its values have another shape than the original's operand
    RESCALED = "rescaled"  # channels were equalized, together with those of another layer
    UNREADABLE = "unreadable"  # the values cannot be read from the file
    OPERATOR = "operator"  # it happens inside an operator that has no float twin
    OPSET = "opset"  # the original's opset has no such operator


class SampleKind(Enum):
    FILE = "file"
    SYNTHETIC = "synthetic"


class EndingKind(Enum):
    CANCELLED = "cancelled"
    TIME = "time"
    MEMORY = "memory"
    CRASHED = "crashed"
    REFUSED = "refused"
    FAILED = "failed"
    BAD_REPLY = "bad reply"


@dataclass(frozen=True)
class Ending:
    """Why a run gave no answer.

    Attributes:
        seconds: TIME: the limit that was reached; else how long the request took.
        in_all: TIME: the limit is that of all runs together.
        memory_bytes: MEMORY: the limit that was reached.
        signal: CRASHED: the number of the signal, None where the process ended by itself.
        detail: what onnxruntime said, or what was wrong with the reply: at most 500 printable
            characters, without paths of this machine.
    """

    kind: EndingKind
    seconds: float = 0.0
    memory_bytes: int = 0
    signal: int | None = None
    detail: str = ""
    in_all: bool = False
