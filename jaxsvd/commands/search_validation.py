"""Validation scores of the candidates of a search, each variant and example once, and counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from jaxsvd.edits.edit import Edit, Edits
from jaxsvd.encoded_task import EncodedTask
from jaxsvd.engine.input_statistics import InputStatistics
from jaxsvd.engine.variants import Replacement
from jaxsvd.model import Model
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.selection_score import Score, contributions
from jaxsvd.runs.directory import Run
from jaxsvd.runtime.progress import Progress
from jaxsvd.score import score_split


@dataclass
class Validation:
    """Scores candidates on validation, each example once, and counts.

    Attributes:
        model: whose weights are edited.
        draws: of the task.
        score: what candidates are chosen by.
        run: gets the predictions; None keeps no file.
        progress: where to show it.
        lines: predictions so far, by draw and edits, in the order of the draw's questions.
        passes: examples times variants.
        matrices: matrices of the variants, where they are kept for the test.
        statistics: of the matrices' inputs, where a candidate's method is calibrated.
    """

    model: Model
    draws: Sequence[EncodedTask]
    score: Score
    run: Run | None
    progress: Progress
    lines: list[dict[Edits, list[Prediction]]] = field(default_factory=list)
    passes: int = 0
    matrices: dict[Edit, Replacement] | None = None
    statistics: InputStatistics | None = None

    def __post_init__(self) -> None:
        self.lines = [{} for _ in self.draws]

    @property
    def examples(self) -> int:
        """Of all draws."""
        return sum(len(draw.positions("validation")) for draw in self.draws)

    def add(self, edited: Sequence[Edits]) -> None:
        """Score some variants on all examples, or on those that they lack."""
        for number, draw in enumerate(self.draws):
            positions, known = draw.positions("validation"), self.lines[number]
            by_count: dict[int, list[Edits]] = {}
            for edits in dict.fromkeys(edited):
                by_count.setdefault(len(known.get(edits, ())), []).append(edits)
            for count, some in by_count.items():
                self._score(number, some, positions[count:])

    def add_some(self, edited: Sequence[Edits], batch: range) -> Float[np.ndarray, "edits n"]:
        """Score some variants on some examples of all draws; which answers are right."""
        right = []
        for number, positions in self._parts(batch).items():
            scored = self._score(number, edited, positions)
            right.append([[line.right for line in lines] for lines in scored])
        return np.concatenate(right, axis=1).astype(float)

    def _parts(self, batch: range) -> dict[int, list[int]]:
        """Positions by draw: those of all draws take turns."""
        by_draw = [draw.positions("validation") for draw in self.draws]
        turns = [(k, d) for d, positions in enumerate(by_draw) for k in range(len(positions))]
        parts: dict[int, list[int]] = {}
        for k, d in sorted(turns)[batch.start : batch.stop]:
            parts.setdefault(d, []).append(by_draw[d][k])
        return parts

    def _score(
        self, number: int, edited: Sequence[Edits], positions: Sequence[int]
    ) -> list[list[Prediction]]:
        if not positions:
            return []
        self.passes += len(edited) * len(positions)
        scored = score_split(
            self.model.engine,
            self.draws[number],
            "validation",
            edited,
            matrices=self.matrices,
            statistics=self.statistics,
            positions=positions,
            run=self.run,
            progress=self.progress,
        )
        for edits, lines in zip(edited, scored, strict=True):
            self.lines[number].setdefault(edits, []).extend(lines)
        return scored

    def whole(self, edits: Edits) -> bool:
        """Whether a variant is scored on all examples."""
        return all(
            len(known.get(edits, ())) == len(draw.positions("validation"))
            for draw, known in zip(self.draws, self.lines, strict=True)
        )

    def table(self, edited: Sequence[Edits]) -> list[Float[np.ndarray, "edits examples"]]:
        """What each example adds to the score of each variant, by draw."""
        return [
            np.stack([contributions(self.score, known[edits]) for edits in edited])
            for known in self.lines
        ]

    def means(self, edited: Sequence[Edits]) -> Float[np.ndarray, " edits"]:
        """The score of each variant, over all draws."""
        self.add(edited)
        return np.concatenate(self.table(edited), axis=1).mean(axis=1)
