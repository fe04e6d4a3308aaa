"""What truncating a layer's matrices does to the trajectory, the bounds and the gap.

What holds, and what does not:

- Pruning W_V or W_Q of layer k: ||dW_k||_F falls with the clipping rate. With W = U s V^T, a
  truncation keeps rows (or columns) of an orthogonal decomposition of dW_k, and by Pythagoras the
  norm can only fall: stronger than the paper's claim about an upper bound.
- W_K stands in the middle, and ||dW_k||_F is not monotone: W_V = [[1, -1], [0, 0]],
  W_K = diag(2, 1), W_Q = [[1, 0], [1, 0]], S = I goes from 1 to 2 at rank 1.
- Later layers' norms may rise whichever matrix is pruned: S = W_K = W_Q = I,
  W_V^1 = diag(1, -.5), W_V^2 = diag(0, 1); rank 1 at layer 1 takes ||dW_2|| from .25 to 1.
- Example 1's UB = sum_i ||W_V h_i (x) W_K h_i||_F^2 ||W_Q||_F^2 is no upper bound of ||dW||_F^2: as
  ||sum_i a_i||^2 <= N sum_i ||a_i||^2, a factor N is missing. With ten times the same h,
  |h|^4 = 5.136, and identities of size 6: 513.6 > 308.2.
- Lemma 6 reads ||G_k|| = ||dW_k A_{k-1}||, not ||dW_k||. Pruning W_V lowers that too (it stands on
  the left); pruning W_Q may raise it: W_V^1 = [[0, 0], [-2, 0]], W_V^2 = [[7, 3], [0, 0]],
  W_Q^2 = diag(2, 1), all others and S the identity; rank 1 of W_Q^2 takes ||G_2|| from 1 to 2.
- Remark 4, that truncation lowers the bound, depends on where the noise is taken to live. With the
  directions held fixed (all D^2, or D (D + 1) / 2) and no ridge, or a relative one, the bound
  rises, as C becomes more singular: that says something of the choice only. A prior may know the
  weights and the past, so the subspace may shrink with the weights (``gradients``). There, without
  a ridge, the bound falls along every path of small random weights that we measured, and along most
  of those of trained ones (``python -m experiments.pruned_trajectories``).
- Clipping small *entries* of W_V (Remark 6) need not lower ||dW||, since it does not keep the
  directions: :func:`magnitude_prune`.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from theory.bounds import Bound, Risks, lemma6, measure, theorem2
from theory.checks import Real, real, require, require_finite, require_whole
from theory.implicit import Mlp, Weights, check_weights, has_heads
from theory.noise import Noisy, Ridge, Subspace, noisy_trajectory
from theory.precision import by_input
from theory.subspaces import MOVING

Matrix = Literal["value", "key", "query", "inner", "outer"]
Stack = TypeVar("Stack", Weights, Mlp)
Judge = Callable[[Float[np.ndarray, "M D D"]], Risks]
"""From the last states of M prompts to their risks."""

ROUNDING = 1e-9


def kept_rank(rate: float, shape: tuple[int, ...]) -> int:
    """Singular values kept at a clipping rate: floor((1 - rate) min(shape)), at least 1.

    Raises:
        ValueError: a rate outside [0, 1).
    """
    require(0 <= rate < 1, "rate", "at least 0 and below 1", rate)
    size = min(shape[-2:])
    # 1 - 0.9 is a little below 0.1: without the guard 0.9 of 10 would keep 0.
    return max(1, min(size, math.floor((1 - rate) * size + 1e-9 * size)))


@by_input
def truncate(matrix: Real, rank: int) -> Float[Array | np.ndarray, "*batch m n"]:
    """The best approximation of a rank (Eckart-Young-Mirsky); at full rank the matrix itself.

    Args:
        matrix: ``[*batch, m, n]``.
        rank: to keep.

    Raises:
        ValueError: a rank below 1 or above the smaller side, or values that are not finite real
            numbers.
    """
    (matrix,) = real(matrix=matrix)
    require(matrix.ndim >= 2, "matrix", "a matrix", matrix.shape)
    require_whole("rank", rank, 1)
    full = min(matrix.shape[-2:])
    require(1 <= rank <= full, "rank", f"at least 1 and at most {full}", rank)
    require_finite("matrix", matrix)
    if rank == full:
        return matrix
    u, s, vt = jnp.linalg.svd(jnp.asarray(matrix), full_matrices=False)
    return (u[..., :rank] * s[..., None, :rank]) @ vt[..., :rank, :]


def prune(stack: Stack, layer: int, matrix: Matrix, rate: float) -> Stack:
    """A stack with one matrix of one layer truncated; at rate 0 untouched.

    Layers count from 0, negative ones from the end. Several heads are truncated as the one matrix
    of all heads that a transformer stores.

    Raises:
        ValueError: no such layer or matrix, or a rate outside [0, 1).
    """
    require(matrix in stack._fields, "matrix", f"one of {', '.join(stack._fields)}", repr(matrix))
    (whole,) = real(matrix=getattr(stack, matrix))
    whole = np.asarray(whole)
    layers = whole.shape[0]
    require(-layers <= layer < layers, "layer", f"one of {layers} layers", layer)
    pruned = whole.copy()
    joint = whole[layer].reshape(-1, whole.shape[-1])
    kept = truncate(joint, kept_rank(rate, joint.shape))
    pruned[layer] = np.asarray(kept).reshape(whole[layer].shape)
    return stack._replace(**{matrix: pruned})


def magnitude_prune(matrix: Real, share: float) -> Float[np.ndarray, "m n"]:
    """A matrix without the given share of its entries, the smallest (the paper's Remark 6).

    Args:
        matrix: ``[m, n]``.
        share: of entries set to zero, in [0, 1); the number is rounded down.

    Raises:
        ValueError: a share outside [0, 1), or values that are not finite real numbers.
    """
    require(0 <= share < 1, "share", "at least 0 and below 1", share)
    (matrix,) = real(matrix=matrix)
    require_finite("matrix", matrix)
    kept = np.array(matrix)
    smallest = np.argsort(np.abs(kept), axis=None, kind="stable")
    kept.flat[smallest[: math.floor(share * kept.size + 1e-9)]] = 0
    return kept


def fold(weights: Weights, mlp: Mlp) -> Weights:
    """One stack for attention with a linear MLP behind it: W_MLP W_V in place of W_V (A.3)."""
    weights, mlp = real(weights=weights, mlp=mlp)
    mapped = np.asarray(mlp.outer) @ np.asarray(mlp.inner)
    if has_heads(weights):
        mapped = mapped[:, None]
    return weights._replace(value=mapped @ np.asarray(weights.value))


@by_input
def upper_bound(
    prompts: Real,
    states: Real,
    weights: Weights,
    *,
    corrected: bool = True,
) -> Float[Array | np.ndarray, "M L"]:
    """Example 1's UB for ||dW_t||_F^2 of every layer; ``corrected`` by the factor N that it lacks.

    Args:
        prompts: demonstrations, ``[M, N, D]``.
        states: A_0 .. A_{L-1}, ``[M, L, D, D]``; later ones are ignored.
        weights: of one head.
        corrected: times N.

    Raises:
        ValueError: shapes that disagree, or several heads, of which the example does not speak.
    """
    prompts, states, weights = real(prompts=prompts, states=states, weights=weights)
    require(not has_heads(weights), "weights", "of one head", f"{weights.value.shape[1]}")
    require(prompts.ndim == 3, "prompts", "[M, N, D]", prompts.shape)
    check_weights(weights, prompts.shape[-1])
    layers = weights.value.shape[0]
    tokens = jnp.einsum("mtde,mne->mtnd", states[:, :layers], prompts)
    value, key = (
        jnp.einsum("tde,mtne->mtnd", matrix, tokens) for matrix in (weights.value, weights.key)
    )
    each = ((value**2).sum(-1) * (key**2).sum(-1)).sum(-1)
    factor = prompts.shape[1] if corrected else 1
    return factor * each * (jnp.asarray(weights.query) ** 2).sum((1, 2))


class NoisyAlgorithm(NamedTuple):
    """A noisy algorithm that bounds are computed for."""

    subspace: Subspace
    ridge: Ridge


SETTINGS: Mapping[str, NoisyAlgorithm] = {
    f"{kind} ridge": NoisyAlgorithm("full", (kind, 0.01)) for kind in ("relative", "absolute")
}


@dataclass(frozen=True)
class Path:
    """One quantity along the clipping rates.

    Attributes:
        values: at each rate, ascending; the mean over prompts.
        falls: whether it never rises from one rate to the next.
        share: of prompts on which it never rises; None for what one prompt does not have.
    """

    values: tuple[float, ...]
    falls: bool
    share: float | None = None


@dataclass(frozen=True)
class PathReport:
    """Clipping one matrix of one layer, rate by rate.

    Attributes:
        layer: from 0.
        matrix: which.
        rates: ascending.
        ranks: kept.
        norms: ||dW_t||_F of each layer t.
        gradient_norms: ||G_t||_F of each layer t, which Lemma 6 reads.
        paper_ub: Example 1's UB of each layer.
        corrected_ub: N UB.
        holds: share of (prompt, rate) at which UB >= ||dW_t||_F^2, by layer, printed and corrected.
        bounds: by name: ``theorem2, absolute ridge`` and the like.
        gap: None without a judge.
        risk: the population's; None without a judge.
    """

    layer: int
    matrix: str
    rates: tuple[float, ...]
    ranks: tuple[int, ...]
    norms: tuple[Path, ...]
    gradient_norms: tuple[Path, ...]
    paper_ub: tuple[Path, ...]
    corrected_ub: tuple[Path, ...]
    holds: tuple[tuple[float, float], ...]
    bounds: Mapping[str, Path]
    gap: Path | None
    risk: Path | None


def path(values: Float[np.ndarray, "rates M"]) -> Path:
    """Of a quantity that every prompt has."""
    return Path(
        tuple(values.mean(1).tolist()),
        bool(_falls(values.mean(1))),
        float(np.mean([_falls(column) for column in values.T])),
    )


def _falls(values: np.ndarray) -> bool:
    return all(
        after <= before + ROUNDING * abs(before) or after == before  # both may be infinite
        for before, after in itertools.pairwise(values)
    )


def path_report(
    key: PRNGKeyArray,
    prompts: Float[np.ndarray, "M N D"],
    weights: Weights,
    layer: int,
    matrix: Matrix,
    rates: Sequence[float],
    b: int,
    *,
    mlp: Mlp | None = None,
    settings: Mapping[str, NoisyAlgorithm] = SETTINGS,
    judge: Judge | None = None,
) -> PathReport:
    """Clip one matrix at several rates, and follow everything that the paper speaks of.

    Bounds are of noisy algorithms, with the same noise at every rate; the rest is of the
    deterministic model.

    Args:
        key: of the noise.
        prompts: demonstrations of independent prompts.
        weights: of every layer.
        layer: from 0.
        matrix: ``value``, ``key``, ``query``; ``inner`` or ``outer`` of the MLP.
        rates: clipping rates, ascending.
        b: virtual subsample of the noise.
        mlp: a linear MLP after each attention.
        settings: noisy algorithms by name. ``Setting("gradients", None)`` is the one without extra
            noise in which Remark 4 can be tested; it needs N - 1 >= d_t shots.
        judge: gives risks.

    Raises:
        ValueError: rates that do not ascend or lie outside [0, 1), no such matrix or layer, and as
            in :func:`theory.noise.noisy_trajectory` and :func:`theory.bounds.lemma6`.
    """
    require(len(rates) > 0 and list(rates) == sorted(set(rates)), "rates", "ascending", rates)
    require(weights.value.ndim == 3, "weights", "of one head", weights.value.shape)
    of_mlp = matrix in Mlp._fields
    require(not of_mlp or mlp is not None, "mlp", f"given to prune its {matrix}", mlp)
    rows = []
    for rate in rates:
        pruned = weights if of_mlp else prune(weights, layer, matrix, rate)
        if mlp is not None:
            pruned = fold(pruned, prune(mlp, layer, matrix, rate) if of_mlp else mlp)
        rows.append(_at_rate(key, np.asarray(prompts), pruned, b, settings, judge))
    layers = range(weights.value.shape[0])
    squares, gradients, printed, right = (
        np.stack([row[name] for row in rows])
        for name in ("squares", "gradients", "paper_ub", "corrected_ub")
    )
    shape = getattr(mlp if of_mlp else weights, matrix).shape
    risks = [row["risks"] for row in rows] if judge is not None else []
    return PathReport(
        layer,
        matrix,
        tuple(rates),
        tuple(kept_rank(rate, shape) for rate in rates),
        tuple(path(np.sqrt(squares[:, t])) for t in layers),
        tuple(path(np.sqrt(gradients[:, t])) for t in layers),
        tuple(path(printed[:, t]) for t in layers),
        tuple(path(right[:, t]) for t in layers),
        tuple(
            (_above(printed[:, t], squares[:, t]), _above(right[:, t], squares[:, t]))
            for t in layers
        ),
        {name: _plain([row["bounds"][name].value for row in rows]) for name in rows[0]["bounds"]},
        path(np.stack([risk.population - risk.empirical for risk in risks])) if risks else None,
        path(np.stack([risk.population for risk in risks])) if risks else None,
    )


def _above(upper: np.ndarray, lower: np.ndarray) -> float:
    return float((upper >= lower * (1 - ROUNDING)).mean())


def _plain(values: Sequence[float]) -> Path:
    return Path(tuple(values), _falls(np.array(values)))


def _at_rate(
    key: PRNGKeyArray,
    prompts: np.ndarray,
    weights: Weights,
    b: int,
    settings: Mapping[str, NoisyAlgorithm],
    judge: Judge | None,
) -> dict:
    exact = noisy_trajectory(key, prompts, weights, prompts.shape[1])  # b = N: no noise
    exactly = measure(exact.factors, b, exact.states, spectral=False)
    unit = np.exp(exactly.log_unit)[:, None]
    measures = {
        "squares": exactly.update * unit,
        "gradients": exactly.gradient * unit,
        "bounds": {},
        "risks": None if judge is None else judge(np.asarray(exact.states[:, -1])),
    }
    for name, corrected in (("paper_ub", False), ("corrected_ub", True)):
        measures[name] = upper_bound(prompts, exact.states, weights, corrected=corrected).T
    for name, (subspace, ridge) in settings.items():
        run = noisy_trajectory(key, prompts, weights, b, subspace=subspace, ridge=ridge)
        for kind, bound in _bounds(run, weights, b, subspace, ridge).items():
            measures["bounds"][f"{kind}, {name}"] = bound
    return measures


def _bounds(
    run: Noisy, weights: Weights, b: int, subspace: Subspace, ridge: Ridge
) -> dict[str, Bound]:
    measured = measure(run.factors, b, run.states, spectral=False, weights=weights)
    bounds_by_name = {
        "theorem2": theorem2(measured, subspace=subspace, ridge=ridge),
        "lemma6 zero": lemma6(measured, subspace=subspace, ridge=ridge),
    }
    if subspace not in MOVING and measured.replicates > 1:
        bounds_by_name["lemma6 mean"] = lemma6(
            measured, center="mean", subspace=subspace, ridge=ridge
        )
    return bounds_by_name
