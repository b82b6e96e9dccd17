"""Open every file of a folder in a process of its own: a refusal or a listing, nothing else.

    python tests/evidence/hostile.py FOLDER [--only REGEX]

Prints what each file gave, its time, and the memory above that of the imports. Exits 1 where a file
crashed the reader, took more than 10 s, or more than 200 MB above its own size.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

MAX_SECONDS = 10
MAX_EXTRA_BYTES = 200_000_000


def open_and_read(path: Path) -> dict[str, object]:
    """List the layers of a file and read every weight; return what happened."""
    from playground.utils.parameter_inspector import (
        ModelFileError,
        UnavailableError,
        list_layers,
        load_model,
    )
    from playground.utils.parameter_inspector.wording import describe_refusal

    before = peak_bytes()
    start = time.perf_counter()
    reasons: list[str] = []
    read = 0
    try:
        for layer in list_layers(load_model(path)):
            reasons += map(describe_refusal, layer.not_understood)
            for parameter in layer.parameters:
                try:
                    parameter.values  # noqa: B018 - read, and thrown away
                    read += 1
                except UnavailableError as error:
                    reasons.append(str(error))
        outcome = "partial" if reasons else "listed"
    except ModelFileError as error:
        outcome, reasons = "refused", [str(error)]
    return {
        "outcome": outcome,
        "read": read,
        "reasons": reasons,
        "seconds": time.perf_counter() - start,
        "extra_bytes": peak_bytes() - before,
    }


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    if arguments.folder.is_file():
        print(json.dumps(open_and_read(arguments.folder)))
        return 0
    failures = 0
    counts: dict[str, int] = {}
    for path in sorted(arguments.folder.rglob("*.onnx")):
        if not re.search(arguments.only, path.name):
            continue
        line = run_one(path)
        failures += line.startswith("FAILED")
        outcome = line.split(" ", 1)[0]
        counts[outcome] = counts.get(outcome, 0) + 1
        print(f"{path.name}: {line}")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return 1 if failures else 0


def run_one(path: Path) -> str:
    try:
        done = subprocess.run(
            [sys.executable, __file__, str(path)], capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return "FAILED no answer in 60 s"
    if done.returncode != 0:
        return f"FAILED exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    too_much = result["extra_bytes"] > path.stat().st_size + MAX_EXTRA_BYTES
    slow = result["seconds"] > MAX_SECONDS
    verdict = "FAILED (memory or time) " if too_much or slow else ""
    reason = f" | {result['reasons'][0]}" if result["reasons"] else ""
    return (
        f"{verdict}{result['outcome']} {result['read']} read, {result['seconds']:.2f} s, "
        f"{result['extra_bytes'] / 1e6:.0f} MB{reason}"
    )


if __name__ == "__main__":
    sys.exit(main())
