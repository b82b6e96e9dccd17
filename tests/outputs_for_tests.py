"""What running a small network could have found, written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from networks_to_run import model, node

from playground.utils.parameter_inspector import Comparison, load_model
from playground.utils.parameter_inspector.facts import QuantizerKind, SampleKind
from playground.utils.parameter_inspector.measuring.outputs import (
    ActivationStatistics,
    GroupNoise,
    OutputLoss,
    Outputs,
    Quantizer,
    Recovered,
    SelfCheck,
    Split,
)

HEALTHY = ActivationStatistics(
    quantizer=0, low=-1.0, high=1.0, p999=0.9, represented=(-1.0, 1.0), clipped_share=0.0,
    clipped_error_share=0.0, codes_used_share=0.9, zeroed_share=0.0, local_db=40.0,
    cumulative_db=40.0,
)  # fmt: skip


def network(*, ends_in: str = "Identity", root: str = "Sqrt") -> onnx.ModelProto:
    """x -> Relu r -> GlobalAveragePool p -> Pow s -> Add t -> Sqrt q, x / q -> the last, y."""
    nodes = [
        node("Relu", "x", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Pow", "p two", "s"),
        node("Add", "s two", "t"),
        node(root, "t", "q"),
        node("Div", "r q", "d"),
        node(ends_in, "d", "y"),
    ]
    return model(nodes, {"x": ["N", 2, 3, 4]}, ["y"], {"two": np.float32(2)})


def activation(index: int, tensor: str, scale: float = 0.5) -> Quantizer:
    kind = QuantizerKind.ACTIVATION
    return Quantizer(index, kind, tensor, (), "uint8", np.float32(scale), np.uint8(0), (0, 255))


def loss(db: float | Sequence[float] = 15.0, name: str = "y", **scores: float) -> OutputLoss:
    """An output that loses so much, at each sample or at each of two alike."""
    levels = np.array([db, db] if isinstance(db, float) else db)
    return OutputLoss(name, 10 ** (-levels / 10), np.ones(len(levels)), **scores)


def outputs(
    *quantizers: Quantizer,
    seen: Mapping[int, Mapping[str, object]] = {},
    shares: Sequence[float] = (),
    losses: Sequence[OutputLoss] = (loss(),),
    restored: Sequence[float | None] = (),
    recovered: Mapping[int, float] = {},
    kind: SampleKind = SampleKind.FILE,
    count: int = 16,
    **more: object,
) -> Outputs:
    """Outputs with a group for each quantizer, the first with the largest share."""
    gains = [*restored, *[None] * (len(quantizers) - len(restored))]
    groups = [
        GroupNoise(q.index, (q,), share, share, count, gain)
        for q, share, gain in zip(quantizers, shares, gains, strict=True)
    ]
    known = {index: replace(HEALTHY, quantizer=index, **changes) for index, changes in seen.items()}
    found = Outputs(
        quantizers, (), kind, count, losses=tuple(losses), check=SelfCheck(np.inf, np.inf),
        split=Split(30.0, 15.0, 0.001, 0.03), groups=tuple(groups),
        recovered=tuple(Recovered(n, level) for n, level in recovered.items()),
        statistics=known, sqnr_db=losses[0].sqnr_db if losses else None, complete=True,
    )  # fmt: skip
    return replace(found, **more)


def measured(found: Outputs, proto: onnx.ModelProto | None = None) -> Comparison:
    """A float network and a build that was measured so."""
    proto = proto if proto is not None else network()
    variants = {"FP32": load_model(proto), "INT8": load_model(proto)}
    return Comparison(variants, {}, {}, {}, {"INT8": found})
