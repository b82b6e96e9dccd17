"""The opset that a scheme asks for, and a model raised to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from ..operators import STANDARD_DOMAINS
from ..running.endings import describe_library_error
from .rewrite_errors import RewriteError
from .schemes import Scheme

# The first opset whose DequantizeLinear takes the codes. Source: onnx/docs/Changelog.md.
FIRST_OPSETS = {
    "int8": 10, "uint8": 10, "float8e4m3fn": 19, "float8e5m2": 19, "int16": 21, "uint16": 21,
    "int4": 21, "uint4": 21, "float4e2m1": 23, "int2": 25, "uint2": 25,
}  # fmt: skip
PER_CHANNEL_OPSET, BLOCKS_OPSET = 13, 21


def needed_opset(scheme: Scheme) -> int:
    """Return the first opset whose DequantizeLinear takes a scheme."""
    least = FIRST_OPSETS[scheme.data_type]
    by_granularity = {"per-channel": PER_CHANNEL_OPSET, "per-block": BLOCKS_OPSET}
    return max(least, by_granularity.get(scheme.granularity, 0))


def raise_opset(path: Path, proto: onnx.ModelProto, schemes: Sequence[Scheme]) -> int | None:
    """Raise the opset as far as the schemes ask for, and return it; None leaves it."""
    entry = next((one for one in proto.opset_import if one.domain in STANDARD_DOMAINS), None)
    needed = max(map(needed_opset, schemes), default=0)
    if entry is None or entry.version >= needed:
        return None
    strangers = _changed_operators(proto.graph, entry.version, needed)
    if strangers or proto.functions:
        converted = _convert(path, proto, needed)
        proto.CopyFrom(converted)
    else:
        entry.version = needed
    least = onnx.helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    proto.ir_version = max(proto.ir_version, least)
    return needed


def _changed_operators(graph: onnx.GraphProto, old: int, new: int) -> set[str]:
    """Return the operators whose inputs or attributes mean something else in the newer opset."""
    changed = set()
    for node in graph.node:
        if node.domain in STANDARD_DOMAINS and not _is_unchanged(node.op_type, old, new):
            changed.add(node.op_type)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                changed |= _changed_operators(inner, old, new)
    return changed


def _is_unchanged(op_type: str, old: int, new: int) -> bool:
    """Whether an operator only learnt new types, inputs at the end or attributes with a default."""
    try:
        before, after = onnx.defs.get_schema(op_type, old), onnx.defs.get_schema(op_type, new)
    except onnx.defs.SchemaError:
        return False
    if after.deprecated:
        return False
    if before.since_version == after.since_version:
        return True
    if op_type in ("Split", "Resize", "GroupNormalization"):  # the same words, another meaning
        return False
    names = [one.name for one in before.inputs]
    same = [one.name for one in after.inputs][: len(names)] == names
    same = same and after.min_input <= before.min_input
    for name, attribute in before.attributes.items():
        now = after.attributes.get(name)
        same = same and now is not None and now.default_value == attribute.default_value
    new_ones = set(after.attributes) - set(before.attributes)
    return same and not any(after.attributes[name].required for name in new_ones)


def _convert(path: Path, proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(proto, version)
    except Exception as error:  # a C++ library: RuntimeError, ConvertError and others
        reason = describe_library_error(error, path.parent)
        raise RewriteError(
            f"{path.name} cannot be raised to opset {version}, which the scheme asks for: {reason}"
        ) from error
