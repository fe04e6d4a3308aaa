"""Checkpoints of the bundled model's training, from which a run resumes exactly."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.checkpoint import another_model, read_arrays, unreadable, write_arrays
from experiments.train_bundled_model.training import State

EVERY = 25
"""Steps between checkpoints, each with a line of metrics: what a killed run can lose."""


def save_checkpoint(state: State, seconds: float, path: Path) -> None:
    """Write a state so that a kill at any moment leaves the old file or the new one whole."""
    leaves = {f"leaf_{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(state))}
    write_arrays(path, {"seconds": np.asarray(np.float64(seconds)), **leaves})


def restore_checkpoint(like: State, path: Path) -> tuple[State, float]:
    """The state in a file, in the structure of ``like``, and the seconds that led to it.

    Raises:
        UserError: not a checkpoint of this plan.
    """
    old, structure = jax.tree.flatten(like)
    arrays = read_arrays(path)
    try:
        leaves = [arrays[f"leaf_{i}"] for i in range(len(arrays) - 1)]
        seconds = float(arrays["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(path, error) from None
    if [x.shape for x in leaves] != [x.shape for x in old]:
        raise another_model(path)
    return jax.tree.unflatten(structure, [jnp.asarray(x) for x in leaves]), seconds


def trim_metrics(path: Path, step: int) -> None:
    """Drop lines of steps after ``step``, which a resumed run will write again."""
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.write_text("".join(kept), "utf-8")
