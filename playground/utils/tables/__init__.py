"""Records and numbers -> pandas DataFrames, and the sentences that stand where there is no number.

A module for each part of the page. Cells are rounded for reading. Names come from a model and are
plain text: `text.to_html` escapes them.
"""

from . import (
    count_tables,
    finding_tables,
    layer_tables,
    overview,
    pairing_tables,
    ranking,
    text,
    trial_tables,
)

__all__ = [
    "count_tables",
    "finding_tables",
    "layer_tables",
    "overview",
    "pairing_tables",
    "ranking",
    "text",
    "trial_tables",
]
