"""Scales, zero-points and weights of quantized ONNX models: numbers only, no pictures.

The whole public face: page, report, exports and command line import from here and nothing past it.
"""

from .changing.accuracy_map import (
    ACTIVATION_BITS,
    ACTIVATION_TYPES,
    GRANULARITIES,
    WEIGHT_BITS,
    WEIGHT_TYPES,
    AccuracyMap,
    Widths,
    list_widths,
    measure_accuracy_map,
)
from .changing.candidates import (
    Candidate,
)
from .changing.layer_options import (
    LayerOptions,
    list_options,
)
from .changing.measured_plans import (
    Cost,
    Level,
    MeasuredPlan,
    PlanEnd,
    PlanName,
    PlanProgress,
    PlanStep,
    Sides,
    Target,
    TargetKind,
)
from .changing.move_refusals import (
    describe_note,
    describe_writing_refusal,
)
from .changing.move_writing import (
    save_moves,
    write_moves,
)
from .changing.moves import (
    ActivationScheme,
    Move,
    MoveKind,
    RangeRule,
    merge_moves,
)
from .changing.plan_search import (
    plan_by_measurement,
)
from .changing.plan_words import (
    describe_cost,
    describe_level,
    describe_move,
    describe_plan_lines,
    describe_plan_progress,
    describe_target,
    name_moved,
    name_widths,
    summarize_moves,
)
from .changing.plan_writing import (
    SavedPlan,
    save_plan,
)
from .changing.planning import (
    LayerChange,
    Plan,
    SizeMissed,
    TradeOff,
    Unreached,
    choose,
    plan_model,
)
from .changing.refused_moves import (
    list_refused,
)
from .changing.rewrite_errors import (
    RewriteError,
)
from .changing.rewriting import (
    Saved,
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
from .changing.static_recipes import (
    StaticRecipe,
    TensorRecipe,
    plan_static_recipe,
)
from .changing.trial_runs import (
    Truth,
    VariantTruth,
    measure_moves,
    measure_truth,
)
from .changing.trials import (
    Outcome,
    Trial,
    WeightOnTrial,
    open_weight,
)
from .changing.writability import (
    requantize_layer,
)
from .facts import (
    ConstantRole,
    Ending,
    EndingKind,
    Evidence,
    Folding,
    Grid,
    QuantizerKind,
    RecipeNote,
    RecipeNoteKind,
    Refusal,
    RefusalKind,
    SampleKind,
    Stay,
    StayReason,
    UnplacedReason,
    WritingNote,
    WritingNoteKind,
    WritingRefusal,
    WritingRefusalKind,
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
    Beyond,
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
from .reading.accounts import (
    AccountedConstant,
)
from .reading.file_bytes import (
    list_files,
)
from .reading.layers import (
    extract_layer_params,
    find_layer,
    layers_by_name,
    list_constants,
    list_layers,
)
from .reading.model_file import (
    Model,
    ModelFileError,
    load_model,
    printable,
)
from .reading.networks import (
    FoundNetworks,
    find_networks,
    look_for_networks,
)
from .reading.openings import (
    Opening,
)
from .reading.variants import (
    VariantFolder,
    VariantSummary,
    is_float,
    name_apart,
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
    FolderLooks,
    Place,
    SharedCache,
    WorkCancelledError,
    identify_file,
    identify_folder,
)
from .whole_files import (
    OutputRefusedError,
    refuse_outputs,
    write_whole,
)
from .wording import (
    describe_evidence,
    describe_folding,
    describe_grid,
    describe_refusal,
    describe_stay,
)

compute_layer_ranges = compute_all_layer_ranges
extract_layer_parameters = extract_layer_params

__all__ = [
    "ACTIVATION_BITS",
    "ACTIVATION_TYPES",
    "GRANULARITIES",
    "HEALTHY_CHANNEL_DB",
    "MARKS",
    "METRICS",
    "MOST_SAMPLES",
    "MOVING",
    "REPEATABLE_DB",
    "RULES",
    "SEVERITIES",
    "TITLES",
    "WEIGHT_BITS",
    "WEIGHT_RULES",
    "WEIGHT_TYPES",
    "AccountedConstant",
    "AccuracyMap",
    "ActivationScheme",
    "ActivationStatistics",
    "Beyond",
    "Candidate",
    "CodeCounts",
    "ComparedLayer",
    "Comparison",
    "ConstantRole",
    "Cost",
    "Ending",
    "EndingKind",
    "ErrorSteps",
    "Evidence",
    "Finding",
    "FindingGroup",
    "FolderLooks",
    "Folding",
    "FoundNetworks",
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
    "Level",
    "Limits",
    "MeasuredLayer",
    "MeasuredPlan",
    "MeasuredWeight",
    "Metric",
    "MetricKind",
    "Model",
    "ModelFileError",
    "ModelTooLargeError",
    "Move",
    "MoveKind",
    "NotUnderstoodError",
    "NothingToCompareError",
    "Opening",
    "Outcome",
    "OutputLoss",
    "OutputRefusedError",
    "Outputs",
    "Pairing",
    "Place",
    "Plan",
    "PlanEnd",
    "PlanName",
    "PlanProgress",
    "PlanStep",
    "Progress",
    "Quantization",
    "Quantizer",
    "QuantizerKind",
    "RangeRule",
    "RecipeNote",
    "RecipeNoteKind",
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
    "SavedPlan",
    "Scheme",
    "SelfCheck",
    "SharedCache",
    "Sides",
    "SizeMissed",
    "Split",
    "StaticRecipe",
    "Stay",
    "StayReason",
    "SummaryStats",
    "Target",
    "TargetKind",
    "TensorQuantization",
    "TensorRecipe",
    "Thresholds",
    "TradeOff",
    "Trial",
    "Truth",
    "Turn",
    "UnavailableError",
    "UnplacedReason",
    "Unreached",
    "VariantFolder",
    "VariantSummary",
    "VariantTruth",
    "WeightOnTrial",
    "WeightTensor",
    "Widths",
    "WorkCancelledError",
    "WritingNote",
    "WritingNoteKind",
    "WritingRefusal",
    "WritingRefusalKind",
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
    "create_summary_stats",
    "data_type_bits",
    "decibels",
    "describe_check",
    "describe_cost",
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
    "describe_level",
    "describe_loss",
    "describe_move",
    "describe_note",
    "describe_plan_lines",
    "describe_plan_progress",
    "describe_progress",
    "describe_refusal",
    "describe_remedy",
    "describe_samples",
    "describe_stay",
    "describe_target",
    "describe_unplaced",
    "describe_waiting",
    "describe_writing_refusal",
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
    "list_constants",
    "list_files",
    "list_inputs",
    "list_layer_activations",
    "list_layers",
    "list_nodes_left_out_along",
    "list_options",
    "list_refused",
    "list_widths",
    "living_channels",
    "load_model",
    "load_samples",
    "look_for_networks",
    "measure_accuracy_map",
    "measure_layers",
    "measure_moves",
    "measure_outputs",
    "measure_truth",
    "merge_moves",
    "name_apart",
    "name_group",
    "name_moved",
    "name_network",
    "name_roles",
    "name_sample",
    "name_unpaired",
    "name_variants",
    "name_widths",
    "open_folder",
    "open_weight",
    "own_axis",
    "pair_layers",
    "pair_variants",
    "plan_by_measurement",
    "plan_model",
    "plan_static_recipe",
    "printable",
    "read_samples",
    "refuse_outputs",
    "representable_limits",
    "requantize_layer",
    "save_moves",
    "save_plan",
    "summarize_moves",
    "summarize_variant",
    "why_not_run",
    "write_moves",
    "write_whole",
]
