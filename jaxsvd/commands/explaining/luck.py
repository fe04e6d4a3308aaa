"""How much of a change is luck of the demonstrations: other draws, and other orders of one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from jaxsvd.commands.explaining.searched import Scored, Searched, scores
from jaxsvd.edits.edit import Edits
from jaxsvd.encoded_task import EncodedTask, example_numbers
from jaxsvd.results.spread import Spread, over_draws, over_orders
from jaxsvd.runtime.progress import Progress


def luck(
    searched: Searched,
    *,
    seeds: Sequence[int] | None,
    draws: int,
    orders: int,
    examples: int,
    progress: Progress,
) -> Iterator[tuple[str, Spread]]:
    """The raw change over ``draws`` of demonstrations, and over ``orders`` of the first one.

    Args:
        searched: the search.
        seeds: of the draws; the search's own, and those that follow its last, if None.
        draws: how many, where no seeds are given; below 2 none.
        orders: how many; below 2 none.
        examples: at most so many test examples of each.
        progress: where to show it.
    """
    result, model = searched.result, searched.model
    size = min(examples, len(searched.first.prepared.test))
    edited: list[Edits] = [(), (searched.edit,)]
    chosen = list(seeds) if seeds is not None else _seeds(searched, draws)
    if len(chosen) > 1 and searched.draw["protocol"] == "clean" and result.task.shots:
        encoded = [searched.encode(seed, ("test",), progress, test_size=size) for seed in chosen]
        turned = [turned_by(scores(model, task, "test", edited, progress)) for task in encoded]
        yield "draws", over_draws(turned, example_numbers(encoded, "test"))
    prepared = searched.first.prepared
    shown = len(prepared.test[0].demonstrations)
    if orders > 1 and shown > 1:
        rng = np.random.default_rng(prepared.seed)
        turned = []
        for number in range(orders):
            order = rng.permutation(shown) if number else np.arange(shown)
            questions = tuple(
                replace(q, demonstrations=tuple(q.demonstrations[i] for i in order))
                for q in prepared.test[:size]
            )
            task = EncodedTask.of(
                model,
                replace(prepared, validation=(), test=questions),
                skip_long=bool(searched.draw["skip_long"]),
                allow_zero_shot=bool(searched.draw["allow_zero_shot"]),
            )
            turned.append(turned_by(scores(model, task, "test", edited, progress)))
        yield "orders", over_orders(turned)


def _seeds(searched: Searched, draws: int) -> list[int]:
    own = [task.prepared.seed for task in searched.tasks]
    return [*own, *range(max(own) + 1, max(own) + 1 + max(0, draws - len(own)))]


def turned_by(scored: Scored) -> Int[np.ndarray, " examples"]:
    """1 where an example became right by the truncation, -1 where it became wrong, 0 elsewhere."""
    tables, gold = scored
    before, after = (table.argmax(axis=1) == gold for table in tables[:2])
    return after.astype(int) - before.astype(int)
