"""What is known of a truncation without scoring it: from weights, activations and gradients."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from jaxsvd.edits.edit import Edits, matrix_edits
from jaxsvd.engine.input_statistics import InputStatistics
from jaxsvd.engine.variants import Place
from jaxsvd.model import Model
from jaxsvd.selection.gradient import Gradients

PREDICTORS = (
    "gradient",
    "Fisher",
    "removed outputs",
    "removed energy",
    "activation norm",
    "weight norm",
    "condition number",
    "clipping rate",
)
"""All of them; each is larger where more damage is expected."""


@dataclass(frozen=True)
class MatrixFacts:
    """Of one matrix W = sum_i s_i u_i v_i^T, largest singular value first.

    Attributes:
        values: s.
        outputs: s_i^2 v_i^T S v_i, with S the mean of x x^T over its inputs: what component i adds
            to the mean squared norm of its outputs.
        inputs: tr S, the mean squared norm of its inputs.
        shares: by example, s_i u_i^T (grad_W l) v_i.
    """

    values: Float64[np.ndarray, " components"]
    outputs: Float64[np.ndarray, " components"]
    inputs: float
    shares: Float64[np.ndarray, "examples components"]


def matrix_facts(
    model: Model,
    places: Iterable[Place],
    gradients: Iterable[Gradients],
    statistics: InputStatistics,
) -> dict[Place, MatrixFacts]:
    """Facts of some matrices.

    Args:
        model: whose matrices they are.
        places: which.
        gradients: of the loss of each example.
        statistics: moments of what the matrices read.
    """
    factors = {}
    for place in places:
        matrix = np.asarray(jnp.asarray(model.engine.matrix(*place), jnp.float32), np.float64)
        factors[place] = np.linalg.svd(matrix, full_matrices=False)
    shares: dict[Place, list[np.ndarray]] = {place: [] for place in factors}
    for of_example in gradients:
        for place, (u, s, vt) in factors.items():
            left = u.T @ of_example[place].astype(np.float64)
            shares[place].append(s * np.einsum("in,in->i", left, vt))
    facts = {}
    for place, (_, s, vt) in factors.items():
        second = statistics.moments[place].second
        outputs = s**2 * np.einsum("in,nm,im->i", vt, second, vt, optimize=True)
        facts[place] = MatrixFacts(s, outputs, float(np.trace(second)), np.array(shares[place]))
    return facts


def predictions(model: Model, edits: Edits, facts: Mapping[Place, MatrixFacts]) -> dict[str, float]:
    """Every predictor of a truncation; see :data:`PREDICTORS`.

    The gradient's is the change of the mean loss to first order. The Fisher's is half the mean over
    examples of its square: the quadratic form of the empirical Fisher information, of the whole
    matrix and not of its diagonal, in the direction of the edit. Removed outputs are the mean
    squared norm of what the removed part puts out; removed energy is its squared norm, over that of
    the matrices. Norms are Frobenius norms of all matrices together; of condition numbers the
    largest counts, as in Algorithm 1.
    """
    removed = []
    for edit in matrix_edits(edits, model.config):
        of_matrix = facts[edit.layer, edit.module]
        shape = model.engine.matrix(edit.layer, edit.module).shape
        removed.append((of_matrix, edit.rank_of(shape)))
    changes = -sum(of.shares[:, rank:].sum(axis=1) for of, rank in removed)
    energy = [math.fsum(of.values**2) for of, _ in removed]
    cut = [math.fsum(of.values[rank:] ** 2) for of, rank in removed]
    return {
        "gradient": float(np.mean(changes)),
        "Fisher": float(np.mean(np.square(changes)) / 2),
        "removed outputs": math.fsum(math.fsum(of.outputs[rank:]) for of, rank in removed),
        "removed energy": math.fsum(cut) / math.fsum(energy),
        "activation norm": math.sqrt(math.fsum(of.inputs for of, _ in removed)),
        "weight norm": math.sqrt(math.fsum(energy)),
        "condition number": max(float(of.values[0] / of.values[-1]) for of, _ in removed),
        "clipping rate": edits[0].rate or 0.0,
    }


def places_of(model: Model, edited: Sequence[Edits]) -> list[Place]:
    """Layers and matrices that any of some edits touches."""
    return list(
        dict.fromkeys(
            (edit.layer, edit.module)
            for edits in edited
            for edit in matrix_edits(edits, model.config)
        )
    )
