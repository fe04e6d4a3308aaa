"""Requests of every kind and number of continuations in one call, against plain passes."""

from collections.abc import Callable

import numpy as np
import pytest
from edited_models import by_hand, edited_sums, plain_scores
from tolerances import assert_close

from jaxsvd.edits.edit import Edits, parse_edits
from jaxsvd.edits.replacement import variants
from jaxsvd.engine.requests import Request, Scoring, grouped, only
from jaxsvd.model import Model

EDITED: list[Edits] = [(), parse_edits("1:mlp:0.5+2:attn:0.9")]


def mixed(seed: int = 0) -> list[Request]:
    """Choices like COPA's beside labels like SST-2's and AG News', and spans of any length."""
    rng = np.random.default_rng(seed)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(0, 97, rng.integers(low, high)).tolist()

    built: list[Request] = []
    for family in range(3):
        shared = tokens(8, 20)
        for kind, numbers in (
            ("label tokens", (2, 4)),
            ("mean log-likelihood", (2, 3)),
            ("sequence log-likelihood", (1, 4, 7)),
            ("mean raw logit", (2,)),
        ):
            for count in numbers:
                label = kind == "label tokens"
                labels = [[5 * c + count] for c in range(count)]
                follow = labels if label else [tokens(1, 7) for _ in range(count)]
                built.append(Request([*shared, *tokens(1, 9)], follow, kind, family))
    return built


@pytest.mark.parametrize("family", ["gptj", "llama"])
@pytest.mark.brief(family=("llama",))
def test_mixed_requests(tiny: Callable[..., Model], family: str) -> None:
    """In one call: scores of each as if it were alone, one for each of its continuations."""
    model, requests = tiny(family), mixed()
    scored = model.engine.score(requests, variants(model.engine, EDITED))
    actual = {(s.variant, s.request): s.scores for s in scored}
    assert len(actual) == len(EDITED) * len(requests)
    for v, edits in enumerate(EDITED):
        wanted = plain_scores(by_hand(model, edits), requests)
        sums = edited_sums(model.config, edits, 40)
        for r, request in enumerate(requests):
            assert actual[v, r].shape == (len(request.continuations),)
            longest = max(map(len, request.continuations))
            assert_close(actual[v, r], wanted[r], [*sums, 97, longest])


def test_a_request_alone(tiny: Callable[..., Model]) -> None:
    """No family, no label: the sum of the log-probabilities of what follows."""
    model = tiny("gptj")
    request = Request(np.array([3, 1, 4, 1, 5]), [[9, 2, 6], [5]])
    [scored] = model.engine.score([request])
    [wanted] = plain_scores(model, [request])
    assert (scored.variant, scored.request) == (0, 0)
    assert_close(scored.scores, wanted, edited_sums(model.config, (), 8))
    assert list(model.engine.score([])) == []


def test_groups_begin_alike_and_are_scored_alike() -> None:
    """By family, kind and labels; every request in one of them, in its own place."""
    requests = mixed()
    groups = grouped(requests)
    assert sorted(line.request for g in groups for line in g.lines) == [*range(len(requests))]
    for group in groups:
        members = [requests[line.request] for line in group.lines]
        assert {request.kind for request in members} == {group.kind}
        assert {request.labels for request in members} == {group.labels}
        assert len({request.family for request in members}) == 1
        for line, request in zip(group.lines, members, strict=True):
            context = [*group.prefix, *line.tokens[line.continuations == 0]]
            assert context == list(request.context)
            assert line.count == len(request.continuations)
            assert len(line.tokens) >= 1
    few = only(groups, {0, 5})
    assert sorted(line.request for g in few for line in g.lines) == [0, 5]
    by_kind = {g.kind: g.prefix for g in groups}
    assert {len(g.prefix) for g in few} <= {len(g.prefix) for g in groups}
    assert len(by_kind["mean raw logit"]) == 0


@pytest.mark.parametrize(
    ("context", "continuations", "kind", "said"),
    [
        ([], [[1]], "label tokens", "context needs at least one token"),
        ([1], [], "label tokens", "at least one continuation"),
        ([1], [[1, 2]], "label tokens", "one token each"),
        ([1], [[1], []], "mean log-likelihood", "without tokens has no log-likelihood"),
    ],
)
def test_impossible_requests(
    context: list[int], continuations: list[list[int]], kind: Scoring, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Request(context, continuations, kind)
