"""SQuAD: questions on a passage, answered in free text (Rajpurkar et al., 2016).

Prompts are those of the reference script. Two rules decide what is right: SQuAD's own (exact match
and token F1 after its normalisation), and the script's, which counts an answer that contains a
gold one.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsvd.runtime.errors import UserError

MAX_NEW_TOKENS = 50
"""Of an answer, in the reference script."""

PROMPT = "title: {title}\ncontext: {context}\nquestion: {question}\nanswer:"


@dataclass(frozen=True)
class SquadQuestion:
    """A question, its passage and the gold answers.

    Attributes:
        id: in the file.
        title: of the article.
        context: the passage.
        question: about it.
        answers: all that are right, at least one.
    """

    id: str
    title: str
    context: str
    question: str
    answers: tuple[str, ...]

    @property
    def query(self) -> str:
        """The prompt up to where the answer begins."""
        return PROMPT.format(title=self.title, context=self.context, question=self.question)

    @property
    def demonstration(self) -> str:
        """The prompt with the first gold answer, and a newline."""
        return f"{self.query}{self.answers[0]}\n"


def read_squad(path: Path) -> list[SquadQuestion]:
    """The questions of a file as SQuAD 1.1 is distributed: ``data``, ``paragraphs``, ``qas``.

    Questions without an answer (SQuAD 2.0) are left out.

    Raises:
        UserError: no such file, or another format.
    """
    try:
        articles = json.loads(path.read_text("utf-8"))["data"]
        return [
            SquadQuestion(
                str(qa["id"]), article["title"], paragraph["context"], qa["question"], answers
            )
            for article in articles
            for paragraph in article["paragraphs"]
            for qa in paragraph["qas"]
            if (answers := _answers(qa))
        ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} should be SQuAD's JSON (data, paragraphs, qas): {type(error).__name__} {error}"
        ) from None


def _answers(qa: dict[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(answer["text"]) for answer in qa["answers"]))


def squad_files(folder: Path) -> tuple[Path, Path]:
    """``train*.json`` and ``dev*.json`` of a folder.

    Raises:
        UserError: one of them missing, or several.
    """
    paths = []
    for name in ("train", "dev"):
        files = sorted(folder.glob(f"{name}*.json"))
        if len(files) != 1:
            raise UserError(f"{folder} should hold one {name}*.json of SQuAD; it has {len(files)}")
        paths.append(files[0])
    return paths[0], paths[1]


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and further white space (SQuAD's own rule)."""
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def exact_match(answer: str, gold: Sequence[str]) -> bool:
    """Whether a normalised answer is one of the normalised gold answers."""
    return normalised(answer) in {normalised(text) for text in gold}


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of words, at the best of the gold answers."""
    return max(_f1(normalised(answer).split(), normalised(text).split()) for text in gold)


def _f1(answer: list[str], gold: list[str]) -> float:
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold)) if common else 0.0


def contains_gold(answer: str, gold: Sequence[str]) -> bool:
    """The reference script's rule: whether a gold answer stands in the answer as it is written."""
    return any(text in answer for text in gold)
