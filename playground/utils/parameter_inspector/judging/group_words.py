"""The sentences about all findings of one cause: what is wrong, and what cures them."""

from __future__ import annotations

from ..reading.model_file import printable
from .causes import ONE_SCALE, FindingGroup, finer_steps
from .finding_wording import describe_finding, describe_remedy
from .findings import Finding
from .phrases import PER_CHANNEL_CALL, counted, list_names, say_finer_steps, say_limit
from .resolution_facts import CollapsedChannels


def describe_group(group: FindingGroup) -> str:
    """Return what is wrong with the layers of one cause, in one sentence."""
    if len(group.findings) == 1:
        return describe_finding(group.worst)
    if group.cause == ONE_SCALE:
        return _share_one_scale(group)
    return (
        f"{counted(len(group.layers), 'layer')}: {list_names(group.layers)}; the first: "
        f"{describe_finding(group.worst)}"
    )


def describe_group_remedy(group: FindingGroup) -> str:
    """Return what to do about all of them, in one sentence."""
    if len(group.findings) == 1 or group.cause != ONE_SCALE:
        return describe_remedy(group.worst)
    return _cure_one_scale(group)


def _share_one_scale(group: FindingGroup) -> str:
    in_file = max(remedy.layers_in_file for remedy in group.remedies)
    collapsed = [f for f in group.findings if "worst_db" in f.numbers]
    worst = (
        f"; {len(collapsed)} of them {'has' if len(collapsed) == 1 else 'have'} channels too weak, "
        f"the worst is channel {_worst_channel(collapsed[0])} of "
        f"{printable(collapsed[0].layer_name)} with {collapsed[0].numbers['worst_db']:.1f} dB"
        if collapsed
        else ""
    )
    return (
        f"{len(group.layers)} of {in_file} layers share one scale for all channels, which differ "
        f"in width{worst}: {list_names(group.layers)}."
    )


def _worst_channel(finding: Finding) -> int:
    facts = finding.facts
    return facts.worst_channel if isinstance(facts, CollapsedChannels) else 0


def _cure_one_scale(group: FindingGroup) -> str:
    """Return what cures most of the layers at once, and how many it leaves."""
    remedy, count = group.remedies[0], len(group.layers)
    if not remedy.reaches_per_channel:
        return say_finer_steps(remedy)
    left = [f.layer_name for f in group.findings if _stays_weak(f)]
    rest = f"; {list_names(left)} keep weak channels: leave them in float" if left else ""
    limit = say_limit(remedy.limit) if remedy.limit is not None else _UNKNOWN_LIMIT
    return (
        f"Quantize per-channel, {PER_CHANNEL_CALL[remedy.method]}, which cures the weights of "
        f"{'all' if not left else count - len(left)} of them{rest}. {limit}"
    )


_UNKNOWN_LIMIT = (
    "Where the output does not improve, weights are not the limit: leave layers in float together "
    "with what reads them."
)


def _stays_weak(finding: Finding) -> bool:
    remedy = finer_steps(finding)
    return remedy is not None and remedy.cures is False
