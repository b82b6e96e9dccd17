"""What a graph spells that its operators' schemas do not allow, by the onnx package's own schemas.

A runtime checks the same as it opens a file. Nothing here lists an operator's attributes or types.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial

import onnx
import onnx_ir as ir

from ..operators import STANDARD_DOMAINS
from .model_file import Model, all_nodes

_CHECKED_DOMAINS = ("", "ai.onnx.ml")
# onnxruntime registers these in the standard domain though ONNX has none of them (or another):
# what `get_all_operator_schema` of 1.31 has and `onnx.defs` has not.
_RUNTIME_ADDS = frozenset(
    "Affine Crop DynamicSlice GRUUnit GivenTensorFill ImageScaler LayerNormalization "
    "MeanVarianceNormalization ParametricSoftplus Scale ScaledTanh SimplifiedLayerNormalization "
    "ThresholdedRelu DisentangledAttention_TRT EfficientNMS_TRT MultilevelCropAndResize_TRT "
    "PyramidROIAlign_TRT".split()
)
_TYPE_NAMES = {ir.DataType.FLOAT: "float", ir.DataType.DOUBLE: "double"}
_Option = onnx.defs.OpSchema.FormalParameterOption


class MismatchKind(Enum):
    UNKNOWN_OPERATOR = "unknown operator"
    UNKNOWN_ATTRIBUTE = "unknown attribute"
    MISSING_ATTRIBUTE = "missing attribute"
    INPUT_COUNT = "input count"
    INPUT_TYPE = "input type"
    TYPES_DIFFER = "types differ"


@dataclass(frozen=True)
class SchemaMismatch:
    """One thing that a node spells and the imported version of its operator does not allow.

    Attributes:
        node: its name, or that of its first output.
        opset: of the operator's domain, as the file imports it.
        subject: the attribute or the input, as the schema names it.
        data_types: what the input has; two where one type parameter is bound to both.
        count: of inputs, for INPUT_COUNT.
        allowed_from: the first later opset that allows it, None where no version does.
    """

    kind: MismatchKind
    node: str
    operator: str
    domain: str
    opset: int
    subject: str = ""
    data_types: tuple[str, ...] = ()
    count: int = 0
    allowed_from: int | None = None


def newest_opset() -> int:
    """Return the newest operator set that the installed onnx package knows."""
    return int(onnx.defs.onnx_opset_version())


def newest_ir_version() -> int:
    return int(onnx.IR_VERSION)


def find_schema_mismatches(model: Model) -> Iterator[SchemaMismatch]:
    """Yield what the schemas refuse, in graph order; empty where a domain is not known to them."""
    types: dict[int, str] = {}
    for node in all_nodes(model):
        domain = "" if node.domain in STANDARD_DOMAINS else node.domain
        opset = model.opset if domain == "" else model.graph.opset_imports.get(domain, 0)
        if domain not in _CHECKED_DOMAINS or opset <= 0:
            continue
        yield from _check_node(node, domain, opset, types)


def _check_node(
    node: ir.Node, domain: str, opset: int, types: dict[int, str]
) -> Iterator[SchemaMismatch]:
    schema = schema_at(node.op_type, domain, opset)
    if schema is None:
        if domain != "" or node.op_type not in _RUNTIME_ADDS:
            later = _first_opset(_history(domain, node.op_type), opset, lambda _: True)
            yield _mismatch(MismatchKind.UNKNOWN_OPERATOR, node, domain, opset, allowed_from=later)
        return
    yield from _check_attributes(node, schema, domain, opset)
    yield from _check_count(node, schema, domain, opset)
    yield from _check_types(node, schema, domain, opset, types)


def _check_attributes(
    node: ir.Node, schema: onnx.defs.OpSchema, domain: str, opset: int
) -> Iterator[SchemaMismatch]:
    history = _history(domain, node.op_type)
    for name in node.attributes:
        # onnx leaves names that begin with two underscores to whoever writes them.
        if name not in schema.attributes and not name.startswith("__"):
            later = _first_opset(history, opset, partial(_has_attribute, name))
            yield _mismatch(
                MismatchKind.UNKNOWN_ATTRIBUTE, node, domain, opset, name, allowed_from=later
            )
    for name, attribute in schema.attributes.items():
        if attribute.required and name not in node.attributes:
            yield _mismatch(MismatchKind.MISSING_ATTRIBUTE, node, domain, opset, name)


def _check_count(
    node: ir.Node, schema: onnx.defs.OpSchema, domain: str, opset: int
) -> Iterator[SchemaMismatch]:
    count = len(node.inputs)
    if not schema.min_input <= count <= schema.max_input:
        later = _first_opset(
            _history(domain, node.op_type), opset, lambda s: s.min_input <= count <= s.max_input
        )
        yield _mismatch(
            MismatchKind.INPUT_COUNT, node, domain, opset, count=count, allowed_from=later
        )


def _check_types(
    node: ir.Node, schema: onnx.defs.OpSchema, domain: str, opset: int, types: dict[int, str]
) -> Iterator[SchemaMismatch]:
    """Check the types that are known, and note those of the outputs that follow from them."""
    bound: dict[str, str] = {}
    for index, value in enumerate(node.inputs):
        parameter = _parameter_at(schema.inputs, index)
        found = None if value is None else _type_of(value, types)
        if parameter is None or found is None:
            continue
        if found not in parameter.types:
            later = _first_opset(
                _history(domain, node.op_type),
                opset,
                partial(_takes, index, found),
            )
            yield _mismatch(
                MismatchKind.INPUT_TYPE,
                node, domain, opset, parameter.name, (_bare(found),), allowed_from=later,
            )  # fmt: skip
            continue
        if parameter.option == _Option.Variadic and not parameter.is_homogeneous:
            continue
        other = bound.setdefault(parameter.type_str, found)
        if other != found:
            yield _mismatch(
                MismatchKind.TYPES_DIFFER,
                node, domain, opset, parameter.name, (_bare(other), _bare(found)),
            )  # fmt: skip
    _note_outputs(node, schema, bound, types)


def _note_outputs(
    node: ir.Node, schema: onnx.defs.OpSchema, bound: Mapping[str, str], types: dict[int, str]
) -> None:
    for index, value in enumerate(node.outputs):
        parameter = _parameter_at(schema.outputs, index)
        if parameter is None:
            continue
        found = bound.get(parameter.type_str)
        if found is None and len(parameter.types) == 1:
            (found,) = parameter.types
        if found is not None:
            types[id(value)] = found


def _type_of(value: ir.Value, types: Mapping[int, str]) -> str | None:
    """Return a tensor's type as schemas spell it, None where the graph does not tell."""
    data_type = value.const_value.dtype if value.const_value is not None else value.dtype
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return None
    if data_type is None or data_type == ir.DataType.UNDEFINED:
        return types.get(id(value))
    return f"tensor({_TYPE_NAMES.get(data_type, data_type.name.lower())})"


def _bare(type_name: str) -> str:
    return type_name.removeprefix("tensor(").removesuffix(")")


def _parameter_at(
    parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int
) -> onnx.defs.OpSchema.FormalParameter | None:
    if index < len(parameters):
        return parameters[index]
    last = parameters[-1] if parameters else None
    return last if last is not None and last.option == _Option.Variadic else None


def _mismatch(
    kind: MismatchKind,
    node: ir.Node,
    domain: str,
    opset: int,
    subject: str = "",
    data_types: tuple[str, ...] = (),
    count: int = 0,
    allowed_from: int | None = None,
) -> SchemaMismatch:
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    return SchemaMismatch(
        kind, name, node.op_type, domain, opset, subject, data_types, count, allowed_from
    )


def schema_at(op_type: str, domain: str, opset: int) -> onnx.defs.OpSchema | None:
    """Return the version in force, None where there is none or it is deprecated."""
    known = [s for s in _history(domain, op_type) if s.since_version <= opset]
    return known[-1] if known and not known[-1].deprecated else None


def _has_attribute(name: str, schema: onnx.defs.OpSchema) -> bool:
    return name in schema.attributes


def _takes(index: int, type_name: str, schema: onnx.defs.OpSchema) -> bool:
    parameter = _parameter_at(schema.inputs, index)
    return parameter is not None and type_name in parameter.types


def _first_opset(
    history: Sequence[onnx.defs.OpSchema],
    opset: int,
    allows: Callable[[onnx.defs.OpSchema], bool],
) -> int | None:
    """Return the first later opset whose version of the operator allows it."""
    later = (s for s in history if s.since_version > opset and not s.deprecated and allows(s))
    return next((int(s.since_version) for s in later), None)


def _history(domain: str, op_type: str) -> tuple[onnx.defs.OpSchema, ...]:
    return _histories().get((domain, op_type), ())


@cache
def _histories() -> Mapping[tuple[str, str], tuple[onnx.defs.OpSchema, ...]]:
    """Return every version of each operator, oldest first."""
    found: dict[tuple[str, str], list[onnx.defs.OpSchema]] = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        found[schema.domain, schema.name].append(schema)
    return {
        key: tuple(sorted(schemas, key=lambda s: s.since_version)) for key, schemas in found.items()
    }
