"""Fixtures for all tests: tiny random models of every family."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxsvd.model import Model
from jaxsvd.models import read_config
from jaxsvd.models.decoder import Decoder
from tests.models.tiny_families import TINY


@functools.cache
def make_tiny(family: str, **changes: object) -> Model:
    """A tiny model of a family, kept."""
    return make_model(TINY[family].sized(**changes))


def make_model(raw: dict[str, Any]) -> Model:
    """A random model with weights large enough that every part of it matters."""
    config, _ = read_config(raw, "config.json")
    decoder = Decoder(config, rngs=nnx.Rngs(0))
    keys = iter(jax.random.split(jax.random.key(1), 1000))
    for _, parameter in nnx.to_flat_state(nnx.state(decoder)):
        value = parameter.get_value()
        noise = jax.random.normal(next(keys), value.shape, jnp.float32)
        parameter.set_value(0.3 * noise if value.ndim > 1 else value + 0.3 * noise)
    return Model(config, decoder, raw, "tiny", None, Path("nowhere"), "float32")


@pytest.fixture(scope="session", autouse=True)
def _no_user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands run by the tests keep their compilations to themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Model]:
    """Makes a tiny random model: ``tiny("gptj", n_layer=2)``."""
    return make_tiny


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data and a checkpoint beside the checkout; tests that need them skip without."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with data sets and a checkpoint")
    return folder
