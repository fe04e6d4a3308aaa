"""Loads a checkpoint in a process of its own and prints what that took, as JSON.

``loading_peak.py DIR DTYPE [MESH]``, or a GGUF file in place of the directory. The peak is the
process's own anonymous and shared memory above what it had before, by the kernel's count (VmHWM,
reset first); pages of files that were read are the kernel's and not the process's.
"""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxsvd
from jaxsvd.checkpoints.gguf.header import is_gguf
from jaxsvd.checkpoints.gguf.weights import library
from jaxsvd.checkpoints.hub import read_raw_config
from jaxsvd.checkpoints.load import parameter_shapes
from jaxsvd.models import read_config


def status(field: str) -> int:
    """A number of bytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Forget the highest use so far."""
    Path("/proc/self/clear_refs").write_text("5")


def read_plainly(directory: Path) -> float:
    """Seconds to read all files of a checkpoint and do nothing with them."""
    buffer = bytearray(4 * 2**20)
    start = time.perf_counter()
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def main() -> None:
    """See above."""
    directory, dtype, mesh = Path(sys.argv[1]), sys.argv[2], (*sys.argv[3:], "auto")[0]
    raw, where = read_raw_config(directory)
    config, _ = read_config(raw, str(where))
    parameter_shapes(config)
    if is_gguf(directory):
        library()  # what importing it takes is no part of loading
    load = jaxsvd.load  # importing it is no part of loading either
    jnp.zeros(1).block_until_ready()  # nor what JAX itself takes
    plain = read_plainly(directory)
    reset_peak()
    before = status("VmRSS")
    start = time.perf_counter()
    model = load(directory, dtype=dtype, mesh=mesh)
    seconds = time.perf_counter() - start
    peak = status("VmHWM") - before
    leaves = jax.tree.leaves(nnx.state(model.decoder))
    shares: dict[int, int] = {}
    for leaf in leaves:
        for shard in leaf.addressable_shards:
            shares[shard.device.id] = shares.get(shard.device.id, 0) + shard.data.nbytes
    files = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    result = {
        "parameters": model.parameters,
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "shares": list(shares.values()),
        "peak": peak,
        "files": files,
        "seconds": seconds,
        "plain_seconds": plain,
        "sum": float(np.sum([np.asarray(leaf, np.float64).sum() for leaf in leaves[:3]])),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
