"""Validation accuracy by depth, module and clipping rate (Fig. 1 of arXiv 2406.03768).

The paper's layers are the first two and the last two, its modules the MLP and attention; one seed
there, several here, with their spread beside the binomial interval of each.
"""

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from experiments.common.scaffold import Experiment, Record, Study
from experiments.language import drawing, tables, units
from experiments.language.setting import Setting, config_of, parents, rehearse, setting
from jaxsvd.models.config import DecoderConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(options, config)


def check(options: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(options, config_of(options)), lambda task: options.shots)


def study(study: Study) -> Record:
    """A sweep of each task and draw."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    done = [
        units.sweep(study, model, setting, task, seed)
        for task in setting.tasks
        for seed in task.seeds
    ]
    return units.gathered(model, done)


def report(result: Record) -> Iterable[Table | str]:
    """Mean accuracies by layer and rate, and what of them is beyond noise."""
    yield from tables.heading(result)
    yield from tables.rate_tables(result["points"])
    yield from tables.findings(result)


def draw(result: Mapping[str, Any]) -> "Figure":
    """A panel each layer; a map where there are many."""
    layers = {point["layer"] for point in result["points"]}
    if len(layers) > drawing.MOST_PANELS:
        return drawing.maps(result)
    return drawing.panels(result, "layer")


EXPERIMENT = Experiment(
    "depth_sweep",
    "Accuracy by layer, module and clipping rate, over several draws (Fig. 1).",
    study,
    report,
    {"depth.png": draw},
    check=check,
    parents=parents("layers", "modules", "rates", layers="the first and last two"),
)
