"""A layer's work goes to any executor: threads, other processes, a dask cluster."""

from __future__ import annotations

import math
import multiprocessing
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from models_for_tests import (
    convnet,
    dequantize_node,
    floats,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
)
from onnx import helper

from playground.utils.parameter_inspector import (
    Comparison,
    compare_variants,
    load_model,
    pair_variants,
)
from playground.utils.parameter_inspector.measuring.layer_work import LayerWork, list_work
from playground.utils.parameter_inspector.reading.variants import open_folder

SHIPPED = Path(__file__).parents[1] / "models"
LARGE = (512, 768)


def large_pair() -> dict[str, onnx.ModelProto]:
    """Return a MatMul of 1.5 MB, float and int8 with its codes stored transposed."""
    weight = floats(*LARGE)
    scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
    codes = np.rint(weight / scale).astype(np.int8).T.copy()
    nodes = [
        dequantize_node(("q", "s"), "turned", axis=0),
        helper.make_node("Transpose", ["turned"], ["w"], "turn"),
    ]
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")
    inputs = {"x": (2, LARGE[0])}
    return {
        "fp32": make_model([matmul], {"w": weight}, inputs=inputs),
        "int8": make_model([*nodes, matmul], {"q": codes, "s": scale}, inputs=inputs),
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """What onnxruntime makes of two networks, a weight stored turned, the shipped models."""
    root = tmp_path_factory.mktemp("executors")
    work = tmp_path_factory.mktemp("work")
    networks = {
        "convnet": {
            "fp32": convnet(),
            "int8": quantized_statically(convnet(), work, per_channel=True),
        },
        "mlp": {"fp32": mlp(), "dynamic": quantized_dynamically(mlp(), work)},
        "large": large_pair(),
    }
    for network, models in networks.items():
        (root / network).mkdir()
        for name, model in models.items():
            onnx.save(model, root / network / f"{name}.onnx")
    return {name: root / name for name in networks} | {
        name: SHIPPED / name for name in ("dscnn", "resnet8")
    }


@pytest.fixture(scope="module")
def variants(folders):
    return {name: open_folder(folder).variants for name, folder in folders.items()}


def all_metrics(comparison: Comparison) -> dict[tuple[str, str], Mapping[str, float]]:
    assert comparison.weights
    assert not comparison.unavailable
    return {
        (row, variant): one.metrics
        for row, measured in comparison.weights.items()
        for variant, one in measured.items()
    }


def assert_same_metrics(actual: Comparison, expected: Comparison) -> None:
    found, wanted = all_metrics(actual), all_metrics(expected)
    assert list(found) == list(wanted)
    for where, metrics in wanted.items():
        for name, number in metrics.items():
            assert found[where][name] == number or (
                math.isnan(number) and math.isnan(found[where][name])
            ), (where, name)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    # Forking a process that has threads is unsafe, and Python warns of it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


def test_the_work_of_a_large_layer_is_a_small_record(variants):
    pair = variants["large"]
    work = list_work(pair, pair_variants(pair), "FP32")
    assert {name for item in work for name in (item.variant, item.original_variant)} == set(pair)
    weight_bytes = math.prod(LARGE)  # of the codes; the float weight has four times as many
    for item in work:
        assert len(pickle.dumps(item)) < weight_bytes / 20


def test_work_that_went_through_pickle_measures_the_same(variants):
    pair = variants["large"]
    for item in list_work(pair, pair_variants(pair), "FP32"):
        sent: LayerWork = pickle.loads(pickle.dumps(item))
        found, expected = sent.run(), item.run()
        assert list(found) == list(expected) == ["INT8", "FP32"]
        for variant, one in expected.items():
            np.testing.assert_equal(dict(found[variant].metrics), dict(one.metrics))


@pytest.mark.parametrize("network", ["convnet", "mlp", "large", "dscnn", "resnet8"])
def test_other_processes_find_exactly_the_metrics_of_the_threads(variants, processes, network):
    threads = compare_variants(variants[network])
    assert_same_metrics(compare_variants(variants[network], executor=processes), threads)


def test_a_model_that_came_without_a_file_is_measured_by_other_processes_too(processes):
    given = {name: load_model(model) for name, model in large_pair().items()}
    assert_same_metrics(compare_variants(given, executor=processes), compare_variants(given))


def test_a_weight_that_other_processes_cannot_read_hides_no_other(tmp_path, processes):
    model = large_pair()["fp32"]
    model.graph.initializer.add(
        name="absent", data_type=1, dims=(LARGE[1], 3), data_location=1
    ).external_data.add(key="location", value="absent.data")
    model.graph.node.append(helper.make_node("MatMul", ["y", "absent"], ["z"], "broken"))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    comparison = compare_variants({"FP32": load_model(path)}, executor=processes)
    assert list(comparison.weights["matmul"]) == ["FP32"]
    assert comparison.unavailable["broken", "FP32"].location == "absent.data"


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip(
        "distributed",
        reason="dask.distributed is not installed: no scan was run on a cluster",
    )
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("network", ["convnet", "mlp", "large", "dscnn"])
def test_a_dask_cluster_finds_exactly_the_metrics_of_the_threads(variants, cluster, network):
    threads = compare_variants(variants[network])
    with cluster.get_executor() as executor:
        told: list[int] = []
        comparison = compare_variants(
            variants[network], progress=lambda done, *_: told.append(done), executor=executor
        )
    assert_same_metrics(comparison, threads)
    assert told == list(range(1, len(all_metrics(comparison)) + 1))
