"""Fixtures for all tests: tiny random models of every family."""

import ctypes
import functools
import gc
import os
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
    """A random model in which every part matters, and roundings stay the size that they are.

    Matrices have about unit gain, 1 / sqrt(width) = 0.18: with 0.3 the scores of attention are so
    large that a Llama of three layers blows up a change of its embeddings fifty times.
    """
    config, _ = read_config(raw, "config.json")
    decoder = Decoder(config, rngs=nnx.Rngs(0))
    keys = iter(jax.random.split(jax.random.key(1), 1000))
    for _, parameter in nnx.to_flat_state(nnx.state(decoder)):
        value = parameter.get_value()
        noise = jax.random.normal(next(keys), value.shape, jnp.float32)
        parameter.set_value(0.2 * noise if value.ndim > 1 else value + 0.3 * noise)
    return Model(config, decoder, raw, "tiny", None, Path("nowhere"), "float32")


@pytest.fixture(scope="session", autouse=True)
def _own_compilations(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What this process has compiled it reads again after :func:`_little_memory` dropped it.

    Another folder than that of the commands that tests start, which may be killed while writing;
    and one for each worker, for JAX writes these files in place.
    """
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


MOST_MEMORY = 900 * 2**20


@pytest.fixture(scope="module", autouse=True)
def _little_memory() -> Iterator[None]:
    """Drops what JAX holds, for it holds every program ever compiled, before it is a gigabyte."""
    yield
    try:
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return
    if resident > MOST_MEMORY:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


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
