"""Thousands of damaged files; the same ones whenever the seed is the same.

2,000 and more by default, 50,000 and more with ``JAXSVD_RELIABILITY=full``; a failure keeps the
damaged file and names its number, and ``JAXSVD_RELIABILITY_SEED`` draws others.
"""

from collections.abc import Callable

import pytest

from jaxsvd.model import Model

from .checkpoint_targets import checkpoint_targets, tokenizer_targets
from .data_targets import data_targets
from .effort import times
from .trials import DamageTarget, try_damages

PLAN = {
    "gptj config": 150,
    "llama config": 200,
    "gptj header": 150,
    "llama header": 150,
    "gptj body": 75,
    "llama body": 75,
    "llama index": 200,
    "word tokenizer": 150,
    "byte tokenizer": 100,
    "tokenizer config": 50,
    "csv": 150,
    "tsv": 150,
    "jsonl": 150,
    "parquet": 150,
    "parquet without checksums": 150,
    "task file": 150,
}
"""Damages of each target in the long tests; a quarter by default."""

FULL = 25
"""Times as many, if all are wanted."""


@pytest.fixture(scope="module")
def targets(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Model]
) -> list[DamageTarget]:
    root = tmp_path_factory.mktemp("damaged")
    model = tiny("gptj", vocab_size=863, n_positions=2048)
    return [*checkpoint_targets(root), *tokenizer_targets(root, model), *data_targets(root)]


def test_the_plan(targets: list[DamageTarget]) -> None:
    assert {target.name for target in targets} == PLAN.keys()
    assert sum(PLAN.values()) >= 2000
    assert FULL * sum(PLAN.values()) >= 50_000


@pytest.mark.long
@pytest.mark.brief(share=(0.25,))
@pytest.mark.parametrize("share", [0.25, 1])
@pytest.mark.parametrize("name", PLAN)
def test_damaged(name: str, share: float, targets: list[DamageTarget]) -> None:
    """A correct result or one clear line, in time and in memory."""
    target = next(target for target in targets if target.name == name)
    target.attempt()  # it is good
    count = int(share * times(PLAN[name], FULL * PLAN[name]))
    tally = try_damages(target, range(count))
    print(f"{name}: {count} damaged, {tally.refused} refused, {tally.correct} read correctly")
    assert not tally.failures, f"{len(tally.failures)} failures:\n" + "\n".join(tally.failures[:20])
    assert tally.refused + tally.correct == count
    assert tally.refused > count // 10
