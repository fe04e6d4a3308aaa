"""What loading refuses, as the one line that it says; checkpoints to be damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxsvd
from jaxsvd.model import Model
from jaxsvd.models import read_config
from jaxsvd.runtime.errors import UserError

from .random_models import (
    JSON_OF,
    Weights,
    weights,
    write_checkpoint,
)

T = TypeVar("T")

families = pytest.mark.parametrize("family", ["gptj", "llama", "gpt2"])
"""A plain family of each style of names, and one whose tensors hold several parameters."""


def refusal(directory: Path | str, **options: Any) -> str:
    """The one line that loading fails with."""
    with pytest.raises(UserError) as error:
        jaxsvd.load(directory, **options)
    line = str(error.value)
    assert "\n" not in line
    assert line.strip() == line
    return line


def config_refusal(config: Any) -> str:
    """The one line that reading a config.json fails with."""
    with pytest.raises(UserError) as error:
        read_config(config, "config.json")
    assert "\n" not in str(error.value)
    return str(error.value)


def unless_refused(attempt: Callable[[], T]) -> T | None:
    """What the attempt gives, or None after a UserError of one line."""
    line, result = "", None
    try:
        result = attempt()
    except UserError as error:
        line = str(error)
    assert "\n" not in line
    return result


def tiny_checkpoint(directory: Path, family: str = "llama", **changes: Any) -> Weights:
    """Writes a checkpoint and gives its tensors."""
    config = JSON_OF[family](**changes)
    tensors = weights(config)
    write_checkpoint(directory, config, tensors)
    return tensors


def rewrite(directory: Path, tensors: Weights) -> None:
    """Replaces the weights of a checkpoint."""
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def embedding(model: Model) -> np.ndarray:
    """The embedding matrix."""
    return np.asarray(model.decoder.embedding.tokens[...])
