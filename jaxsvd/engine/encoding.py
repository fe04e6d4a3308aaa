"""Questions to tokens: joint encoding, shared prefixes, and prompts that are too long.

A prompt and what is scored after it are encoded together, as one text: encoding them apart
merges differently at the seam. What the encodings have in common is found among their tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxsvd.engine.requests import Group, Request, Scoring, common_prefix, grouped
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.tasks.base import Question, Rule
from jaxsvd.tokenizer.tokenizer import appended

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 512
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


@dataclass(frozen=True)
class _Joint:
    """Tokens of a prompt that no candidate changes, and what follows for each candidate."""

    context: Int[np.ndarray, " tokens"]  # an array: lists of long prompts would fill the memory
    continuations: list[list[int]]

    @property
    def length(self) -> int:
        return len(self.context) + max(map(len, self.continuations))


def encode(
    tokenizer: "PreTrainedTokenizerBase",
    questions: Sequence[Question],
    rule: Rule,
    *,
    context: int,
    round_size: int = 1,
    skip_long: bool = False,
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
        progress: where to show it.

    Raises:
        UserError: queries that alone are too long (unless they are left out), or a candidate
            without a token of its own.
    """
    fitted = _Fitted({}, {}, {})
    with progress.bar("encoding", len(questions), "prompts") as advance:
        for start in range(0, len(questions), CHUNK):
            chunk = dict(enumerate(questions[start : start + CHUNK], start))
            _fit(tokenizer, chunk, rule, context, round_size, fitted)
            advance(len(chunk))
    if fitted.too_long and not skip_long:
        raise UserError(_too_long(questions, fitted.too_long, context))
    kept = [i for i in range(len(questions)) if i not in fitted.too_long]
    asked, joints = [fitted.questions[i] for i in kept], [fitted.joints[i] for i in kept]
    if not asked:
        raise UserError("no question is left to score")
    lost = [
        len(questions[i].demonstrations) - len(question.demonstrations)
        for i, question in zip(kept, asked, strict=True)
    ]
    label_ids: tuple[int, ...] = ()
    scoring: Scoring
    if rule == "scripts-choice":
        scoring = "mean raw logit"
    elif rule == "choice":
        scoring = "mean log-likelihood"
    elif rule == "scripts-label":
        scoring, label_ids = "label tokens", _word_tokens(tokenizer, asked)
    else:
        label_ids = _common_label_tokens(joints)
        scoring = "label tokens" if label_ids else "sequence log-likelihood"
    return Encoded(
        questions=tuple(asked),
        groups=grouped(_requests(asked, joints, scoring, label_ids)),
        scoring=scoring,
        label_ids=label_ids,
        shortened=sum(n > 0 for n in lost),
        dropped=sum(lost),
        skipped=len(fitted.too_long),
        equal=_equal_candidates(joints),
    )


def _equal_candidates(joints: Sequence[_Joint]) -> dict[int, tuple[int, ...]]:
    """By question: the first candidate with the tokens of each, where two have the same."""
    found = {}
    for i, joint in enumerate(joints):
        first: dict[tuple[int, ...], int] = {}
        firsts = tuple(first.setdefault(tuple(t), c) for c, t in enumerate(joint.continuations))
        if len(first) < len(firsts):
            found[i] = firsts
    return found


class _Fitted(NamedTuple):
    """Questions as they fit the context, their tokens, and those (with length) that do not."""

    questions: dict[int, Question]
    joints: dict[int, _Joint]
    too_long: dict[int, int]


def _fit(
    tokenizer: "PreTrainedTokenizerBase",
    waiting: dict[int, Question],
    rule: Rule,
    context: int,
    round_size: int,
    fitted: _Fitted,
) -> None:
    """Encode questions, then again those that are too long, a round of demonstrations shorter."""
    while waiting:
        encoded = _encode_jointly(tokenizer, list(waiting.values()), rule)
        shorter = {}
        for (i, question), joint in zip(waiting.items(), encoded, strict=True):
            if joint.length <= context:
                fitted.questions[i], fitted.joints[i] = question, joint
            elif question.demonstrations:
                shorter[i] = _shorter(question, round_size)
            else:
                fitted.too_long[i] = joint.length
        waiting = shorter


def _too_long(questions: Sequence[Question], lengths: dict[int, int], context: int) -> str:
    worst = max(lengths, key=lambda i: lengths[i])
    return (
        f"{len(lengths)} of {len(questions)} queries alone are longer than the model's context "
        f"of {context} tokens, the longest of them row {questions[worst].index} of "
        f"{questions[worst].split} with {lengths[worst]}; --skip-long leaves them out"
    )


def _shorter(question: Question, round_size: int) -> Question:
    # What is over whole rounds goes first: the classes of what stays are balanced.
    over = len(question.demonstrations) % round_size or round_size
    return replace(question, demonstrations=question.demonstrations[over:])


def _encode_jointly(
    tokenizer: "PreTrainedTokenizerBase", questions: Sequence[Question], rule: Rule
) -> list[_Joint]:
    prompts = [question.prompt for question in questions]
    if rule == "scripts-label":  # the label is encoded apart: the prompt stands for itself
        return [_Joint(np.asarray(ids, np.int32), [[]]) for ids in _ids(tokenizer, prompts)]
    texts = [
        text
        for question, prompt in zip(questions, prompts, strict=True)
        for text in (prompt, *(prompt + candidate for candidate in question.candidates))
    ]
    encoded = iter(_ids(tokenizer, texts))
    joints = []
    for question in questions:
        alone, *joined = (next(encoded) for _ in range(1 + len(question.candidates)))
        n = common_prefix([alone, *joined])
        joint = _Joint(np.asarray(joined[0][:n], np.int32), [ids[n:] for ids in joined])
        if n == 0:
            raise UserError(
                f"row {question.index} of {question.split}: the prompt is empty to the tokenizer"
            )
        for candidate, tokens in zip(question.candidates, joint.continuations, strict=True):
            if not tokens:
                raise UserError(
                    f"row {question.index} of {question.split}: {candidate!r} has no token of "
                    "its own after the prompt"
                )
        if rule == "label":
            _refuse_equal_labels(question, joint)
        joints.append(joint)
    return joints


def _refuse_equal_labels(question: Question, joint: _Joint) -> None:
    """Labels whose tokens are the same could never be distinguished."""
    first: dict[tuple[int, ...], str] = {}
    for candidate, tokens in zip(question.candidates, joint.continuations, strict=True):
        other = first.setdefault(tuple(tokens), candidate)
        if other != candidate:
            raise UserError(
                f"the labels {other.strip()!r} and {candidate.strip()!r} become the same tokens "
                "for this model; choose other label words"
            )


def _ids(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> list[list[int]]:
    """Token ids without the special tokens that end a text: what follows it would not be read."""
    ids: list[list[int]] = tokenizer(texts, return_attention_mask=False)["input_ids"]  # pyright: ignore
    last = appended(tokenizer)
    return [row[:-last] for row in ids] if last else ids


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
        Request(joint.context, labels or joint.continuations, scoring, question.demonstrations)
        for question, joint in zip(questions, joints, strict=True)
    ]
