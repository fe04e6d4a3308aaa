"""Algorithm 1 on single matrices of a given layer (App. B.3 of arXiv 2406.03768).

The paper truncates ``k_proj`` of layer 3 of GPT-J, where it finds next to nothing. ``--modules
every`` is each matrix of a layer.
"""

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from experiments.common.scaffold import Experiment, Record, Study
from experiments.language import drawing, tables, units
from experiments.language.searches import draw_tests, searches_of, summary_of, verdict
from experiments.language.setting import Setting, config_of, parents, rehearse, setting
from jaxsvd.models.config import DecoderConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODULE, LAYER = "k_proj", 3
"""The paper's."""


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(
        options, config, layers=lambda layers: (min(LAYER, layers - 1),), modules=(MODULE,)
    )


def check(options: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(options, config_of(options)), lambda task: options.shots)


def study(study: Study) -> Record:
    """A search of each task, layer, matrix and draw."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    done = [
        units.search(study, model, setting, task, seed, module, layer)
        for task in setting.tasks
        for layer in setting.layers
        for module in setting.modules
        for seed in task.seeds
    ]
    searches = searches_of(done)
    return units.gathered(model, done) | {
        "searches": searches,
        "summary": summary_of(searches),
    }


def report(result: Record) -> Iterable[Table | str]:
    """Validation by rate, the test sets, and what of them is beyond noise."""
    yield from tables.heading(result)
    yield from tables.rate_tables(result["points"])
    yield from tables.findings(result)
    yield tables.searches_table("test accuracy at the best rates", result["summary"])
    yield verdict(result["searches"])


def draw(result: Mapping[str, Any]) -> "Figure":
    """Validation accuracy over the rate, a panel each layer; a map where there are many."""
    layers, modules = ({p[key] for p in result["points"]} for key in ("layer", "module"))
    if len(layers) > drawing.MOST_PANELS or len(modules) > 4:
        return drawing.maps(result)
    return drawing.panels(result, "layer")


EXPERIMENT = Experiment(
    "single_module",
    "Algorithm 1 on single matrices of a given layer (App. B.3).",
    study,
    report,
    {"validation.png": draw, "tests.png": draw_tests},
    check=check,
    parents=parents(
        "layers",
        "modules",
        "rates",
        test=True,
        layers="3, or the last",
        modules="k_proj; every: each matrix",
    ),
)
