"""Why a move cannot be written, and what became of layers beside: the sentences, made last."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..facts import WritingNote, WritingNoteKind, WritingRefusal, WritingRefusalKind
from .rewrite_errors import RewriteError


class MoveRefusedError(RewriteError):
    """A move cannot be written. ``refusal`` says why, ``str()`` says so in a sentence."""

    def __init__(self, refusal: WritingRefusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal

    def __str__(self) -> str:
        return describe_writing_refusal(self.refusal)


_Kind = WritingRefusalKind
_REFUSALS: Mapping[WritingRefusalKind, Callable[[WritingRefusal], str]] = {
    _Kind.NO_ORIGINAL: lambda r: f"{_where(r)}: there is no float original to take it from",
    _Kind.OTHER_PLACEMENT: lambda r: (
        f"{_where(r)} is not quantized where the plan says: it was made for another file"
    ),
    _Kind.NOT_IN_MAIN_GRAPH: lambda r: (
        f"{_where(r)} is inside a function, or the body of an operator: only the main graph can "
        "be written again"
    ),
    _Kind.GIVEN_AS_CODES: lambda r: (
        f"{_where(r)} comes in as integers: who calls the model quantizes it"
    ),
    _Kind.LEAVES_AS_CODES: lambda r: f"{_where(r)} leaves the model as integers",
    _Kind.CODES_COMBINED: lambda r: f"{_where(r)}: {r.op_type} computes with its codes",
    _Kind.NO_PLAIN_OPERATOR: lambda r: (
        f"{_where(r)}: {r.op_type} has no float operator that computes the same"
    ),
    _Kind.SCALE_COMPUTED: lambda r: (
        f"{_where(r)}: its scale or zero-point is no constant of the file"
    ),
    _Kind.SEVERAL_LAYERS: lambda r: f"{_where(r)}: several layers share it, each with its own bias",
    _Kind.NO_BIAS: lambda r: (
        f"{_where(r)}: a {r.op_type} has no bias, and no Add behind it has one"
    ),
    _Kind.WEIGHT_COMPUTED: lambda r: f"{_where(r)}: its {r.op_type} weight is no constant there",
    _Kind.SHAPE: lambda r: f"{_where(r)} has shape {r.shape}, the file {r.expected_shape}",
    _Kind.SCHEME: lambda r: f"{_where(r)}: {r.detail}",
}


def describe_writing_refusal(refusal: WritingRefusal) -> str:
    """Return why a move cannot be written, without a full stop."""
    return _REFUSALS[refusal.kind](refusal)


def _where(refusal: WritingRefusal) -> str:
    return f"layer {refusal.layer!r}" if refusal.layer else f"tensor {refusal.tensor!r}"


def describe_note(note: WritingNote) -> str:
    """Return what became of a layer, without a full stop."""
    return _NOTES[note.kind](note)


_Note = WritingNoteKind
_NOTES: Mapping[WritingNoteKind, Callable[[WritingNote], str]] = {
    _Note.TAKEN_APART: lambda n: (
        f"{n.layer}: {n.op_type} became float operators between QuantizeLinear and DequantizeLinear"
    ),
    _Note.ACTIVATION_BACK: lambda n: (
        f"{n.layer}: its {n.op_type} is back, the range no longer cuts"
    ),
    _Note.SCALES_RAISED: lambda n: (
        f"{n.layer}: {n.channels} scale{'s' * (n.channels != 1)} raised so that the bias fits into "
        f"int32, the weight from {n.sqnr_db[0]:.1f} to {n.sqnr_db[1]:.1f} dB"
    ),
    _Note.BIAS_ADDED: lambda n: f"{n.layer}: has a bias now",
    _Note.TO_CODES: lambda n: f"{n.layer}: its weight is stored in codes now",
    _Note.HELD_FINE: lambda n: (
        f"{n.layer}: its bias is held in 32-bit codes, or onnxruntime would quantize its float "
        "weight again"
    ),
    _Note.TO_FLOAT: lambda n: f"{n.layer}: its {n.op_type or 'bias'} is stored in float now",
}
