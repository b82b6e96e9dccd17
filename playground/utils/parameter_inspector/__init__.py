"""Scales, zero-points and weights of quantized ONNX models: numbers only, no pictures."""

from .measuring.code_counts import CodeCounts, count_codes
from .measuring.comparison import (
    Comparison,
    compare_folder,
    compare_variants,
    compute_all_layer_ranges,
    extract_weight_tensors,
    layer_names,
    name_unpaired,
    pair_variants,
)
from .measuring.histograms import Histograms, compute_histograms
from .measuring.layer_counts import ErrorSteps, LayerCounts, count_layer
from .measuring.metrics import METRICS, MeasuredWeight, Metric, create_summary_stats
from .pairing.layer_pairs import pair_layers
from .quantization import NotUnderstoodError, Quantization, UnavailableError
from .reading.layers import extract_layer_params, find_layer, list_layers
from .reading.model_file import Model, ModelFileError, load_model
from .reading.variants import (
    VariantFolder,
    VariantSummary,
    find_networks,
    open_folder,
    summarize_variant,
)
from .records import (
    Layer,
    LayerPair,
    LayerParams,
    LayerRanges,
    Pairing,
    SummaryStats,
    TensorQuantization,
    WeightTensor,
)
from .sharing import SharedCache, WorkCancelledError, identify_file, identify_folder

compute_layer_ranges = compute_all_layer_ranges
extract_layer_parameters = extract_layer_params

__all__ = [
    "METRICS",
    "CodeCounts",
    "Comparison",
    "ErrorSteps",
    "Histograms",
    "Layer",
    "LayerCounts",
    "LayerPair",
    "LayerParams",
    "LayerRanges",
    "MeasuredWeight",
    "Metric",
    "Model",
    "ModelFileError",
    "NotUnderstoodError",
    "Pairing",
    "Quantization",
    "SharedCache",
    "SummaryStats",
    "TensorQuantization",
    "UnavailableError",
    "VariantFolder",
    "VariantSummary",
    "WeightTensor",
    "WorkCancelledError",
    "compare_folder",
    "compare_variants",
    "compute_all_layer_ranges",
    "compute_histograms",
    "compute_layer_ranges",
    "count_codes",
    "count_layer",
    "create_summary_stats",
    "extract_layer_parameters",
    "extract_layer_params",
    "extract_weight_tensors",
    "find_layer",
    "find_networks",
    "identify_file",
    "identify_folder",
    "layer_names",
    "list_layers",
    "load_model",
    "name_unpaired",
    "open_folder",
    "pair_layers",
    "pair_variants",
    "summarize_variant",
]
