"""Does the order in which quantizers are shown find those that cost? Judged on other samples.

    python tests/benchmarks/ranking.py [FOLDER/variant.onnx ...] [--synthetic]

Without files: the shipped networks. A folder holds ``fp32.onnx``, its variants and
``samples.npz``. Our order comes from one half of the samples (16 at most); the truth from the other
half, run by onnxruntime without optimizations:

- rho: Spearman's rank correlation with the noise that each group of quantizers makes alone;
- gain@3, gain@8: what switching off the first groups of an order brings, as a share of what the
  best of all these orders brings.

Beside it the two orders that need no run: the largest weight error, and the worst channel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from scipy.stats import spearmanr

from playground.utils.parameter_inspector import load_model, pair_layers
from playground.utils.parameter_inspector.facts import SampleKind
from playground.utils.parameter_inspector.pairing.structure import pair_by_structure
from playground.utils.parameter_inspector.reading.edges import Network
from playground.utils.parameter_inspector.running.gather_limits import find_gather_limits
from playground.utils.parameter_inspector.running.limits import Limits
from playground.utils.parameter_inspector.running.measurement import measure_variant
from playground.utils.parameter_inspector.running.placing import place_quantizers
from playground.utils.parameter_inspector.running.quantizers import WeightSite
from playground.utils.parameter_inspector.running.samples import (
    Samples,
    create_samples,
    list_inputs,
)
from playground.utils.parameter_inspector.running.switched_model import (
    SwitchedModel,
    create_switched_model,
)
from playground.utils.parameter_inspector.running.synthetic import make_synthetic

ROOT = Path(__file__).parents[2]
SHIPPED = [
    ROOT / "models" / n / f"{v}.onnx" for n in ("dscnn", "resnet8") for v in ("int8", "uint8")
]
COUNTS = (3, 8)
MOST_SAMPLES = 16
OURS = "noise alone"
onnxruntime.set_default_logger_severity(4)


@dataclass(frozen=True, eq=False)
class Truth:
    """The switched model in this process, on samples that our order has not seen."""

    switched: SwitchedModel
    session: onnxruntime.InferenceSession
    inputs: Mapping[str, np.ndarray]

    def run(self, on: np.ndarray) -> list[np.ndarray]:
        feeds = {**self.inputs, self.switched.gates: on}
        found = self.session.run(list(self.switched.outputs), feeds)
        return [one.astype(np.float64) for one in found if one.dtype.kind == "f"]

    def noise(self, exact: Sequence[np.ndarray], on: np.ndarray) -> float:
        """Return noise over signal, the mean over the outputs."""
        pairs = [
            (np.square(x - y).sum(), np.square(x).sum())
            for x, y in zip(exact, self.run(on), strict=True)
        ]
        found = float(np.mean([noise / signal for noise, signal in pairs if signal > 0]))
        return np.inf if np.isnan(found) else found


def open_truth(switched: SwitchedModel, inputs: Mapping[str, np.ndarray]) -> Truth:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_mem_reuse = False
    session = onnxruntime.InferenceSession(
        switched.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Truth(switched, session, inputs)


def split_samples(folder: Path, synthetic: bool) -> tuple[Samples, dict[str, np.ndarray]]:
    """Return ours, and the inputs of the truth."""
    with np.load(folder / "samples.npz") as file:
        arrays = {name: file[name] for name in file.files}
    labels = arrays.pop("labels", None)
    original = load_model(folder / "fp32.onnx")
    arrays = {
        value.name: arrays[value.name].astype(value.dtype.numpy())
        for value in original.graph.inputs
        if value.name in arrays
    }
    half = min(len(next(iter(arrays.values()))) // 2, MOST_SAMPLES)
    others = {name: array[half : half + MOST_SAMPLES] for name, array in arrays.items()}
    if synthetic:
        wanted = list_inputs(original)
        named = [(d, arrays[w.name].shape[i]) for w in wanted for i, d in enumerate(w.shape)]
        sizes = {name: size for name, size in named if isinstance(name, str)}
        limits = find_gather_limits(Network(original))
        return make_synthetic(wanted, limits, sizes=sizes), others
    ours = {name: array[:half] for name, array in arrays.items()}
    known = None if labels is None else labels[:half]
    return create_samples(ours, labels=known, kind=SampleKind.FILE), others


def weight_scores(original: Network, switched: SwitchedModel) -> dict[str, dict[int, float]]:
    """Return by score and quantizer: the largest error of a weight, its worst channel's noise."""
    found: dict[str, dict[int, float]] = {"max abs error": {}, "worst channel": {}}
    for site in switched.placement.weights:
        index = site.quantizer
        if index in found["max abs error"]:
            continue  # the bias of a weight that was seen
        error, worst = weight_errors(original, site)
        found["max abs error"][index], found["worst channel"][index] = error, worst
    return found


def weight_errors(original: Network, site: WeightSite) -> tuple[float, float]:
    value = site.node.inputs[site.position] if site.position < len(site.node.inputs) else None
    source = original.constants.get(value)
    held = np.asarray(site.read(), np.float64)
    if source is None or source.shape != held.shape or held.ndim == 0:
        return 0.0, 0.0
    exact = source.read().astype(np.float64)
    axis = 0 if held.ndim > 2 else held.ndim - 1
    others = tuple(i for i in range(held.ndim) if i != axis)
    noise, signal = (np.square(a).sum(axis=others) for a in (held - exact, exact))
    ratio = np.divide(noise, signal, out=np.zeros_like(noise), where=signal > 0)
    return float(np.abs(held - exact).max()), float(ratio.max())


def judge_build(path: Path, synthetic: bool) -> dict[str, tuple[float, ...]]:
    """Return rho, gain@3 and gain@8 of each order."""
    original, variant = load_model(path.parent / "fp32.onnx"), load_model(path)
    pairing = pair_layers(original, variant)
    samples, others = split_samples(path.parent, synthetic)
    outputs = measure_variant(original, variant, pairing, samples, limits=Limits.for_this_machine())
    networks = Network(original), Network(variant)
    placement = place_quantizers(*networks, pair_by_structure(*networks, pairing))
    truth = open_truth(create_switched_model(*networks, placement), others)
    members = {g: [q.index for q in these] for g, these in placement.groups.items()}
    count = len(placement.quantizers)

    def gates(on: Sequence[int]) -> np.ndarray:
        return np.isin(np.arange(count), on)

    exact = truth.run(gates([]))
    alone = {group: truth.noise(exact, gates(on)) for group, on in members.items()}
    scores: dict[str, dict[int, float]] = {OURS: {g.group: g.alone for g in outputs.groups}}
    for name, by_quantizer in weight_scores(networks[0], truth.switched).items():
        scores[name] = {
            group: max(by_quantizer.get(i, 0.0) for i in on) for group, on in members.items()
        }
    whole = truth.noise(exact, gates(range(count)))

    def gain(score: Mapping[int, float], first: int) -> float:
        chosen = sorted(score, key=lambda group: -score[group])[:first]
        off = {i for group in chosen for i in members[group]}
        left = truth.noise(exact, gates([i for i in range(count) if i not in off]))
        return 10 * float(np.log10(whole / left)) if left and np.isfinite(whole) else np.inf

    gains = {name: [gain(score, n) for n in COUNTS] for name, score in scores.items()}
    best = [max(gain(alone, n), *(g[i] for g in gains.values())) for i, n in enumerate(COUNTS)]
    groups = list(members)
    result = {}
    for name, score in scores.items():
        rho = spearmanr([score[g] for g in groups], [alone[g] for g in groups])[0]
        shares = [
            max(g, 0.0) / b if b > 0 else np.nan for g, b in zip(gains[name], best, strict=True)
        ]
        result[name] = (float(rho), *shares)
    print_build(path, outputs.sqnr_db, len(groups), best, result)
    return result


def print_build(
    path: Path,
    level: float | None,
    groups: int,
    best: Sequence[float],
    result: Mapping[str, Sequence[float]],
) -> None:
    title = f"{path.parent.name}/{path.stem}: {level:.1f} dB, {groups} groups"
    print(f"{title}; best known gain {best[0]:.1f} dB of 3, {best[1]:.1f} of 8")
    for name, (rho, *shares) in result.items():
        cells = "  ".join(f"gain@{n} {s:5.2f}" for n, s in zip(COUNTS, shares, strict=True))
        print(f"  {name:16} rho {rho:+.2f}  {cells}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, default=SHIPPED)
    parser.add_argument("--synthetic", action="store_true", help="order by synthetic inputs")
    arguments = parser.parse_args()
    found = [judge_build(path, arguments.synthetic) for path in arguments.files]
    print("mean")
    for name in found[0]:
        means = np.nanmean([one[name] for one in found], axis=0)
        print(f"  {name:16} rho {means[0]:+.2f}  gain@3 {means[1]:.2f}  gain@8 {means[2]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
