"""``measure``: what the outputs of quantized models lose, and which tensors lose it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from playground.utils import exports
from playground.utils.parameter_inspector import Comparison, Model, is_float, pair_variants

from .arguments import FILE
from .failing import CannotRunError, one_line_errors
from .measuring_runs import measure_with_progress, read_given, refuse_unfinished, running_options
from .opening import open_models
from .output_files import list_read, refuse_to_write, write


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@running_options
@click.option("--json", "json_file", type=FILE, help="Also write all numbers to this file.")
@click.option(
    "--optimized",
    is_flag=True,
    help="Let onnxruntime rewrite the graphs as it does by default, also for the comparison.",
)
def measure(
    models: tuple[Path, ...],
    samples: Path | None,
    time_limit: float | None,
    json_file: Path | None,
    optimized: bool,
) -> None:
    """Print what the outputs of quantized models lose, and which tensors lose it.

    MODELS are .onnx files of one network: the float original first, then its quantized builds. A
    quantized model alone is compared with itself, its activations in float.

    The models are run, each in a process of its own. Without --samples the inputs are synthetic:
    they tell which tensors matter, but not how much is lost.

    Exits with 0, or with 2 if a file could not be read or run.
    """
    with one_line_errors():
        variants = open_models(models)
        read = list_read(variants.values(), samples)
        refuse_to_write([json_file], read)
        comparison = compare_unmeasured(variants, models)
        given = read_given(comparison, samples)
        comparison = measure_with_progress(comparison, given, time_limit, optimized)
        for variant in comparison.outputs:
            for line in exports.list_output_lines(comparison, variant):
                click.echo(exports.escape_unprintable(line))
        if json_file:
            write(json_file, exports.create_outputs_json(comparison), read)
        refuse_unfinished(comparison)


def compare_unmeasured(variants: Mapping[str, Model], paths: Sequence[Path]) -> Comparison:
    """Return the comparison without its weights, which running does not need."""
    original = next(name for name, model in variants.items() if model.path == paths[0])
    if len(paths) > 1 and not is_float(variants[original]):
        raise CannotRunError(f"{paths[0].name} is not float: give the float original first")
    if len(paths) == 1 and is_float(variants[original]):
        raise CannotRunError(f"{paths[0].name} is not quantized: there is nothing to measure")
    ordered = {original: variants[original], **variants}
    return Comparison(ordered, pair_variants(ordered), {}, {})
