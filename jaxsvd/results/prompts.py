"""The lines of prompts.jsonl: what the model read before each answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxsvd.results.fields import COUNT, TEXT, Damaged, Fields
from jaxsvd.results.lines import read_lines
from jaxsvd.results.predictions import QuestionSet
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress


@dataclass(frozen=True)
class Prompt:
    """A line of prompts.jsonl.

    Attributes:
        split, shots, seed: which draw.
        index: row in the source split.
        prompt: the exact text before the candidates.
        gold: position of the right candidate.
        candidates: their texts as scored.
        choices: whether the candidates are the question's own, rather than labels.
        shown: demonstrations, fewer than ``shots`` where they did not fit; None where unknown.
    """

    split: str
    index: int
    shots: int | None
    seed: int | None
    prompt: str
    gold: int | None
    candidates: tuple[str, ...]
    choices: bool = False
    shown: int | None = None

    @property
    def questions(self) -> QuestionSet:
        """The set it belongs to."""
        return QuestionSet(self.split, self.shots, self.seed)

    def to_json(self) -> dict[str, object]:
        """The line."""
        shown = {} if self.shown is None else {"shown": self.shown}
        return {
            "split": self.split,
            "index": self.index,
            "shots": self.shots,
            "seed": self.seed,
            **shown,
            "prompt": self.prompt,
            "gold": self.gold,
            ("choices" if self.choices else "labels"): list(self.candidates),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Prompt":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        choices = "choices" in fields.values
        name = "choices" if choices else "labels"
        return cls(
            split=fields.read("split", TEXT),
            index=fields.read("index", COUNT),
            shots=fields.maybe("shots", COUNT),
            seed=fields.maybe("seed", COUNT),
            prompt=fields.read("prompt", TEXT),
            gold=fields.maybe("gold", COUNT),
            candidates=fields.several(name, TEXT, empty=True) if fields.has(name) else (),
            choices=choices,
            shown=fields.maybe("shown", COUNT),
        )


def read_prompts(path: Path, progress: Progress) -> Iterator[Prompt]:
    """The lines of prompts.jsonl, read as they are asked for.

    Raises:
        UserError: a line that is no prompt.
    """
    for number, line in read_lines(path, "prompts", progress):
        try:
            yield Prompt.from_json(Fields(line))
        except Damaged as error:
            raise UserError(f"{path}, line {number}: damaged: not a prompt ({error})") from None
