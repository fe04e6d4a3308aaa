"""Checkpoints of a run: the last state, from which training goes on, and weights that are kept.

``checkpoints/last.npz`` holds everything between two steps, ``checkpoints/weights-STEPS.npz`` the
weights after so many steps; both name their arrays by path and hold the size they belong to.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.common.checkpoint import another_model, read_arrays, unreadable, write_arrays
from experiments.linear_functions.model import Regressor, structure
from experiments.linear_functions.sizes import Size
from experiments.linear_functions.training import RegressionTrainState
from jaxsvd.runtime.errors import UserError

DIRECTORY, LAST = "checkpoints", "last.npz"
_RECORD = "told"  # The name in files of 0.1.0, which still open.


def last_path(run: Path) -> Path:
    """Of a run's last state."""
    return run / DIRECTORY / LAST


def weights_path(run: Path, steps: int) -> Path:
    """Of the weights after so many steps."""
    return run / DIRECTORY / f"weights-{steps:09d}.npz"


def kept(run: Path) -> list[int]:
    """After how many steps a run's weights are kept, ascending."""
    names = (path.stem.removeprefix("weights-") for path in (run / DIRECTORY).glob("weights-*.npz"))
    return sorted(int(name) for name in names if name.isdigit())


def save(
    state: RegressionTrainState, size: Size, seed: int, run: Path, seconds: float, cpu: float
) -> None:
    """Write the last state, and the weights too at a length whose weights are kept.

    Raises:
        UserError: the disk is full, or the directory cannot be written.
    """
    record = {"size": size.record(), "seed": seed, "steps": int(state.step)}
    if record["steps"] in size.lengths():
        _write(weights_path(run, record["steps"]), _named(state.parameters), record)
    _write(last_path(run), _named(state), record | {"seconds": seconds, "cpu_seconds": cpu})


def restore(
    like: RegressionTrainState, size: Size, seed: int, run: Path
) -> tuple[RegressionTrainState, float, float]:
    """The last state of a run, and the seconds and processor seconds that led to it.

    Raises:
        UserError: not readable, or of another size or seed.
    """
    arrays, record = _read(last_path(run))
    wanted = {"size": size.record(), "seed": seed}
    if {name: record.get(name) for name in wanted} != wanted:
        raise UserError(f"{last_path(run)}: a checkpoint of another size or seed; start a new run")
    return _fill(like, arrays, last_path(run)), record["seconds"], record["cpu_seconds"]


def read_weights(run: Path, steps: int | None = None) -> tuple[Size, int, int, Regressor]:
    """Size, seed, steps and model of a run directory; ``steps`` None for the most.

    Raises:
        UserError: no weights are kept there, or not after so many steps.
    """
    lengths = kept(run)
    if not lengths:
        raise UserError(f"{run}: no run with a trained transformer (no {DIRECTORY}/weights-*.npz)")
    steps = lengths[-1] if steps is None else steps
    if steps not in lengths:
        known = ", ".join(map(str, lengths))
        raise UserError(f"{run}: no weights after {steps} steps; kept are those after {known}")
    path = weights_path(run, steps)
    arrays, record = _read(path)
    try:
        size = Size(**record["size"])
    except (KeyError, TypeError) as error:
        raise unreadable(path, error) from None
    model = nnx.eval_shape(lambda: Regressor(size, rngs=nnx.Rngs(0)))
    parameters = _fill(nnx.state(model), arrays, path)
    return size, record["seed"], steps, nnx.merge(structure(size), parameters)


def _named(tree: Any) -> dict[str, np.ndarray]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def _fill(like: Any, arrays: dict[str, np.ndarray], path: Path) -> Any:
    flat, tree = jax.tree_util.tree_flatten_with_path(like)
    shapes = {jax.tree_util.keystr(name): leaf.shape for name, leaf in flat}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise another_model(path)
    return jax.tree.unflatten(tree, [jnp.asarray(arrays[name]) for name in shapes])


def _write(path: Path, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
    write_arrays(path, {_RECORD: np.asarray(json.dumps(record)), **arrays})


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = read_arrays(path)
    try:
        return arrays, json.loads(str(arrays.pop(_RECORD)))
    except (ValueError, KeyError) as error:
        raise unreadable(path, error) from None
