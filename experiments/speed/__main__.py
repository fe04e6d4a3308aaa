"""How fast the search is, beside the same work in torch.

``python -m experiments.speed [--family gptj|llama] [--quick] [--layers N] [--width N] ...`` builds
a random checkpoint and a fixed synthetic set and times, each in a process of its own and in turn:
torch as the reference scripts use it (one example at a time, scaled from a sample), torch in
batches (scaled likewise), torch with a prefix cache, torch with a prefix cache and everything
below the truncated layer shared; and ours with an empty compilation cache, with a filled one, and
again in the same process. All truncate and score; models are loaded and prompts encoded before.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.table import Table

from experiments.common import style
from experiments.common.scaffold import Experiment, Study, main, table, whole
from experiments.speed import processes, workload
from experiments.speed.workload import SIZES, ModelSize, SetSize
from jaxsvd.svd import RATES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]

TORCH = {
    "one": "torch, one example at a time",
    "batched": "torch, batched",
    "prefix": "torch, prefix cache",
    "branch": "torch, prefix cache and branching",
}
OURS = {
    "cold": "ours, empty compilation cache",
    "cached": "ours, new process, warm cache",
    "warm": "ours, warm",
}
SIZE_OPTIONS = ("layers", "width", "heads", "mlp", "vocabulary")
QUICK = {"layers": 6, "width": 128, "mlp": 512, "vocabulary": 8_000}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Size of the model and of the set."""
    parser.add_argument("--family", choices=tuple(SIZES), default="gptj")
    for name in SIZE_OPTIONS:
        parser.add_argument(f"--{name}", type=whole(1), metavar="N")
    parser.add_argument("--examples", type=whole(1), default=200, metavar="N")
    parser.add_argument("--repeats", type=whole(1), metavar="N", help="of every arm (5)")
    parser.add_argument("--sweep-examples", type=whole(1), metavar="N", help="(40)")


def model_size(options: argparse.Namespace) -> ModelSize:
    """The checkpoint asked for."""
    changes = {name: getattr(options, name) for name in SIZE_OPTIONS}
    if options.quick:
        changes = {name: changes[name] or QUICK.get(name) for name in SIZE_OPTIONS}
    return SIZES[options.family].resized(**changes)


def study(study: Study) -> Mapping[str, Any]:
    """All arms, interleaved; growth; the sweep."""
    options, size = study.options, model_size(study.options)
    examples = min(options.examples, 40) if study.quick else options.examples
    repeats = options.repeats or (1 if study.quick else 5)
    work = Path(tempfile.mkdtemp(prefix="jaxsvd-speed-"))
    try:
        model, task = work / "model", workload.write_task(work, SetSize(examples=400), study.seed)
        workload.write_model(model, size, study.seed)
        ours = _Ours(study, model, task, work, examples)
        ours("prompts", "--prompts", work / "prompts.json")
        arms = list(TORCH) if processes.has_torch() else []
        with study.progress.bar("timing", repeats * (len(arms) + 2) + 1, "processes") as advance:
            for repeat in range(repeats):
                ours(f"cold {repeat}", "--cache", work / f"cache-{repeat}")
                advance(1)
                ours(f"cached {repeat}", "--cache", work / f"cache-{repeat}", "--warm", 5)
                advance(1)
                for arm in arms:
                    _torch(study, model, work, arm, repeat)
                    advance(1)
            swept = options.sweep_examples or (10 if study.quick else 40)
            ours("sweep", "--sweep", size.layers, examples=swept)
            advance(1)
        growth = {} if study.quick else _growth(ours, study)
        return {
            **workload.description(size, SetSize(examples=examples)),
            "arms": _summary(study, repeats, arms),
            "sweep": study.once({"arm": "sweep"}, dict) | {"examples": swept},
            "growth": growth,
        }
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Ours:
    """Our arm, measured once for each name."""

    def __init__(self, study: Study, model: Path, task: Path, work: Path, examples: int) -> None:
        self.study, self.model, self.task, self.work = study, model, task, work
        self.examples = examples

    def __call__(self, name: str, *arguments: object, examples: int | None = None) -> Record:
        given = ("--examples", examples or self.examples, *arguments)
        return self.study.once(
            {"arm": name}, lambda: processes.measure("ours", self.model, self.task, *given)
        )


def _torch(study: Study, model: Path, work: Path, arm: str, repeat: int) -> Record:
    sample = {"one": 8, "batched": 16}.get(arm, 0)
    arguments = (model, work / "prompts.json", arm, *(("--sample", sample) if sample else ()))
    return study.once(
        {"arm": f"torch {arm} {repeat}"}, lambda: processes.measure("torch_arms", *arguments)
    )


def _growth(ours: _Ours, study: Study) -> Record:
    """Warm seconds as one of examples, rates and prefix length grows; layers swept."""
    n = ours.examples
    steps: dict[str, list[tuple[int, list[object], int | None]]] = {
        "examples": [(k, [], k) for k in (50, 100, 200, 400)],
        "rates": [(k, ["--rates", k], None) for k in (1, 2, 4, 8)],
        "shots": [(k, ["--shots", k], None) for k in (2, 4, 10, 20)],
    }
    layers = (1, 2, 4, 8)
    by_arm: Record = {}
    total = sum(map(len, steps.values())) + len(layers)
    with study.progress.bar("growth", total, "processes") as advance:
        for name, points in steps.items():
            by_arm[name] = []
            for k, arguments, examples in points:
                measured = ours(f"{name} {k}", *arguments, "--warm", 5, examples=examples or n)
                by_arm[name].append([k, min(measured["warm"]), measured["prefix"]])
                advance(1)
        by_arm["layers"] = []
        for k in layers:
            measured = ours(f"layers {k}", "--sweep", k, examples=min(n, 20))
            by_arm["layers"].append([len(measured["layers"]), measured["sweep"], 0])
            advance(1)
    return by_arm


def _summary(study: Study, repeats: int, arms: list[str]) -> Record:
    """Median, smallest and largest seconds of each arm, memory, and agreement with ours."""

    def unit(name: str) -> Record:
        return study.once({"arm": name}, dict)

    cold = [unit(f"cold {i}") for i in range(repeats)]
    cached = [unit(f"cached {i}") for i in range(repeats)]
    rows: Record = {
        "cold": _row([r["first"] for r in cold], cold),
        "cached": _row([r["first"] for r in cached], cached),
        "warm": _row([median(r["warm"]) for r in cached], cached),
    }
    rows["warm"]["peak"] = median(r["peak"] for r in cached)
    rows["warm"]["operations"] = cached[0]["operations"]
    for arm in arms:
        measured = [unit(f"torch {arm} {i}") for i in range(repeats)]
        rows[arm] = _row([r["search"] for r in measured], measured)
        same, total = processes.agree(cold[0]["predictions"], measured[0]["predictions"])
        rows[arm] |= {"agreeing": same, "compared": total}
    return rows


def _row(seconds: list[float], measured: list[Record]) -> Record:
    memory = median(r["memory"] for r in measured)
    return {"median": median(seconds), "all": sorted(seconds), "memory": memory}


def ratios(result: Record) -> list[tuple[str, float, str]]:
    """The figures of merit, and their goals."""
    arms, sweep = result["arms"], result["sweep"]
    warm = arms["warm"]
    useful = warm["operations"] / warm["median"] / warm["peak"]
    useful_sweep = sweep["operations"] / sweep["sweep"] / sweep["peak"]
    rows = []
    if "branch" in arms:
        best, one = arms["branch"]["median"], arms["one"]["median"]
        cells = 2 * len(sweep["layers"]) * len(RATES)
        reference = one / (result["set"]["examples"] * len(RATES)) * sweep["examples"] * cells
        rows = [
            ("warm against one-at-a-time torch", one / warm["median"], ">= 180"),
            ("warm against torch with prefix cache and branching", best / warm["median"], ">= 2.5"),
            ("cold against the same", best / arms["cold"]["median"], ">= 1"),
            (
                "new process, warm cache, against the same",
                best / arms["cached"]["median"],
                ">= 1.6",
            ),
            ("peak memory against the same", warm["memory"] / arms["branch"]["memory"], "<= 0.6"),
            (
                "sweep of all layers against one-at-a-time torch",
                reference / sweep["sweep"],
                ">= 40",
            ),
        ]
    return [
        *rows,
        ("useful operations over peak, search", useful, ">= 0.80"),
        ("useful operations over peak, sweep", useful_sweep, ">= 0.80"),
        ("sweep's time against its operations at 0.8 of peak", 0.8 / useful_sweep, "<= 1.15"),
    ]


def report(result: Record) -> Iterable[Table | str]:
    """Arms, figures of merit, growth."""
    arms, size = result["arms"], result["model"]
    yield (
        f"{size['family']}: {size['layers']} layers, width {size['width']}; "
        f"{result['set']['examples']} examples x {len(RATES)} rates, float32, "
        f"{result['device']['platform']}; sgemm peak {arms['warm']['peak'] / 1e9:,.0f} Gop/s"
    )
    warm = arms["warm"]["median"]
    yield table(
        "seconds of a search (truncation and scoring)",
        ("arm", "median", "least", "most", "x warm", "peak MB", "predictions as ours"),
        [
            (
                name,
                arms[key]["median"],
                arms[key]["all"][0],
                arms[key]["all"][-1],
                arms[key]["median"] / warm,
                arms[key]["memory"] / 1e6,
                f"{arms[key]['agreeing']}/{arms[key]['compared']}" if key in TORCH else "",
            )
            for key, name in (TORCH | OURS).items()
            if key in arms
        ],
    )
    yield table("figures of merit", ("figure", "measured", "goal"), ratios(result))
    for name, points in result["growth"].items():
        cells = ", ".join(f"{k}: {seconds:.3g} s" for k, seconds, _ in points)
        yield f"seconds by {name}  {cells}"
    if "branch" not in arms:
        yield "torch is not installed (jaxsvd[torch]): nothing to compare with"


def picture(result: Record) -> "Figure":
    """The arms on a log scale, and growth."""
    arms, names = result["arms"], TORCH | OURS
    keys = [key for key in names if key in arms][::-1]
    figure = style.figure(style.PAGE, 2.8)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    seconds = [arms[key]["median"] for key in keys]
    colours = [style.PALETTE[0] if key in OURS else style.PALETTE[1] for key in keys]
    # Points: the length of a bar would mean nothing on an axis without a zero.
    left.hlines(range(len(keys)), 0.5 * min(seconds), seconds, color="0.85", lw=0.8, zorder=0)
    left.scatter(seconds, range(len(keys)), color=colours, s=22)
    left.set_yticks(range(len(keys)), [names[key] for key in keys])
    left.set_xscale("log")
    left.set_xlim(0.5 * min(seconds), 3 * max(seconds))
    left.set_xlabel("seconds of a search, log scale")
    for y, value in enumerate(seconds):
        left.text(1.15 * value, y, f"{value:.3g}", va="center", fontsize=7)
    for (name, points), marker in zip(result["growth"].items(), style.MARKERS, strict=False):
        first = points[0]
        x, y = ([p[i] / first[i] for p in points] for i in (0, 1))
        right.plot(x, y, marker=marker, label=name)
    right.plot([1, 8], [1, 8], color="0.7", lw=0.8, ls="--")
    right.set_xscale("log", base=2)
    right.set_yscale("log", base=2)
    right.set_xlabel("times more")
    right.set_ylabel("times longer (dashed: linear)")
    if result["growth"]:
        right.legend()
    return figure


DRAWINGS: Mapping[str, Callable[[Record], "Figure"]] = {"speed.png": picture}
EXPERIMENT = Experiment(
    "speed",
    "How fast the search is, beside the same work in torch.",
    study,
    report,
    DRAWINGS,
    add_options,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
