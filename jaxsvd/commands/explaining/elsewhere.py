"""What else an edit changes: other tasks, and plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jaxsvd import tasks
from jaxsvd.commands.explaining.searched import Searched, scores
from jaxsvd.encoded_task import encode_task
from jaxsvd.results.calibration import accuracy_change
from jaxsvd.results.explanation import SideEffect
from jaxsvd.results.perplexity import Z90, Perplexity
from jaxsvd.results.points import holm
from jaxsvd.results.statistics import paired_difference, paired_interval
from jaxsvd.runtime.progress import Progress


def _size(searched: Searched, task: str) -> int | None:
    """Test examples of another task: as many as the search had, or all where these are fewer."""
    spec = tasks.SPECS.get(task)
    own = len(searched.first.prepared.test)
    most = None if spec is None else spec.paper.test if spec.paper else spec.test_size
    return own if most is None else min(own, most)


def side_effects(
    searched: Searched, also: Mapping[str, str | None], margin: float, progress: Progress
) -> list[SideEffect]:
    """The same edit on other tasks, with the search's draw and sizes where they have so many."""
    found = []
    for name, data in also.items():
        task = encode_task(
            searched.model,
            name,
            ("test",),
            data=data,
            seed=searched.first.prepared.seed,
            test_size=_size(searched, name),
            skip_long=True,
            allow_zero_shot=True,
            progress=progress,
        )
        scored = scores(searched.model, task, "test", [(), (searched.edit,)], progress)
        tables, gold = scored
        before, after = (table.argmax(axis=1) == gold for table in tables)
        pair = paired_difference(before, after)
        within = paired_interval(pair.gained, pair.lost, len(gold), Z90)
        equivalent = -margin < within[0] and within[1] < margin
        change = accuracy_change(tables[0], tables[1], gold)
        found.append(SideEffect(task.prepared.name, len(gold), change, False, margin, equivalent))
    return found


def corrected(
    effects: Sequence[SideEffect], texts: Mapping[str, Perplexity], margin: float
) -> tuple[tuple[SideEffect, ...], dict[str, Perplexity]]:
    """With which of them are significant at 5 %, by Holm's procedure over tasks and texts."""
    of_tasks = [effect.change.p_value for effect in effects]
    of_texts = [text.p_value for text in texts.values()]
    rejected = holm([1.0 if p is None else p for p in (*of_tasks, *of_texts)])
    pairs = zip(effects, rejected[: len(effects)], strict=True)
    by_name = zip(texts.items(), rejected[len(effects) :], strict=True)
    return (
        tuple(replace(effect, significant=significant) for effect, significant in pairs),
        {
            name: replace(text, significant=significant, margin=margin)
            for (name, text), significant in by_name
        },
    )
