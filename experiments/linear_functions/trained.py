"""A trained transformer: loaded from a run directory, truncated, asked for predictions.

``load("runs/linear-functions").edited("3:mlp:0.9").errors(prompts)`` is ``[B, P]``, for
prompts such as ``draw(key, 1000, points, d)`` of :mod:`experiments.linear_functions.prompts`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from experiments.linear_functions.checkpoints import read_weights
from experiments.linear_functions.model import Parameters, Regressor, structure
from experiments.linear_functions.prompts import RegressionPrompts, errors
from experiments.linear_functions.sizes import Size
from jaxsvd import svd
from jaxsvd.edits.edit import Edit, as_edits, matrix_edits
from jaxsvd.edits.replacement import edited_matrix
from jaxsvd.models.decoder import Block, Linear
from jaxsvd.models.matrices import matrices, part

BATCH = 256
"""Prompts in one call: what is asked is cut, and the last part padded, to this."""


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model and what it was trained as.

    Attributes:
        size: of the model and its training.
        seed: of the latter.
        steps: after which the weights were kept.
        model: the transformer.
    """

    size: Size
    seed: int
    steps: int
    model: Regressor

    @property
    def parameters(self) -> Parameters:
        """All weights."""
        return nnx.state(self.model)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The layers, as those of any decoder of :mod:`jaxsvd.models`."""
        return tuple(self.model.blocks)

    def matrix(self, layer: int, name: str) -> Float[Array, "rows columns"]:
        """A matrix of a layer by its name of :mod:`jaxsvd.models.matrices`, ``[out, in]``."""
        return _linear(self.model, layer, name).weight[...]

    def exchanged(
        self, layer: int, weights: Mapping[str, Float[Array, "rows columns"]]
    ) -> "TrainedModel":
        """The same model with some matrices of a layer exchanged, by name."""
        # A copy of the structure; the arrays that stay are shared.
        model = nnx.merge(structure(self.size), self.parameters)
        for name, weight in weights.items():
            _linear(model, layer, name).weight = nnx.Param(weight)
        return dataclasses.replace(self, model=model)

    def edited(
        self,
        edits: Edit | str | Iterable[Edit],
        factors: Mapping[str, svd.SvdFactors] | None = None,
    ) -> "TrainedModel":
        """The model with some matrices edited, as :meth:`jaxsvd.Model.edited`.

        Args:
            edits: one, several, or as they are written; at rate 0 the weights are the very same.
            factors: by matrix, if they are known (:meth:`factors`) and all edits are of one layer.

        Raises:
            UserError: no such layer, module or rate.
        """
        model, known = self, factors or {}
        for edit in matrix_edits(as_edits(edits), self.size.config):
            name, weight = edit.module, self.matrix(edit.layer, edit.module)
            replaced = edited_matrix(weight, edit, factors=known.get(name))
            model = model.exchanged(edit.layer, {name: replaced})
        return model

    def factors(self, layer: int, module: str) -> dict[str, svd.SvdFactors]:
        """Singular value decompositions of a module's matrices, good for every rate."""
        names = matrices(self.size.config, module)
        return {name: svd.factor(self.matrix(layer, name)) for name in names}

    def predict(
        self,
        x: Float[Array | np.ndarray, "B P d"],
        y: Float[Array | np.ndarray, "B P"],
    ) -> Float[np.ndarray, "B P"]:
        """Predictions of <w, x_i> at every point from the examples before it; y_P is not read.

        Any number of prompts; no more points than the model was trained with.
        """
        batch, parameters = len(x), self.parameters
        predictions = []
        for first in range(0, batch, BATCH):
            rows = min(BATCH, batch - first)
            part_x, part_y = (
                np.pad(
                    np.asarray(a[first : first + rows], np.float32),
                    [(0, BATCH - rows), *[(0, 0)] * (a.ndim - 1)],
                )
                for a in (x, y)
            )
            predictions.append(np.asarray(_predict(self.size, parameters, part_x, part_y))[:rows])
        return np.concatenate(predictions)

    def errors(self, prompts: RegressionPrompts) -> Float[np.ndarray, "B P"]:
        """The normalised squared error at every point (:func:`prompts.errors`)."""
        return np.asarray(errors(jnp.asarray(self.predict(prompts.x, prompts.y)), prompts))

    def streams(
        self, x: Float[Array, "B P d"], y: Float[Array, "B P"]
    ) -> list[Float[Array, "B T D"]]:
        """The residual stream before every layer and after the last, T = 2 P - 1 tokens.

        What layer l does in detail: ``places = Places.in_order(config, B, T)``,
        ``blocks[l].states(streams[l], places)`` its keys (turned) and values, ``[B, T, N, H]``.
        """
        return _streams(self.size, self.parameters, x, y)


def load(run: str | Path, steps: int | None = None) -> TrainedModel:
    """The trained transformer of a run directory, also of one that is not finished.

    Args:
        run: the directory.
        steps: one of the training lengths kept; the longest where it is None.

    Raises:
        UserError: no such run, or no weights after so many steps.
    """
    return TrainedModel(*read_weights(Path(run), steps))


def _linear(model: Regressor, layer: int, name: str) -> Linear:
    return getattr(getattr(model.blocks[layer], part(name)), name)


@functools.partial(jax.jit, static_argnums=0)
def _predict(size: Size, parameters: Parameters, x: Array, y: Array) -> Array:
    return nnx.merge(structure(size), parameters)(x, y)


@functools.partial(jax.jit, static_argnums=0)
def _streams(size: Size, parameters: Parameters, x: Array, y: Array) -> list[Array]:
    return nnx.merge(structure(size), parameters).streams(x, y)
