"""What eight devices compute beside what one does: run in a process of its own, prints JSON.

``on_a_mesh.py FOLDER`` with ``XLA_FLAGS=--xla_force_host_platform_device_count=8``; the folder
holds two tiny checkpoints, ``gptj`` and ``llama``.
"""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import jaxsvd
from jaxsvd.commands.prune import prune
from jaxsvd.devices import sharding
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import variants
from jaxsvd.engine import kernels, memory
from jaxsvd.engine.packing import Shape
from jaxsvd.engine.requests import Group, Scoring, line_of
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError
from jaxsvd.selection import condition

FOLDER = Path(sys.argv[1])
ONE = "data=1,model=1"
RATES = (0.0, 0.5, 0.9)
LABELS = (3, 17, 41)

CASES: list[tuple[str, str, Scoring, int, str]] = [
    ("gptj", "data=4,model=2", "label tokens", 1, "attn"),
    ("llama", "data=2,model=4", "sequence log-likelihood", 0, "mlp"),
    ("llama", "data=8", "mean raw logit", 2, "mlp"),
]
"""Family, mesh, scoring, layer and module; four model parts share the Llama's two key heads."""


def requests(scoring: Scoring) -> tuple[Group, ...]:
    """Random requests, two groups with prefixes of their own, some lines longer than a row."""
    rng = np.random.default_rng(0)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(0, 97, rng.integers(low, high)).tolist()

    groups = []
    for g in range(2):
        lines = [
            line_of(q, tokens(1, 14), [tokens(1, 5) for _ in range(3)], scoring)
            for q in range(g * 7, g * 7 + 7)
        ]
        lines[-1] = line_of(g * 7 + 6, tokens(40, 41), [[1], [2], [3]], scoring)
        length = 0 if scoring == "mean raw logit" else 21
        prefix = rng.integers(0, 97, length).astype(np.int32)
        labels = LABELS if scoring == "label tokens" else ()
        groups.append(Group(prefix, tuple(lines), scoring, labels))
    return tuple(groups)


def scores(model: Model, scoring: Scoring, layer: int, module: str) -> np.ndarray:
    """``[rates, requests, continuations]``."""
    engine = model.engine
    cut = variants(engine, [(Edit(layer, module, rate),) for rate in RATES])
    actual = np.full((len(RATES), 14, 3), np.nan)
    for s in engine.score_groups(requests(scoring), cut, shape=Shape(3, 32, 16)):
        actual[s.variant, s.request] = s.scores
    return actual


def compared(family: str, mesh: str, scoring: Scoring, layer: int, module: str) -> dict[str, Any]:
    """One case on one device and on a mesh, and which threads launched the latter."""
    one = scores(jaxsvd.load(FOLDER / family, mesh=ONE), scoring, layer, module)
    threads: set[int] = set()
    original = kernels.layer

    def watched(*arguments: Any) -> Any:
        threads.add(threading.get_ident())
        return original(*arguments)

    kernels.layer = watched
    many = scores(jaxsvd.load(FOLDER / family, mesh=mesh), scoring, layer, module)
    kernels.layer = original
    return {
        "difference": float(np.abs(many - one).max() / np.abs(one).max()),
        "same": bool((many.argmax(-1) == one.argmax(-1)).all()),
        "effect": float(np.abs(one[0] - one[2]).max()),
        "threads": len(threads | {threading.get_ident()}),
    }


def shares(family: str, mesh: str) -> dict[str, Any]:
    """Bytes of the parameters on each device, and whether every rule was kept."""
    model = jaxsvd.load(FOLDER / family, mesh=mesh)
    plain = jaxsvd.load(FOLDER / family, mesh=ONE)
    assert model.mesh is not None
    held: dict[int, int] = {}
    kept = equal = True
    for (path, leaf), (_, other) in zip(leaves(model), leaves(plain), strict=True):
        kept &= leaf.sharding == sharding.sharding_of(path, model.mesh)
        equal &= bool((np.asarray(leaf) == np.asarray(other)).all())
        for shard in leaf.addressable_shards:
            held[shard.device.id] = held.get(shard.device.id, 0) + shard.data.nbytes
    axes = sharding.axes_in(model.mesh)
    return {
        "held": list(held.values()),
        "model": axes.model,
        "total": memory.weight_bytes(model.config, "float32"),
        "expected": memory.weight_bytes(model.config, "float32", axes.model),
        "kept": kept,
        "equal": equal,
    }


def leaves(model: Model) -> Iterator[tuple[str, jax.Array]]:
    """Parameters by path."""
    for path, leaf in nnx.to_flat_state(nnx.state(model.decoder)):
        yield ".".join(map(str, path)), leaf.get_value()


def condition_numbers() -> dict[str, float]:
    """Largest relative differences from one device's: by the host, and by the devices."""
    one, many = (jaxsvd.load(FOLDER / "llama", mesh=m) for m in (ONE, "data=2,model=4"))
    plain = jaxsvd.condition_numbers(one)
    spread = jaxsvd.condition_numbers(many)
    values = np.array(list(plain.values()))
    # More matrices than devices, of all shapes: a second round begins.
    matrices = [many.engine.matrix(*key) for key in plain][:10]
    on_devices = condition.condition_numbers_on(
        matrices, len(matrices), lambda n: None, on_devices=True
    )
    return {
        "host": float(np.abs(np.array(list(spread.values())) / values - 1).max()),
        "devices": float(np.abs(np.array(on_devices) / values[:10] - 1).max()),
        "same keys": list(plain) == list(spread),
    }


def logits_and_prune() -> dict[str, float]:
    """The whole forward pass, plain and pruned, and what a pruned model's file holds."""
    ids = np.random.default_rng(1).integers(0, 97, (4, 9))
    one, many = (jaxsvd.load(FOLDER / "gptj", mesh=m) for m in (ONE, "data=2,model=2"))
    cut_one, cut_many = (prune(m, layer=1, module="mlp", rate=0.75) for m in (one, many))
    cut_many.save(FOLDER / "pruned", factored=True)
    again = jaxsvd.load(FOLDER / "pruned", mesh="model=2")

    def difference(a: Model, b: Model) -> float:
        x, y = np.asarray(a.logits(ids)), np.asarray(b.logits(ids))
        return float(np.abs(x - y).max() / np.abs(x).max())

    return {
        "plain": difference(one, many),
        "pruned": difference(cut_one, cut_many),
        "saved": difference(cut_one, again),
        "effect": difference(one, cut_one),
    }


def refusal(mesh: str) -> str:
    """The line that loading on a mesh fails with."""
    try:
        jaxsvd.load(FOLDER / "llama", mesh=mesh)
    except UserError as error:
        return str(error)
    return ""


def automatic() -> dict[str, Any]:
    """The meshes chosen where a device has room for all, half, and hardly any of the weights."""
    config = jaxsvd.load(FOLDER / "llama").config
    whole = memory.weight_bytes(config, "float32")
    original = memory.device_memory, memory._needed
    memory._needed = memory.weight_bytes  # as if each device had a memory of its own
    chosen = {}
    for name, room in {"all": 2 * whole, "half": whole, "little": whole // 8}.items():
        memory.device_memory = lambda device=None, room=room: room
        chosen[name] = str(memory.choose_axes(config, "float32"))
    memory.device_memory = lambda device=None: whole // 8
    try:
        memory.check(config, "float32", sharding.axes_of("data=8"), "it")
        chosen["refusal"] = ""
    except UserError as error:
        chosen["refusal"] = str(error)
    memory.device_memory, memory._needed = original
    return chosen


def main() -> None:
    """See above."""
    result = {
        "cases": {f"{case[0]} {case[1]} {case[2]}": compared(*case) for case in CASES},
        "shares": [shares("gptj", "data=4,model=2"), shares("llama", "data=2,model=4")],
        "condition": condition_numbers(),
        "logits": logits_and_prune(),
        "refusals": {m: refusal(m) for m in ("data=16", "model=3", "model=x", "data=3,model=4")},
        "automatic": automatic(),
        "auto mesh": str(sharding.axes_in(jaxsvd.load(FOLDER / "gptj").mesh)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
