"""What is supported, and what a model would need, without loading it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from jaxsvd.checkpoints import hub
from jaxsvd.checkpoints.factored import without_factors
from jaxsvd.devices import sharding
from jaxsvd.devices.backend import require_backend
from jaxsvd.devices.sharding import Axes
from jaxsvd.engine import memory
from jaxsvd.engine.limits import Limits
from jaxsvd.engine.memory import DTYPES, Expected, gigabytes
from jaxsvd.models import FAMILIES, read_config
from jaxsvd.models.config import DecoderConfig
from jaxsvd.runtime.errors import UserError


def families() -> Iterator[str]:
    """The model families, a line each."""
    for family in FAMILIES.values():
        yield f"{family.name:<8} {family.description}; for example {family.example}"


def config_of(source: str | Path | None, revision: str | None = None) -> DecoderConfig:
    """What a model's config.json says; of a hub id nothing else is downloaded.

    Raises:
        UserError: no such model, or one of a family that is not supported.
    """
    directory = (
        hub.model_directory(source, revision)
        if hub.is_local(source) or str(source).endswith(".gguf")
        else hub.config_file(str(source), revision)
    )
    if directory.is_dir() and not (directory / "config.json").exists():
        directory = hub.model_directory(source, revision)  # of GGUF files alone, or it says why
    raw, path = hub.read_raw_config(directory)
    raw, _ = without_factors(raw, path)
    return read_config(raw, str(path))[0]


@dataclass(frozen=True)
class MemoryPlan:
    """What a model needs on each device, and beside it on the host, in bytes.

    Attributes:
        config: of the model.
        axes: of the mesh.
        limits: of its devices together.
        devices: what each needs, by dtype.
    """

    config: DecoderConfig
    axes: Axes
    limits: Limits
    devices: dict[str, Expected]

    @property
    def batch_tokens(self) -> int:
        """Of a batch, over all devices."""
        return memory.batch_tokens(self.config, self.axes, self.limits)


def plan(
    config: DecoderConfig, axes: Axes, *, device_bytes: int | None = None, module: str = "mlp"
) -> MemoryPlan:
    """What a search needs.

    Args:
        config: of the model.
        axes: of the mesh.
        device_bytes: memory of an accelerator; this machine's devices if left out.
        module: that is truncated.

    Raises:
        UserError: a mesh that the model's widths do not divide over.
    """
    if device_bytes is None:
        require_backend()
    sharding.check(config, axes, axes.devices)
    limits = (
        Limits.of_mesh(axes) if device_bytes is None else Limits.of_accelerator(device_bytes, axes)
    )
    needs = {dtype: memory.expected(config, dtype, axes, limits, module) for dtype in DTYPES}
    return MemoryPlan(config, axes, limits, needs)


_ROWS = (
    ("weights", "weights", "exact"),
    ("factors", "truncated layer", "the module at the eight rates, both factors and what is dense"),
    ("stream", "stream", "kept between layers, at most"),
    ("batch", "batches in flight", "inside a layer"),
    ("prefix", "shared prefix", "as long as the context: keys, values and making them"),
    ("peak", "peak on each device", "of a search; loading needs less"),
    ("loading", "host beside it", "while loading: the largest tensor; on CPU it is the device"),
)


def memory_table(needs: MemoryPlan) -> Table:
    """The plan for people."""
    axes = needs.axes
    where = "one device" if axes.devices == 1 else f"each of {axes.devices} devices, mesh {axes}"
    table = Table(
        title=f"{memory.parameters(needs.config):,} parameters on {where}; "
        f"batches of {needs.batch_tokens:,} tokens",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("")
    for dtype in needs.devices:
        table.add_column(dtype, justify="right")
    table.add_column("what it is")
    for field, name, text in _ROWS:
        cells = (gigabytes(getattr(need, field)) for need in needs.devices.values())
        table.add_row(name, *cells, text)
    return table


def described(config: DecoderConfig) -> str:
    """A model in a line."""
    return (
        f"{config.family}: {config.layers} layers of width {config.width}, MLP {config.mlp_width}, "
        f"{config.heads} heads of {config.head_width} ({config.key_value_heads} for keys and "
        f"values), vocabulary {config.vocabulary}, context {config.context}; "
        f"{memory.parameters(config):,} parameters"
    )


def device_bytes(text: str) -> int:
    """``80`` or ``80GB``: bytes.

    Raises:
        UserError: no positive number.
    """
    try:
        size = float(text.upper().removesuffix("GB"))
    except ValueError:
        size = 0.0
    if not 0 < size < 1e6:
        raise UserError(f"--device-memory {text!r} should be a number of GB, such as 80")
    return int(size * 1e9)
