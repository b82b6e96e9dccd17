"""The sentences about facts: one place for page, report and command line.

A sentence begins with a small letter and ends without a full stop, so that it fits behind a colon.
"""

from __future__ import annotations

from .facts import Evidence, Folding, Grid, Refusal, RefusalKind, Stay, StayReason

_K = RefusalKind

# Filled in with the fields of the refusal, and with what `_phrases` makes of several of them.
_REFUSALS: dict[RefusalKind, str] = {
    _K.AXIS_OUTSIDE: "axis {axis} is outside a tensor of shape {shape}{scale_too}",
    _K.SCALE_SHAPE: (
        "scale has shape {scale_shape} but axis {axis} of the codes' shape {shape}{in_blocks} asks "
        "for {expected_shape}"
    ),
    _K.BLOCK_SCALE_SHAPE: (
        "scale has shape {scale_shape} but codes of shape {shape} in blocks of {block_size} ask "
        "for {expected_shape}"
    ),
    _K.SCALE_AGAINST_WEIGHT: "scale has shape {scale_shape} but the weight has {shape}",
    _K.SCALE_AGAINST_CODES: "scale of shape {scale_shape} against codes of shape {shape}",
    _K.ZERO_POINT_SHAPE: "zero-point has shape {shape} but the scale has {scale_shape}",
    _K.CODES_TYPE: "the codes are {data_type}, which is not a quantized data type",
    _K.SCALE_TYPE: "the scale is {data_type}, which ONNX does not allow",
    _K.ZERO_POINT_TYPE: "the zero-point is {data_type} but the codes are {expected_type}",
    _K.NO_SCALE: "{operator} has no scale",
    _K.NO_CONSTANT_CODES: "{operator} without constant codes and scale",
    _K.INPUT_NOT_CONSTANT: "input {index} of {operator} is not a constant",
    _K.ROUNDING_MODE: "rounding mode {value!r} of {operator}",
    _K.CODES_TOO_WIDE: "codes from {code_range[0]:g} to {code_range[1]:g} are wider than 32 bits",
    _K.PREPACKED: "the weight is prepacked for one device",
    _K.LAYOUT_LEFT_TO_DEVICE: (
        "the weights' layout is left to the device (weights_prepacked is not 0)"
    ),
    _K.PACKED_SHAPE: (
        "the blob is {data_type} {shape}, but N={weight_shape[0]}, K={weight_shape[1]}, "
        "bits={bits}, block_size={block_size} ask for {expected_type} {expected_shape}"
    ),
    _K.CODEBOOK_SHAPES: (
        "blob {shape} and absmax {scale_shape} do not fit N={weight_shape[0]}, "
        "K={weight_shape[1]}, block_size={block_size}"
    ),
    _K.QUANT_TYPE: "quant_type {value} of {operator}",
    _K.QUANT_TYPE_NOT_DECODED: "quant_type {value!r} of {operator} is not decoded",
    _K.EXPERTS_OF_DEVICE: (
        "experts of quant_type {value!r} are packed for one device, and the file does not say how"
    ),
    _K.EXPERTS_DIFFER: (
        "the experts have shape {shape} by their bits, but fc2 leads back to {limit} features, not "
        "{count}"
    ),
    _K.BITS: "{operator} with codes of {bits} bits is not decoded",
    _K.BYTES_OF_ROWS: "the blob is {data_type} {shape}, not rows of bytes (uint8)",
    _K.UNKNOWN_ATTRIBUTE: (
        "attribute {value!r} of {operator}{of_domain} is not known, and may change what its codes "
        "mean"
    ),
    _K.GROUP_INDEX: "g_idx of shape {shape} does not name {count} groups",
    _K.NOT_THREE_DIMENSIONS: "the weight has shape {shape}, not three dimensions",
    _K.GROUPS: "{count} input channels cannot be divided into {value!r} groups",
    _K.DOES_NOT_FIT: "inputs and attributes do not fit ({reason})",
    _K.NOT_IN_FILE: "{name!r} is not in the file",
    _K.FEEDS_ITSELF: "it comes from {operator}, which feeds itself",
    _K.TOO_MANY_STEPS: "more than {limit} operators, or a cycle, before the layer",
    _K.UNKNOWN_ON_THE_WAY: "it comes through {operator}{of_domain}, which is not known",
    _K.LAYOUT_STEP: "{operator} of shape {shape}: {reason}",
    _K.COMPUTED_FROM_CODES: (
        "computed from codes by {named}: the values are exact, but no one scale belongs to them"
    ),
    _K.NEVER_SCALED: "its integers are never multiplied by a scale in this file",
    _K.SCALES_IN_CIRCLE: "the scales that follow are multiplied in a circle",
    _K.SCALE_COMPUTED: "the scale that follows is computed while the model runs",
    _K.SCALES_MULTIPLIED: "the scales of input and weight stand multiplied in the file",
    _K.MALFORMED_AFTER: "what follows it is malformed ({reason})",
    _K.CODES_UNREAD: (
        "the {data_type} constant {name!r} of shape {shape} reaches it in a way that is not known"
    ),
    _K.QONNX_NOT_DECODED: "QONNX {operator} is not decoded",
    _K.QUARK_NOT_DECODED: "AMD Quark's {operator} is not decoded",
    _K.OWN_LAYOUT: "{operator} keeps its weight in a layout of its own",
    _K.VENDOR_BLOB: "the weights are inside a blob of a hardware vendor",
    _K.REORDERED_FOR_CPU: (
        "onnxruntime reordered the weight for one CPU (NCHWc): open the model from before that"
    ),
    _K.UNKNOWN_OPERATOR: (
        "operator {operator} of domain {domain!r} is not known; it holds {quoted}"
    ),
    _K.GROWS_TOO_LARGE: "{name!r} cannot be computed: it grows too large",
    _K.HOLDS_TOO_MUCH: (
        "{name!r} cannot be computed: what it is computed from takes far more memory than the file"
    ),
    _K.TOO_MANY_DIMENSIONS: (
        "{name!r} cannot be computed: {operator} has an argument of {count:,} numbers, an array "
        "{limit} dimensions at most"
    ),
    _K.OPERATOR_GROWS: "{name!r} cannot be computed: {operator} would make {count:,} elements",
    _K.OPERATOR_FAILS: "{name!r} cannot be computed: {operator} of {listed_shapes} says {reason}",
    _K.OPERATOR_OF_OPSET: (
        "{name!r} cannot be computed: opset {limit}, which the model imports, has no {operator}"
    ),
    _K.ATTRIBUTE_OF_OPSET: (
        "{name!r} cannot be computed: {operator} of opset {limit}, which the model imports, has no "
        "attribute {value!r}"
    ),
    _K.DOES_NOT_UNPACK: "tensor {name!r} of shape {shape} does not unpack to {expected_shape}",
    _K.UNPACKED_SHAPE: "tensor {name!r} unpacks to shape {shape}, expected {expected_shape}",
    _K.TENSOR_UNREADABLE: "tensor {name!r} cannot be read: {reason}",
    _K.TENSOR_ENTRIES: "tensor {name!r} of shape {shape} has {count:,} numbers in the file",
    _K.TENSOR_BYTES: (
        "tensor {name!r} of shape {shape} and type {data_type} needs {limit:,} bytes, the file "
        "holds {count:,}"
    ),
    _K.TENSOR_SHAPE: "tensor {name!r} has an impossible shape {shape}",
    _K.TENSOR_TYPE: "tensor {name!r} has data type {data_type}, which has no known layout",
    _K.DATA_UNREADABLE: "tensor {name!r}: {place} cannot be read: {reason}",
    _K.DATA_CUT_OFF: "tensor {name!r} ends at byte {limit:,} of {place}, which has {count:,}",
    _K.DATA_SHRANK: "tensor {name!r}: {place} became shorter while it was read",
    _K.EXTERNAL_MISSING: "tensor {name!r}: {place} is missing",
    _K.EXTERNAL_OUTSIDE: "tensor {name!r}: {place} is outside the model's folder",
    _K.EXTERNAL_NOT_REGULAR: "tensor {name!r}: {place} is not a regular file",
    _K.NO_FILE: "{name}: there is no such file",
    _K.FILE_UNREADABLE: "{name} cannot be opened: {reason}",
    _K.FILE_EMPTY: "{name} is empty",
    _K.FILE_INCOMPLETE: (
        "{name} is not a complete ONNX file: it is another format, damaged or cut off; fetch it "
        "again"
    ),
    _K.LINK_OUTSIDE: "{name} is a link out of the models folder: put the file itself there",
    _K.GIT_LFS_POINTER: "{name} is a Git LFS pointer, not the model: run `git lfs pull`",
    _K.WEB_PAGE: "{name} is a web page or XML, not a model: download the raw file",
    _K.ORT_FORMAT: (
        "{name} is in onnxruntime's .ort format, whose weights cannot be read: open the .onnx it "
        "was made from"
    ),
    _K.NO_GRAPH: "{name} holds no graph: it is not an ONNX model, or an empty one",
    _K.GRAPH_TOO_LARGE: (
        "{name}: its nodes, tensors and attributes, without the weights, would take more than "
        "{megabytes} MB once opened: split the model, or export it with fewer nodes"
    ),
    _K.GRAPH_UNREADABLE: "{name}: the graph cannot be understood: {reason}",
    _K.NAME_NOT_TEXT: "{name}: a name in it is not UTF-8 text; the file is damaged",
    _K.NAME_DEFINED_TWICE: (
        "{name}: the name {value!r} is defined twice, by {named}, so onnxruntime does not open the "
        "file: rename one and quantize again"
    ),
    _K.FUNCTION_CALLS_ITSELF: "{name}: function {operator!r} calls itself",
    _K.TOO_MANY_NODES: ("{name}: its functions expand to {count:,} nodes, more than {limit:,}"),
    _K.INLINED_TOO_LARGE: (
        "{name}: its functions, written out where they are called, would take more than "
        "{megabytes} MB"
    ),
    _K.OPENING_TOO_LONG: (
        "{name}: opening it took more than {limit} seconds of processor time, so it was given up: "
        "export it with fewer nodes, or look whether the file is damaged"
    ),
    _K.STILL_OPENING: "{name} is still being opened",
    _K.TOO_MUCH_WORK: (
        "not measured: the weights before it took all the work that files of this size are given"
    ),
    _K.NO_FOLDER: "the folder {name} does not exist",
    _K.NOT_A_FOLDER: "{name} is not a folder",
    _K.FOLDER_UNREADABLE: "the folder {name} cannot be read: {reason}",
    _K.NO_MODELS: "there is no .onnx file under {name}",
    _K.FOLDERS_TOO_DEEP: "folders more than {limit} levels below {name} were not looked into",
    _K.TOO_MANY_FOLDERS: (
        "{name} holds more than {limit:,} folders: the others were not looked into"
    ),
    _K.TOO_MANY_FILES: (
        "{count:,} more .onnx files of {name} were not opened: a network is shown with {limit:,} "
        "variants at most"
    ),
    _K.ORIGINAL_SHAPE: (
        "the weight of {name!r} has shape {shape} as (channels, fan-in), its float original "
        "{expected_shape}"
    ),
    _K.LIBRARY: "{reason}",
}


def describe_refusal(refusal: Refusal) -> str:
    """Return why something could not be read, as in ``weight of Conv: the scale is int8 ...``."""
    sentence = _REFUSALS[refusal.kind].format(**vars(refusal), **_phrases(refusal))
    return f"{refusal.slot} of {refusal.op_type}: {sentence}" if refusal.slot else sentence


def _phrases(refusal: Refusal) -> dict[str, object]:
    external = f"its external file {refusal.location!r}"
    return {
        "scale_too": "" if refusal.scale_shape is None else f" (scale {refusal.scale_shape})",
        "in_blocks": f" in blocks of {refusal.block_size}" if refusal.block_size else "",
        "of_domain": f" of domain {refusal.domain!r}" if refusal.domain else "",
        "named": " and ".join(refusal.names),
        "quoted": ", ".join(map(repr, refusal.names)),
        "listed_shapes": list(refusal.shapes),
        "place": "the model file" if refusal.location is None else external,
        "megabytes": refusal.limit // 10**6,
    }


_EVIDENCE = {
    Evidence.NAME_AND_VALUES: "name and values",
    Evidence.VALUES: "values",
    Evidence.NAME_ONLY: "name only: values differ",
    Evidence.ORDER: "order: a guess",
    Evidence.NAME: "name",
    Evidence.STRUCTURE: "place in the graph",
}


_STAYS: dict[StayReason, str] = {
    StayReason.OTHER_NETWORK: "this is not the network of {name}: the two are not mixed",
    StayReason.UNREADABLE: "{refused}",
    StayReason.NOT_IN_VARIANT: "{name} has no such layer",
    StayReason.FLOAT: "this layer was left in float",
    StayReason.NO_ORIGINAL: "there is no float original of this layer to quantize again",
    StayReason.UNSURE: "its float original is not surely the same layer",
    StayReason.SHAPE: (
        "its float original has shape {shape}, the quantized weight {expected_shape}"
    ),
    StayReason.CODEBOOK: "{data_type} codes have no scheme to start from",
    StayReason.ZERO: "the float weight is all zero",
    StayReason.NOT_FINITE: "{count:,} of {limit:,} weights are NaN or infinite: no scale fits",
    StayReason.NO_SCALE: "its range is wider than a {data_type} scale can say",
    StayReason.NOT_PLACED: "its weight could not be placed in the float original",
    StayReason.SHARED: "its weight is that of {name}, and changes with it",
    StayReason.NOT_WRITTEN: "{detail}",
}


def describe_stay(stay: Stay) -> str:
    """Return why a plan leaves a weight as it is."""
    refused = describe_refusal(stay.refusal) if stay.refusal is not None else ""
    return _STAYS[stay.reason].format(**vars(stay), refused=refused)


def describe_evidence(evidence: Evidence) -> str:
    """Return on what two layers are a pair, as in ``name and values``."""
    return _EVIDENCE[evidence]


def describe_folding(folding: Folding | None) -> str:
    """Return what was done to the weight before it was quantized; empty for nothing."""
    parts = []
    if folding is not None and folding.batch_norm:
        parts.append("batch-norm folded")
    if folding is not None and folding.alpha is not None:
        parts.append(f"alpha {folding.alpha:g} folded")
    if folding is not None and folding.rescaled is not None:
        low, high = folding.rescaled
        parts.append(f"channels rescaled by {low:.3g} to {high:.3g} (equalization)")
    return "; ".join(parts)


_GRIDS = {
    Grid.INTEGERS: "integers in a float tensor: the file holds no scale for them",
    Grid.FEW_LEVELS: (
        "on a grid of few levels (looks fake-quantized): the file holds no scale for it"
    ),
}


def describe_grid(grid: Grid) -> str:
    """Return what a float weight on a grid of few levels looks like."""
    return _GRIDS[grid]
