"""A model -> its layers, in graph order, each with its parameters and their quantization."""

from __future__ import annotations

import difflib
import math
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir

from ..budgets import spend
from ..facts import Refusal, RefusalKind
from ..operators import QDQ_DOMAINS, STANDARD_DOMAINS, Operand, operator_named
from ..quantization import (
    ArraySource,
    DerivedSource,
    NotUnderstoodError,
    RefusedError,
    Source,
    UnavailableError,
    create_quantization,
)
from ..records import Layer, LayerParams, WeightTensor
from .accounts import AccountedConstant, account_for_constants, say_what_is_unread
from .activation_scales import (
    activation_quantization,
    input_quantizations,
    output_quantizations,
)
from .alike_names import number_alike
from .arithmetic import hold_codes, read_unscaled
from .constants import ConstantTable, attribute_values, constants_of
from .decoders import Stored
from .following import OutputChain, follow_integers, follow_product
from .gathering import GATHERS, read_gathered
from .model_file import Model, all_nodes, printable
from .products import find_bare_codes, read_scaled_product
from .read_layers import ReadLayer
from .storage import READERS, operands_of, refusal_of
from .tracing import trace_operand

# Attributes and shapes come from the file, and nothing promises that they fit together.
_MISFITS = (ArithmeticError, LookupError, TypeError, ValueError)

# What making the record of a layer takes, for `budgets`.
STEPS_A_LAYER = 50

_read: weakref.WeakKeyDictionary[Model, tuple[ReadLayer, ...]] = weakref.WeakKeyDictionary()
_listed: weakref.WeakKeyDictionary[Model, tuple[Layer, ...]] = weakref.WeakKeyDictionary()
_by_name: weakref.WeakKeyDictionary[Model, dict[str, Layer]] = weakref.WeakKeyDictionary()


def list_layers(model: Model) -> tuple[Layer, ...]:
    """Return every layer of ``model`` in graph order. Reads scales' shapes, no weight."""
    if model not in _listed:
        _listed[model] = _list_layers(model)
    return _listed[model]


def list_constants(model: Model) -> tuple[AccountedConstant, ...]:
    """Return what becomes of every constant that could hold codes: integers, narrow floats."""
    return tuple(account_for_constants(model, ConstantTable(model), read_layers(model)))


def layers_by_name(model: Model) -> Mapping[str, Layer]:
    """Return the layers of ``model`` by name, in graph order."""
    if model not in _by_name:
        _by_name[model] = {layer.name: layer for layer in list_layers(model)}
    return _by_name[model]


def find_layer(model: Model, layer_name: str) -> Layer:
    """Return the layer of that name. Raises ``KeyError`` naming the nearest ones."""
    layers = layers_by_name(model)
    if layer_name not in layers:
        nearest = difflib.get_close_matches(layer_name, layers, n=3, cutoff=0.3)
        raise KeyError(f"no layer {layer_name!r} in {model.name}; nearest: {nearest}")
    return layers[layer_name]


def readers_of(layers: Iterable[Layer]) -> dict[str, list[Layer]]:
    """Return the layers that read each tensor, by its name."""
    readers: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        for name in set(layer.input_names) - {""}:
            readers[name].append(layer)
    return readers


def extract_layer_params(model: Model, layer_name: str) -> LayerParams | None:
    """Return the quantization parameters of a layer, None where it has none.

    Raises:
        KeyError: there is no such layer; the message names the nearest.
        UnavailableError: the scale's bytes are missing.
    """
    layer = find_layer(model, layer_name)
    if not layer.is_quantized:
        return None
    weight = layer.weight
    quantization = weight.quantization if weight else None
    return LayerParams(
        layer=layer.name,
        node_type=layer.op_type,
        scale=quantization.scale if quantization else None,
        zero_point=quantization.zero_point if quantization else None,
        weight_shape=weight.shape if weight else None,
        weight_dtype=weight.data_type if weight else None,
        is_per_channel=bool(quantization and quantization.granularity == "per-channel"),
        axis=quantization.axis if quantization else None,
        block_size=quantization.block_size if quantization else None,
        granularity=quantization.granularity if quantization else None,
        storage=weight.storage if weight else None,
        inputs=layer.inputs,
        outputs=layer.outputs,
        bias=layer.bias,
    )


def _list_layers(model: Model) -> tuple[Layer, ...]:
    return tuple(one.layer for one in read_layers(model))


def read_layers(model: Model) -> tuple[ReadLayer, ...]:
    """Return the layers of ``model`` in graph order, each with what of the graph it is."""
    if model not in _read:
        constants = constants_of(model)
        _read[model] = say_what_is_unread(model, constants, _read_layers(model, constants))
    return _read[model]


def _read_layers(model: Model, constants: ConstantTable) -> tuple[ReadLayer, ...]:
    nodes = list(all_nodes(model))
    chains = dict(_chains(nodes, constants))
    claimed = {
        id(node)
        for chain in chains.values()
        if not isinstance(chain, RefusedError)
        for node in chain.nodes
    }
    working = [n for n in nodes if id(n) not in claimed and not _is_plumbing(n, constants)]
    names = _unique_names(working)
    layers = []
    for index, (node, name) in enumerate(zip(working, names, strict=True)):
        spend(STEPS_A_LAYER)
        layers.append(_read_layer(node, name, index, constants, chains.get(id(node))))
    with_biases = _with_added_biases(working, [one.layer for one in layers])
    return tuple(replace(one, layer=layer) for one, layer in zip(layers, with_biases, strict=True))


def _is_plumbing(node: ir.Node, constants: ConstantTable) -> bool:
    operator = operator_named(node.op_type)
    if operator.is_quantizer or (operator.is_plumbing and node.domain in QDQ_DOMAINS):
        return True
    inputs = [value for value in node.inputs if value is not None]
    if inputs and all(constants.is_constant(value) for value in inputs):
        return True
    producer = inputs[0].producer() if inputs else None
    return node.op_type == "Clip" and producer is not None and producer.op_type == "QuantizeLinear"


def _unique_names(nodes: list[ir.Node]) -> list[str]:
    """Return a name for each node: its own, or one made from its operator and first output."""
    wanted = [node.name or f"{node.op_type} → {_output_names(node)[0]}" for node in nodes]
    return number_alike(wanted)


def _output_names(node: ir.Node) -> tuple[str, ...]:
    return tuple(value.name or "" for value in node.outputs) or ("",)


def _read_layer(
    node: ir.Node,
    name: str,
    index: int,
    constants: ConstantTable,
    chain: OutputChain | RefusedError | None,
) -> ReadLayer:
    readings = list(_read_parameters(node, constants, chain))
    results = [result for _, result in readings]
    found = chain if isinstance(chain, OutputChain) else OutputChain()
    outputs = tuple(node.outputs) if found.output is None else (found.output,)
    layer = Layer(
        name=name,
        node_name=node.name or "",
        op_type=node.op_type,
        domain=node.domain,
        index=index,
        input_names=tuple(value.name or "" if value is not None else "" for value in node.inputs),
        output_names=tuple(value.name or "" for value in outputs) or ("",),
        parameters=tuple(r for r in results if isinstance(r, WeightTensor)),
        inputs=tuple(input_quantizations(node, constants)),
        outputs=tuple(output_quantizations(node, constants)),
        not_understood=(
            *(r for r in results if isinstance(r, Refusal)),
            *_unknown_operator(node, constants),
        ),
        attributes=attribute_values(node, with_tensors=False),
    )
    parameters = frozenset(i for i, result in readings if isinstance(result, WeightTensor))
    refused = frozenset(i for i, _ in readings) - parameters
    return ReadLayer(layer, node, outputs, parameters, refused, found.nodes)


Reading = tuple[int, WeightTensor | Refusal]


def _read_parameters(
    node: ir.Node, constants: ConstantTable, chain: OutputChain | RefusedError | None
) -> Iterator[Reading]:
    """Yield the parameters of a layer, and why others cannot be read, with the input of each."""
    if operator_named(node.op_type).integer_axis is not None and chain is not None:
        yield from ((1, result) for result in _read_integer_operator(node, constants, chain))
        return
    for operand in operands_of(node):
        for result in _read_operand(node, operand, constants, chain):
            yield operand.index, result
    bias = _scaled_bias(node, chain)
    if bias is not None:
        yield len(node.inputs), bias


def _read_operand(
    node: ir.Node,
    operand: Operand,
    constants: ConstantTable,
    chain: OutputChain | RefusedError | None,
) -> Iterator[WeightTensor | Refusal]:
    """Yield the parameter in one input of a layer, or why it cannot be read."""
    value = node.inputs[operand.index] if operand.index < len(node.inputs) else None
    if value is None:
        return
    slot = partial(replace, slot=operand.slot, op_type=node.op_type)
    try:
        stored = _read_stored(node, operand, value, constants, chain)
        weight = _as_weight(operand, stored, node) if stored is not None else None
    except RefusedError as error:
        yield slot(error.refusal)
        return
    except _MISFITS as error:
        yield slot(Refusal(RefusalKind.DOES_NOT_FIT, reason=repr(error)))
        return
    if stored is not None and stored.problem is not None:
        yield slot(stored.problem)
    if weight is not None:
        yield weight


def _read_stored(
    node: ir.Node,
    operand: Operand,
    value: ir.Value,
    constants: ConstantTable,
    chain: OutputChain | RefusedError | None,
) -> Stored | None:
    """Return an operand as it is stored, None where it is an activation."""
    if operand.form is not None:
        read = READERS[operand.form]
        return read(node, constants, operand) if constants.is_constant(value) else None
    if operand.index == 0 and _is_table_of_codes(node, constants):
        gathered = read_gathered(node, constants)
        return None if gathered is None else gathered[0]
    bare = find_bare_codes(node, operand, constants)
    if bare is not None and isinstance(chain, OutputChain):
        return read_scaled_product(node, operand, bare[0], chain, constants)
    if bare is not None:
        never = Refusal(RefusalKind.NEVER_SCALED)
        problem = chain.refusal if isinstance(chain, RefusedError) else never
        whole = read_unscaled(bare[0])
        return Stored("whole numbers", bare[1] if whole is None else whole, problem=problem)
    stored = constants.remember(value, trace_operand, operand.slot)
    is_bias = operand.slot == "bias" and isinstance(chain, OutputChain) and bool(chain.factors)
    if stored is None or not is_bias or stored.quantization is not None:
        return stored
    source = constants.get(value)
    assert isinstance(chain, OutputChain) and source is not None
    return Stored("float → Mul", _behind_scale(source, chain))


def _as_weight(operand: Operand, stored: Stored, node: ir.Node) -> WeightTensor | None:
    """Return the record, None for a constant that is no parameter (shapes, one-number operands)."""
    shape = _layer_shape(stored)
    _check_groups(node, operand, shape)
    is_number = len(shape) == 0 or shape == (1,)
    is_float = stored.source.data_type.startswith(("float", "bfloat"))
    if stored.quantization is None and not is_float and stored.problem is None:
        return None
    if operand.slot == "operand" and is_number and stored.quantization is None:
        return None
    axis = operand.channel_axis(attribute_values(node), len(shape))
    return WeightTensor(
        slot=operand.slot,
        name=stored.root_name,
        storage=stored.storage,
        source=stored.source,
        shape=shape,
        quantization=stored.quantization,
        layout=stored.layout,
        channel_axis=axis if axis is None or axis < len(shape) else None,
        is_unpacked=stored.is_unpacked,
    )


def _check_groups(node: ir.Node, operand: Operand, shape: tuple[int, ...]) -> None:
    """Refuse a ConvTranspose whose groups do not divide its input channels."""
    transposed = operator_named(node.op_type).is_transposed
    if not transposed or operand.slot != "weight" or not shape:
        return
    groups = attribute_values(node).get("group", 1)
    if not isinstance(groups, int) or groups < 1 or shape[0] % groups:
        raise NotUnderstoodError(Refusal(RefusalKind.GROUPS, count=shape[0], value=groups))


def _layer_shape(stored: Stored) -> tuple[int, ...]:
    """Return the shape after the layout steps, tried on an array that takes no memory."""
    if not stored.layout:
        return stored.source.shape
    if stored not in _shapes:
        _shapes[stored] = _try_layout(stored)
    return _shapes[stored]


_shapes: weakref.WeakKeyDictionary[Stored, tuple[int, ...]] = weakref.WeakKeyDictionary()


def _try_layout(stored: Stored) -> tuple[int, ...]:
    spend(1 + len(stored.layout))
    array = np.broadcast_to(np.zeros((), np.int8), stored.source.shape)
    for step in stored.layout:
        if step.op_type == "Cast":
            continue
        try:
            array = step.apply(array)
        except ValueError as error:
            refusal = Refusal(
                RefusalKind.LAYOUT_STEP,
                operator=step.op_type,
                shape=array.shape,
                reason=str(error),
            )
            raise NotUnderstoodError(refusal) from error
    return array.shape


def _is_table_of_codes(node: ir.Node, constants: ConstantTable) -> bool:
    """Whether a layer looks up rows of bare codes, which are scaled later on if at all."""
    if node.op_type not in GATHERS or not node.inputs:
        return False
    source = constants.get(node.inputs[0])
    return source is not None and hold_codes(source.data_type)


# ------------------------------------------------- layers whose scale follows


def _chains(
    nodes: list[ir.Node], constants: ConstantTable
) -> Iterator[tuple[int, OutputChain | RefusedError]]:
    """Yield what follows each layer that hands on integers, by the node's id."""
    for node in nodes:
        try:
            chain = _chain_of(node, constants)
        except RefusedError as error:
            yield id(node), error
        except _MISFITS as error:
            yield (
                id(node),
                NotUnderstoodError(Refusal(RefusalKind.MALFORMED_AFTER, reason=repr(error))),
            )
        else:
            if chain is not None:
                yield id(node), chain


def _chain_of(node: ir.Node, constants: ConstantTable) -> OutputChain | None:
    if node.domain not in STANDARD_DOMAINS:
        return None
    if operator_named(node.op_type).integer_axis is not None:
        return follow_integers(node, constants)
    if _is_table_of_codes(node, constants):
        gathered = read_gathered(node, constants)
        return None if gathered is None else gathered[1]
    for operand in operands_of(node):
        bare = find_bare_codes(node, operand, constants)
        if bare is not None:
            chain = follow_product(node, constants)
            read_scaled_product(node, operand, bare[0], chain, constants)
            return chain
    return None


def _scaled_bias(node: ir.Node, chain: OutputChain | RefusedError | None) -> WeightTensor | None:
    """Return what an Add puts to a product before its scale, in the units behind it."""
    is_integer_operator = operator_named(node.op_type).integer_axis is not None
    if is_integer_operator or not isinstance(chain, OutputChain) or chain.bias is None:
        return None
    if chain.is_rounded or chain.activations:
        return None
    source = _behind_scale(chain.bias, chain)
    return WeightTensor("bias", chain.bias.name, "float → Mul", source, source.shape)


def _behind_scale(bias: Source, chain: OutputChain) -> Source:
    """Return a bias of bare codes times the scale that follows."""
    scale = math.prod((f.read() for f in chain.factors[1:]), start=chain.factors[0].read())
    shape = np.broadcast_shapes(bias.shape, np.shape(scale))
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    derive = partial(_multiply, factor=np.asarray(scale), shape=shape)
    return DerivedSource(bias, derive, shape, bias.data_type)


def _multiply(array: np.ndarray, *, factor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return (array * factor).reshape(shape)


# ------------------------------------------------- integer operators


def _read_integer_operator(
    node: ir.Node, constants: ConstantTable, chain: OutputChain | RefusedError
) -> Iterator[WeightTensor | Refusal]:
    """Yield the weight (and the int32 bias) of MatMulInteger or ConvInteger."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    if not constants.is_constant(value):
        return
    slot = partial(replace, slot="weight", op_type=node.op_type)
    try:
        if isinstance(chain, RefusedError):
            raise chain
        yield _integer_weight(node, constants, chain)
        bias = _integer_bias(node, chain)
        if bias is not None:
            yield bias
        elif chain.bias is not None:
            yield replace(slot(Refusal(RefusalKind.SCALE_COMPUTED)), slot="bias")
    except RefusedError as error:
        yield slot(error.refusal)
    except _MISFITS as error:
        yield slot(Refusal(RefusalKind.LIBRARY, reason=str(error)))


def _integer_weight(node: ir.Node, constants: ConstantTable, chain: OutputChain) -> WeightTensor:
    codes, axis = constants.get(node.inputs[1]), operator_named(node.op_type).integer_axis
    assert codes is not None and axis is not None
    zero_point = constants.get(node.inputs[3]) if len(node.inputs) > 3 else None
    scale = _weight_scale(node, chain, constants)
    quantization = create_quantization(codes, scale, zero_point, axis=axis)
    weight = _as_weight(Operand("weight", 1), Stored(node.op_type, codes, quantization), node)
    assert weight is not None
    return replace(weight, channel_axis=axis % len(weight.shape))


def _integer_bias(node: ir.Node, chain: OutputChain) -> WeightTensor | None:
    """Return the bias, None where it is int32 and the product of the scales is not known."""
    if chain.bias is not None and chain.is_rounded:
        storage = "float, rounded while the model runs"
        return WeightTensor("bias", chain.bias.name, storage, chain.bias, chain.bias.shape)
    if chain.bias is None or chain.activations or not chain.factors:
        return None
    factors = [source.read().astype(np.float32).reshape(-1) for source in chain.factors]
    product = np.prod(np.broadcast_arrays(*factors), axis=0)
    implied = ArraySource("implied scale", product.astype(np.float32), "float32")
    quantization = create_quantization(chain.bias, implied, None, axis=-1)
    return WeightTensor(
        "bias", chain.bias.name, node.op_type, chain.bias, chain.bias.shape, quantization
    )


def _weight_scale(node: ir.Node, chain: OutputChain, constants: ConstantTable) -> Source:
    """Return the weight's part of the scales that the integers are multiplied by."""
    if not chain.factors:
        raise NotUnderstoodError(Refusal(RefusalKind.SCALE_COMPUTED))
    if chain.activations and len(chain.factors) == 1:
        factor = chain.factors[0]
        return factor if len(factor.shape) <= 1 else _flat(factor)
    factors = [factor.read().astype(np.float32).reshape(-1) for factor in chain.factors]
    product = np.prod(np.broadcast_arrays(*factors), axis=0).astype(np.float32)
    if not chain.activations:
        scale = _input_scale(node, constants)
        equal = [i for i, f in enumerate(factors) if f.size == 1 and f[0] == scale[0]]
        if len(factors) == 2 and equal:
            return _flat(chain.factors[1 - equal[0]])
        product = product / scale
    return ArraySource(f"{chain.factors[0].name} (product)", product, "float32")


def _input_scale(node: ir.Node, constants: ConstantTable) -> np.ndarray:
    activation = activation_quantization(node.inputs[0], constants)
    if activation is None or activation.quantization is None:
        raise NotUnderstoodError(Refusal(RefusalKind.SCALES_MULTIPLIED))
    return activation.quantization.scale.astype(np.float32).reshape(-1)


def _flat(source: Source) -> Source:
    return ArraySource(source.name, source.read().reshape(-1), source.data_type)


# ------------------------------------------------- what is said, and biases in an Add


def _unknown_operator(node: ir.Node, constants: ConstantTable) -> list[Refusal]:
    """Return why a layer's constants are not read, where its operator is not known."""
    refusal = refusal_of(node.domain, node.op_type)
    if refusal is not None:
        return [refusal]
    has_output_scale = operator_named(node.op_type).output_scale is not None
    if node.domain in STANDARD_DOMAINS or operands_of(node) or has_output_scale:
        return []
    names = _tensor_constants(node, constants)
    if not names:
        return []
    op_type = printable(node.op_type)
    return [
        Refusal(
            RefusalKind.UNKNOWN_OPERATOR,
            operator=op_type,
            domain=node.domain,
            names=tuple(names[:3]),
        )
    ]


def _tensor_constants(node: ir.Node, constants: ConstantTable) -> list[str]:
    sources = [(v, constants.get(v)) for v in node.inputs if v is not None]
    return [v.name or "" for v, source in sources if source is not None and _is_tensor(source)]


def _is_tensor(source: Source) -> bool:
    """Return whether a constant has dimensions, or cannot be computed to tell."""
    try:
        return len(source.shape) > 0
    except UnavailableError:
        return True


def _with_added_biases(nodes: list[ir.Node], layers: list[Layer]) -> list[Layer]:
    """Give a layer the bias that an Add behind it holds (MatMul + Add), as well as the Add.

    Only where the Add's other input is that layer's one output and nothing else reads it.
    """
    by_output = {
        layer.output_names[0]: i for i, layer in enumerate(layers) if layer.output_names[0]
    }
    result = list(layers)
    once: dict[int, bool] = {}
    for node, layer in zip(nodes, layers, strict=True):
        if layer.op_type != "Add" or layer.weight is None:
            continue
        owners = [_only_source(v, once) for v in node.inputs if v is not None]
        moving = [name for name in owners if name in by_output]
        if len(moving) != 1:
            continue
        owner = result[by_output[moving[0]]]
        if owner.weight is None or owner.bias is not None or owner.weight.slot != "weight":
            continue
        if not _is_bias_shaped(layer.weight, owner):
            continue
        bias = replace(layer.weight, slot="bias")
        added = replace(bias, added_by=layer.name)
        result[owner.index] = replace(owner, parameters=(*owner.parameters, added))
        result[layer.index] = replace(layer, parameters=(bias,))
    return result


def _is_bias_shaped(added: WeightTensor, owner: Layer) -> bool:
    """Return whether a constant has one number for each output channel, or one for all."""
    weight = owner.weight
    if weight is None or weight.channel_axis is None:
        return False
    channels = weight.shape[weight.channel_axis]
    operator = operator_named(owner.op_type)
    if operator.is_transposed:
        channels *= owner.attribute("group", 1)
    long = [i for i, d in enumerate(added.shape) if d != 1]
    if not long:
        return True
    if len(long) > 1 or added.shape[long[0]] != channels:
        return False
    # Images have their channels at position 1, products at the end.
    from_end = len(added.shape) - long[0]
    spatial = len(weight.shape) - 2 if operator.is_convolution else 0
    return from_end == 1 + spatial


def _is_used_once(value: ir.Value, known: dict[int, bool]) -> bool:
    """Whether one node reads a value; asked once, for that copies all who read it."""
    if id(value) not in known:
        known[id(value)] = len(value.uses()) == 1
    return known[id(value)]


def _only_source(value: ir.Value, once: dict[int, bool]) -> str:
    """Return the output that an operand comes from, through Q and DQ, if nothing else reads it."""
    for _ in range(4):
        if not _is_used_once(value, once) or value.is_graph_output():
            return ""
        node = value.producer()
        if node is None or not operator_named(node.op_type).is_plumbing or not node.inputs:
            return value.name or ""
        following = node.inputs[0]
        if following is None:
            return ""
        value = following
    return ""
