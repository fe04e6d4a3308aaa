"""Tables and sentences of ``linear_functions``, from its result.json."""

from collections.abc import Iterable

from rich.table import Table

from experiments.common.records import Record
from experiments.common.scaffold import table
from experiments.linear_functions.measuring import verdict
from experiments.linear_functions.prompts import expected_error

LEARNT = 0.2
"""Error at 2 d examples below which a transformer has learnt to regress."""


def report(result: Record) -> Iterable[Table | str]:
    """Fig. 5 as a table, the truncated layers as another, and the answer in words."""
    size, curves = result["size"], result["curves"]
    shown = _shown(size)
    yield table(
        f"normalised squared error by examples, d = {size['d']}, {result['prompts']:,} prompts "
        "(+- standard error)",
        ["", *(str(n) for n in shown)],
        [
            *([f"after {curve['steps']:,} steps", *_cells(curve, shown)] for curve in curves),
            *([name, *_cells(curve, shown)] for name, curve in result["baselines"].items()),
            *(
                [f"{name}, exact", *(f"{expected_error(name, n, size['d']):.3f}" for n in shown)]
                for name in result["baselines"]
            ),
        ],
    )
    yield _training(result)
    yield _learnt(result)
    yield _truncation_table(result)
    yield from _answer(result)


def _shown(size: Record) -> list[int]:
    d, last = size["d"], size["points"] - 1
    return sorted({n for n in (0, 1, d // 2, d, 3 * d // 2, 2 * d, last) if n <= last})


def _cells(curve: Record, shown: list[int]) -> list[str]:
    return [f"{curve['error'][n]:.3f} +- {curve['standard_error'][n]:.2g}" for n in shown]


def _training(result: Record) -> str:
    training, steps = result["training"], result["size"]["steps"]
    seconds = training["seconds"]
    return (
        f"trained {steps:,} steps of {result['size']['batch']} prompts in {seconds / 60:.1f} min "
        f"({steps / seconds:.1f} steps/s, {training['cpu_seconds'] / 60:.1f} min of processors)"
    )


def _learnt(result: Record) -> str:
    size, curve = result["size"], result["curves"][-1]
    at = min(2 * size["d"], size["points"] - 1)
    text = f"error {curve['error'][at]:.4f} +- {curve['standard_error'][at]:.2g}"
    if curve["error"][at] < LEARNT:
        return f"has learnt to regress: {text} at {at} examples (predicting 0: 1)"
    why = "quick: too short to learn" if result["options"]["quick"] else "more steps are needed"
    return f"has NOT learnt to regress: {text} at {at} examples (predicting 0: 1); {why}"


def _truncation_table(result: Record) -> Table:
    cells, last = result["truncation"], result["size"]["points"] - 1
    rates = sorted({cell["rate"] for cell in cells})
    rows: dict[tuple[int, str], dict[float, str]] = {}
    for cell in cells:
        text = f"{cell['error'][-1]:.4f}"
        if cell["rate"]:
            text += _mark(cell["last"])
        rows.setdefault((cell["layer"], cell["module"]), {})[cell["rate"]] = text
    return table(
        f"error at {last} examples with one layer's module truncated, by clipping rate "
        "(- lower, + higher than untouched beyond noise, corrected)",
        ["layer", "module", *(f"{rate:g}" for rate in rates)],
        (
            [str(layer), module, *(cells_of[rate] for rate in rates)]
            for (layer, module), cells_of in sorted(rows.items(), key=lambda row: row[0][::-1])
        ),
    )


def _mark(tested: Record) -> str:
    if tested["adjusted"] >= 0.05:
        return "  "
    return " -" if tested["difference"] < 0 else " +"


def _answer(result: Record) -> Iterable[str]:
    cells, last = result["truncation"], result["size"]["points"] - 1
    for measure, where in (("last", f"at {last} examples"), ("mean", "on average over the points")):
        by_sign = verdict(cells, measure)
        better, worse, neither = (len(by_sign[name]) for name in ("better", "worse", "neither"))
        count = better + worse + neither
        yield (
            f"{where}: of {count} truncations {better or 'none'} "
            f"{'lowers' if better <= 1 else 'lower'} the error beyond noise, {worse} raise it, "
            f"{neither} cannot be told apart (5 % over all cells, Holm)"
        )
    if twins := _twins(cells):
        yield f"rates that keep the same rank, and so are one truncation: {twins}"
    yield _confirmed(result["confirmed"])
    if result["curves"][-1]["error"][-1] >= LEARNT:
        yield "the transformer has not learnt: what truncation does to it says little"


def _twins(cells: list[Record]) -> str:
    by_rank: dict[int, set[float]] = {}
    for cell in cells:
        if cell["rate"]:
            by_rank.setdefault(cell["rank"], set()).add(cell["rate"])
    groups = (sorted(rates) for rates in by_rank.values() if len(rates) > 1)
    return "; ".join(", ".join(f"{rate:g}" for rate in group) for group in groups)


def _confirmed(test: Record) -> str:
    low, high = test["interval"]
    what = f"rate {test['rate']:g} on {test['module']} of layer {test['layer']}"
    if high < 0:
        holds = "it lowers the error there too"
    elif low > 0:
        holds = "there it raises the error"
    else:
        holds = "there it makes no difference beyond noise"
    return (
        f"the least error: {what}; on as many other prompts {test['base']:.5f} -> "
        f"{test['truncated']:.5f}, difference {test['difference']:+.2g} "
        f"[{low:+.2g}, {high:+.2g}], {test['difference'] / test['base']:+.2%}: {holds}"
    )
