"""Pair every variant of a folder with its float partner and check each pair against the weights.

    python tests/evidence/pairing.py FOLDER [--only REGEX] [--scramble] [--verbose]

FOLDER holds INDEX.json: a list of {"file", "fp32"}. With --scramble every name of the variant is
replaced, node and initializer order shuffled, and each output channel rescaled by e^N(0, 1).

The truth is a second, slower computation that does not look at names: the full cosine of every two
layers of one shape. A pair is wrong where another partner fits clearly better, or where the names
of the two weights in the unscrambled files say so.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from playground.utils.parameter_inspector import (
    Layer,
    Model,
    ModelFileError,
    UnavailableError,
    list_layers,
    load_model,
    pair_layers,
)
from playground.utils.parameter_inspector.facts import Evidence
from playground.utils.parameter_inspector.streaming.channel_frame import channels_first
from playground.utils.parameter_inspector.wording import describe_evidence

CLEARLY_BETTER = 0.02


def full_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean abs(cosine) of the rows that are not zero in both; of the whole where fan-in is 1."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.shape[1] == 1:
        a, b = (x.reshape(1, -1) - x.mean() for x in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    alive = norms > 0
    return float((np.abs((a * b).sum(axis=1))[alive] / norms[alive]).mean()) if alive.any() else 0.0


def rows_of(layer: Layer) -> np.ndarray | None:
    if layer.weight is None:
        return None
    try:
        return channels_first(layer.weight.values, layer.weight, layer)
    except UnavailableError:
        return None


def wrong_pairs(original: Model, variant: Model) -> tuple[list[str], Counter[Evidence], int]:
    """Return the wrong pairs, the evidence of all pairs, and how many float layers are unpaired."""
    ours = {layer.name: rows_of(layer) for layer in list_layers(original)}
    theirs = {layer.name: rows_of(layer) for layer in list_layers(variant)}
    pairing = pair_layers(original, variant)
    wrong = []
    evidence: Counter[Evidence] = Counter()
    for pair in pairing.pairs:
        a, b = ours[pair.original], theirs[pair.variant]
        if a is None or b is None:
            continue
        evidence[pair.evidence] += 1
        score = full_cosine(a, b) if a.shape == b.shape else -1.0
        best = max(
            (full_cosine(other, b), name)
            for name, other in ours.items()
            if other is not None and other.shape == b.shape
        )
        if best[0] > score + CLEARLY_BETTER and pair.evidence is not Evidence.ORDER:
            wrong.append(
                f"{pair.variant} ~ {pair.original} {score:.3f}, but {best[1]} {best[0]:.3f}"
            )
    return wrong, evidence, len(pairing.unpaired_original)


def scramble(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """Return the model with new names, another valid order, and rescaled weight channels."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    scales = {
        node.input[1]
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and any(t.name == node.input[0] for t in graph.initializer)
    }
    for tensor in graph.initializer:
        if tensor.name in scales and tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor)
            factors = np.exp(rng.standard_normal(array.shape if array.ndim == 1 else ())).astype(
                np.float32
            )
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array * factors), tensor.name))
    names: dict[str, str] = {"": ""}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"t{rng.integers(1 << 60)}")

    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = renamed(value.name)
    for node in graph.node:
        node.name = renamed(node.name) if node.name else ""
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    nodes = shuffled(list(graph.node), {t.name for t in (*graph.input, *graph.initializer)}, rng)
    initializers = list(graph.initializer)
    rng.shuffle(initializers)  # type: ignore[arg-type]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    return result


def shuffled(
    nodes: list[onnx.NodeProto], known: set[str], rng: np.random.Generator
) -> list[onnx.NodeProto]:
    order: list[onnx.NodeProto] = []
    known = known | {""}
    while nodes:
        ready = [node for node in nodes if set(node.input) <= known]
        if not ready:
            return order + nodes
        node = ready[rng.integers(len(ready))]
        nodes.remove(node)
        order.append(node)
        known |= set(node.output)
    return order


def has_bodies(model: onnx.ModelProto) -> bool:
    return bool(model.functions) or any(
        a.HasField("g") for n in model.graph.node for a in n.attribute
    )


def spell_counts(evidence: Counter[Evidence]) -> dict[str, int]:
    return {describe_evidence(kind): count for kind, count in evidence.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--scramble", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    evidence: Counter[Evidence] = Counter()
    files = refused = wrong_count = unpaired = left_out = 0
    for entry in json.loads((arguments.folder / "INDEX.json").read_text()):
        path, partner = arguments.folder / entry["file"], entry.get("fp32")
        if not partner or partner == entry["file"] or not path.exists():
            continue
        if not re.search(arguments.only, entry["file"]):
            continue
        try:
            if arguments.scramble:
                proto = onnx.load(path)
                if has_bodies(proto):
                    left_out += 1
                    continue
                variant = load_model(scramble(proto, rng))
            else:
                variant = load_model(path)
            original = load_model(arguments.folder / partner)
        except (ModelFileError, onnx.checker.ValidationError, Exception) as error:
            if not isinstance(error, ModelFileError) and "hostile" not in path.name:
                raise
            refused += 1
            continue
        wrong, found, missing = wrong_pairs(original, variant)
        files += 1
        evidence += found
        unpaired += missing
        wrong_count += len(wrong)
        for line in wrong:
            print(f"  WRONG {path.name}: {line}")
        if arguments.verbose and (missing or found[Evidence.ORDER] or found[Evidence.NAME_ONLY]):
            print(f"  {path.name}: {missing} unpaired, {spell_counts(found)}")
    print(f"{files} files, {refused} refused, {left_out} with bodies left out")
    counts = spell_counts(evidence)
    print(f"{evidence.total()} pairs: {counts}; {unpaired} float layers unpaired")
    print(f"{wrong_count} wrong")
    return 1 if wrong_count else 0


if __name__ == "__main__":
    sys.exit(main())
