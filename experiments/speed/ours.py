"""Our arm, in a process of its own: ``python -m experiments.speed.ours MODEL TASK ...``.

Prints one JSON object: seconds of loading, of the first search and of further ones (factoring and
scoring; the model is loaded, the prompts are encoded), peak memory, predictions.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvd
from experiments.speed.operations import search_operations, sweep_operations
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import all_replacements, variants
from jaxsvd.encoded_task import encode_task
from jaxsvd.engine.encoding import Encoded
from jaxsvd.engine.engine import Engine
from jaxsvd.models.matrices import layer_index
from jaxsvd.score import predict
from jaxsvd.svd import RATES


def peak_memory() -> int:
    """Most bytes that this process held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def search(
    engine: Engine, encoded: Encoded, layer: int, rates: tuple[float, ...]
) -> tuple[float, list[list[int]]]:
    """Seconds of truncating and scoring, and the predictions by rate."""
    start = time.perf_counter()
    edited = [(Edit(layer, "mlp", rate),) for rate in rates]
    cut = variants(engine, edited, matrices=all_replacements(engine, edited))
    scores = {(s.variant, s.request): s.scores for s in engine.score_groups(encoded.groups, cut)}
    seconds = time.perf_counter() - start
    questions = range(len(encoded.questions))
    return seconds, [[predict(scores[v, q]) for q in questions] for v in range(len(rates))]


def sweep(engine: Engine, encoded: Encoded, layers: range | list[int]) -> float:
    """Seconds of every layer, mlp and attn, all rates."""
    start = time.perf_counter()
    edited = [(Edit(at, m, rate),) for at in layers for m in ("mlp", "attn") for rate in RATES]
    for _ in engine.score_groups(encoded.groups, variants(engine, edited)):
        pass
    return time.perf_counter() - start


def sgemm_peak() -> float:
    """Operations a second of a large float32 product, the best of some."""
    multiply, a = jax.jit(jnp.matmul), jnp.ones((2048, 2048))
    multiply(a, a).block_until_ready()
    best = np.inf
    for _ in range(8):
        start = time.perf_counter()
        multiply(a, a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def prompts(encoded: Encoded) -> dict[str, Any]:
    """Token ids for the other arms."""
    [group] = encoded.groups
    lines = [line.tokens.tolist() for line in sorted(group.lines, key=lambda line: line.request)]
    return {"prefix": group.prefix.tolist(), "lines": lines, "labels": list(encoded.label_ids)}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("task")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--cache")
    parser.add_argument("--warm", type=int, default=0)
    parser.add_argument("--rates", type=int, default=len(RATES))
    parser.add_argument("--examples", type=int)
    parser.add_argument("--shots", type=int)
    parser.add_argument("--sweep", type=int, default=0, help="layers")
    parser.add_argument("--prompts", type=Path)
    options = parser.parse_args()
    # Where torch is installed transformers imports it, which a search has no use for: 200 MB.
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    from transformers import AutoTokenizer  # noqa: F401  finds none, and remembers that

    del sys.modules["torch"]  # others look there too
    if options.cache:
        jax.config.update("jax_compilation_cache_dir", options.cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    model = jaxsvd.load(options.model, dtype=options.dtype)
    sizes = {"validation_size": options.examples, "shots": options.shots}
    encoded = encode_task(model, options.task, ("validation",), **sizes).encoded
    if options.prompts:
        options.prompts.write_text(json.dumps(prompts(encoded)), "utf-8")
    engine, config = model.engine, model.config
    layer, rates = layer_index(config, options.layer), RATES[: options.rates]
    [group] = encoded.groups
    lines = np.array([len(line.tokens) for line in group.lines])
    result: dict[str, Any] = {"load": model.load_seconds, "prefix": len(group.prefix)}
    result |= {"examples": len(lines), "tokens": int(lines.sum())}
    if options.sweep:
        layers = np.unique(np.linspace(0, config.layers - 1, options.sweep).astype(int)).tolist()
        sweep(engine, encoded, [config.layers - 1])  # compiles
        result["sweep"] = sweep(engine, encoded, layers)
        result["layers"] = layers
        shape = config, len(group.prefix), lines
        result["operations"] = sweep_operations(*shape, ("mlp", "attn"), RATES)
    else:
        result["first"], result["predictions"] = search(engine, encoded, layer, rates)
        result["warm"] = [search(engine, encoded, layer, rates)[0] for _ in range(options.warm)]
        shape = config, len(group.prefix), lines, layer, "mlp", rates
        result["operations"] = search_operations(*shape)
    result |= {"memory": peak_memory(), "peak": sgemm_peak()}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
