"""``check``: a gate for CI. What is wrong, one finding for each cause, then one line of all."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from playground.utils import exports
from playground.utils.parameter_inspector import (
    SEVERITIES,
    Comparison,
    Finding,
    FindingGroup,
    Model,
    Thresholds,
    describe_ending,
    describe_group,
    describe_group_remedy,
    describe_loss,
    find_missed,
    find_problems,
    find_refused,
    group_by_cause,
    is_float,
)

from .arguments import FILE, check_decibels, check_share
from .failing import FOUND, CannotReadError, one_line_errors
from .measuring_runs import measure_with_progress, read_given, refuse_unfinished, running_options
from .opening import compare_with_progress, file_name, open_given, refuse_unread_weights
from .output_files import list_read, refuse_to_write, write

NOT_MEASURED = "; activations were not measured (give --samples to run the models on)"
COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--json", "json_file", type=FILE, help="Also write all metrics and findings to this file."
)
@click.option(
    "--junit", "junit_file", type=FILE, help="Also write the findings to this file, as JUnit XML."
)
@click.option(
    "--sarif", "sarif_file", type=FILE, help="Also write the findings to this file, as SARIF 2.1.0."
)
@click.option(
    "--summary",
    "summary_file",
    type=FILE,
    help="Also write what is printed to this file, as Markdown.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="Exit with 1 if anything this severe, or worse, is found.",
)
@running_options
@click.option(
    "--min-sqnr",
    type=float,
    callback=check_decibels,
    metavar="DB",
    help="The least SQNR that each output has to keep.",
)
@click.option(
    "--min-agreement",
    type=float,
    callback=check_share,
    metavar="SHARE",
    help="The least share of the samples whose highest score has to be the original's.",
)
@click.option(
    "--min-accuracy",
    type=float,
    callback=check_share,
    metavar="SHARE",
    help="The least share of the samples whose highest score has to be the label.",
)
@click.option(
    "--load",
    is_flag=True,
    help="Also open each file in onnxruntime, in a process apart; with --samples, run it too.",
)
@click.option("--all", "list_all", is_flag=True, help="Print each finding, not one for each cause.")
def check(
    models: tuple[Path, ...],
    json_file: Path | None,
    junit_file: Path | None,
    sarif_file: Path | None,
    summary_file: Path | None,
    fail_on: str,
    load: bool,
    list_all: bool,
    samples: Path | None,
    time_limit: float | None,
    min_sqnr: float | None,
    min_agreement: float | None,
    min_accuracy: float | None,
) -> None:
    """Print what is wrong with quantized models, one finding for each cause, then one line of all.

    MODELS are .onnx files of one network, or the folder that holds them: its quantized builds, and
    the float original if you have it. With --samples they are run, each in a process of its own,
    and judged by their outputs too.

    Exits with 0 if there is nothing as severe as --fail-on, with 1 if there is, an output is under
    a minimum or a file is refused, and with 2 if a file could not be read or run or a layer not
    understood.
    """
    thresholds = Thresholds(min_sqnr, min_agreement, min_accuracy)
    if thresholds.asked and samples is None:
        raise click.UsageError("a minimum needs --samples to measure it on")
    with one_line_errors():
        variants = open_given(models)
        read = list_read(variants.values(), samples)
        refuse_to_write([json_file, junit_file, sarif_file, summary_file], read)
        comparison = compare_with_progress(variants)
        given = read_given(comparison, samples) if samples else None
        refused = dict(find_refused(variants, given)) if load else {}
        for variant, ending in refused.items():
            click.echo(f"{file_name(variants[variant])} ({variant}): {describe_ending(ending)}")
        if given:
            comparison = measure_with_progress(comparison, given, time_limit, skip=refused)
        findings = [*find_missed(comparison, thresholds), *find_problems(comparison)]
        findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
        groups = group_by_cause(findings)
        for group in map(alone, findings) if list_all else groups:
            click.echo(format_group(group, variants))
        for line in describe_measured(comparison):
            click.echo(exports.escape_unprintable(line))
        if json_file:
            write(json_file, exports.create_json(comparison, findings), read)
        if junit_file:
            write(junit_file, exports.create_junit(comparison, findings, fail_on), read)
        if sarif_file:
            write(sarif_file, exports.create_sarif(comparison, findings, Path.cwd()), read)
        verdict = sum_up(comparison, findings, None if list_all else groups)
        if summary_file:
            write(summary_file, exports.create_job_summary(comparison, findings, verdict), read)
        refuse_unread_weights(comparison)
        refuse_unfinished(comparison)
        refuse_not_understood(comparison, findings)
        click.echo(verdict)
    sys.exit(FOUND if refused or exports.select_findings(findings, fail_on) else 0)


def refuse_not_understood(comparison: Comparison, findings: Sequence[Finding]) -> None:
    """Raise where a layer was not understood: it was printed, and nothing else judged it."""
    unread = [f for f in findings if f.rule == "not-understood" and f.severity != "note"]
    if unread:
        first = unread[0]
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        where = file_name(comparison.variants[first.variant])
        layer_name = exports.shorten_name(first.layer_name)
        raise CannotReadError(f"{where}: {layer_name}: a parameter is not understood{more}")


def alone(finding: Finding) -> FindingGroup:
    return FindingGroup(finding.rule, (finding,))


def format_group(group: FindingGroup, variants: Mapping[str, Model]) -> str:
    """Return the findings of a cause in two lines: what is wrong and where, then what to do."""
    model = variants.get(group.variant)
    where = f"{file_name(model)} ({group.variant})" if model else group.variant
    layer_name = group.worst.layer_name if len(group.findings) == 1 else ""
    parts = [where, group.severity, exports.shorten_name(layer_name)]
    plain = [exports.escape_unprintable(part) for part in parts if part]
    plain[1] = click.style(plain[1], fg=COLOURS[group.severity], bold=True)
    evidence = exports.escape_unprintable(describe_group(group))
    remedy = exports.escape_unprintable(describe_group_remedy(group))
    return f"{': '.join(plain)}: {evidence} [{group.rule}]\n    {remedy}"


def sum_up(
    comparison: Comparison, findings: Sequence[Finding], groups: Sequence[FindingGroup] | None
) -> str:
    """Return the last line: how much was looked at and what was found.

    Args:
        groups: that were printed; None where each finding was.
    """
    variants, weights = len(comparison.variants), sum(map(len, comparison.weights.values()))
    looked = f"{variants} file{'s' * (variants != 1)}, {weights} weight{'s' * (weights != 1)}"
    counts = Counter(finding.severity for finding in findings)
    found = ", ".join(
        f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}"
        for severity in SEVERITIES
        if counts[severity]
    )
    causes = ""
    if groups is not None and len(groups) < len(findings):
        causes = f" of {len(groups)} cause{'s' * (len(groups) != 1)} (--all lists each)"
    is_measured = comparison.outputs or all(map(is_float, comparison.variants.values()))
    return f"{looked}: {found or 'nothing found'}{causes}{'' if is_measured else NOT_MEASURED}"


def describe_measured(comparison: Comparison) -> Iterator[str]:
    """Yield what was measured of each variant."""
    for variant in comparison.outputs:
        yield describe_loss(comparison, variant)
