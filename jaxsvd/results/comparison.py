"""Two models on the same examples: difference, exact test, equivalence, and what changed sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxsvd.results.answers import Answers, Key
from jaxsvd.results.points import holm
from jaxsvd.results.statistics import Accuracy, PairedDifference, paired_difference, paired_interval
from jaxsvd.runtime.errors import UserError

Z90 = 1.6448536269514722
"""95 % point of the normal distribution: a two-sided 90 % interval, two one-sided tests at 5 %."""


@dataclass(frozen=True)
class Flip:
    """An example that only one of two models has right.

    Attributes:
        key: the example.
        gained: whether the second model has it right.
        text: what was asked, where known.
    """

    key: Key
    gained: bool
    text: str


@dataclass(frozen=True)
class Comparison:
    """Two models on the examples that both answered.

    Attributes:
        task: its name, or ``"all tasks"``.
        first, second: accuracies on these examples.
        paired: their difference, its 95 % interval, and McNemar's exact test.
        margin: the largest difference that counts as none.
        within: the 90 % interval of the difference; two one-sided tests at 5 % each reject a
            difference of the margin or more where it lies inside (Schuirmann, 1987).
        only_first, only_second: how many examples only one of the two answered.
        significant: whether the exact test rejects at 5 % after Holm's correction over the tasks.
        flips: the examples that changed sides.
    """

    task: str
    first: Accuracy
    second: Accuracy
    paired: PairedDifference
    margin: float
    within: tuple[float, float]
    only_first: int
    only_second: int
    significant: bool
    flips: tuple[Flip, ...]

    @property
    def equivalent(self) -> bool:
        """Whether a difference of the margin or more is rejected, on both sides."""
        low, high = self.within
        return -self.margin < low and high < self.margin

    def to_json(self) -> dict[str, object]:
        """Everything, for a file."""
        return {
            "task": self.task,
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            **self.paired.to_json(),
            "significant": self.significant,
            "margin": self.margin,
            "equivalence_interval": list(self.within),
            "equivalent": self.equivalent,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "flips": [
                {"split": f.key[0], "index": f.key[1], "gained": f.gained, "text": f.text}
                for f in self.flips
            ],
        }


def compare_answers(
    first: Mapping[str, Answers], second: Mapping[str, Answers], *, margin: float = 0.01
) -> list[Comparison]:
    """Compare two models task by task; where there are several tasks, pooled too, at the end.

    Pooled accuracy is over examples, so large tasks weigh more.

    Args:
        first, second: answers by task (:func:`jaxsvd.results.answers.read_answers`).
        margin: a difference in accuracy that would not matter, above 0 and below 1.

    Raises:
        UserError: no task or no example in common, examples whose right answers differ, a margin
            outside (0, 1).
    """
    if not 0 < margin < 1:
        raise UserError(f"margin = {margin} should be above 0 and below 1")
    # Two runs are of one task each, whatever it was called (a name, or a path).
    if len(first) == len(second) == 1:
        pairs = [(next(iter(first.values())), next(iter(second.values())))]
    else:
        pairs = [(first[task], second[task]) for task in first if task in second]
    if not pairs:
        raise UserError(f"no task in common: {', '.join(first)} and {', '.join(second)}")
    common = [_common(a, b) for a, b in pairs]
    rejected = holm(
        [
            paired_difference(*_right(a, b, keys)).p_value
            for (a, b), keys in zip(pairs, common, strict=True)
        ]
    )
    compared = [
        _compared(a.task, [(a, b)], [keys], margin, significant)
        for (a, b), keys, significant in zip(pairs, common, rejected, strict=True)
    ]
    if len(pairs) > 1:
        pooled = _compared("all tasks", pairs, common, margin, False)
        # One test: nothing to correct for.
        compared.append(replace(pooled, significant=pooled.paired.significant))
    return compared


def _common(a: Answers, b: Answers) -> list[Key]:
    keys = sorted(a.right.keys() & b.right.keys())
    if not keys:
        raise UserError(f"{a.source} and {b.source} have no example in common")
    if differ := [key for key in keys if a.gold[key] != b.gold[key]]:
        split, index = differ[0]
        raise UserError(
            f"{a.source} and {b.source} are not of the same examples: the right answer of "
            f"{split} {index} is {a.gold[differ[0]]!r} in one and {b.gold[differ[0]]!r} in the "
            f"other ({len(differ)} of {len(keys)} differ)"
        )
    return keys


def _right(a: Answers, b: Answers, keys: Sequence[Key]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([a.right[k] for k in keys]), np.array([b.right[k] for k in keys])


def _compared(
    task: str,
    pairs: Sequence[tuple[Answers, Answers]],
    common: Sequence[Sequence[Key]],
    margin: float,
    significant: bool,
) -> Comparison:
    halves = [_right(a, b, keys) for (a, b), keys in zip(pairs, common, strict=True)]
    before, after = (np.concatenate(half) for half in zip(*halves, strict=True))
    paired = paired_difference(before, after)
    flips = tuple(
        Flip(key, b.right[key], b.texts.get(key) or a.texts.get(key) or "")
        for (a, b), keys in zip(pairs, common, strict=True)
        for key in keys
        if a.right[key] != b.right[key]
    )
    return Comparison(
        task=task,
        first=Accuracy.of(before),
        second=Accuracy.of(after),
        paired=paired,
        margin=margin,
        within=paired_interval(paired.gained, paired.lost, before.size, Z90),
        only_first=sum(len(a.right) for a, _ in pairs) - before.size,
        only_second=sum(len(b.right) for _, b in pairs) - before.size,
        significant=significant,
        flips=flips,
    )
