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
    Ending,
    EndingKind,
    Evidence,
    Folding,
    Grid,
    QuantizerKind,
    Refusal,
    RefusalKind,
    SampleKind,
    UnplacedReason,
)
from .judging.causes import (
    FindingGroup,
    group_by_cause,
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
from .judging.float_neighbours import (
    list_nodes_left_out_along,
)
from .judging.group_words import (
    describe_group,
    describe_group_remedy,
)
from .judging.measured_words import (
    REPEATABLE_DB,
)
from .judging.output_words import (
    describe_check,
    describe_counts,
    describe_details,
    describe_given,
    describe_loss,
    describe_progress,
    describe_samples,
    describe_unplaced,
    describe_waiting,
    name_group,
    name_network,
)
from .judging.phrases import (
    format_level,
    name_sample,
)
from .judging.rules import (
    RULES,
    WEIGHT_RULES,
    find_problems,
)
from .judging.thresholds import (
    NothingToCompareError,
    Thresholds,
    find_missed,
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
from .measuring.layer_quantizers import (
    LayerQuantizer,
    MeasuredLayer,
    Role,
    list_layer_activations,
    measure_layers,
    name_roles,
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
from .measuring.outputs import (
    ActivationStatistics,
    GroupNoise,
    OutputLoss,
    Outputs,
    Progress,
    Quantizer,
    Recovered,
    SelfCheck,
    Split,
    decibels,
)
from .operators import (
    MOVING,
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
    is_float,
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
from .running.endings import (
    RunEndedError,
    describe_ending,
)
from .running.limits import (
    Limits,
)
from .running.loading import (
    find_refused,
)
from .running.measured_outputs import (
    MOST_SAMPLES,
    measure_outputs,
    read_samples,
)
from .running.sample_problems import (
    SamplesError,
)
from .running.samples import (
    Samples,
    list_inputs,
    load_samples,
)
from .running.turn import (
    Turn,
)
from .running.whole_model import (
    ModelTooLargeError,
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
    "MOST_SAMPLES",
    "MOVING",
    "REPEATABLE_DB",
    "RULES",
    "SEVERITIES",
    "TITLES",
    "WEIGHT_RULES",
    "ActivationStatistics",
    "Candidate",
    "Change",
    "CodeCounts",
    "ComparedLayer",
    "Comparison",
    "Ending",
    "EndingKind",
    "ErrorSteps",
    "Evidence",
    "Finding",
    "FindingGroup",
    "Folding",
    "Grid",
    "GroupNoise",
    "Histograms",
    "Layer",
    "LayerChange",
    "LayerCounts",
    "LayerOptions",
    "LayerPair",
    "LayerParams",
    "LayerQuantizer",
    "LayerRanges",
    "Limits",
    "MeasuredLayer",
    "MeasuredWeight",
    "Metric",
    "MetricKind",
    "Model",
    "ModelFileError",
    "ModelTooLargeError",
    "NotUnderstoodError",
    "NothingToCompareError",
    "Outcome",
    "OutputLoss",
    "Outputs",
    "Pairing",
    "Plan",
    "Progress",
    "Quantization",
    "Quantizer",
    "QuantizerKind",
    "Recovered",
    "Refusal",
    "RefusalKind",
    "RefusedError",
    "RewriteError",
    "Role",
    "RunEndedError",
    "SampleKind",
    "Samples",
    "SamplesError",
    "Saved",
    "Scheme",
    "SelfCheck",
    "SharedCache",
    "Split",
    "SummaryStats",
    "TensorQuantization",
    "Thresholds",
    "TradeOff",
    "Trial",
    "Truth",
    "Turn",
    "UnavailableError",
    "UnplacedReason",
    "VariantFolder",
    "VariantSummary",
    "VariantTruth",
    "WeightOnTrial",
    "WeightTensor",
    "WorkCancelledError",
    "bias_scale",
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
    "decibels",
    "describe_check",
    "describe_counts",
    "describe_details",
    "describe_ending",
    "describe_evidence",
    "describe_finding",
    "describe_folding",
    "describe_given",
    "describe_grid",
    "describe_group",
    "describe_group_remedy",
    "describe_loss",
    "describe_progress",
    "describe_refusal",
    "describe_remedy",
    "describe_samples",
    "describe_unplaced",
    "describe_waiting",
    "extract_layer_parameters",
    "extract_layer_params",
    "extract_weight_tensors",
    "find_layer",
    "find_missed",
    "find_networks",
    "find_problems",
    "find_refused",
    "format_level",
    "group_by_cause",
    "identify_file",
    "identify_folder",
    "is_float",
    "is_integer",
    "layer_names",
    "layers_by_name",
    "list_choices",
    "list_inputs",
    "list_layer_activations",
    "list_layers",
    "list_nodes_left_out_along",
    "list_options",
    "living_channels",
    "load_model",
    "load_samples",
    "measure_changes",
    "measure_layers",
    "measure_outputs",
    "measure_truth",
    "name_group",
    "name_network",
    "name_roles",
    "name_sample",
    "name_unpaired",
    "name_variants",
    "open_folder",
    "open_weight",
    "own_axis",
    "pair_layers",
    "pair_variants",
    "plan_model",
    "printable",
    "read_samples",
    "representable_limits",
    "save_changed_model",
    "summarize_variant",
    "why_not_run",
    "write_changed_model",
]
