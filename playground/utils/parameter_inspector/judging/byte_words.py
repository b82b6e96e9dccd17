"""The sentences about bytes that a file need not hold."""

from __future__ import annotations

from .byte_rules import BytesKind, BytesProblem
from .phrases import Sentences, counted, list_names


def say_bytes_problem(facts: BytesProblem) -> Sentences:
    kind, names = facts.kind, list_names(facts.names)
    if kind is BytesKind.FLOAT_BEHIND_QUANTIZER:
        return Sentences(
            f"{counted(len(facts.names), 'weight')} of {facts.stored_bytes:,} bytes stored as "
            f"floats, quantized each time a session opens: their codes would take "
            f"{facts.needed_bytes:,} bytes ({names}).",
            "Store the codes instead of QuantizeLinear on the float weight: "
            "`quantize_static(..., extra_options={'AddQDQPairToWeight': False})`, or fold the "
            "QuantizeLinear nodes into constants.",
        )
    if kind is BytesKind.UNREAD:
        return Sentences(
            f"{counted(len(facts.names), 'constant')} of {facts.stored_bytes:,} bytes that "
            f"nothing in the graph reads: {names}.",
            "Remove them: `onnx_ir.passes.common.RemoveUnusedNodesPass` does.",
        )
    if kind is BytesKind.LARGER_THAN_ORIGINAL:
        return Sentences(
            f"The constants of this file take {facts.stored_bytes:,} bytes, more than the "
            f"original's {facts.needed_bytes:,}.",
            "Look for weights stored as floats, or twice, in the other findings of this file; "
            "without one, the scales cost more than the codes save.",
        )
    return Sentences(
        f"One constant of the original, {facts.constant!r}, is stored as "
        f"{len(facts.data_types)} sets of codes, {list_names(facts.data_types)}, for "
        f"{names}: {facts.stored_bytes:,} bytes where {facts.needed_bytes:,} would do, and the "
        "layers no longer share their values.",
        "If the layers are to share the weight, quantize it once and let both read it; if not, "
        "this is as it has to be.",
    )
