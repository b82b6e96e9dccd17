"""The sentences about what the outputs lost: the one place of them, for page, report, command line.

`describe_loss` is the one to read first, `describe_details` what else was seen, `describe_check`
how far the numbers can be trusted.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import takewhile
from pathlib import Path

from ..facts import QuantizerKind, SampleKind, UnplacedReason
from ..measuring.comparison import Comparison
from ..measuring.outputs import GroupNoise, OutputLoss, Outputs, Progress, Recovered
from ..reading.model_file import printable
from ..running.endings import describe_ending
from ..running.samples import Samples
from .measured_facts import choose_point
from .phrases import counted, format_level, format_share, name_sample
from .scores import may_put_out_scores

# Restoring what gives less than this has not helped.
LITTLE_DB = 1.0
OUTPUTS_SHOWN = 4
SHORTEST_NAME = 3

_REASONS = {
    UnplacedReason.LAYER_UNPAIRED: "in layers that the original lacks",
    UnplacedReason.SHAPE: "of another shape than the original's",
    UnplacedReason.RESCALED: "with channels equalized between layers",
    UnplacedReason.UNREADABLE: "that cannot be read",
    UnplacedReason.OPERATOR: "inside operators without a float twin",
    UnplacedReason.OPSET: "that the original's opset does not know",
}


# ------------------------------------------------- what was lost


def describe_loss(comparison: Comparison, variant: str) -> str:
    """Return what the output of a measured variant lost, by what, and what takes it back.

    Raises:
        KeyError: the variant was not measured.
    """
    outputs = comparison.outputs[variant]
    subject = f"{name_network(comparison)} {printable(variant)}"
    where = f"on {describe_samples(outputs)}"
    if outputs.sqnr_db is None:
        return f"{subject} was not measured{_because_ended(outputs)}."
    if math.isnan(outputs.sqnr_db):
        return f"{subject} cannot be judged {where}: the float output is zero or not a number."
    if outputs.sqnr_db == -math.inf:
        return f"{subject} puts out numbers that are not finite {where}."
    if outputs.sqnr_db == math.inf:
        return f"{subject} loses nothing at the output {where}."
    has_original = comparison.original is not None
    split = _spell_split(outputs) if has_original else ""
    causes = [part for part in (split, _spell_recovered(outputs)) if part]
    blame = f": {'; '.join(causes)}" if causes else ""
    return f"{subject} keeps {format_level(outputs.sqnr_db)} of {_output(outputs)} {where}{blame}."


def describe_details(comparison: Comparison, variant: str) -> tuple[str, ...]:
    """Return what else was seen, one sentence each: scores, outputs, samples, what is missing."""
    outputs = comparison.outputs[variant]
    model = comparison.naming_model
    scored = [
        loss
        for loss in outputs.losses
        if loss.accuracy is not None or may_put_out_scores(model, loss.name)
    ]
    found = [_describe_scores(loss, len(outputs.losses)) for loss in scored]
    found += [_describe_outputs(outputs), _describe_worst(outputs), _describe_channels(outputs)]
    found += [_describe_parting(outputs), _describe_reference(comparison), _describe_kind(outputs)]
    found += [_describe_partial(outputs), _describe_end(outputs)]
    return tuple(sentence for sentence in found if sentence)


def name_network(comparison: Comparison) -> str:
    """Return what the files are called: what their names begin with, else their folder's name."""
    model = comparison.naming_model
    stems = [Path(one.name).name for one in comparison.variants.values()]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*stems, strict=False))
    common = "".join(letters[0] for letters in alike)
    name = common.strip("-_. ")
    ends_words = all(not stem[len(name) :][:1].isalnum() for stem in stems)
    labels = {variant.lower() for variant in comparison.variants}
    if ends_words and len(name) >= SHORTEST_NAME and name.lower() not in labels:
        return printable(name)
    folder = model.path.resolve().parent.name if model.path else ""
    return printable(folder or model.name)


def describe_samples(outputs: Outputs, samples: Samples | None = None) -> str:
    """Return what was measured on: ``16 samples``, or where they are given more of them."""
    if samples is not None:
        return describe_given(samples)
    return _name_samples(outputs.sample_kind, outputs.sample_count)


def describe_given(samples: Samples) -> str:
    """Return what samples are, as in ``the first 16 of 64 samples of samples.npz``."""
    if samples.kind is SampleKind.SYNTHETIC:
        return _name_samples(samples.kind, samples.count)
    of = f" of {printable(samples.source)}" if samples.source else ""
    if samples.available > samples.count:
        return f"the first {samples.count} of {counted(samples.available, 'sample')}{of}"
    return f"{counted(samples.count, 'sample')}{of}"


def _name_samples(kind: SampleKind, count: int) -> str:
    return counted(count, "synthetic input" if kind is SampleKind.SYNTHETIC else "sample")


def describe_counts(outputs: Outputs) -> str:
    """Return on how many samples the shares were measured, where not all were on all of them."""
    counts = Counter(group.sample_count for group in outputs.groups)
    if not counts or set(counts) == {outputs.sample_count}:
        return ""
    fewest, most = min(counts), max(counts)
    if fewest == most:
        return f"Shares were measured on the first {counted(fewest, 'sample')}."
    return (
        f"Shares were measured on the first {counted(fewest, 'sample')}, those of the worst "
        f"{counts[most]} quantizers on all {most}."
    )


def _output(outputs: Outputs) -> str:
    return "the output" if len(outputs.losses) < 2 else f"its {len(outputs.losses)} outputs"


def _spell_split(outputs: Outputs) -> str:
    """Return ``activations cost it 96%, weights 4%``, the larger first."""
    split = outputs.split
    if split is None or not (split.weights_noise or split.activations_noise):
        return ""
    alone = {"weights": split.weights_noise, "activations": split.activations_noise}
    broken = [kind for kind, noise in alone.items() if not math.isfinite(noise)]
    if broken:
        return f"with {' or '.join(broken)} alone quantized it is not finite"
    share = split.activations_share
    parts = [(share, "activations"), (1 - share, "weights")]
    (most, first), (least, second) = sorted(parts, reverse=True)
    return f"{first} cost it {format_share(most)}, {second} {format_share(least)}"


def _spell_recovered(outputs: Outputs) -> str:
    best = find_best(outputs)
    if best is None or outputs.sqnr_db is None:
        return ""
    these = sum(len(group.quantizers) for group in outputs.groups[: best.count])
    total = counted(len(outputs.quantizers), "quantizer")
    given = f"giving {these:,} of {total} back recovers"
    if best.sqnr_db == math.inf:
        return f"{given} all of it"
    gain = best.sqnr_db - outputs.sqnr_db
    if gain < LITTLE_DB:
        most = max(point.sqnr_db for point in outputs.recovered) - outputs.sqnr_db
        return f"giving the worst of {total} back recovers {max(most, 0.0):.1f} dB at most"
    return f"{given} {gain:.1f} dB"


def find_best(outputs: Outputs) -> Recovered | None:
    """Return the point of the recovered curve to speak of: the first that gives most of it.

    None where it is not known, or where the switched model is not the file.
    """
    if outputs.check.is_partial:
        return None
    known = [point for point in outputs.recovered if not math.isnan(point.sqnr_db)]
    if not known or outputs.sqnr_db is None:
        return None
    return known[choose_point([point.sqnr_db - outputs.sqnr_db for point in known])]


# ------------------------------------------------- what else was seen


def _describe_scores(loss: OutputLoss, output_count: int) -> str:
    """Return accuracy where there are labels, agreement with float where there are scores."""
    at = f" at output {_quoted(loss.name)}" if output_count > 1 else ""
    if loss.accuracy is not None and loss.float_accuracy is not None:
        return (
            f"Accuracy{at} is {format_share(loss.accuracy)}; float has "
            f"{format_share(loss.float_accuracy)}."
        )
    if loss.agreement is not None:
        return f"The highest score{at} is the one of float in {format_share(loss.agreement)}."
    return ""


def _describe_outputs(outputs: Outputs) -> str:
    if len(outputs.losses) < 2:
        return ""
    worst_first = sorted(outputs.losses, key=_known_level)
    parts = [f"{_quoted(o.name)} {format_level(o.sqnr_db)}" for o in worst_first[:OUTPUTS_SHOWN]]
    more = len(outputs.losses) - len(parts)
    return f"By output: {', '.join(parts)}{f' and {more} more' if more else ''}."


def _known_level(loss: OutputLoss) -> float:
    return math.inf if math.isnan(loss.sqnr_db) else loss.sqnr_db


def _describe_worst(outputs: Outputs) -> str:
    worst = outputs.worst
    if worst is None or worst.worst_sample is None or len(worst.sample_sqnr_db) < 2:
        return ""
    level = format_level(float(worst.sample_sqnr_db[worst.worst_sample]))
    at = f" at output {_quoted(worst.name)}" if len(outputs.losses) > 1 else ""
    return f"The worst is {name_sample(worst.worst_sample)} with {level}{at}."


def _describe_channels(outputs: Outputs) -> str:
    """Return the worst channel of an output whose channels differ much in size."""
    found = [
        (float(level), channel, loss.name)
        for loss in outputs.losses
        if loss.channel_sqnr_db is not None
        for channel, level in enumerate(loss.channel_sqnr_db)
        if not math.isnan(level)
    ]
    if not found:
        return ""
    level, channel, name = min(found)
    return (
        f"The channels of {_quoted(name)} differ much in size: channel {channel} keeps "
        f"{format_level(level)}."
    )


def _describe_parting(outputs: Outputs) -> str:
    if outputs.parted_at is None:
        return ""
    return f"Float and quantized first part at {printable(outputs.parted_at)}."


def _describe_reference(comparison: Comparison) -> str:
    if comparison.original is not None:
        return ""
    return (
        "Without the float original it was compared with itself, its activations in float: "
        "weights are not judged."
    )


def _describe_kind(outputs: Outputs) -> str:
    if outputs.sample_kind is SampleKind.FILE:
        return ""
    return (
        "Synthetic inputs tell which quantizers matter, but not how much is lost: measure on "
        "samples of yours."
    )


def _describe_partial(outputs: Outputs) -> str:
    agreement = outputs.check.all_on_db
    if not outputs.check.is_partial or agreement is None:
        return ""
    return (
        f"These numbers are partial: with all quantizers on, the model that was measured agrees "
        f"with the file by {format_level(agreement)} only, and {describe_unplaced(outputs)}."
    )


def _describe_end(outputs: Outputs) -> str:
    if outputs.ending is None:
        return ""
    return f"Measuring did not end: {_small(describe_ending(outputs.ending))}"


def _because_ended(outputs: Outputs) -> str:
    return f": {_small(describe_ending(outputs.ending)).rstrip('.')}" if outputs.ending else ""


# ------------------------------------------------- how far to trust it


def describe_check(outputs: Outputs) -> tuple[str, ...]:
    """Return how well the switched model stands for both files, and what is not in it."""
    check = outputs.check
    found = []
    if not check.file_runs:
        found.append(
            "onnxruntime does not run the file: its quantizers in the original stand for it."
        )
    if check.all_on_db is not None:
        found.append(
            f"With all quantizers on, the switched model agrees with the file "
            f"{_spell_agreement(check.all_on_db)}."
        )
    if check.all_off_db is not None:
        found.append(f"With all off, it agrees with float {_spell_agreement(check.all_off_db)}.")
    if outputs.unplaced:
        found.append(f"{capitalize(describe_unplaced(outputs))}.")
    level = "as onnxruntime does by default" if outputs.optimized else "off"
    found.append(f"Optimizations of the graph: {level}.")
    return tuple(found)


def _spell_agreement(decibels: float) -> str:
    return "bit for bit" if decibels == math.inf else f"by {format_level(decibels)}"


def describe_unplaced(outputs: Outputs) -> str:
    """Return how many quantizers could not be placed in the original, and why."""
    total = len(outputs.quantizers) + len(outputs.unplaced)
    if not outputs.unplaced:
        return f"all {counted(total, 'quantizer')} could be placed"
    reasons = Counter(one.reason for one in outputs.unplaced)
    why = ", ".join(f"{count} {_REASONS[reason]}" for reason, count in reasons.most_common())
    return f"{len(outputs.unplaced)} of {counted(total, 'quantizer')} could not be placed ({why})"


def describe_progress(progress: Progress) -> str:
    """Return how far measuring is, and what is known so far."""
    outputs = progress.outputs
    parts = [f"{counted(progress.runs_done, 'run')} done, {progress.runs_left:,} left"]
    if outputs.sqnr_db is not None:
        parts.append(f"the output keeps {format_level(outputs.sqnr_db)}")
    if outputs.groups:
        worst = outputs.groups[0]
        parts.append(f"most is lost by {name_group(worst)}, so far {format_share(worst.share)}")
    return "; ".join(parts)


def describe_waiting(ahead: int) -> str:
    """Return that another measuring comes first: one goes on at a time."""
    return f"Waiting: {counted(ahead, 'measuring')} before this one."


# ------------------------------------------------- parts of sentences


def name_group(group: GroupNoise) -> str:
    """Return what is switched together: ``the weight of Conv_3``, ``the activation x``."""
    more = f" and {len(group.quantizers) - 1} more" if len(group.quantizers) > 1 else ""
    if group.kind is QuantizerKind.WEIGHT and group.layers:
        return f"the weight of {printable(group.layers[0])}{more}"
    return f"the {group.kind.value} {printable(group.tensor)}{more}"


def capitalize(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _small(sentence: str) -> str:
    return sentence if sentence.startswith("onnx") else sentence[:1].lower() + sentence[1:]


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"
