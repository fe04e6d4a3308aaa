"""The experiment: which study a kind of model has."""

from experiments.bounds_vs_accuracy import study as language
from experiments.bounds_vs_accuracy.pictures import draw_agreement, draw_bounds
from experiments.bounds_vs_accuracy.report import report
from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study


def study(study: Study) -> Record:
    """Of the kind that was asked for."""
    kind = study.options.kind
    if kind == "linear":
        from experiments.bounds_vs_accuracy import linear

        return linear.study(study)
    if kind == "linear-functions":
        from experiments.bounds_vs_accuracy import linear_functions

        return linear_functions.study(study)
    return language.study(study)


EXPERIMENT = Experiment(
    "bounds_vs_accuracy",
    "Do the quantities of the theory predict what truncating a layer does to the accuracy?",
    study,
    report,
    {"agreement.png": draw_agreement, "bounds.png": draw_bounds},
    language.add_options,
    language.check,
    language.parents(),
)
