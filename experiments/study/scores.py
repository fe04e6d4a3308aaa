"""Scores of one split under many edits: a unit of the study, kept as arrays in one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from experiments.common.checkpoint import read_arrays, write_arrays
from jaxsvd.edits.edit import Edits, format_edits
from jaxsvd.edits.replacement import all_replacements, variants
from jaxsvd.encoded_task import EncodedTask
from jaxsvd.engine.requests import only
from jaxsvd.model import Model
from jaxsvd.runtime.progress import Progress


@dataclass(frozen=True)
class Scores:
    """Scores of the questions of one split under several variants of the weights.

    Attributes:
        edits: of each variant, as they are written; the empty text is the untouched model.
        scores: of every candidate: logits of label tokens, or log-probabilities.
        gold: positions of the right candidates.
        index: rows of the questions in their source.
        labels: words of the candidates; empty where every question has choices of its own.
    """

    edits: tuple[str, ...]
    scores: Float32[np.ndarray, "variants examples candidates"]
    gold: Int[np.ndarray, " examples"]
    index: Int[np.ndarray, " examples"]
    labels: tuple[str, ...]

    def of(self, edit: str) -> Float32[np.ndarray, "examples candidates"]:
        """Scores under one edit."""
        return self.scores[self.edits.index(edit)]

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file, whole or not at all."""
        arrays = {
            "edits": np.array(self.edits, dtype=np.str_),
            "scores": self.scores,
            "gold": self.gold.astype(np.int16),
            "index": self.index.astype(np.int32),
            "labels": np.array(self.labels, dtype=np.str_),
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> "Scores":
        """As :meth:`save` wrote them.

        Raises:
            UserError: missing, or not such a file.
        """
        arrays = read_arrays(path)
        return cls(
            tuple(map(str, arrays["edits"])),
            arrays["scores"],
            arrays["gold"].astype(int),
            arrays["index"].astype(int),
            tuple(map(str, arrays["labels"])),
        )


def score(
    model: Model,
    encoded_task: EncodedTask,
    split: str,
    edits: Sequence[Edits],
    *,
    title: str,
    progress: Progress,
) -> Scores:
    """Score the questions of a split under every one of some edits, the base pass shared.

    Args:
        model: whose weights are edited.
        encoded_task: the questions.
        split: ``"validation"`` or ``"test"``.
        edits: of each variant; none are the model as it is.
        title: of the progress bar.
        progress: where to show it.
    """
    encoded = encoded_task.encoded
    positions = encoded_task.positions(split)
    row = {position: i for i, position in enumerate(positions)}
    questions = [encoded.questions[i] for i in positions]
    candidates = max(len(q.candidates) for q in questions)
    scores = np.full((len(edits), len(positions), candidates), np.nan, np.float32)
    engine = model.engine
    matrices = all_replacements(engine, edits, progress=progress)
    with progress.bar(title, len(edits) * len(positions), "examples") as advance:
        groups = only(encoded.groups, positions)
        for variant, position, values in engine.score_groups(
            groups, variants(engine, edits, matrices=matrices)
        ):
            values = encoded.tied(position, values)
            scores[variant, row[position], : len(values)] = values
            advance(1)
    shared = {q.candidates for q in questions}
    return Scores(
        tuple(map(format_edits, edits)),
        scores,
        np.array([q.gold for q in questions]),
        np.array([q.index for q in questions]),
        tuple(shared.pop()) if len(shared) == 1 else (),
    )
