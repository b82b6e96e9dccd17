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
    EXPERTS_OF_DEVICE = auto()
    EXPERTS_DIFFER = auto()
    BITS = auto()
    BYTES_OF_ROWS = auto()
    UNKNOWN_ATTRIBUTE = auto()
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
    CODES_UNREAD = auto()
    # Operators that are recognized, but not decoded, or not known at all.
    QONNX_NOT_DECODED = auto()
    QUARK_NOT_DECODED = auto()
    OWN_LAYOUT = auto()
    VENDOR_BLOB = auto()
    REORDERED_FOR_CPU = auto()
    UNKNOWN_OPERATOR = auto()
    # Constants that cannot be computed.
    GROWS_TOO_LARGE = auto()
    HOLDS_TOO_MUCH = auto()
    TOO_MANY_DIMENSIONS = auto()
    OPERATOR_GROWS = auto()
    OPERATOR_FAILS = auto()
    OPERATOR_OF_OPSET = auto()
    ATTRIBUTE_OF_OPSET = auto()
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
    INLINED_TOO_LARGE = auto()
    OPENING_TOO_LONG = auto()
    STILL_OPENING = auto()
    # What stands in the way of measuring.
    ORIGINAL_SHAPE = auto()
    TOO_MUCH_WORK = auto()
    # Folders that hold no models, or more than are opened.
    NO_FOLDER = auto()
    NOT_A_FOLDER = auto()
    FOLDER_UNREADABLE = auto()
    NO_MODELS = auto()
    FOLDERS_TOO_DEEP = auto()
    TOO_MANY_FOLDERS = auto()
    TOO_MANY_FILES = auto()
    LIBRARY = auto()


class ConstantRole(Enum):
    """What a constant of integers, narrow floats or packed codes is to the layers it reaches."""

    PARAMETER = "weight or bias"
    QUANTIZATION = "scale, zero-point or grouping"
    NOT_UNDERSTOOD = "not understood"
    INDEX = "indices"
    SHAPE = "shape, axes or sizes"
    MASK = "mask or condition"
    NUMBERS = "whole numbers that are computed with"
    SEQUENCE = "input of a loop, branch or sequence"
    UNREAD = "read by no layer"


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


class StayReason(Enum):
    """Why a plan leaves a weight as it is."""

    OTHER_NETWORK = auto()  # the variant is not the original's network, and the two are not mixed
    UNREADABLE = auto()
    NOT_IN_VARIANT = auto()
    FLOAT = auto()  # the variant left it in float
    NO_ORIGINAL = auto()
    UNSURE = auto()  # no evidence says that the float weight is that of the same layer
    SHAPE = auto()
    CODEBOOK = auto()  # or codes that no scheme is known for
    ZERO = auto()
    NOT_FINITE = auto()
    NO_SCALE = auto()  # its range is wider than a scale can say, whatever the scheme
    NOT_PLACED = auto()  # it is not known which weight of the original stands there
    SHARED = auto()  # another layer has the same stored weight, and both change together
    NOT_WRITTEN = auto()  # the file cannot be written with another weight there


@dataclass(frozen=True)
class Stay:
    """Why a plan leaves the weight of a layer as it is. Most reasons use few fields.

    Attributes:
        layer_name: as the original names the layer.
        refusal: UNREADABLE.
        name: of the original (OTHER_NETWORK), of the variant (NOT_IN_VARIANT), of the other layer
            (SHARED).
        data_type: of the codes; NO_SCALE: of the scale.
        shape, expected_shape: of the float weight, and of the quantized one.
        count, limit: weights that are NaN or infinite, and all of them.
        detail: NOT_WRITTEN: what the writer said.
    """

    layer_name: str
    reason: StayReason
    refusal: Refusal | None = None
    name: str = ""
    data_type: str = ""
    shape: Shape = ()
    expected_shape: Shape = ()
    count: int = 0
    limit: int = 0
    detail: str = ""


class RecipeNoteKind(Enum):
    """What a recipe for another quantizer does not do as the plan, and what it does instead."""

    FLOAT_AS_16_BITS = auto()  # a float activation beside a layer that is quantized
    WEIGHT_AS_16_BITS = auto()  # a float weight of a layer whose activations are quantized
    LEFT_IN_FLOAT = auto()  # no node that may be quantized reads or makes it
    SCALE_OF_ANOTHER = auto()  # what it is moved from has another scale
    CLIPPED_BY_RANGE = auto()  # the Relu or Clip before it goes: its range stands for it
    NO_TYPE = auto()  # the quantizer has no such data type for it
    IN_BLOCKS = auto()  # per channel instead
    SEVERAL = auto()  # quantized differently for different readers: one of them for all
    NO_INITIALIZER = auto()  # the weight is computed on the way to the layer
    EQUALIZED = auto()  # left out
    NO_BIAS = auto()  # the layer has no bias of its own that could be corrected
    FOLDED = auto()  # a batch-norm was folded before: its layer keeps the general settings


@dataclass(frozen=True)
class RecipeNote:
    """``names``: of tensors of the original; of layers for EQUALIZED, NO_BIAS and FOLDED."""

    kind: RecipeNoteKind
    names: tuple[str, ...]


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


class WritingRefusalKind(Enum):
    """Why a move cannot be written into a file."""

    NO_ORIGINAL = auto()  # it takes values of the float original
    OTHER_PLACEMENT = auto()  # the quantizer is not what stands at its number
    NOT_IN_MAIN_GRAPH = auto()  # in a body or a function
    GIVEN_AS_CODES = auto()  # who calls the model quantizes
    LEAVES_AS_CODES = auto()  # an output of the graph is codes
    CODES_COMBINED = auto()  # an operator joins its codes with others, or computes in them
    NO_PLAIN_OPERATOR = auto()  # an integer operator without a float twin that computes the same
    SCALE_COMPUTED = auto()  # scale or zero-point are no constants
    SEVERAL_LAYERS = auto()  # a bias of one of the layers that share a weight
    NO_BIAS = auto()  # the operator has no bias, and no Add stands behind it
    WEIGHT_COMPUTED = auto()  # the weight is no constant of the layer
    SHAPE = auto()
    SCHEME = auto()  # onnxruntime does not run it, or the weight cannot be quantized so


@dataclass(frozen=True)
class WritingRefusal:
    """Why a move cannot be written.

    Attributes:
        tensor, layer: of the original.
        op_type: that stands in the way.
        detail: SCHEME: the reason in words.
    """

    kind: WritingRefusalKind
    tensor: str = ""
    layer: str = ""
    op_type: str = ""
    shape: tuple[int, ...] = ()
    expected_shape: tuple[int, ...] = ()
    detail: str = ""


class WritingNoteKind(Enum):
    """What became of a layer beside what was asked for."""

    TAKEN_APART = auto()  # from integer operators to QuantizeLinear and DequantizeLinear
    ACTIVATION_BACK = auto()  # a Relu or Clip that the range no longer replaces
    SCALES_RAISED = auto()  # as far as the bias needs
    BIAS_ADDED = auto()
    TO_CODES = auto()  # a float weight that was quantized while the model loads
    HELD_FINE = auto()  # a bias in int32 codes, which keeps the weight beside it in float
    TO_FLOAT = auto()  # a bias or constant that was stored in codes


@dataclass(frozen=True)
class WritingNote:
    """One thing that became of a layer.

    Attributes:
        layer: in the variant.
        op_type: TAKEN_APART, ACTIVATION_BACK: the operator.
        channels: SCALES_RAISED: how many scales.
        sqnr_db: SCALES_RAISED: of the weight before and after.
    """

    kind: WritingNoteKind
    layer: str
    op_type: str = ""
    channels: int = 0
    sqnr_db: tuple[float, float] = (0.0, 0.0)
