"""A plan as a script for ``onnxruntime.quantization.quantize_static``, which runs as it is.

What the quantizer has no words for stands in comments, with what the script does instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..parameter_inspector import (
    Comparison,
    Move,
    RecipeNote,
    RecipeNoteKind,
    StaticRecipe,
    TensorRecipe,
    plan_static_recipe,
)
from .escaping import escape_unprintable, quote_python, quote_short
from .overrides import QUANT_TYPES
from .python_text import list_names

# How many names a comment lists.
NAMED = 6

_K = RecipeNoteKind
_NOTES: dict[RecipeNoteKind, str] = {
    _K.FLOAT_AS_16_BITS: (
        "No override leaves a tensor in float beside a layer that is quantized: 16 bits, over the "
        "range on the samples, for"
    ),
    _K.WEIGHT_AS_16_BITS: (
        "No override leaves a weight in float where its layer is quantized: 16 bits per channel for"
    ),
    _K.LEFT_IN_FLOAT: (
        "No node that is quantized reads or makes these, so they stay in float here"
    ),
    _K.SCALE_OF_ANOTHER: (
        "The quantizer gives a tensor that is only moved the scale of what it is moved from, "
        "whatever an override says"
    ),
    _K.CLIPPED_BY_RANGE: (
        "The quantizer drops the Relu or Clip before these: their range is cut to what it lets "
        "through"
    ),
    _K.NO_TYPE: "QuantType has no such data type: left to the quantizer",
    _K.IN_BLOCKS: "No override puts one weight in blocks: a scale for each channel instead for",
    _K.SEVERAL: "Quantized differently for different readers: one quantization for all, for",
    _K.NO_INITIALIZER: (
        "The weight is computed on the way to the layer, so that it has no override, in"
    ),
    _K.EQUALIZED: "Equalization is not done here for",
    _K.NO_BIAS: "There is no bias of its own that could be corrected in",
    _K.FOLDED: (
        "A batch-norm is folded before, which gives the weight another name: no override for"
    ),
}

_HEAD = '''\
import numpy as np
{imports}from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

ORIGINAL, SAMPLES, QUANTIZED = {original}, "samples.npz", "quantized.onnx"
INPUTS = {inputs}  # name: data type


class Samples(CalibrationDataReader):
    """The first samples of the file, {rows} in each run."""

    def __init__(self):
        held = np.load(SAMPLES)
        count = min({most}, *(len(held[name]) for name in INPUTS))
        self.feeds = (
            {{name: held[name][i : i + {rows}].astype(INPUTS[name]) for name in INPUTS}}
            for i in range(0, count, {rows})
        )

    def get_next(self):
        return next(self.feeds, None)


def tensor(quant_type, scale, zero_point):
    """One scale for the whole tensor."""
    numbers = {{"scale": np.array(scale, np.float32), "zero_point": np.array(zero_point)}}
    return [{{"quant_type": quant_type, **numbers}}]


def channels(quant_type, axis, scales, zero_points):
    """A scale for each channel."""
    first = {{"quant_type": quant_type, "axis": axis}}
    return [{{**first, "scale": s, "zero_point": z}} for s, z in zip(scales, zero_points)]

'''
# How many samples the ranges are taken from that are not given.
MOST_SAMPLES = 16


def write_recipe(comparison: Comparison, variant: str, moves: Sequence[Move] = ()) -> str:
    """Return a script that makes the variant, with moves, from the float original.

    It reads the original and ``samples.npz`` (inputs by name, samples along the first axis) in the
    folder where it runs, and writes ``quantized.onnx`` there.

    Raises:
        RewriteError: there is no float original.
        UnavailableError: bytes of a weight are missing.
    """
    recipe = plan_static_recipe(comparison, variant, moves)
    title = f"# Makes {quote_short(recipe.variant)} as planned, from the float original."
    return spell_script(comparison, recipe, title)


def spell_script(comparison: Comparison, recipe: StaticRecipe, title: str) -> str:
    """Return a recipe as a script under a comment that says what it makes."""
    path = comparison.naming_model.path
    original = path.name if path is not None else f"{comparison.naming_model.name}.onnx"
    lines = [title, *_comment(recipe), _head(recipe, original), *_prepare(recipe), *_call(recipe)]
    return "\n".join(lines) + "\n"


def _comment(recipe: StaticRecipe) -> Iterator[str]:
    yield "# Written for onnxruntime 1.31; 1.21 and newer have all that it asks for."
    for note in recipe.notes:
        yield f"# {escape_unprintable(_spell(note))}"


def _spell(note: RecipeNote) -> str:
    named = ", ".join(map(quote_short, note.names[:NAMED]))
    more = len(note.names) - NAMED
    return f"{_NOTES[note.kind]}: {named}{f' and {more:,} more' if more > 0 else ''}."


def _head(recipe: StaticRecipe, original: str) -> str:
    imports = "import onnx\n" if recipe.names_nodes or recipe.biases else ""
    if recipe.folds:
        imports += "from onnxruntime.quantization.shape_inference import quant_pre_process\n"
    return _HEAD.format(
        imports=imports,
        original=quote_python(original),
        inputs=_inline_inputs(recipe),
        rows=recipe.rows,
        most=max(MOST_SAMPLES, recipe.rows),
    )


def _inline_inputs(recipe: StaticRecipe) -> str:
    pairs = (f"{quote_python(name)}: {quote_python(t)}" for name, t in recipe.inputs.items())
    return f"{{{', '.join(pairs)}}}"


def list_inline(names: Sequence[str]) -> str:
    return f"[{', '.join(map(quote_python, names))}]"


def _prepare(recipe: StaticRecipe) -> Iterator[str]:
    """Yield what is done to the original before."""
    if recipe.folds:
        yield 'quant_pre_process(ORIGINAL, "prepared.onnx", skip_symbolic_shape=True)'
        yield 'ORIGINAL = "prepared.onnx"'
    if recipe.names_nodes or recipe.biases:
        yield "model = onnx.load(ORIGINAL)"
    else:
        yield "model = ORIGINAL"
    if recipe.names_nodes:
        yield "for node in model.graph.node:  # some have no name, or that of another one"
        yield '    node.name = f"makes {node.output[0]}"'
    if recipe.biases:
        yield from _assign_biases(recipe)
    yield ""


def _assign_biases(recipe: StaticRecipe) -> Iterator[str]:
    yield "biases = {"
    for name, values in recipe.biases.items():
        yield f"    {quote_python(name)}: {_numbers(values)},"
    yield "}"
    yield "for held in model.graph.initializer:"
    yield "    if held.name in biases:"
    yield "        values = np.array(biases[held.name], np.float32).reshape(tuple(held.dims))"
    yield "        held.CopyFrom(onnx.numpy_helper.from_array(values, held.name))"


def _call(recipe: StaticRecipe) -> Iterator[str]:
    names = [f"makes {made}" if recipe.names_nodes else name for name, made in recipe.excluded]
    yield f"nodes_to_exclude = {list_names(names)}"
    yield "overrides = {"
    yield from (
        f"    {quote_python(one.tensor)}: {_spell_override(one)}," for one in recipe.overrides
    )
    yield "}"
    options = "".join(f", {quote_python(k)}: {v}" for k, v in recipe.options.items())
    yield "quantize_static("
    yield "    model,"
    yield "    QUANTIZED,"
    yield "    Samples(),"
    yield "    quant_format=QuantFormat.QDQ,"
    yield f"    op_types_to_quantize={list_inline(recipe.op_types)},"
    yield f"    per_channel={recipe.per_channel},"
    yield f"    reduce_range={recipe.reduce_range},"
    yield f"    activation_type={_type(recipe.activation_type)},"
    yield f"    weight_type={_type(recipe.weight_type)},"
    yield "    nodes_to_exclude=nodes_to_exclude,"
    yield f'    extra_options={{"TensorQuantOverrides": overrides{options}}},'
    yield ")"


def _type(data_type: str) -> str:
    return f"QuantType.{QUANT_TYPES[data_type]}"


def _spell_override(one: TensorRecipe) -> str:
    if one.scale is None:
        parts = {"axis": one.axis, "symmetric": one.symmetric, "reduce_range": one.reduce_range}
        words = "".join(f', "{name}": {part}' for name, part in parts.items() if part is not None)
        return f'[{{"quant_type": {_type(one.data_type)}{words}}}]'
    assert one.zero_point is not None
    if one.axis is None:
        return f"tensor({_type(one.data_type)}, {_number(one.scale)}, {int(one.zero_point.item())})"
    zeros = ", ".join(str(int(zero)) for zero in one.zero_point.reshape(-1))
    return f"channels({_type(one.data_type)}, {one.axis}, {_numbers(one.scale)}, [{zeros}])"


def _number(value: np.ndarray) -> str:
    """Return the fewest digits that are this float32."""
    return str(np.float32(value.item()))


def _numbers(values: np.ndarray) -> str:
    return f"[{', '.join(str(np.float32(one)) for one in values.reshape(-1))}]"
