"""A search among the truncations of many layers and modules, in the ways that ``--select`` names.

All of them see validation alone, count the passes that they spend there, and leave one choice to
be tested once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from jaxsvd import svd
from jaxsvd.commands.search_validation import Validation
from jaxsvd.edits.edit import TRUNCATIONS, Edits, Method, format_edits, matrix_edits
from jaxsvd.edits.replacement import matrix_shapes
from jaxsvd.encoded_task import distinct, example_numbers
from jaxsvd.model import Model
from jaxsvd.models.matrices import layer_index
from jaxsvd.results.candidates import Candidates, Tried, corrected
from jaxsvd.results.over_draws import difference_over_draws
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.search import LayerChoice
from jaxsvd.results.selection_bias import CorrectedMaximum, corrected_maximum, first_best
from jaxsvd.results.selection_score import Score
from jaxsvd.runtime.errors import UserError
from jaxsvd.selection.candidates import Rate
from jaxsvd.selection.gradient import EXAMPLES, matrix_gradients, predicted_changes
from jaxsvd.selection.greedy import MARGIN, MOST_EDITS, greedy
from jaxsvd.selection.race import DELTA, EPSILON, race

Select = Literal["condition", "all", "gradient", "race", "greedy"]
"""How a search finds what it truncates. ``condition``, Algorithm 1: the layer by condition numbers,
the rate on validation. ``all``: every candidate is scored (exhaustive, as LASER does).
``gradient``: one backward pass predicts every candidate, and the few best are scored. ``race``:
all are scored on growing batches, and dropped when they cannot be the best. ``greedy``: several
candidates together, one after the other."""

PROPOSALS, PER_MODULE = 8, 2
"""How many candidates a gradient proposes, and how many of one module of a layer."""


@dataclass(frozen=True)
class Selection:
    """How candidates are bounded and chosen.

    Attributes:
        select: the method, other than ``condition``.
        layers: counted from 0.
        modules: that are truncated, one at a time.
        rates: clipping rates, and names of rules (:data:`jaxsvd.selection.candidates.NamedRank`).
        methods: what takes the place of a matrix, see :data:`jaxsvd.edits.edit.Method`.
        epsilon, delta: of a race.
        margin, most_edits: of greedy search.
        proposals: candidates that a gradient proposes.
    """

    select: Select
    layers: tuple[int, ...]
    modules: tuple[str, ...]
    rates: tuple[Rate, ...]
    methods: tuple[Method, ...] = ("exact",)
    epsilon: float = EPSILON
    delta: float = DELTA
    margin: float = MARGIN
    most_edits: int = MOST_EDITS
    proposals: int = PROPOSALS


def check_select(select: str) -> None:
    """Refuse what is no way of selecting.

    Raises:
        UserError: it is none.
    """
    if select not in get_args(Select):
        raise UserError(f"select {select!r} should be one of {', '.join(get_args(Select))}")


def check_methods(methods: Sequence[str], select: Select) -> tuple[Method, ...]:
    """Methods of the candidates, each once.

    Raises:
        UserError: none, or one that there is not; any beside Algorithm 1, or, beside a gradient,
            one that does not truncate.
    """
    known: Mapping[str, Method] = {name: name for name in get_args(Method)}
    if unknown := [method for method in methods if method not in known]:
        raise UserError(f"method {unknown[0]!r} should be one of {', '.join(known)}")
    if select == "condition":
        raise UserError(
            "methods are of the candidates of select all, gradient, race or greedy; Algorithm 1 "
            "truncates by an SVD, exact or randomized"
        )
    if select == "gradient" and (others := [m for m in methods if m not in TRUNCATIONS]):
        raise UserError(
            f"a gradient predicts truncations ({', '.join(TRUNCATIONS)}), not {others[0]}: "
            "select all, race or greedy"
        )
    return tuple(known[method] for method in distinct("methods", methods))


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        edits: none where the untouched model is the best.
        order: all candidates, the untouched model first.
        epsilon: of a race: what it guarantees.
        predicted: change of the loss by a gradient, where one was taken.
        gradient_examples: of the backward pass.
    """

    edits: Edits
    order: tuple[Edits, ...]
    epsilon: float | None = None
    predicted: dict[Edits, float] = field(default_factory=dict)
    gradient_examples: int | None = None


def choose(
    validation: Validation, candidates: Sequence[Edits], selection: Selection, score: Score
) -> Choice:
    """Choose among candidates, on validation.

    Args:
        validation: scores them.
        candidates: the candidates, the untouched model first.
        selection: how.
        score: what they are chosen by.

    Raises:
        UserError: a race by another score than accuracy, whose batches cannot be scored alone.
    """
    order = tuple(candidates)
    if selection.select == "race":
        if score != "accuracy":
            raise UserError(f"a race goes by accuracy; --score {score} needs all examples at once")
        result = race(
            lambda left, batch: validation.add_some([order[i] for i in left], batch),
            len(order),
            validation.examples,
            epsilon=selection.epsilon,
            delta=selection.delta,
        )
        return Choice(order[result.winner], order, result.epsilon)
    if selection.select == "greedy":
        chosen, _ = greedy(
            validation.means,
            order,
            validation.model.config,
            margin=selection.margin,
            most=selection.most_edits,
        )
        return Choice(chosen, order)
    scored, predicted, examples = order, {}, None
    if selection.select == "gradient":
        predicted, examples = _predicted(validation, order[1:])
        scored = ((), *_proposed(predicted, selection.proposals))
    best = scored[first_best(validation.means(scored))]
    return Choice(best, order, None, predicted, examples)


def _predicted(validation: Validation, edited: Sequence[Edits]) -> tuple[dict[Edits, float], int]:
    """What the gradient on the first examples of the first draw predicts of each candidate."""
    model, draw = validation.model, validation.draws[0]
    matrices = {
        (edit.layer, edit.module) for edits in edited for edit in matrix_edits(edits, model.config)
    }
    positions = draw.positions("validation")[:EXAMPLES]
    gradients = matrix_gradients(
        model, draw.encoded, positions, matrices, progress=validation.progress
    )
    changes = predicted_changes(model, gradients, edited)
    validation.passes += 3 * len(positions)
    return dict(zip(edited, changes, strict=True)), len(positions)


def _proposed(predicted: dict[Edits, float], most: int) -> list[Edits]:
    """Candidates whose loss should fall most; few of one module, whose rates are much alike."""
    proposed: list[Edits] = []
    taken: dict[tuple[tuple[int, str], ...], int] = {}
    for edits in sorted(predicted, key=predicted.__getitem__):
        place = tuple((edit.layer, edit.module) for edit in edits)
        if taken.get(place, 0) < PER_MODULE and len(proposed) < most:
            taken[place] = taken.get(place, 0) + 1
            proposed.append(edits)
    return proposed


def candidates_record(validation: Validation, choice: Choice, selection: Selection) -> Candidates:
    """What result.json says of the candidates."""
    keys = dict.fromkeys(edits for known in validation.lines for edits in known)
    tried, p_values = [], {}
    examples = example_numbers(validation.draws, "validation")
    untouched = [_right(known[()]) for known in validation.lines]
    for edits in keys:
        text, whole = format_edits(edits), validation.whole(edits)
        lines = [known.get(edits, []) for known in validation.lines]
        if whole:
            score = float(np.concatenate(validation.table([edits]), axis=1).mean())
        else:  # of a race, which goes by accuracy
            score = float(np.concatenate([_right(one) for one in lines]).mean())
        tried.append(
            Tried(text, score, sum(map(len, lines)), predicted=choice.predicted.get(edits))
        )
        if whole and edits and validation.whole(()):
            pair = difference_over_draws(untouched, [_right(one) for one in lines], examples)
            p_values[text] = pair.p_value
    race_only = selection.select == "race"
    return Candidates(
        select=selection.select,
        chosen=format_edits(choice.edits),
        count=len(choice.order),
        tried=corrected(tried, p_values),
        passes=validation.passes,
        exhaustive=len(choice.order) * validation.examples,
        gradient_examples=choice.gradient_examples,
        epsilon=choice.epsilon,
        delta=selection.delta if race_only else None,
        margin=selection.margin if selection.select == "greedy" else None,
    )


def _right(lines: Sequence[Prediction]) -> np.ndarray:
    return np.array([line.right for line in lines], bool)


def by_rate(validation: Validation, choice: Choice) -> dict[float, Edits]:
    """The untouched model and the choice, with what else was scored of the chosen module, by rate.

    A choice of several edits, or by rank, stands alone, at the share of the rank that is cut off
    its first matrix.
    """
    edits = choice.edits or _best_cut(validation, choice)
    if len(edits) != 1 or edits[0].rate is None:
        return {0.0: ()} | ({cut_share(validation.model, edits): edits} if edits else {})
    place = edits[0].layer, edits[0].module
    near = {
        other[0].rate: other
        for other in choice.order
        if len(other) == 1
        and other[0].rate is not None
        and (other[0].layer, other[0].module) == place
        and other[0].method == edits[0].method
        and validation.whole(other)
    }
    near[edits[0].rate] = edits
    return {0.0: ()} | {rate: near[rate] for rate in sorted(near)}


def _best_cut(validation: Validation, choice: Choice) -> Edits:
    """The best truncation, where the untouched model is better still."""
    whole = [edits for edits in choice.order if edits and validation.whole(edits)]
    if not whole:
        return ()
    return whole[first_best(validation.means(whole))]


def cut_share(model: Model, edits: Edits) -> float:
    """The share of the rank that the first of some edits cuts: its clipping rate, if it has one.

    Of a dropped module this is the largest number below 1, as rates are.
    """
    first = edits[0]
    if first.rate is not None:
        return first.rate
    if first.method == "dropped":
        return math.nextafter(1.0, 0.0)
    shapes = matrix_shapes(model.engine, first.resolved(model.config).layer)
    ranks = first.ranks(model.config, shapes)
    return 1 - sum(ranks.values()) / sum(min(shapes[name]) for name in ranks)


def check_rates_or_rules(rates: Sequence[Rate]) -> tuple[Rate, ...]:
    """Clipping rates and names of rules, each once, the rates ascending.

    Raises:
        UserError: none, or one that is neither.
    """
    if not rates:
        raise UserError("no clipping rates; give at least one in [0, 1)")
    numbers = {svd.check_rate(rate) for rate in rates if not isinstance(rate, str)}
    return (*sorted(numbers), *dict.fromkeys(rate for rate in rates if isinstance(rate, str)))


def optimism(
    validation: Validation, examples: Sequence[Int[np.ndarray, " examples"]]
) -> CorrectedMaximum | None:
    """The best score and what remains of it; None where candidates lack examples (a race)."""
    keys = list(dict.fromkeys(edits for known in validation.lines for edits in known))
    if not all(map(validation.whole, keys)):
        return None
    return corrected_maximum(validation.table(keys), examples)


def described(
    given: LayerChoice,
    choice: Choice,
    edits: dict[float, Edits],
    selection: Selection,
    module: str,
) -> tuple[str, LayerChoice]:
    """The module and layer of what was chosen, and how, in words."""
    if given.numbers:  # Algorithm 1 with ranks by rule
        return module, given
    named = next((some for some in edits.values() if some), ())
    count = f"{len(choice.order) - 1:,} candidates"
    reason = {
        "all": f"the best on validation of {count}, all of them scored",
        "gradient": f"the best on validation of the {selection.proposals} that a gradient "
        f"proposed among {count}",
        "race": f"the winner of a race of {count} on validation",
        "greedy": f"added one after the other, each the best on validation of {count}",
    }[selection.select]
    layer = named[0].layer if named else selection.layers[0]
    return (named[0].module if named else module), LayerChoice(layer, reason=reason)


def layer_indices(model: Model, layers: Sequence[int] | Literal["all"]) -> tuple[int, ...]:
    """Indices from 0, ascending and each once.

    Raises:
        UserError: a layer that the model does not have, or none.
    """
    if layers == "all":
        return tuple(range(model.config.layers))
    indices = {layer_index(model.config, int(layer)) for layer in distinct("layers", layers)}
    return tuple(sorted(indices))
