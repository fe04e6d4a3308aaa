"""The implicit weight update of a real model's blocks, by layer, and what truncation does to it.

``python -m experiments.implicit_updates [MODEL] [--task NAME] [--shots N] [--validation-size N]
[--rates R ...] [--quick] [--seed N] [--out RUN] [--resume]``. Each question is run with its
demonstrations and without. In every layer dW = (W dz) z^T / |z|^2 makes the block without them give
what it gives with them, exactly, for softmax attention and any MLP (Dherin et al., 2025;
:mod:`theory.blocks`); what goes around the MLP is a bias. Told by layer: how large dW is beside W,
how many directions the updates of different questions have (effective rank), how much one shared
dW, fitted to half of the questions, misses on the other half, and all of that with the layer's MLP
or attention truncated.
"""

import argparse
import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study
from experiments.implicit_updates.report import draw, report
from experiments.implicit_updates.streams import (
    BlockReading,
    first_matrices,
    reading,
    streams,
    truncated,
    with_first_matrices,
)
from experiments.language import units
from experiments.language.setting import config_of
from jaxsvd import tasks
from jaxsvd.cli import options
from jaxsvd.cli.arguments import task_of
from jaxsvd.model import Model
from jaxsvd.models.decoder import Block
from jaxsvd.runtime.errors import UserError
from jaxsvd.score import model_record
from theory import blocks

QUESTIONS, QUICK_QUESTIONS = 64, 12
RATES = (0.5, 0.9, 0.99)
MODULES = ("mlp", "attn")


def prompts_of(model: Model, options: argparse.Namespace, count: int) -> list[tuple[Any, Any]]:
    """Tokens of each question with its demonstrations, and without.

    Raises:
        UserError: a task without demonstrations, or prompts longer than the model's context.
    """
    prepared = tasks.prepare(
        task_of(options.task, options.model),
        data=options.data,
        shots=options.shots,
        seed=options.seed,
        validation_size=count,
        protocol=options.protocol,
    )
    if not prepared.shots:
        raise UserError("--shots 0 leaves no context whose update could be measured; try 4")
    pairs = []
    for question in prepared.validation[:count]:
        whole, alone = (
            np.asarray(model.tokenizer(text)["input_ids"])
            for text in (question.prompt, question.query)
        )
        if len(whole) > model.config.context:
            raise UserError(
                f"a prompt has {len(whole)} tokens, the model's context {model.config.context}; "
                "try fewer --shots"
            )
        pairs.append((whole, alone))
    return pairs


def relative(change: float, size: float) -> float:
    """A norm beside another; 0 over 0 is 0."""
    return change / size if size > 0 else 0.0


def of_layer(
    weights: Sequence[np.ndarray],
    with_context: Sequence[BlockReading],
    alone: Sequence[BlockReading],
) -> Record:
    """One layer's updates over all questions; the first matrices one above the other."""
    stacked = np.concatenate(weights).astype(np.float64)
    contextual, plain = (
        np.stack([one.read for one in rows]).astype(np.float64) for rows in (with_context, alone)
    )
    updates = [blocks.token_update(stacked, c, p) for c, p in zip(contextual, plain, strict=True)]
    moved = [
        (float(np.linalg.norm(c.attended - p.attended)), float(np.linalg.norm(c.attended)))
        for c, p in zip(with_context, alone, strict=True)
    ]
    shared = blocks.shared_update(stacked, contextual, plain)
    half = len(plain) // 2
    fitted = blocks.shared_update(stacked, contextual[:half], plain[:half]).update
    missed = blocks.unexplained(fitted, stacked, contextual[half:], plain[half:])
    size = float(np.linalg.norm(stacked))
    return {
        "update": float(np.mean([relative(float(np.linalg.norm(u)), size) for u in updates])),
        "bias": float(np.mean([relative(change, whole) for change, whole in moved])),
        "effective_rank": blocks.effective_rank(np.mean(updates, axis=0)),
        "shared_rank": shared.effective_rank,
        "shared": relative(float(np.linalg.norm(shared.update)), size),
        "unexplained": missed,
    }


def exactness(model: Model, layer: int, contextual: BlockReading, plain: BlockReading) -> float:
    """How far the changed MLP without context is from the MLP with it, over the latter's size."""
    block = model.decoder.blocks[layer]
    weights = first_matrices(block)
    changes = blocks.block_update(
        weights, contextual.read, plain.read, contextual.attended, plain.attended
    )
    pairs = zip(weights, changes.matrices, strict=True)
    mlp = with_first_matrices(block, tuple((w + d).astype(np.float32) for w, d in pairs))
    answer = np.asarray(mlp(jnp.asarray(plain.read)))
    return float(np.abs(answer - contextual.output).max() / np.abs(contextual.output).max())


def measure_layer(
    model: Model, layer: int, before: Sequence[Sequence[Any]], rates: Sequence[float]
) -> Record:
    """A layer untouched, and with each module truncated at each rate.

    Args:
        model: whose.
        layer: which.
        before: the streams before it, of every question with its context and without.
        rates: clipping rates.
    """

    def both(chosen: Block) -> tuple[list[BlockReading], list[BlockReading]]:
        with_context, alone = (
            [reading(model.decoder, chosen, pair[side]) for pair in before] for side in (0, 1)
        )
        return with_context, alone

    block = model.decoder.blocks[layer]
    with_context, alone = both(block)
    rows = [{"module": "none", "rate": 0.0, **of_layer(first_matrices(block), with_context, alone)}]
    for module in MODULES:
        for rate in rates:
            cut = truncated(model.decoder, layer, module, rate)
            # The MLP's truncation moves nothing that it reads; attention's may.
            pair = (with_context, alone) if module == "mlp" else both(cut)
            rows.append({"module": module, "rate": rate, **of_layer(first_matrices(cut), *pair)})
    errors = [
        exactness(model, layer, c, p) for c, p in zip(with_context[:4], alone[:4], strict=True)
    ]
    return {"layer": layer, "rows": rows, "error": max(errors)}


def study(study: Study) -> Record:
    """Every layer, over the same questions."""
    model = units.load(study)
    count = study.options.validation_size or (QUICK_QUESTIONS if study.quick else QUESTIONS)
    rates = study.options.rates or (RATES[1:2] if study.quick else RATES)
    prompts = prompts_of(model, study.options, count)
    kept: list[list[Any]] = []
    with study.progress.bar("questions", len(prompts), "questions") as advance:
        for pair in prompts:
            kept.append([streams(model.decoder, tokens) for tokens in pair])
            advance(1)
    layers = []
    with study.progress.bar("layers", model.config.layers, "layers") as advance:
        for layer in range(model.config.layers):
            unit = {"layer": layer}
            before = [[side[layer] for side in pair] for pair in kept]
            measure = functools.partial(measure_layer, model, layer, before, rates)
            layers.append(study.once(unit, measure))
            advance(1)
    return {
        "model": model_record(model).to_json(),
        "parallel": model.config.parallel,
        "task": task_of(study.options.task, study.options.model),
        "questions": len(prompts),
        "context_tokens": float(np.mean([len(whole) - len(alone) for whole, alone in prompts])),
        "layers": layers,
    }


def check(options: argparse.Namespace) -> None:
    """Refuse a model that is none."""
    config_of(options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The experiment's own options."""
    parser.add_argument("--shots", type=options.size, metavar="N", help="demonstrations in all")
    parser.add_argument(
        "--rates", type=float, nargs="+", metavar="R", help="clipping rates (.5 .9 .99)"
    )


EXPERIMENT = Experiment(
    "implicit_updates",
    "The context as a change of the MLP's first weights, by layer, exact for real blocks.",
    study,
    report,
    {"updates.png": draw},
    add_options,
    check,
    parents=(options.model_options(), options.task_options()),
)
