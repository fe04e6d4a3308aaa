"""Checkpoints of the bundled model's training, from which a run resumes exactly."""

import io
import json
import os
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.train_bundled_model.training import State
from jaxsvd.runtime.errors import UserError

EVERY = 25
"""Steps between checkpoints, each with a line of metrics: what a killed run can lose."""


def save_checkpoint(state: State, seconds: float, path: Path) -> None:
    """Write a state so that a kill at any moment leaves the old file or the new one whole."""
    leaves = {f"leaf_{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(state))}
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, seconds=np.float64(seconds), **leaves)  # pyright: ignore[reportArgumentType]
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def restore_checkpoint(like: State, path: Path) -> tuple[State, float]:
    """The state in a file, in the structure of ``like``, and the seconds that led to it.

    Raises:
        UserError: not a checkpoint of this plan.
    """
    old, structure = jax.tree.flatten(like)
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            leaves = [file[f"leaf_{i}"] for i in range(len(file.files) - 1)]
            seconds = float(file["seconds"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not readable as a checkpoint ({error})") from None
    if [x.shape for x in leaves] != [x.shape for x in old]:
        raise UserError(f"{path}: a checkpoint of another model; start a new run")
    return jax.tree.unflatten(structure, [jnp.asarray(x) for x in leaves]), seconds


def trim_metrics(path: Path, step: int) -> None:
    """Drop lines of steps after ``step``, which a resumed run will write again."""
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.write_text("".join(kept), "utf-8")
