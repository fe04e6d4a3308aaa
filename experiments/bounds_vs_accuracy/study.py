"""Language models: options, units of work, and result.json."""

import argparse
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from experiments.bounds_vs_accuracy import predictors, trajectories
from experiments.bounds_vs_accuracy.conclusions import conclude, with_bound_changes
from experiments.bounds_vs_accuracy.questions import COPYING, Design, make_draw
from experiments.bounds_vs_accuracy.truncated import LanguageBench, Untouched
from experiments.common.records import Record
from experiments.common.scaffold import Study, whole
from experiments.language import setting as settings
from experiments.language.setting import Setting, TaskSetting
from experiments.language.units import load
from experiments.linear_functions.trained import load as kept_weights
from jaxsvd.cli import options
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError
from jaxsvd.score import model_record

KINDS = ("language", "linear", "linear-functions")
MODULES = ("mlp", "attn", "q_proj", "k_proj", "v_proj")
SEEDS, QUICK_SEEDS = 5, 2
VALIDATION, TEST = 200, 600
"""Questions of the bundled task; of others as many as `jaxsvd search` takes."""

QUICK_RATES = (0.0, 0.5, 0.9, 0.99)
BOUNDS = ("theorem 2", "lemma 6")
SETTINGS = ("as printed", "relative ridge", "fixed noise")


def parents() -> tuple[argparse.ArgumentParser, ...]:
    """Parsers of the shared options."""
    return (
        options.model_options(),
        options.task_options(several=True),
        options.grid_options(
            "layers",
            "modules",
            "rates",
            "seeds",
            layers="all; quick: the first and the last",
            modules=" ".join(MODULES),
            seeds="0 1 2 3 4; quick: 0 1",
        ),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The experiment's own options."""
    parser.add_argument(
        "--model",
        dest="kind",
        choices=KINDS,
        default="language",
        help="language (MODEL as below); linear: linear transformers trained here; "
        "linear-functions: MODEL is a run of experiments.linear_functions",
    )
    parser.add_argument("--shots", type=options.size, metavar="N", help="demonstrations in all")
    parser.add_argument("--test-size", type=options.size, metavar="N")
    parser.add_argument("--supersamples", type=whole(2), metavar="Z", help="a seed (8; quick: 4)")
    parser.add_argument(
        "--masks", type=whole(1), metavar="M", help="of each supersample (4; quick: 2)"
    )
    parser.add_argument(
        "--prompts", type=whole(2), metavar="P", help="a seed, whose norms are taken (10; quick: 4)"
    )
    parser.add_argument(
        "--subsample", type=whole(1), metavar="B", help="b of the bounds' noise (half the shots)"
    )


ONLY_LANGUAGE = (
    *("tasks", "data", "layers", "modules", "rates", "shots", "validation_size", "test_size"),
    *("subsample", "revision"),
)


def seeds_of(parsed: argparse.Namespace, usual: int, quick: int) -> list[int]:
    """The seeds that were asked for, each once, or so many from ``--seed`` on."""
    given = options.joined(parsed.seeds)
    if given is not None:
        return list(dict.fromkeys(given))
    return list(range(parsed.seed, parsed.seed + (quick if parsed.quick else usual)))


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be done, before anything is written."""
    if options.kind == "language":
        resolve(options)
        return
    for name in ONLY_LANGUAGE:
        if getattr(options, name) is not None:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} is for language models; --model {options.kind} has its own")
    if options.kind == "linear":
        if options.model is not None:
            raise UserError("--model linear trains its own; leave MODEL out")
    elif options.model is None:
        raise UserError("--model linear-functions needs RUN, a run of experiments.linear_functions")
    else:
        kept_weights(options.model)


def resolve(options: argparse.Namespace) -> Setting:
    """The setting of a language model."""
    if options.protocol != "clean":
        raise UserError("demonstrations are asked again with --protocol clean only")
    own = argparse.Namespace(**vars(options))
    own.seeds = [seeds_of(own, SEEDS, QUICK_SEEDS)]
    if own.quick and own.rates is None:
        own.rates = [QUICK_RATES]
    setting = settings.setting(
        own,
        settings.config_of(own),
        layers=lambda layers: (0, layers - 1) if own.quick else range(layers),
        modules=MODULES[:2] if own.quick else MODULES,
        quick_size=100,
    )
    if not any(rate > 0 for rate in setting.rates):
        raise UserError("--rates should hold at least one above 0: nothing would be truncated")
    if len(setting.layers) * len(setting.modules) < 2:
        raise UserError("nothing to compare: --layers and --modules should make two pairs or more")
    return setting


def design_of(options: argparse.Namespace) -> Design:
    """Supersamples that were asked for."""
    usual = (4, 2) if options.quick else (8, 4)
    return Design(options.supersamples or usual[0], options.masks or usual[1])


def study(study: Study) -> Record:
    """Every task: cells by seed and layer, then what they say."""
    options = study.options
    setting, model = resolve(options), load(study)
    result: Record = {"untouched": [], "cells": [], "studies": {}, "tasks": {}}
    for task in setting.tasks:
        sized = setting
        if task.task == "bundled" and not options.quick:
            draw = dict(setting.draw)
            draw["validation_size"] = draw["validation_size"] or VALIDATION
            draw["test_size"] = draw["test_size"] or TEST
            sized = dataclasses.replace(setting, draw=draw)
        untouched, cells, drawn = _task(study, model, sized, task)
        result["untouched"] += untouched
        result["cells"] += cells
        result["tasks"][task.name] = drawn
        result["studies"][task.name] = conclude(
            cells,
            study.progress,
            one_model=True,
            bounds=[f"{name}, {kind}" for name in BOUNDS for kind in SETTINGS],
            seed=study.seed,
        )
    design = design_of(options)
    return {
        "kind": "language",
        "model": model_record(model).to_json(),
        "setting": {
            "b": options.subsample or "half the shots",
            "ridge": f"{predictors.RIDGE:g} of tr C over all D^2 directions",
            "supersamples": design.supersamples,
            "masks": design.masks,
        },
        "caveats": [COPYING, *CAVEATS],
        **result,
    }


CAVEATS = (
    "Theorem 2 and Lemma 6 are of the linearised trajectory (attention's Jacobian in the last "
    "token, keys and values held, no MLP), each prompt a replicate; softmax stacks are not "
    "covered by the theorems, so these are predictors, not bounds.",
    "Supersamples come from other examples than the test set's; f-CMI and e-CMI are estimated "
    "from few masks (they can err to either side). What is plainly measured on the supersamples "
    "stands beside the bounds: they have to beat that.",
    "All seeds share one model: the independent units are its (module, layer) pairs.",
)


def _task(
    study: Study, model: Model, setting: Setting, task: TaskSetting
) -> tuple[list[Record], list[Record], Record]:
    """Untouched cells, truncated cells, and the task as it was drawn."""
    bench = functools.cache(functools.partial(_bench, study, model, setting, task))
    untouched, cells = [], []
    drawn: Mapping[str, Any] = {}
    with study.progress.bar(
        task.name, len(task.seeds) * (2 * len(setting.layers) + 1), "units"
    ) as advance:
        for seed in task.seeds:

            def base(seed: int = seed) -> Record:
                one = bench(seed)
                return {**one.untouched().record(), "drawn": one.draw.task}

            unit = {"task": task.name, "seed": seed}
            measured = study.once(unit | {"untouched": True}, base)
            advance(1)
            drawn = drawn or measured["drawn"] | {"seed": list(task.seeds)}
            before = Untouched.of(measured)
            untouched.append(unit | before.cell)
            own = []
            for layer in setting.layers:

                def measured_cells(
                    seed: int = seed, layer: int = layer, before: Untouched = before
                ) -> Record:
                    grid = layer, setting.modules, setting.rates
                    return {"cells": bench(seed).measured(*grid, before)}

                def predicted_cells(
                    seed: int = seed, layer: int = layer, before: Untouched = before
                ) -> Record:
                    grid = layer, setting.modules, setting.rates
                    return {"cells": bench(seed).predicted(*grid, before)}

                record = study.once(unit | {"layer": layer, "part": "measured"}, measured_cells)
                advance(1)
                said = study.once(unit | {"layer": layer, "part": "predicted"}, predicted_cells)
                advance(1)
                pairs = zip(record["cells"], said["cells"], strict=True)
                own += [unit | cell | predicted for cell, predicted in pairs]
            cells += with_bound_changes(own, before.cell)
    return untouched, cells, dict(drawn)


def _bench(
    study: Study, model: Model, setting: Setting, task: TaskSetting, seed: int
) -> LanguageBench:
    options = study.options
    draw = make_draw(model, setting, task, seed, design_of(options), study.progress)
    for notice in draw.notices:
        study.progress.notice(notice)
    count = options.prompts or (4 if options.quick else 10)
    prompts = trajectories.chosen_prompts(model, draw, count)
    b = options.subsample or max(1, draw.shots // 2)
    if b >= draw.shots:
        raise UserError(f"--subsample {b} should be below the {draw.shots} shots")
    return LanguageBench(model, model.engine, draw, prompts, b)
