"""Scales, zero-points and weights of quantized ONNX models: numbers only, no pictures.

The whole public face: page, report, exports and command line import from here and nothing past it.
"""

from .changing.candidates import (
    Candidate,
)
from .changing.planning import (
    LayerChange,
    LayerOptions,
    Plan,
    TradeOff,
    choose,
    list_options,
    plan_model,
)
from .changing.rewrite_errors import (
    RewriteError,
)
from .changing.rewriting import (
    Change,
    Saved,
    create_change,
    create_changes,
    save_changed_model,
    write_changed_model,
)
from .changing.runtime_support import (
    why_not_run,
)
from .changing.scheme_choices import (
    change_scheme,
    list_choices,
)
from .changing.schemes import (
    Scheme,
    data_type_bits,
    own_axis,
)
from .changing.trial_runs import (
    Truth,
    VariantTruth,
    can_measure,
    measure_changes,
    measure_truth,
)
from .changing.trials import (
    Outcome,
    Trial,
    WeightOnTrial,
    open_weight,
)
from .facts import (
    Evidence,
    Folding,
    Grid,
    Refusal,
    RefusalKind,
)
from .judging.channel_states import (
    living_channels,
)
from .judging.finding_wording import (
    MARKS,
    TITLES,
    describe_finding,
    describe_remedy,
)
from .judging.findings import (
    SEVERITIES,
    Finding,
)
from .judging.rules import (
    RULES,
    find_problems,
)
from .measuring.code_counts import (
    CodeCounts,
    count_codes,
)
from .measuring.comparison import (
    ComparedLayer,
    Comparison,
    compare,
    compare_folder,
    compare_variants,
    compute_all_layer_ranges,
    extract_weight_tensors,
    layer_names,
    pair_variants,
)
from .measuring.histograms import (
    Histograms,
    compute_histograms,
)
from .measuring.layer_counts import (
    ErrorSteps,
    LayerCounts,
    count_layer,
)
from .measuring.layer_work import (
    name_unpaired,
)
from .measuring.metrics import (
    HEALTHY_CHANNEL_DB,
    METRICS,
    MeasuredWeight,
    Metric,
    MetricKind,
    bias_scale,
    channel_max_abs,
    channel_sqnr_db,
    create_summary_stats,
    representable_limits,
)
from .pairing.layer_pairs import (
    pair_layers,
)
from .quantization import (
    NotUnderstoodError,
    Quantization,
    RefusedError,
    UnavailableError,
    is_integer,
)
from .reading.layers import (
    extract_layer_params,
    find_layer,
    layers_by_name,
    list_layers,
)
from .reading.model_file import (
    Model,
    ModelFileError,
    load_model,
    printable,
)
from .reading.variants import (
    VariantFolder,
    VariantSummary,
    find_networks,
    name_variants,
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
from .sharing import (
    SharedCache,
    WorkCancelledError,
    identify_file,
    identify_folder,
)
from .wording import (
    describe_evidence,
    describe_folding,
    describe_grid,
    describe_refusal,
)

compute_layer_ranges = compute_all_layer_ranges
extract_layer_parameters = extract_layer_params

__all__ = [
    "HEALTHY_CHANNEL_DB",
    "MARKS",
    "METRICS",
    "RULES",
    "SEVERITIES",
    "TITLES",
    "Candidate",
    "Change",
    "CodeCounts",
    "ComparedLayer",
    "Comparison",
    "ErrorSteps",
    "Evidence",
    "Finding",
    "Folding",
    "Grid",
    "Histograms",
    "Layer",
    "LayerChange",
    "LayerCounts",
    "LayerOptions",
    "LayerPair",
    "LayerParams",
    "LayerRanges",
    "MeasuredWeight",
    "Metric",
    "MetricKind",
    "Model",
    "ModelFileError",
    "NotUnderstoodError",
    "Outcome",
    "Pairing",
    "Plan",
    "Quantization",
    "Refusal",
    "RefusalKind",
    "RefusedError",
    "RewriteError",
    "Saved",
    "Scheme",
    "SharedCache",
    "SummaryStats",
    "TensorQuantization",
    "TradeOff",
    "Trial",
    "Truth",
    "UnavailableError",
    "VariantFolder",
    "VariantSummary",
    "VariantTruth",
    "WeightOnTrial",
    "WeightTensor",
    "WorkCancelledError",
    "bias_scale",
    "can_measure",
    "change_scheme",
    "channel_max_abs",
    "channel_sqnr_db",
    "choose",
    "compare",
    "compare_folder",
    "compare_variants",
    "compute_all_layer_ranges",
    "compute_histograms",
    "compute_layer_ranges",
    "count_codes",
    "count_layer",
    "create_change",
    "create_changes",
    "create_summary_stats",
    "data_type_bits",
    "describe_evidence",
    "describe_finding",
    "describe_folding",
    "describe_grid",
    "describe_refusal",
    "describe_remedy",
    "extract_layer_parameters",
    "extract_layer_params",
    "extract_weight_tensors",
    "find_layer",
    "find_networks",
    "find_problems",
    "identify_file",
    "identify_folder",
    "is_integer",
    "layer_names",
    "layers_by_name",
    "list_choices",
    "list_layers",
    "list_options",
    "living_channels",
    "load_model",
    "measure_changes",
    "measure_truth",
    "name_unpaired",
    "name_variants",
    "open_folder",
    "open_weight",
    "own_axis",
    "pair_layers",
    "pair_variants",
    "plan_model",
    "printable",
    "representable_limits",
    "save_changed_model",
    "summarize_variant",
    "why_not_run",
    "write_changed_model",
]
