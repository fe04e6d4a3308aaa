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
from hypothesis import settings

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


# Few examples where everything is tested often, many where it is tested at length: make test-all.
settings.register_profile("few", max_examples=20, deadline=None)
settings.register_profile("many", max_examples=300, deadline=None)
settings.load_profile("many" if os.environ.get("JAXSVD_RELIABILITY") == "full" else "few")


@pytest.fixture(scope="session", autouse=True)
def _own_compilations(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What this process has compiled it reads again after :func:`_little_memory` dropped it.

    Another folder than that of the commands that tests start, which may be killed while writing;
    and one for each worker, for JAX writes these files in place.
    """
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


MOST_GROWTH = 300 * 2**20
"""Bytes of programs that may gather in a process."""

_resident = 0


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """Drops the programs that JAX holds, all that were ever compiled, once they are many."""
    global _resident
    yield
    _resident = _resident or resident_bytes()
    if resident_bytes() > _resident + MOST_GROWTH:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _resident = resident_bytes()


def resident_bytes() -> int:
    """What this process holds in memory; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``brief(family=("gptj",))``: cases with other values of the parameter are long ones."""
    for item in items:
        values = item.callspec.params if hasattr(item, "callspec") else {}  # pyright: ignore
        for marker in item.iter_markers("brief"):
            chosen = {name: marker.kwargs[name] for name in marker.kwargs.keys() & values.keys()}
            if any(values[name] not in among for name, among in chosen.items()):
                item.add_marker(pytest.mark.long)


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
