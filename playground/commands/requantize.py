"""``requantize``: the model written again, with the changes that take back what was lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from playground.utils import exports
from playground.utils.parameter_inspector import (
    Comparison,
    MeasuredPlan,
    Model,
    PlanName,
    RewriteError,
    Samples,
    Target,
    TargetKind,
    describe_cost,
    describe_level,
    describe_move,
    describe_note,
    describe_plan_lines,
    describe_writing_refusal,
    measure_truth,
    name_moved,
    plan_by_measurement,
    plan_model,
    save_moves,
    save_plan,
)

from .arguments import FILE, check_decibels, check_positive, check_share
from .failing import fail, one_line_errors
from .measuring_runs import read_given, running_limits, search_with_progress
from .opening import compare_with_progress, open_models
from .output_files import list_read, refuse_to_write, write, writing
from .planned_lines import describe_plan, describe_truth, refuse_nothing_to_change
from .saying import progress_bar

PLANS = {
    "measured": PlanName.MEASURED,
    "per-channel": PlanName.PER_CHANNEL,
    "16-bit": PlanName.SIXTEEN_BITS,
    "leave-out": PlanName.LEAVE_OUT,
}


@dataclass(frozen=True)
class Outputs:
    """What is written, and what is read and so never written over."""

    model: Path
    recipe: Path | None
    read: tuple[Path, ...]


@click.command()
@click.argument("original", metavar="ORIGINAL", type=click.Path(path_type=Path))
@click.argument("quantized", metavar="QUANTIZED", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=FILE, required=True, help="The ONNX file to write.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="Plan by what the outputs lose on these inputs: an .npz file by input name, or a folder.",
)
@click.option(
    "--target-output-sqnr",
    type=float,
    callback=check_decibels,
    metavar="DB",
    help="The SQNR that the outputs have to reach on the samples.",
)
@click.option(
    "--target-accuracy",
    type=float,
    callback=check_share,
    metavar="SHARE",
    help="The share of the samples whose highest score has to be the label.",
)
@click.option(
    "--target-sqnr",
    type=float,
    callback=check_decibels,
    metavar="DB",
    help="Plan by the weights alone: the SQNR that each one's worst channel has to reach.",
)
@click.option(
    "--target-bytes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Plan by the weights alone: the most that all may take, with scales and zero-points.",
)
@click.option(
    "--plan",
    "plan_name",
    type=click.Choice(list(PLANS)),
    default="measured",
    show_default=True,
    help="Which plan to write, of those that are measured on the samples.",
)
@click.option("--recipe", type=FILE, help="Also write the plan as a script for quantize_static.")
@click.option(
    "--time-limit",
    type=float,
    callback=check_positive,
    metavar="SECONDS",
    help="Stop searching after so long; half an hour if not given.",
)
def requantize(
    original: Path,
    quantized: Path,
    output: Path,
    samples: Path | None,
    target_output_sqnr: float | None,
    target_accuracy: float | None,
    target_sqnr: float | None,
    target_bytes: int | None,
    plan_name: str,
    recipe: Path | None,
    time_limit: float | None,
) -> None:
    """Write QUANTIZED again, with the changes that take back what was lost.

    ORIGINAL is the float model that QUANTIZED was made from. With --samples both are run, and
    activations and weights are changed by what the output gains, at the least cost, until a target
    is reached or nothing helps any more: half of the samples decide, the other half judge.
    --target-sqnr and --target-bytes plan the weights alone, by their own error.

    Exits with 0, also where a target is missed: what was reached is printed. With 2 where nothing
    can be written.
    """
    with one_line_errors():
        target = choose_target(target_output_sqnr, target_accuracy)
        by_weights = target_sqnr is not None or target_bytes is not None
        refuse_mixed(samples, target, target_sqnr, target_bytes)
        variants, variant = open_pair(original, quantized)
        read = list_read(variants.values(), samples)
        refuse_to_write([output, recipe], read)
        comparison = compare_with_progress(variants)
        given = read_given(comparison, samples) if samples else None
        if given is not None and target_accuracy is not None and given.labels is None:
            fail("an accuracy needs labels: the samples have none")
        if given is not None and not by_weights:
            name = PLANS[plan_name]
            outputs = Outputs(output, recipe, read)
            write_measured(comparison, variant, given, target, name, outputs, time_limit)
            return
        write_by_weights(comparison, variant, target_sqnr, target_bytes, output, read)
        if samples is None:
            click.echo("planned by the weights alone: what the output gains was not measured")
        if samples:
            for line in describe_truth(measure_truth(original, quantized, output, samples)):
                click.echo(line)


def choose_target(sqnr_db: float | None, accuracy: float | None) -> Target | None:
    if sqnr_db is not None and accuracy is not None:
        fail("give one target: --target-output-sqnr or --target-accuracy")
    if sqnr_db is not None:
        return Target(TargetKind.OUTPUT_SQNR, sqnr_db)
    return Target(TargetKind.ACCURACY, accuracy) if accuracy is not None else None


def refuse_mixed(
    samples: Path | None,
    target: Target | None,
    target_sqnr: float | None,
    target_bytes: int | None,
) -> None:
    """Refuse targets that exclude each other, and those of outputs without samples."""
    if target is not None and samples is None:
        fail("a target for the output needs --samples to measure it on")
    given = sum(one is not None for one in (target, target_sqnr, target_bytes))
    if given > 1:
        fail("give one target, for the output or for the weights")
    if given == 0 and samples is None:
        fail("give --samples, or plan the weights alone with --target-sqnr or --target-bytes")


def open_pair(original: Path, quantized: Path) -> tuple[dict[str, Model], str]:
    """Return the float model and the quantized one, and what the latter is called."""
    variants = open_models([original, quantized])
    first, second = variants
    if variants[first].path != original:
        raise RewriteError(f"{original.name} is not float: give the float original first")
    return variants, second


# ------------------------------------------------- by measurement


def write_measured(
    comparison: Comparison,
    variant: str,
    samples: Samples,
    target: Target | None,
    name: PlanName,
    outputs: Outputs,
    time_limit: float | None,
) -> None:
    """Search for the plans, write the one that is asked for, and say what its file does."""
    plans = search_with_progress(
        lambda progress, cancel: plan_by_measurement(
            comparison,
            variant,
            samples,
            target,
            limits=running_limits(time_limit),
            progress=progress,
            cancel=cancel,
        ),
        comparison.variants[variant],
    )
    for line in lines_of(plans, name):
        click.echo(exports.escape_unprintable(line))
    plan = choose_plan(plans, name)
    if not plan.moves:
        raise RewriteError("nothing was found that helps: there is nothing to write")
    with writing(outputs.model):
        done = save_plan(comparison, variant, plan, samples, outputs.model, outputs.read)
    for move, refusal in done.refused:
        why = describe_writing_refusal(refusal)
        click.echo(exports.escape_unprintable(f"{name_moved(move)}: left as it is: {why}"))
    for note in done.saved.notes:
        click.echo(exports.escape_unprintable(describe_note(note)))
    saved = done.saved
    opset = f", now opset {saved.raised_opset}" if saved.raised_opset else ""
    click.echo(f"file {saved.current_bytes:,} -> {saved.file_bytes:,} bytes{opset}")
    agrees = "as planned" if done.is_as_planned else "less than planned"
    click.echo(
        f"the file, fully optimized: {done.file_db:.1f} dB on the samples that judge, {agrees}"
    )
    if outputs.recipe is not None:
        recipe = exports.write_recipe(comparison, variant, plan.moves)
        write(outputs.recipe, recipe, (*outputs.read, outputs.model))


def choose_plan(plans: tuple[MeasuredPlan, ...], name: PlanName) -> MeasuredPlan:
    for plan in plans:
        if plan.name is name:
            return plan
    raise RewriteError(f"there is no plan {name.value!r} for this model: nothing would change")


def lines_of(plans: tuple[MeasuredPlan, ...], name: PlanName) -> list[str]:
    """Return all about the plan that is asked for, and a line for each of the others."""
    chosen = choose_plan(plans, name)
    lines = [
        f"{exports.shorten_name(name_moved(move))}: {describe_move(move)}" for move in chosen.moves
    ]
    lines += describe_plan_lines(chosen)
    return lines + [
        f"beside it, {plan.name.value}: {describe_level(plan.held_back_after)} with "
        f"{describe_cost(plan.cost)}"
        for plan in plans
        if plan is not chosen and plan.held_back_after is not None
    ]


# ------------------------------------------------- by the weights alone


def write_by_weights(
    comparison: Comparison,
    variant: str,
    target_sqnr: float | None,
    target_bytes: int | None,
    output: Path,
    read: Iterable[Path],
) -> None:
    with progress_bar("Trying the schemes") as progress:
        plan = plan_model(comparison, variant, target_sqnr, target_bytes, progress)
    refuse_nothing_to_change(plan)
    click.echo("planned by the weights alone: what the output gains was not measured")
    with writing(output):
        saved = save_moves(comparison, variant, plan.moves, output, read)
    for line in describe_plan(plan, saved):
        click.echo(exports.escape_unprintable(line))
