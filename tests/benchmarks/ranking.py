"""Which score ranks the layers as the truth does? Restores each layer to float in turn.

    python tests/benchmarks/ranking.py [dscnn/uint8 ...]

Two truths, both on the held-out digits, run by onnxruntime without optimizations (which would
quantize a float weight again):

- restored: give one layer of the quantized model its float weight and bias back; the gain of the
  logits' SQNR in dB. Where one layer ruins the network, the gains of the others are noise.
- alone: quantize the weight of one layer of the float model; how noisy that makes the logits.

Printed: both for each layer, and Spearman's rank correlation of each candidate score with them.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from scipy.stats import spearmanr

from playground.utils.parameter_inspector import (
    MeasuredWeight,
    compare_folder,
    find_layer,
    open_folder,
)
from playground.utils.parameter_inspector.measuring.metrics import channel_sqnr_db

ROOT = Path(__file__).parents[2]
onnxruntime.set_default_logger_severity(3)


def mean_noise(measured: MeasuredWeight) -> float:
    """Mean over the channels of the noise-to-signal ratio, as dB: each channel counts the same."""
    sums = measured.sums
    assert sums.e_square is not None and sums.x_square is not None
    alive = sums.x_square > 0
    return float(10 * np.log10((sums.e_square[alive] / sums.x_square[alive]).mean()))


BUILDS = ("dscnn/uint8", "dscnn/int8", "resnet8/uint8", "resnet8/int8")

# Higher is worse.
SCORES: dict[str, Callable[[MeasuredWeight], float]] = {
    "worst-channel SQNR": lambda m: -m.metrics["worst_channel_sqnr_db"],
    "mean channel SQNR": lambda m: -float(np.nanmean(np.minimum(channel_sqnr_db(m.sums), 200))),
    "mean channel noise / signal": mean_noise,
    "tensor SQNR": lambda m: -m.metrics["sqnr_db"],
    "channels under 20 dB": lambda m: m.metrics["channels_under_20_db"],
    "range disparity": lambda m: m.metrics["range_disparity"],
    "RMSE in steps": lambda m: m.metrics["rmse_steps"],
    "max abs error": lambda m: m.metrics["max_abs_error"],
}


def held_out_digits() -> np.ndarray:
    spec = importlib.util.spec_from_file_location("build", ROOT / "models/build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    sys.modules["build"] = build
    spec.loader.exec_module(build)
    return build.load_split().held_out_images


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: images})[0].astype(np.float64)


def replaced(model: onnx.ModelProto, layer: str, weights: dict[int, np.ndarray]) -> onnx.ModelProto:
    """Return the model with float arrays at the given inputs of one node."""
    restored = onnx.ModelProto()
    restored.CopyFrom(model)
    node = next(n for n in restored.graph.node if n.name == layer)
    for index, array in weights.items():
        name = f"replaced_{index}"
        restored.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        node.input[index] = name
    return restored


def output_sqnr_db(exact: np.ndarray, held: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - held)))


def judge_build(network: str, variant: str, images: np.ndarray) -> dict[str, tuple[float, float]]:
    """Print both truths of one build; return each score's correlation with them, NaN for a tie."""
    path = ROOT / "models" / network
    folder = open_folder(path)
    fp32, quantized = (onnx.load(path / f"{name}.onnx") for name in ("fp32", variant))
    exact = run(fp32, images)
    current = output_sqnr_db(exact, run(quantized, images))
    print(f"{network} {variant}: SQNR of the logits {current:.2f} dB")
    restored, alone = [], []
    scores: dict[str, list[float]] = {name: [] for name in SCORES}
    for row, by_variant in compare_folder(folder).weights.items():
        measured = by_variant[variant.upper()]
        original = find_layer(folder.variants["FP32"], row)
        arrays = {1: original.weight.values}
        if original.bias is not None:
            arrays[2] = original.bias.values
        restored.append(
            output_sqnr_db(exact, run(replaced(quantized, row, arrays), images)) - current
        )
        held = {1: measured.weight.values}
        alone.append(-output_sqnr_db(exact, run(replaced(fp32, row, held), images)))
        for name, score in SCORES.items():
            scores[name].append(score(measured))
        worst = measured.metrics["worst_channel_sqnr_db"]
        print(
            f"  {row:24} restored {restored[-1]:+7.3f} dB  alone {-alone[-1]:6.2f} dB  "
            f"worst channel {worst:6.2f} dB"
        )
    return {name: correlate(values, restored, alone) for name, values in scores.items()}


def correlate(values: list[float], *truths: list[float]) -> tuple[float, ...]:
    if len(set(values)) == 1:
        return tuple(np.nan for _ in truths)
    return tuple(float(spearmanr(values, truth)[0]) for truth in truths)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("builds", nargs="*", default=BUILDS, help=f"of {', '.join(BUILDS)}")
    builds = parser.parse_args().builds
    images = held_out_digits()
    found = {build: judge_build(*build.split("/"), images) for build in builds}
    for truth, title in enumerate(("restored", "alone")):
        print(f"\nSpearman's rank correlation with the truth `{title}`:")
        print(f"  {'score':28}" + "".join(f"{build:>15}" for build in builds) + f"{'mean':>8}")
        for name in SCORES:
            row = [found[build][name][truth] for build in builds]
            cells = "".join(f"{'tie' if one != one else f'{one:+.2f}':>15}" for one in row)
            print(f"  {name:28}{cells}{np.nanmean(row):+8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
