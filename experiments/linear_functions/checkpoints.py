"""Checkpoints of a run: the last state, from which training goes on, and weights that are kept.

``checkpoints/last.npz`` holds everything between two steps, ``checkpoints/weights-STEPS.npz`` the
weights after so many steps; both name their arrays by path and hold the size they belong to.
"""

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.linear_functions.model import Regressor, structure
from experiments.linear_functions.sizes import Size
from experiments.linear_functions.training import State
from jaxsvd.runtime.errors import UserError

DIRECTORY, LAST = "checkpoints", "last.npz"


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


def save(state: State, size: Size, seed: int, run: Path, seconds: float, cpu: float) -> None:
    """Write the last state, and the weights too at a length whose weights are kept.

    Raises:
        UserError: the disk is full, or the directory cannot be written.
    """
    told = {"size": size.record(), "seed": seed, "steps": int(state.step)}
    if told["steps"] in size.lengths():
        _write(weights_path(run, told["steps"]), _named(state.parameters), told)
    _write(last_path(run), _named(state), told | {"seconds": seconds, "cpu_seconds": cpu})


def restore(like: State, size: Size, seed: int, run: Path) -> tuple[State, float, float]:
    """The last state of a run, and the seconds and processor seconds that led to it.

    Raises:
        UserError: not readable, or of another size or seed.
    """
    arrays, told = _read(last_path(run))
    wanted = {"size": size.record(), "seed": seed}
    if {name: told.get(name) for name in wanted} != wanted:
        raise UserError(f"{last_path(run)}: a checkpoint of another size or seed; start a new run")
    return _fill(like, arrays, last_path(run)), told["seconds"], told["cpu_seconds"]


def read_weights(run: Path, steps: int | None = None) -> tuple[Size, int, int, Regressor]:
    """Size, seed, steps and model of a run directory; ``steps`` None for the most.

    Raises:
        UserError: no weights are kept there, or not after so many steps.
    """
    found = kept(run)
    if not found:
        raise UserError(f"{run}: no run with a trained transformer (no {DIRECTORY}/weights-*.npz)")
    steps = found[-1] if steps is None else steps
    if steps not in found:
        known = ", ".join(map(str, found))
        raise UserError(f"{run}: no weights after {steps} steps; kept are those after {known}")
    path = weights_path(run, steps)
    arrays, told = _read(path)
    try:
        size = Size(**told["size"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not readable as a checkpoint ({error})") from None
    model = nnx.eval_shape(lambda: Regressor(size, rngs=nnx.Rngs(0)))
    parameters = _fill(nnx.state(model), arrays, path)
    return size, told["seed"], steps, nnx.merge(structure(size), parameters)


def _named(tree: Any) -> dict[str, np.ndarray]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def _fill(like: Any, arrays: dict[str, np.ndarray], path: Path) -> Any:
    flat, tree = jax.tree_util.tree_flatten_with_path(like)
    shapes = {jax.tree_util.keystr(name): leaf.shape for name, leaf in flat}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise UserError(f"{path}: a checkpoint of another model; start a new run")
    return jax.tree.unflatten(tree, [jnp.asarray(arrays[name]) for name in shapes])


def _write(path: Path, arrays: dict[str, np.ndarray], told: dict[str, Any]) -> None:
    # Beside its place and renamed: a kill at any moment leaves the old file or the new one.
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, told=json.dumps(told), **arrays)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays.pop("told")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not readable as a checkpoint ({error})") from None
