"""Figure 4: test accuracy before and after Algorithm 1, and the paired difference."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from experiments.common import style
from paper_figures import marks, published
from paper_figures.marks import Axes, Drawn
from paper_figures.reading import Key, labels
from paper_figures.searches import Outcome, Place

YOURS, *THEIRS = style.PALETTE[0], style.PALETTE[1], style.PALETTE[2]
COLOURS = dict(zip(published.MODELS, THEIRS, strict=True))
BEFORE, AFTER = "s", "o"
NAMES = {"mlp": "MLP", "attn": "ATTN"}
OFFSETS = {"yours": -0.27} | dict(zip(published.MODELS, (0.06, 0.32), strict=True))
PAIR = 0.055
"""Before and after stand this far to the left and right of their place."""

Outcomes = Mapping[Place, Outcome]


def draw(outcomes: Outcomes, tasks: Sequence[str] | None) -> Drawn:
    """Two rows of panels for each model: accuracies, and differences; a column for each module.

    Args:
        outcomes: of Algorithm 1.
        tasks: those wanted; the paper's seven and all others run if None.
    """
    others = sorted({place.task for place in outcomes} - set(published.TASKS))
    wanted = list(tasks) if tasks is not None else [*published.TASKS, *others]
    chosen = {p: o for p, o in outcomes.items() if p.task in wanted}
    chosen, older = _newest(chosen)
    names = labels(place.model for place in chosen)
    beside = any(published.table_results(t, m) for t in wanted for m in published.MODULES)
    mine = OFFSETS["yours"] if beside else 0.0
    models: list[Key | None] = list(names) or [None]
    figure = style.figure(style.PAGE, 0.5 + 3.7 * len(models))
    drawn = Drawn(figure)
    grid = figure.subplots(
        2 * len(models),
        len(published.MODULES),
        squeeze=False,
        sharex=True,
        sharey="row",
        height_ratios=[3, 2] * len(models),
    )
    for i, model in enumerate(models):
        name = names[model] if model is not None else "any model"
        for column, module in enumerate(published.MODULES):
            panel = {
                place.task: outcome
                for place, outcome in chosen.items()
                if (place.model, place.module) == (model, module)
            }
            upper, lower = grid[2 * i][column], grid[2 * i + 1][column]
            key = f"{name}|{module}"
            for at, task in enumerate(wanted):
                _task(upper, lower, at + mine, panel.get(task), f"{key}|{task}")
                _published(upper, lower, at, task, module)
            _frame(upper, lower, wanted, not panel)
            title = NAMES[module]
            upper.set_title(title if model is None else f"{marks.text(name, 40)}: {title}")
            if panel:
                runs = marks.distinct(outcome.source for outcome in panel.values())
                drawn.panels.append((f"{NAMES[module]}, {name}", runs))
            absent = [published.task_name(task) for task in wanted if task not in panel]
            if absent:
                drawn.missing.append(f"{NAMES[module]}, {name}: {', '.join(absent)}")
        grid[2 * i][0].set_ylabel("test accuracy")
        grid[2 * i + 1][0].set_ylabel("after - before")
    _legend(figure, beside)
    if older:
        places = ", ".join(f"{p.module} of layer {p.layer} on {p.task}" for p in older)
        drawn.notes.append(f"one layer of each module is shown, the newest; left out: {places}")
    left_out = sorted({p.module for p in chosen} - set(published.MODULES))
    if left_out:
        drawn.notes.append(f"the figure is of mlp and attn; left out: {', '.join(left_out)}")
    drawn.caption = (
        "Test accuracy before (square) and after (circle) Algorithm 1, and the difference. Filled: "
        "the model named above, mean over demonstration seeds with the 95 % interval of one "
        "seed's examples (Wilson); differences seed by seed with their paired 95 % intervals, and "
        "the mean as a circle. Hollow: published values of GPT-J-6B and Llama-2-7B (without "
        "intervals; RTE and CB were divided by n - 1)."
    )
    return drawn


def _newest(outcomes: Outcomes) -> tuple[dict[Place, Outcome], list[Place]]:
    """One layer for each model, task and module, and what is left out.

    Of the newest run, and of its layers the deepest.
    """
    best: dict[tuple[Key, str, str], Place] = {}
    for place in sorted(outcomes, key=lambda p: (outcomes[p].source.started, p.layer)):
        best[place.model, place.task, place.module] = place
    kept = {place: outcomes[place] for place in outcomes if place in best.values()}
    left = [p for p in outcomes if p not in kept and p.module in published.MODULES]
    return kept, left


def _task(upper: Axes, lower: Axes, x: float, outcome: Outcome | None, key: str) -> None:
    """One's own, or that there is nothing."""
    if outcome is not None:
        _yours(upper, lower, x, outcome, key)
        ends, chance = [x - 0.18, x + 0.17], [outcome.chance] * 2
        upper.plot(ends, chance, color=marks.GREY, lw=0.8, ls=":", gid=f"{key}|chance")
        return
    for axes in (upper, lower):
        axes.axvspan(x - 0.17, x + 0.17, color=marks.MISSING, lw=0)
    upper.text(
        x,
        0.03,
        "not run",
        transform=upper.get_xaxis_transform(),
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=6,
        color=marks.GREY,
        gid="not run",
    )


def _published(upper: Axes, lower: Axes, at: int, task: str, module: str) -> None:
    for model, result in published.table_results(task, module).items():
        x, colour = at + OFFSETS[model], COLOURS[model]
        gid = f"published|{task}|{module}|{model}"
        marks.hollow(upper, [x - PAIR], [result.before], BEFORE, colour, f"{gid}|before")
        marks.hollow(upper, [x + PAIR], [result.after], AFTER, colour, f"{gid}|after")
        change = result.after - result.before
        marks.hollow(lower, [x], [change], AFTER, colour, f"{gid}|difference")


def _yours(upper: Axes, lower: Axes, x: float, outcome: Outcome, key: str) -> None:
    for name, shape, place in (("base", BEFORE, x - PAIR), ("pruned", AFTER, x + PAIR)):
        mean = getattr(outcome, name).mean
        interval = [outcome.interval(name)]
        marks.error_bars(
            upper, [place], [mean], interval, f"{key}|{name}", color=YOURS, marker=shape, ls=""
        )
        if len(outcome.searches) > 1:
            values = [getattr(search.tested, name).value for search in outcome.searches]
            marks.thin_points(upper, [place] * len(values), values, YOURS, f"{key}|{name}")
    count = len(outcome.searches)
    # Seeds beside each other, the mean over them.
    places = [x + 0.24 * ((i + 0.5) / count - 0.5) for i in range(count)]
    marks.error_bars(
        lower,
        places,
        [search.tested.paired.difference for search in outcome.searches],
        [search.tested.paired.interval for search in outcome.searches],
        f"{key}|difference",
        color=YOURS,
        marker="_",
        ms=3,
        ls="",
    )
    lower.plot(
        [x], [outcome.difference.mean], AFTER, color=YOURS, zorder=3, gid=f"{key}|difference|pooled"
    )


def _frame(upper: Axes, lower: Axes, tasks: Sequence[str], empty: bool) -> None:
    if empty:
        for axes in (upper, lower):
            axes.set_facecolor(marks.MISSING)
    for axes in (upper, lower):
        for at in range(1, len(tasks)):
            axes.axvline(at - 0.5, color="#dddddd", lw=0.5, zorder=0)
        # Of a task or two: not over the whole width.
        room = 0.5 + max(0, 4 - len(tasks)) / 2
        axes.set_xlim(-room, len(tasks) - 1 + room)
    lower.axhline(0, color=marks.GREY, lw=0.6, zorder=0)
    names = [marks.text(published.task_name(task), 16) for task in tasks]
    lower.set_xticks(range(len(tasks)), names, rotation=40, ha="right", rotation_mode="anchor")


def _legend(figure: Figure, beside: bool) -> None:
    handles = [
        marks.handle("before", color=YOURS, marker=BEFORE),
        marks.handle("after", color=YOURS, marker=AFTER),
        marks.handle("one seed", color=YOURS, marker="_", ms=4),
        marks.handle("chance", color=marks.GREY, ls=":"),
    ]
    for model, name in published.MODELS.items() if beside else ():
        colour = COLOURS[model]
        handles.append(marks.handle(f"published, {name}", mec=colour, marker=AFTER, mfc="white"))
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
