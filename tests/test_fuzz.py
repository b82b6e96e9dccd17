"""Whatever a file holds: a listing or a refusal in one sentence, and no other exception.

500 examples, the same in each run; `python tests/fuzzing.py --examples N --seed S` tries others.
"""

from __future__ import annotations

import logging
from pathlib import Path

import fuzzing
import pytest
from fuzzing import go_all_the_way
from hypothesis import HealthCheck, given, settings

EXAMPLES = {"bytes": 150, "structure": 200, "names": 100, "numbers": 50}
# One example in so many is drawn as well.
PICTURES = {"bytes": 25, "structure": 40, "names": 40, "numbers": 12}


@pytest.mark.parametrize("kind", fuzzing.STRATEGIES)
def test_a_damaged_model_is_listed_or_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    tried = 0

    @settings(
        max_examples=EXAMPLES[kind],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(fuzzing.STRATEGIES[kind])
    def try_one(content: bytes) -> None:
        nonlocal tried
        tried += 1
        go_all_the_way(content, tmp_path, pictures=tried % PICTURES[kind] == 0)

    logging.disable()
    try:
        try_one()
    finally:
        logging.disable(logging.NOTSET)
    assert tried >= EXAMPLES[kind]
