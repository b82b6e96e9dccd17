"""Section 1: what each file of a folder is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..parameter_inspector import (
    VariantFolder,
    VariantSummary,
    describe_refusal,
)
from ..spelling import NOTHING, format_bytes


def create_variant_table(summaries: Sequence[VariantSummary]) -> pd.DataFrame:
    """Return one row for each variant: what the file is."""
    return pd.DataFrame(
        {
            "Variant": [s.name for s in summaries],
            "File": [s.file_name for s in summaries],
            "Size": [describe_size(s, summaries[0]) for s in summaries],
            "Data types of the weights": [describe_data_types(s) for s in summaries],
            "Layers": [s.layer_count for s in summaries],
            "with weights": [s.weight_layer_count for s in summaries],
            "quantized": [s.quantized_count for s in summaries],
            "left float": [s.float_count for s in summaries],
            "Weights": [f"{s.weight_count:,}" for s in summaries],
            "Made by": [s.producer or NOTHING for s in summaries],
            "Opset": [s.opset for s in summaries],
        }
    )


def describe_size(summary: VariantSummary, original: VariantSummary) -> str:
    """Return how large a file is, and measured against the original's."""
    size = format_bytes(summary.file_bytes)
    if summary is original or not summary.file_bytes:
        return size
    ratio = original.file_bytes / summary.file_bytes
    return f"{size}, {ratio:.1f}× smaller" if ratio >= 1 else f"{size}, {1 / ratio:.1f}× larger"


def explain_variants(summaries: Sequence[VariantSummary]) -> list[str]:
    """Return what the folder lacks for a comparison."""
    sentences = []
    if all(summary.quantized_count for summary in summaries):
        sentences.append(
            "There is no float original in this folder. Put it beside the quantized file to see "
            "both; until then the first variant takes its place."
        )
    if not any(summary.quantized_count for summary in summaries):
        sentences.append("There is no quantized variant in this folder: nothing to compare yet.")
    return sentences


def explain_unreadable(folder: VariantFolder) -> list[str]:
    """Return a sentence for each file of a folder that cannot be read."""
    return [describe_refusal(refusal) for refusal in folder.unreadable.values()]


def describe_data_types(summary: VariantSummary) -> str:
    return (
        ", ".join(f"{data_type} × {count}" for data_type, count in summary.data_types.items())
        or "no weights"
    )
