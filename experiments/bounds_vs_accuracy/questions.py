"""What is asked of a language model: validation, test, its own demonstrations, supersamples.

A demonstration that is asked again may simply be copied from the prompt. A training error near 0 is
then about copying, and the gap with it: :data:`COPYING`.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from experiments.common.records import Record
from experiments.language.setting import Setting, TaskSetting
from jaxsvd import tasks
from jaxsvd.edits.edit import Edits
from jaxsvd.edits.replacement import variants
from jaxsvd.encoded_task import encode_task
from jaxsvd.engine.encoding import Encoded, encode
from jaxsvd.engine.engine import Engine
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress
from jaxsvd.score import predict
from jaxsvd.tasks.base import Question
from jaxsvd.tasks.bundled import MAX_SHOTS
from theory.cmi import Supersample, draw_masks

COPYING = (
    "The training error asks the prompt's own demonstrations again: they can be copied, so a "
    "training error near 0 need not mean that anything was learned, and the gap is about that too."
)


@dataclass(frozen=True)
class Design:
    """How supersamples are drawn.

    Attributes:
        supersamples: Z, sets of 2 N candidates.
        masks: M, for each of them.
    """

    supersamples: int
    masks: int


@dataclass(frozen=True)
class SupersampledTask:
    """Everything asked with one seed, encoded together so that one pass answers it.

    Attributes:
        seed: of the task's draw.
        shots: N, demonstrations of a prompt.
        encoded: all questions; their ``split`` is validation, test, training or supersample.
        positions: of each split among them, in its order.
        prompts: which prompt each question has, numbered.
        masks: of the supersamples, ``[Z, M, N]``; question (z, m, i, j) stands at that place of
            the supersamples' positions.
        task: the task as it was drawn, for result.json.
        notices: what the user should know.
    """

    seed: int
    shots: int
    encoded: Encoded
    positions: dict[str, Int[np.ndarray, " n"]]
    prompts: Int[np.ndarray, " questions"]
    masks: Int[np.ndarray, "Z M N"]
    task: Record
    notices: tuple[str, ...]

    @property
    def gold(self) -> Int[np.ndarray, " questions"]:
        """The right answers."""
        return np.array([question.gold for question in self.encoded.questions])

    def sample(self, predictions: Int[np.ndarray, " questions"]) -> Supersample:
        """The supersamples as a model answered them, with 0-1 losses."""
        at, shape = self.positions["supersample"], (*self.masks.shape, 2)
        answers = predictions[at].reshape(shape)
        return Supersample(
            (answers != self.gold[at].reshape(shape)).astype(float), self.masks, answers
        )


def make_draw(
    model: Model, setting: Setting, task: TaskSetting, seed: int, design: Design, progress: Progress
) -> SupersampledTask:
    """Draw a task and its supersamples, and encode all questions.

    Raises:
        UserError: a task whose demonstrations cannot be asked again (choices), too few examples for
            the supersamples, or prompts of theirs that do not fit the model's context.
    """
    splits = ("validation", "test")
    encoded_task = encode_task(
        model,
        task.task,
        splits,
        shots=setting.shots,
        seed=seed,
        progress=progress,
        **setting.of(task),
    )
    prepared = encoded_task.prepared
    if prepared.rule != "label":
        raise UserError(f"{task.name}: its demonstrations cannot be asked again; use a label task")
    usual = encoded_task.encoded.questions
    test = [question for question in usual if question.split == "test"]
    pool = candidates(task.task, task.data, prepared.shots, seed, design)
    sample, masks = supersample_questions(pool, prepared.shots, design, seed)
    encoded = encode(
        model.tokenizer,
        (*usual, *training_questions(test), *sample),
        prepared.rule,
        context=model.config.context,
        round_size=prepared.round_size,
        skip_long=True,
        progress=progress,
    )
    names = np.array([question.split for question in encoded.questions])
    # A prompt may be too long with a demonstration asked: what lost demonstrations is left out.
    shown = np.array([len(question.demonstrations) for question in encoded.questions])
    most = max(len(question.demonstrations) for question in usual)
    kept = (names != "training") | (shown == most)
    positions = {
        name: np.flatnonzero((names == name) & kept)
        for name in (*splits, "training", "supersample")
    }
    whole = positions["supersample"].size == masks.size * 2 and bool(
        (shown[positions["supersample"]] == prepared.shots).all()
    )
    if not whole:
        raise UserError(
            f"{task.name}: prompts of {prepared.shots} other demonstrations do not fit the "
            f"model's context of {model.config.context} tokens; use fewer --shots"
        )
    number: dict[tuple[str, ...], int] = {}
    prompts = [number.setdefault(q.demonstrations, len(number)) for q in encoded.questions]
    return SupersampledTask(
        seed,
        prepared.shots,
        encoded,
        positions,
        np.array(prompts),
        masks,
        encoded_task.task_record().to_json(),
        encoded_task.notices,
    )


def split_demonstration(text: str, words: Sequence[str]) -> tuple[str, int]:
    """The query of a demonstration, and its label: the longest candidate that it ends with.

    Raises:
        UserError: it ends with none of them.
    """
    line = text.removesuffix("\n")
    fitting = [i for i, word in enumerate(words) if line.endswith(word)]
    if not fitting:
        raise UserError(f"the demonstration {text!r} ends with none of {', '.join(words)}")
    label = max(fitting, key=lambda i: len(words[i]))
    return line.removesuffix(words[label]), label


def training_questions(questions: Iterable[Question]) -> list[Question]:
    """Every demonstration of every prompt, asked under that very prompt."""
    prompts = {question.demonstrations: question for question in questions}
    drawn = []
    for prompt, question in prompts.items():
        for text in prompt:
            query, gold = split_demonstration(text, question.candidates)
            drawn.append(
                replace(question, split="training", index=len(drawn), query=query, gold=gold)
            )
    return drawn


def candidates(
    task: str, data: Path | None, shots: int, seed: int, design: Design
) -> list[list[Question]]:
    """Z lists of at least 2 N labelled examples, each of one distribution, as questions.

    The bundled task has a distribution a prompt (its pair of categories; those of validation are
    taken, so that test prompts are of others); of the rest each list is drawn from the same.
    """
    if task == "bundled":
        if 2 * shots > MAX_SHOTS:
            raise UserError(f"--shots {shots}: supersamples of the bundled task take up to 16")
        drawn = tasks.prepare(task, shots=MAX_SHOTS, seed=seed, validation_size=10, test_size=1)
    else:
        wanted = 2 * shots * design.supersamples
        drawn = tasks.prepare(task, data=data, shots=wanted, seed=seed, test_size=1)
    prompts = {question.demonstrations: question for question in drawn.validation}
    lists = []
    for prompt, question in prompts.items():
        size = 2 * shots
        for chunk in (prompt[i : i + size] for i in range(0, len(prompt) - size + 1, size)):
            split = (split_demonstration(text, question.candidates) for text in chunk)
            lists.append([replace(question, query=query, gold=gold) for query, gold in split])
    # One of each prompt first: supersamples should be as independent as can be.
    each = max(len(lists) // max(len(prompts), 1), 1)
    lists = [one for k in range(each) for one in lists[k::each]]
    if len(lists) < design.supersamples:
        raise UserError(
            f"{task}: examples for {len(lists)} supersamples of {2 * shots}, not for "
            f"{design.supersamples}; lower --supersamples or --shots"
        )
    return lists[: design.supersamples]


def supersample_questions(
    lists: Sequence[Sequence[Question]], shots: int, design: Design, seed: int
) -> tuple[list[Question], Int[np.ndarray, "Z M N"]]:
    """Every candidate asked under the prompt of every mask, and the masks.

    The members of a pair have one label, so that prompts are balanced as the task's are; the mask,
    which alone the bounds speak of, stays a fair coin.
    """
    masks = draw_masks(seed, len(lists), design.masks, shots)
    questions: list[Question] = []
    for z, drawn in enumerate(lists):
        order = np.random.default_rng([seed, z]).permutation(shots)
        pairs = pairs_of(drawn, shots)
        for mask in masks[z]:
            chosen = tuple(
                f"{q.query}{q.candidates[q.gold]}\n" for q in (pairs[i][mask[i]] for i in order)
            )
            for member in itertools.chain.from_iterable(pairs):
                questions.append(
                    replace(
                        member, split="supersample", index=len(questions), demonstrations=chosen
                    )
                )
    return questions, masks


def pairs_of(questions: Sequence[Question], shots: int) -> list[tuple[Question, Question]]:
    """N pairs of examples of one label.

    Raises:
        UserError: the labels do not make so many.
    """
    by_label: dict[int, list[Question]] = {}
    for question in questions:
        by_label.setdefault(question.gold, []).append(question)
    pairs = [
        (members[i], members[i + 1])
        for members in by_label.values()
        for i in range(0, len(members) - 1, 2)
    ]
    if len(pairs) < shots:
        raise UserError(
            f"{len(questions)} examples make {len(pairs)} pairs of one label, not {shots}"
        )
    return pairs[:shots]


def answers(
    engine: Engine, encoded: Encoded, edited: Sequence[Edits]
) -> Int[np.ndarray, "variants questions"]:
    """What the model says to every question under each of some edits: one pass for all."""
    predictions = np.full((len(edited), len(encoded.questions)), -1)
    for scored in engine.score_groups(encoded.groups, variants(engine, edited)):
        predictions[scored.variant, scored.request] = predict(scored.scores)
    return predictions
