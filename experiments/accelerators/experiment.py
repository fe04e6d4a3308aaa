"""A layer of GPT-J-6B and Llama-2-7B compiled for TPUs, and what a search would take there.

Nothing is run on an accelerator: all figures are predictions, from what the compiler says of the
programs (TPU) or from a roofline of the same operations and bytes (H100).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
from rich.table import Table

from experiments.accelerators.compiled import (
    Placing,
    Program,
    Sizes,
    compiler_at_hand,
    engine_programs,
)
from experiments.accelerators.machines import MACHINES, Machine, models
from experiments.accelerators.prediction import (
    Layer,
    Workload,
    seconds_of_layer,
    seconds_of_search,
    share_of_peak,
)
from experiments.common.scaffold import Experiment, Record, Study, table
from jaxsvd.devices.sharding import ONE
from jaxsvd.engine.limits import Limits, layer_bytes
from jaxsvd.engine.memory import weight_bytes
from jaxsvd.models.config import DecoderConfig
from jaxsvd.runs.directory import write_whole
from jaxsvd.runtime.errors import UserError

ROW, PREFIX = 128, 256
"""Tokens of a row, and of the demonstrations that all rows share (padded)."""

PREDICTED = (
    "Predictions: no accelerator has run this. TPU figures are those of the compiler, the H100's "
    "of a roofline (the operations and bytes of the TPU's program at NVIDIA's published rates)."
)


def check(options: object) -> None:
    """Refuse where there is no compiler."""
    if not compiler_at_hand():
        raise UserError("there is no TPU compiler here; pip install 'jaxsvd[aot]'")


def sizes_of(config: DecoderConfig, machine: Machine) -> Sizes:
    """The batch that the engine would choose on a device of this memory."""
    limits = Limits.of_accelerator(machine.memory, machine.axes)
    tokens = limits.fitted(config, ROW + PREFIX, machine.axes).batch_tokens
    return Sizes(rows=tokens // ROW, tokens=ROW, reads=12, prefix=PREFIX)


def layer_of(program: Program, sizes: Sizes) -> Layer:
    """What is kept of a compiled layer."""
    memory = program.executable.memory_analysis()
    return Layer(
        tokens=sizes.rows * sizes.tokens,
        operations=float(program.cost["flops"]),
        bytes=float(program.cost["bytes accessed"]),
        cycles=program.estimated_cycles,
        arguments=memory.argument_size_in_bytes,
        temporary=program.temporary_bytes,
        collectives=len(program.collectives),
    )


def compile_layer(config: DecoderConfig, machine: Machine) -> dict[str, Any]:
    """The layer for a machine; for one without a compiler that of its nearest TPU, no cycles."""
    nearest = machine.topology or "v5p:2x2x1"
    sizes, placing = sizes_of(config, machine), Placing.of(nearest, machine.axes)
    (program,) = engine_programs(config, jnp.bfloat16, placing, sizes, names=("layer",))
    record = asdict(layer_of(program, sizes))
    return record if machine.topology else record | {"cycles": None}


def line_of(config: DecoderConfig, name: str, machine: Machine, layer: Layer) -> Record:
    """A line of the table."""
    seconds, bound = seconds_of_layer(layer, machine)
    weights = weight_bytes(config, "bfloat16", machine.axes.model)
    limits = Limits.of_accelerator(machine.memory, machine.axes)
    stream = limits.stream_bytes // machine.axes.data
    estimate = layer_bytes(
        config, layer.tokens // machine.axes.data, ROW + PREFIX, machine.axes.model
    )
    return {
        "model": name,
        "machine": machine.name,
        "layer": asdict(layer),
        "seconds_of_a_layer": seconds,
        "bound": bound,
        "share_of_peak": share_of_peak(layer, machine),
        "seconds_of_a_search": {
            "middle layer": seconds_of_search(config, layer, machine, Workload()),
            "first layer": seconds_of_search(config, layer, machine, Workload(), Fraction(0)),
        },
        "bytes": {
            "weights": weights,
            "stream at most": stream,
            "two batches, compiled": 2 * layer.temporary,
            "a batch, estimated": estimate,
            "device": machine.memory,
        },
        "fits": weights + stream + 2 * layer.temporary < machine.memory,
    }


def study(study: Study) -> Record:
    """Every model on every machine."""
    lines = []
    chosen: Sequence[Machine] = MACHINES
    if study.quick:
        chosen = [m for m in MACHINES if m.axes == ONE and m.topology and "v5e" in m.name]
    for name, config in models().items():
        for machine in chosen:
            unit = {"model": name, "machine": machine.name}
            compiled = study.once(unit, lambda c=config, m=machine: {"layer": compile_layer(c, m)})
            lines.append(line_of(config, name, machine, Layer(**compiled["layer"])))
    write_whole(study.path / "table.md", markdown(lines))
    return {"note": PREDICTED, "workload": asdict(Workload()), "lines": lines}


COLUMNS = (
    "machine", "GB read and written", "TFLOP", "Mcycles", "ms", "bound", "share of peak",
    "search, middle layer: s", "first layer: s", "weights GB", "temporary GB", "fits",
)  # fmt: skip


def cells(line: Record) -> list[str]:
    """Of a line, as text."""
    layer, search = line["layer"], line["seconds_of_a_search"]
    cycles = layer["cycles"]
    return [
        f"{line['model']}, {line['machine']}",
        f"{layer['bytes'] / 1e9:.2f}",
        f"{layer['operations'] / 1e12:.2f}",
        "-" if cycles is None else f"{cycles / 1e6:.1f}",
        f"{1e3 * line['seconds_of_a_layer']:.1f}",
        line["bound"],
        f"{line['share_of_peak']:.2f}",
        f"{search['middle layer']:.0f}",
        f"{search['first layer']:.0f}",
        f"{line['bytes']['weights'] / 1e9:.1f}",
        f"{layer['temporary'] / 1e9:.2f}",
        "yes" if line["fits"] else "no",
    ]


def markdown(lines: Iterable[Record]) -> str:
    """The table as docs/accelerators.md has it."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(cells, lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def report(result: Record) -> Iterable[Table | str]:
    """The note and the table."""
    yield result["note"]
    title = "a layer over one batch, each device; a search of 8,000 + 59,339 prompts"
    yield table(title, COLUMNS, map(cells, result["lines"]))


EXPERIMENT = Experiment(
    "accelerators",
    "Layers of GPT-J-6B and Llama-2-7B compiled for TPUs that are not there; a search predicted.",
    study,
    report,
    check=check,
)
