"""Figure 3: condition numbers by layer."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from experiments.common import style
from jaxsvd.models.matrices import part
from jaxsvd.results.conditions import ConditionResult, Numbers, read_numbers
from paper_figures import marks, published
from paper_figures.marks import Drawn
from paper_figures.reading import Key, Source, labels

COLOURS = {"mlp": style.PALETTE[0], "attn": style.PALETTE[1]}
SHAPES = {"mlp": "o", "attn": "s"}
NAMES = {"mlp": "MLP", "attn": "ATTN"}


@dataclass(frozen=True)
class Conditions:
    """Condition numbers (sigma_max / sigma_min, the 2-norm) of a model; infinite ones are inf.

    Attributes:
        matrices: by layer and matrix.
        modules: by layer and module group, the largest of its matrices.
        source: the run.
    """

    matrices: Numbers
    modules: Numbers
    source: Source


def conditions(sources: Iterable[Source]) -> dict[Key, Conditions]:
    """By model, from the ``condition_numbers`` experiment and ``jaxsvd condition``; the newest.

    Raises:
        UserError: a run is damaged.
    """
    by_model: dict[Key, Conditions] = {}
    for source in sources:
        if source.kind == "condition_numbers":
            matrices = source.read(lambda fields: read_numbers(fields, "numbers"))
            modules = source.read(lambda fields: read_numbers(fields, "modules", "module"))
            by_model[source.model] = _conditions(source, matrices)
            _agree(by_model[source.model], modules)
        elif source.kind == "condition":
            result = source.read(ConditionResult.from_json)
            by_model[source.model] = _conditions(source, result.numbers)
    return by_model


def _conditions(source: Source, matrices: Numbers) -> Conditions:
    source.check_layers(layer for layer, _ in matrices)
    modules: dict[tuple[int, str], float] = {}
    for (layer, matrix), value in matrices.items():
        key = layer, part(matrix)
        modules[key] = max(value, modules.get(key, 0.0))
    return Conditions(matrices, modules, source)


def _agree(numbers: Conditions, recorded: Numbers) -> None:
    """Refuse numbers of modules that are not the largest of their matrices'."""
    for (layer, module), value in recorded.items():
        largest = numbers.modules.get((layer, module))
        if largest is None or not math.isclose(value, largest, rel_tol=1e-9):
            raise numbers.source.damaged(
                f"{module} of layer {layer}: the condition number is {value:.6g}, "
                f"the largest of its matrices {'missing' if largest is None else f'{largest:.6g}'}"
            )


def draw(by_model: Mapping[Key, Conditions]) -> Drawn:
    """A panel for each model: the largest of each module, and every matrix; published ranges."""
    names = labels(by_model)
    count = max(1, len(by_model))
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = style.figure(style.COLUMN if columns == 1 else style.PAGE, 0.6 + 2.1 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    drawn = Drawn(figure)
    if not by_model:
        marks.not_run(panels[0])
        panels[0].set_ylim(10, 1e8)
        _published(panels[0], 1)
        drawn.missing.append("condition numbers of any model")
    for axes, (model, numbers) in zip(panels, by_model.items(), strict=False):
        _panel(axes, names[model], numbers)
        drawn.panels.append((names[model], [numbers.source]))
    for axes in panels[count:]:
        axes.set_axis_off()
    _legend(figure)
    drawn.caption = (
        "Condition numbers by layer. Lines: the largest of a module's matrices; small dots: every "
        "matrix. Hollow markers and bars at the right: published ranges of GPT-J-6B and "
        "Llama-2-7B as read off the paper's figure (an arrow: only the largest is readable). A "
        "triangle at the top edge: infinite."
    )
    return drawn


def _panel(axes: marks.Axes, name: str, numbers: Conditions) -> None:
    layers = numbers.source.layers
    for module, colour in COLOURS.items():
        x = list(range(layers))
        y = [numbers.modules.get((layer, module), math.nan) for layer in x]
        axes.plot(
            x,
            [value if math.isfinite(value) else math.nan for value in y],
            SHAPES[module] + "-",
            color=colour,
            ms=3 if layers < 20 else 2,
            gid=f"{name}|{module}|largest",
        )
        every = [(k, v) for (k, m), v in numbers.matrices.items() if part(m) == module]
        shown = [(layer, value) for layer, value in every if math.isfinite(value)]
        axes.plot(
            [layer for layer, _ in shown],
            [value for _, value in shown],
            ".",
            color=colour,
            ms=2,
            alpha=0.6,
            gid=f"{name}|{module}|matrices",
        )
        infinite = sorted({layer for layer, value in every if not math.isfinite(value)})
        if infinite:
            edge = axes.get_xaxis_transform()
            axes.plot(
                infinite,
                [0.97] * len(infinite),
                "^",
                color=colour,
                transform=edge,
                gid=f"{name}|{module}|infinite",
            )
        missing = [layer for layer in x if (layer, module) not in numbers.modules]
        marks.crosses(axes, missing, colour, f"{name}|{module}|missing")
    axes.set_yscale("log")
    _published(axes, layers)
    axes.set_title(f"model {marks.text(name)}")


def _published(axes: marks.Axes, layers: int) -> None:
    """Ranges to the right of the layers."""
    step = max(1.0, layers / 8)
    ticks = marks.layer_ticks(layers)
    places = {m: layers - 1 + step * (1.1 + i) for i, m in enumerate(published.MODELS)}
    for entry in published.condition_ranges():
        x = places[entry.model] + (-0.15 if entry.module == "mlp" else 0.15) * step
        colour = COLOURS[entry.module]
        low = entry.low if entry.low is not None else entry.high / 4
        axes.plot([x, x], [low, entry.high], color=colour, lw=0.8)
        ends = [entry.high] if entry.low is None else [entry.low, entry.high]
        marks.hollow(
            axes,
            [x] * len(ends),
            ends,
            SHAPES[entry.module],
            colour,
            f"published|{entry.model}|{entry.module}",
        )
        if entry.low is None:
            axes.plot([x], [low], "v", color=colour, ms=2.5)
    marks.strip(axes, layers - 1 + step * 0.55, list(places.values()), step)
    axes.set_yscale("log")
    style.log_ticks(axes.yaxis)
    axes.set_xticks(
        [*ticks, *places.values()], [*map(str, ticks), *published.MODELS.values()], fontsize=6.5
    )
    for label in axes.get_xticklabels()[len(ticks) :]:
        label.set_rotation(90)
    marks.label_below(axes, "layer", 15)
    axes.set_ylabel("condition number")


def _legend(figure: Figure) -> None:
    handles = [marks.handle(NAMES[m], color=COLOURS[m], marker=SHAPES[m], ls="-") for m in COLOURS]
    handles.append(marks.handle("published (hollow)", marker="o", mfc="white", color="black"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
