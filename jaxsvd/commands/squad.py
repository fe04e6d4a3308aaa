"""SQuAD: answers that a model writes, against the gold ones."""

from pathlib import Path

import numpy as np

from jaxsvd.model import Model
from jaxsvd.results.squad import SquadResult, WrittenAnswer
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.tasks.squad import (
    MAX_NEW_TOKENS,
    contains_gold,
    exact_match,
    read_squad,
    squad_files,
    token_f1,
)


def squad(
    model: Model,
    data: str | Path,
    *,
    shots: int = 1,
    seed: int = 0,
    test_size: int | None = None,
    progress: Progress = SILENT,
) -> SquadResult:
    """Let a model answer questions of SQuAD by greedy decoding, up to 50 tokens or a newline.

    Demonstrations are drawn once, from the training file, and stand before every question.
    Prompts that do not fit the context with their answer lose demonstrations from the front.

    Args:
        model: as it is or edited.
        data: a folder with SQuAD's ``train*.json`` and ``dev*.json``.
        shots: demonstrations.
        seed: of the draws.
        test_size: questions, drawn from dev; all of them if left out.
        progress: where to show it.

    Raises:
        UserError: data missing or of another format, or a question that does not fit.
    """
    train_file, dev_file = squad_files(Path(data))
    train, dev = read_squad(train_file), read_squad(dev_file)
    size = len(dev) if test_size is None else test_size
    for name, wanted, there in (("train", shots, len(train)), ("dev", size, len(dev))):
        if wanted > there:
            raise UserError(f"{wanted} questions of {name} are wanted; there are {there}")
    if size < 1:
        raise UserError("there is no question to answer")
    rng = np.random.default_rng(seed)
    shown = [train[i].demonstration for i in rng.permutation(len(train))[:shots]]
    chosen = [dev[i] for i in sorted(rng.permutation(len(dev))[:size])]
    room, prompts, cut = model.config.context - MAX_NEW_TOKENS, [], 0
    for question in chosen:
        for dropped in range(shots + 1):
            prompt = "".join(shown[dropped:]) + question.query
            if len(model.tokenizer.encode(prompt)) <= room:
                break
        else:
            raise UserError(
                f"question {question.id} does not fit the model's context of "
                f"{model.config.context} tokens with an answer of {MAX_NEW_TOKENS}"
            )
        cut += dropped > 0
        prompts.append(prompt)
    written = model.generate(prompts, max_new_tokens=MAX_NEW_TOKENS, stop="\n", progress=progress)
    answers = tuple(
        WrittenAnswer(
            question.id,
            text.strip(),
            exact_match(text, question.answers),
            token_f1(text, question.answers),
            contains_gold(text, question.answers),
        )
        for question, text in zip(chosen, written, strict=True)
    )
    return SquadResult(answers, shots, seed, cut)
