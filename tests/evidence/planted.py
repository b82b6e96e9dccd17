"""Plant every fault into a healthy model and count: found, missed, false alarms.

    python tests/evidence/planted.py [--verbose]

The faults and the healthy models are those of tests/planted_faults.py. The models that ship with
the repository are judged as they are and with seven of the faults in each of their layers. Exits
with 1 if a fault was missed, or if a rule cried where there was nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

# Imported once the path is known.
import planted_activation_faults  # noqa: E402, F401 - lists its faults beside the others
from planted_faults import (  # noqa: E402
    FAULTS,
    false_alarms,
    faults_in,
    healthy_models,
    is_found,
    problems_of,
)

from playground.utils.parameter_inspector import compare_variants, load_model  # noqa: E402
from playground.utils.parameter_inspector.judging.rules import (  # noqa: E402
    WEIGHT_RULES,
    Finding,
    find_problems,
)

NETWORKS = ("resnet8", "dscnn")
SHIPPED = (("resnet8", "int8"), ("resnet8", "uint8"), ("dscnn", "int8"))


def judge_healthy() -> Iterator[tuple[str, tuple[Finding, ...]]]:
    for name, make in healthy_models().items():
        yield name, problems_of(make())
    for network, name in SHIPPED:
        folder = ROOT / "models" / network
        models = {n: load_model(folder / f"{n}.onnx") for n in ("fp32", name)}
        yield f"models/{network}/{name}.onnx", find_problems(compare_variants(models))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbose", action="store_true")
    verbose = parser.parse_args().verbose
    planted, found, alarms = Counter[str](), Counter[str](), Counter[str]()
    lines = []
    trained = [fault for name in NETWORKS for fault in faults_in(ROOT / "models" / name)]
    for fault in (*FAULTS, *trained):
        findings = problems_of(fault.make())
        planted[fault.rule] += 1
        hit = is_found(fault, findings)
        found[fault.rule] += hit
        wrong = false_alarms(fault, findings)
        alarms.update(finding.rule for finding in wrong)
        if not hit:
            lines.append(f"MISSED {fault.rule} at {fault.layer!r}: {fault.name}")
        lines += [f"FALSE {f.rule} at {f.layer!r}: {f.evidence}  [{fault.name}]" for f in wrong]
        if verbose:
            lines += [
                f"       {f.severity} {f.rule} at {f.layer!r}: {f.evidence}" for f in findings
            ]
    healthy = 0
    for name, findings in judge_healthy():
        healthy += 1
        wrong = [finding for finding in findings if finding.severity != "note"]
        alarms.update(finding.rule for finding in wrong)
        lines += [f"FALSE {f.rule} at {f.layer!r}: {f.evidence}  [{name}]" for f in wrong]
    print(f"{'rule':18} planted  found  missed  false alarms")
    for rule in (entry.rule for entry in WEIGHT_RULES):
        missed = planted[rule] - found[rule]
        print(f"{rule:18} {planted[rule]:7} {found[rule]:6} {missed:7} {alarms[rule]:13}")
    missed = planted.total() - found.total()
    print(f"{'all':18} {planted.total():7} {found.total():6} {missed:7} {alarms.total():13}")
    print(
        f"{len(FAULTS)} small planted models, {len(trained)} trained ones, {healthy} healthy ones"
    )
    print("\n".join(lines))
    return 1 if missed or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
