"""Records and numbers -> files for elsewhere: pure functions that return text, one writer each.

Names come from a model and may hold anything: `escaping` has each format's way to disarm them.
"""

from .csv_tables import create_findings_csv, create_metrics_csv
from .escaping import escape_unprintable, shorten_name
from .exclusion_lists import (
    EXCLUSIONS,
    Exclusion,
    create_exclusion,
    exclude_freed_layers,
    exclude_in_nncf,
    exclude_in_onnxruntime,
    exclude_in_quark,
)
from .finding_groups import group_findings, select_findings
from .job_summary import create_job_summary
from .json_record import create_json
from .junit import create_junit
from .model_explorer import create_model_explorer_data
from .netron import create_netron_attachment
from .output_records import create_outputs_json, list_output_lines
from .overrides import override_planned_weights, quantize_per_channel_in_onnxruntime
from .recipes import write_recipe
from .sarif import create_sarif
from .width_recipes import can_be_built, write_width_recipe

__all__ = [
    "EXCLUSIONS",
    "Exclusion",
    "can_be_built",
    "create_exclusion",
    "create_findings_csv",
    "create_job_summary",
    "create_json",
    "create_junit",
    "create_metrics_csv",
    "create_model_explorer_data",
    "create_netron_attachment",
    "create_outputs_json",
    "create_sarif",
    "escape_unprintable",
    "exclude_freed_layers",
    "exclude_in_nncf",
    "exclude_in_onnxruntime",
    "exclude_in_quark",
    "group_findings",
    "list_output_lines",
    "override_planned_weights",
    "quantize_per_channel_in_onnxruntime",
    "select_findings",
    "shorten_name",
    "write_recipe",
    "write_width_recipe",
]
