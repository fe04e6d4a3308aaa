"""Train the bundled model: a small GPT-J that learns in context, in minutes on two cores.

``python -m experiments.train_bundled_model [--quick] [--seed N] [--steps N] [--out RUN]
[--resume]``. A run directory holds ``run.json`` (the settings), ``metrics.jsonl``,
``checkpoint.npz``, and in the end ``model/`` (Hugging Face layout), ``result.json`` and
``learning_curve.png``.
"""

import argparse
import dataclasses
import datetime
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.train_bundled_model import tokenizer
from experiments.train_bundled_model.checkpoint import (
    EVERY,
    restore_checkpoint,
    save_checkpoint,
    trim_metrics,
)
from experiments.train_bundled_model.measure import draw_curve, measure
from experiments.train_bundled_model.training import HF_CONFIG, Plan, Stage, State, make_step, start
from jaxsvd.checkpoints.export import save_decoder
from jaxsvd.model import load
from jaxsvd.models.families.gptj import GPTJ
from jaxsvd.runs.directory import RESULT, Run, pretty, surroundings, write_whole
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress, TerminalProgress
from jaxsvd.score import model_record
from jaxsvd.tasks.bundled import SHOTS, prepare

STAGES = (
    Stage(steps=300, rows=64, examples=6, shortest=3, longest=4, noise=0.0, scaffold=1.0),
    Stage(steps=300, rows=64, examples=9, scaffold=0.3),
    Stage(steps=200, rows=32, examples=17),
)
PLAN = Plan(STAGES)
QUICK_PLAN = Plan(tuple(dataclasses.replace(stage, rows=8) for stage in STAGES)).scaled(50)


def train(
    plan: Plan,
    out: Path,
    *,
    hf_config: dict[str, Any] = HF_CONFIG,
    resume: bool = False,
    every: int = EVERY,
    progress: Progress = SILENT,
    after_step: Callable[[int], None] = lambda step: None,
) -> tuple[nnx.GraphDef, State, float]:
    """Train to the end of the plan, from a run's last checkpoint where it has one.

    Args:
        plan: what to train.
        out: a new run directory, or with ``resume`` an existing one of the same plan.
        hf_config: shape of the model.
        resume: go on with an existing run.
        every: steps between checkpoints and lines of metrics.
        progress: where to show it.
        after_step: called with the number of steps done.

    Returns:
        The model's structure, the last state, and the seconds of training over all resumptions.

    Raises:
        UserError: the directory exists (without ``resume``), or is a run of other settings.
    """
    settings = {"plan": dataclasses.asdict(plan), "config": hf_config, "every": every}
    Run.open(out, settings, resume=resume)
    checkpoint, metrics_file = out / "checkpoint.npz", out / "metrics.jsonl"
    graph, state = start(plan, hf_config)
    seconds = 0.0
    if checkpoint.exists():
        state, seconds = restore_checkpoint(state, checkpoint)
    first = int(state.step)
    trim_metrics(metrics_file, first)
    step_function = make_step(plan, graph)
    recent = []
    began = time.perf_counter()
    with progress.bar("training", plan.steps, "steps") as advance:
        advance(first)
        for step in range(first, plan.steps):
            stage = plan.stage(step)
            state, metrics = step_function(
                state, stage.difficulty, jnp.float32(stage.scaffold), stage.rows, stage.examples
            )
            recent.append(metrics)
            jax.block_until_ready(state)  # so that the bar is true, and Ctrl-C waits for a step
            done = step + 1
            if done % every == 0 or done == plan.steps:
                _append_metrics(metrics_file, done, recent)
                recent = []
                save_checkpoint(state, seconds + time.perf_counter() - began, checkpoint)
            advance(1)
            after_step(done)
    return graph, state, seconds + time.perf_counter() - began


def _append_metrics(path: Path, step: int, recent: list[Any]) -> None:
    # Means over the steps since the last line that have its batch shape (its stage).
    examples = recent[-1].accuracy.shape
    same = [m for m in recent if m.accuracy.shape == examples]
    mean = jax.tree.map(
        lambda *x: np.mean(np.stack(x), axis=0, dtype=float).round(5).tolist(), *same
    )
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step} | mean._asdict()) + "\n")


def export(graph: nnx.GraphDef, state: State, directory: Path) -> None:
    """Write the model in float16 with its tokenizer, replacing an earlier export of the run."""
    half = jax.tree.map(lambda x: x.astype(jnp.float16), state.parameters)
    if directory.exists():
        shutil.rmtree(directory)
    save_decoder(nnx.merge(graph, half), GPTJ, HF_CONFIG, directory)
    tokenizer.save(directory, HF_CONFIG["n_positions"])


def run(arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Train, export, measure; the contents of result.json."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    began = time.perf_counter()
    plan = QUICK_PLAN if arguments.quick else PLAN
    plan = dataclasses.replace(plan, seed=arguments.seed)
    if arguments.steps is not None:
        plan = plan.scaled(arguments.steps)
    out = arguments.out
    graph, state, seconds = train(plan, out, resume=arguments.resume, progress=progress)
    export(graph, state, out / "model")
    model = load(out / "model")
    size = 100 if arguments.quick else 2_000
    measured = measure(model, seed=arguments.task_seed, size=size, curve_size=size // 2)
    result = {
        "command": ["python", "-m", "experiments.train_bundled_model.experiment", *sys.argv[1:]],
        # The file holds float16; it is measured as users load it.
        "model": model_record(model).to_json()
        | {"bytes": sum(f.stat().st_size for f in (out / "model").iterdir())},
        "task": {
            "name": "bundled",
            "source": "bundled",
            "shots": SHOTS,
            "seed": arguments.task_seed,
            "validation_size": measured["validation"]["total"],
            "test_size": measured["test"]["total"],
            "labels": list(prepare(seed=arguments.task_seed).labels),
        },
        "steps": plan.steps,
        **measured,
        "started": started,
        "seconds": {"total": time.perf_counter() - began, "training": seconds},
    } | surroundings()
    write_whole(out / RESULT, pretty(result))
    try:
        draw_curve(out / "metrics.jsonl", out / "learning_curve.png")
    except ModuleNotFoundError:
        progress.notice("no learning_curve.png: matplotlib is missing; install jaxsvd[figures]")
    return result


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="train_bundled_model", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a token run of 50 small steps")
    parser.add_argument("--seed", type=int, default=0, help="of weights and episodes")
    parser.add_argument("--task-seed", type=int, default=0, help="of the task measured at the end")
    parser.add_argument("--steps", type=int, help=f"in all, shared by the stages ({PLAN.steps})")
    parser.add_argument("--out", type=Path, default=Path("runs/bundled_model"), metavar="RUN")
    parser.add_argument("--resume", action="store_true", help="go on with an existing run")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    arguments = parser().parse_args(argv)
    progress = TerminalProgress()
    try:
        if arguments.seed < 0 or arguments.task_seed < 0:
            raise UserError("seeds should be 0 or more")
        if arguments.steps is not None and arguments.steps < 1:
            raise UserError(f"--steps {arguments.steps} should be 1 or more")
        result = run(arguments, progress)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; go on with --resume --out {arguments.out}", file=sys.stderr)
        return 130
    names = ("test", "zero_shot", "permuted")
    print(json.dumps({name: result[name]["accuracy"] for name in names}))
    return 0
