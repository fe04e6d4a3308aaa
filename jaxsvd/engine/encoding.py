"""Questions to tokens: joint encoding, shared prefixes, and prompts that are too long.

The tokens of a prompt and what is scored after it are those of one text: encoding them apart may
merge differently at the seam. :mod:`jaxsvd.tokenizer.prompts` spares what encoding repeats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxsvd.engine.requests import Group, Request, Scoring, grouped
from jaxsvd.runtime import collection
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.tasks.base import Question, Rule
from jaxsvd.tokenizer.prompts import Endings, PromptEncoder, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 4096
"""Questions encoded at a time."""


@dataclass(frozen=True)
class Encoded:
    """Questions and the requests that they make of the engine.

    Attributes:
        questions: as they are asked, demonstrations dropped where they did not fit.
        groups: what the engine scores; the requests are in the order of the questions.
        scoring: what the scores are.
        label_ids: the label tokens, where they are what is read.
        shortened: prompts that lost demonstrations.
        dropped: demonstrations that they lost in all.
        skipped: questions left out because the query alone is longer than the context.
        equal: for a question with candidates of the same tokens, by its position: for each
            candidate the first one that has its tokens.
    """

    questions: tuple[Question, ...]
    groups: tuple[Group, ...]
    scoring: Scoring
    label_ids: tuple[int, ...]
    shortened: int
    dropped: int
    skipped: int = 0
    equal: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def tied(
        self, question: int, scores: Float[np.ndarray, " candidates"]
    ) -> Float[np.ndarray, " candidates"]:
        """Scores of a question's candidates, those of the same tokens exactly equal.

        Each is computed by itself, and its place in a batch decides how it is rounded.
        """
        first = self.equal.get(question)
        return scores if first is None else scores[list(first)]


class _Joint(NamedTuple):
    """Tokens of a prompt that no candidate changes, and what follows for each candidate."""

    before: Int[np.ndarray, " before"]  # one array for all prompts that begin with it
    context: Int[np.ndarray, " tokens"]  # an array: lists of long prompts would fill the memory
    continuations: list[list[int]]

    @property
    def length(self) -> int:
        return len(self.before) + len(self.context) + max(map(len, self.continuations))


@collection.paused()
def encode(
    tokenizer: "PreTrainedTokenizerBase",
    questions: Sequence[Question],
    rule: Rule,
    *,
    context: int,
    round_size: int = 1,
    skip_long: bool = False,
    allow_zero_shot: bool = False,
    progress: Progress = SILENT,
) -> Encoded:
    """Encode questions, dropping demonstrations from the front of prompts that are too long.

    Args:
        tokenizer: encodes as it does by default, its own special tokens included.
        questions: any number, of any splits and demonstrations.
        rule: how candidates are scored.
        context: most tokens that the model takes.
        round_size: demonstrations dropped at a time, one of each class, so that the classes
            stay balanced.
        skip_long: leave out questions whose query alone is too long.
        allow_zero_shot: keep prompts that have no room for any of their demonstrations, instead
            of failing.
        progress: where to show it.

    Raises:
        UserError: queries that alone are too long (unless they are left out), prompts without
            room for a demonstration (unless they may be), a candidate without a token of its own.
    """
    fitted = _Fitting(tokenizer, rule, context, round_size)
    with progress.bar("encoding", len(questions), "prompts") as advance:
        for start in range(0, len(questions), CHUNK):
            chunk = dict(enumerate(questions[start : start + CHUNK], start))
            fitted.add(chunk)
            advance(len(chunk))
    if fitted.too_long and not skip_long:
        raise UserError(_too_long(questions, fitted.too_long, context))
    kept = [i for i in range(len(questions)) if i not in fitted.too_long]
    questions_kept, joints = [fitted.questions[i] for i in kept], [fitted.joints[i] for i in kept]
    if not questions_kept:
        raise UserError("no question is left to score")
    lost = [
        len(questions[i].demonstrations) - len(question.demonstrations)
        for i, question in zip(kept, questions_kept, strict=True)
    ]
    bare = [
        i for i, n in zip(kept, lost, strict=True) if n and n == len(questions[i].demonstrations)
    ]
    if bare and not allow_zero_shot:
        raise UserError(_no_room(questions, bare, context))
    label_ids: tuple[int, ...] = ()
    scoring: Scoring
    if rule == "scripts-choice":
        scoring = "mean raw logit"
    elif rule == "choice":
        scoring = "mean log-likelihood"
    elif rule == "scripts-label":
        scoring, label_ids = "label tokens", _word_tokens(tokenizer, questions_kept)
    else:
        label_ids = _common_label_tokens(joints)
        scoring = "label tokens" if label_ids else "sequence log-likelihood"
    return Encoded(
        questions=tuple(questions_kept),
        groups=grouped(_requests(questions_kept, joints, scoring, label_ids)),
        scoring=scoring,
        label_ids=label_ids,
        shortened=sum(n > 0 for n in lost),
        dropped=sum(lost),
        skipped=len(fitted.too_long),
        equal=_equal_candidates(joints),
    )


def _equal_candidates(joints: Sequence[_Joint]) -> dict[int, tuple[int, ...]]:
    """By question: the first candidate with the tokens of each, where two have the same."""
    known: dict[int, tuple[int, ...] | None] = {}  # by the number of a list that many may share
    equal = {}
    for i, joint in enumerate(joints):
        number = id(joint.continuations)
        if number not in known:
            first: dict[tuple[int, ...], int] = {}
            firsts = tuple(first.setdefault(tuple(t), c) for c, t in enumerate(joint.continuations))
            known[number] = firsts if len(first) < len(firsts) else None
        firsts = known[number]
        if firsts is not None:
            equal[i] = firsts
    return equal


class _Fitting:
    """Questions as they fit the context, demonstrations dropped from the front.

    How many have to go is estimated from the tokens of each; then prompts that should just fit, and
    ones with a round more, are encoded to know it.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", rule: Rule, context: int, round_size: int
    ) -> None:
        self.tokenizer = tokenizer
        self.rule: Rule = rule
        self.context, self.round_size = context, round_size
        self.encoder = PromptEncoder(tokenizer)
        self.questions: dict[int, Question] = {}
        self.joints: dict[int, _Joint] = {}
        self.too_long: dict[int, int] = {}
        self._sizes: dict[str, int] = {}
        self._checked: dict[int, Endings] = {}

    def add(self, questions: Mapping[int, Question]) -> None:
        """Encode questions, by their numbers."""
        rounds = dict.fromkeys(questions, 0)  # dropped in what is encoded next
        failed = dict.fromkeys(questions, -1)  # the most rounds dropped that were not enough
        while rounds:
            shown = {i: _without(questions[i], n, self.round_size) for i, n in rounds.items()}
            joints = _joints(self.encoder, list(shown.values()), self.rule, self._checked)
            again = {}
            for (i, n), joint in zip(rounds.items(), joints, strict=True):
                fits = joint.length <= self.context
                if fits:
                    self.questions[i], self.joints[i] = shown[i], joint
                else:
                    failed[i] = n
                if fits and failed[i] < n - 1:
                    again[i] = n - 1
                elif not fits and i not in self.questions:
                    if shown[i].demonstrations:
                        again[i] = self._enough(questions[i], n, joint.length)
                    else:
                        self.too_long[i] = joint.length
            rounds = again

    def _enough(self, question: Question, rounds: int, length: int) -> int:
        """How many rounds have to go, it seems, where a prompt without some has this length."""
        texts = question.demonstrations
        missing = [text for text in dict.fromkeys(texts) if text not in self._sizes]
        if missing:
            token_ids = self.tokenizer(missing, add_special_tokens=False)["input_ids"]
            self._sizes |= {text: len(ids) for text, ids in zip(missing, token_ids, strict=True)}  # pyright: ignore
        gone = len(texts) - len(_without(question, rounds, self.round_size).demonstrations)
        while length > self.context and gone < len(texts):
            rounds += 1
            kept = len(_without(question, rounds, self.round_size).demonstrations)
            length -= sum(self._sizes[text] for text in texts[gone : len(texts) - kept])
            gone = len(texts) - kept
        return rounds


def _no_room(questions: Sequence[Question], bare: Sequence[int], context: int) -> str:
    first = questions[bare[0]]
    return (
        f"{len(bare)} of {len(questions)} prompts have no room for a demonstration in the model's "
        f"context of {context} tokens, the first of them row {first.index} of {first.split}; "
        "--allow-zero-shot scores them without any"
    )


def _without(question: Question, rounds: int, round_size: int) -> Question:
    """A question without the first rounds of its demonstrations."""
    if not rounds:
        return question
    texts = question.demonstrations
    # What is over whole rounds goes first: the classes of what stays are balanced.
    gone = (len(texts) % round_size or round_size) + (rounds - 1) * round_size
    return replace(question, demonstrations=texts[gone:])


def _too_long(questions: Sequence[Question], lengths: dict[int, int], context: int) -> str:
    worst = max(lengths, key=lambda i: lengths[i])
    return (
        f"{len(lengths)} of {len(questions)} queries alone are longer than the model's context "
        f"of {context} tokens, the longest of them row {questions[worst].index} of "
        f"{questions[worst].split} with {lengths[worst]}; --skip-long leaves them out"
    )


def _joints(
    encoder: PromptEncoder, questions: Sequence[Question], rule: Rule, checked: dict[int, Endings]
) -> list[_Joint]:
    """Tokens of prompts and candidates; ``checked`` has the endings that were looked at."""
    apart = rule == "scripts-label"  # the label is encoded apart: the prompt stands for itself
    encoded = encoder(
        [Text("".join(q.demonstrations), q.query, () if apart else q.candidates) for q in questions]
    )
    joints = []
    for question, tokens in zip(questions, encoded, strict=True):
        endings = tokens.endings
        context = tokens.rest
        if not len(context) and not len(tokens.shared):
            raise UserError(
                f"row {question.index} of {question.split}: the prompt is empty to the tokenizer"
            )
        if id(endings) not in checked and not apart:
            _check_endings(question, endings, rule)
            checked[id(endings)] = endings  # kept alive, so that no other takes its number
        joints.append(_Joint(tokens.shared, context, [[]] if apart else endings.continuations))
    return joints


def _check_endings(question: Question, endings: Endings, rule: Rule) -> None:
    """Refuse candidates without tokens, and labels that cannot be distinguished."""
    for candidate, ids in zip(question.candidates, endings.continuations, strict=True):
        if not ids:
            raise UserError(
                f"row {question.index} of {question.split}: {candidate!r} has no token of its own "
                "after the prompt"
            )
    if rule == "label":
        _refuse_equal_labels(question, endings.continuations)


def _refuse_equal_labels(question: Question, continuations: Sequence[list[int]]) -> None:
    """Labels whose tokens are the same could never be distinguished."""
    first: dict[tuple[int, ...], str] = {}
    for candidate, tokens in zip(question.candidates, continuations, strict=True):
        other = first.setdefault(tuple(tokens), candidate)
        if other != candidate:
            raise UserError(
                f"the labels {other.strip()!r} and {candidate.strip()!r} become the same tokens "
                "for this model; choose other label words"
            )


def _common_label_tokens(joints: Sequence[_Joint]) -> tuple[int, ...]:
    """The label tokens, if each label is one token of its own, the same in every question."""
    continuations = joints[0].continuations
    ids = tuple(tokens[0] for tokens in continuations)
    single = all(len(tokens) == 1 for tokens in continuations) and len(set(ids)) == len(ids)
    same = all(joint.continuations == continuations for joint in joints)
    return ids if single and same else ()


def _word_tokens(
    tokenizer: "PreTrainedTokenizerBase", questions: Sequence[Question]
) -> tuple[int, ...]:
    """The tokens of the bare label words, as the reference scripts look them up.

    For a byte-level vocabulary that is the token of the word after a space; for a word-piece one
    the first piece of the word.
    """
    ids = []
    for word in questions[0].candidates:
        spaced, bare = (
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in (f" {word}", word)
        )
        ids.append(spaced[0] if len(spaced) <= len(bare) else bare[0])  # pyright: ignore
    return tuple(ids)


def _requests(
    questions: Sequence[Question],
    joints: Sequence[_Joint],
    scoring: Scoring,
    label_ids: tuple[int, ...],
) -> list[Request]:
    """What is asked of the model; questions of the same demonstrations are one family."""
    labels = [[token] for token in label_ids]
    return [
        Request(
            joint.context,
            labels or joint.continuations,
            scoring,
            question.demonstrations,
            joint.before,
        )
        for question, joint in zip(questions, joints, strict=True)
    ]
