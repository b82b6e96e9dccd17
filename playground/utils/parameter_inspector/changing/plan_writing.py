"""A measured plan as a file, and whether the file does what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..facts import WritingRefusal
from ..measuring.comparison import Comparison
from ..running.samples import Samples, take_rows
from .measured_plans import MeasuredPlan
from .move_refusals import MoveRefusedError
from .move_writing import save_moves
from .moves import Move
from .refused_moves import list_refused
from .rewriting import Saved
from .saved_checks import verify_saved

# The file and the plan are the same where their outputs are this near to each other, dB.
SAME_DB = 0.5


@dataclass(frozen=True, eq=False)
class SavedPlan:
    """What was written of a plan.

    Attributes:
        file_db: its output SQNR as onnxruntime runs it, on the samples that judge.
        refused: moves of the plan that the file's form does not take, and why: these tensors are
            as they were.
    """

    saved: Saved
    plan: MeasuredPlan
    file_db: float
    refused: tuple[tuple[Move, WritingRefusal], ...] = ()

    @property
    def is_as_planned(self) -> bool:
        """Whether the file is not worse than what was measured of the plan."""
        planned = self.plan.held_back_after
        return planned is not None and self.file_db >= planned.sqnr_db - SAME_DB


def save_plan(
    comparison: Comparison,
    variant: str,
    plan: MeasuredPlan,
    samples: Samples,
    out: Path,
    inputs: Iterable[Path] = (),
) -> SavedPlan:
    """Write a plan to ``out``, run the file with all of onnxruntime's optimizations, and compare.

    Args:
        samples: those that the plan was measured on.
        inputs: files that ``out`` may be no link to, beside those of the comparison.

    Moves that the form of the file does not take are left out, and said.

    Raises:
        RewriteError: as `save_moves` and `verify_saved`, or no move can be written.
        OSError: ``out`` cannot be written.
    """
    moves = plan.moves
    refused: tuple[tuple[Move, WritingRefusal], ...] = ()
    try:
        saved = save_moves(comparison, variant, moves, out, inputs)
    except MoveRefusedError:
        refused = list_refused(comparison, variant, moves)
        left_out = {move.indices for move, _ in refused}
        moves = tuple(move for move in moves if move.indices not in left_out)
        if not refused or not moves:
            raise
        saved = save_moves(comparison, variant, moves, out, inputs)
    rows = plan.judging or tuple(range(samples.count))
    file_db = verify_saved(comparison, variant, saved, take_rows(samples, rows))
    return SavedPlan(saved, plan, file_db, refused)
