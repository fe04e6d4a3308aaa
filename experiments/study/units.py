"""The study's units of work and the order they are done in.

A unit scores one split of one draw of a task under some edits and is one file below the run
directory; whatever is there is not done again. The cheap ones come first: a branch at one of the
last layers costs a fifteenth of a pass, one at the first layer a whole pass for every rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.study import design
from experiments.study.choice import EditCell, choose
from experiments.study.design import PARTS, Place, StudyTask
from experiments.study.scores import Scores, score
from jaxsvd.commands.perplexity import perplexity
from jaxsvd.edits.edit import Edits, format_edits, matrix_edits, parse_edits
from jaxsvd.encoded_task import EncodedTask, encode_task
from jaxsvd.model import Model
from jaxsvd.runs.directory import pretty, write_whole
from jaxsvd.runtime.progress import Progress
from jaxsvd.selection.gradient import EXAMPLES, matrix_gradients, predicted_changes
from jaxsvd.tasks.texts import read_texts

SCORES, TEXTS, PREDICTIONS = "scores", "texts", "predictions"
"""Folders of a run: of the units' files, of perplexities, of what gradients predict."""


@dataclass(frozen=True)
class Unit:
    """What one file holds.

    Attributes:
        task: whose questions are scored.
        shots: demonstrations in all.
        seed: of the draw.
        split: ``"validation"`` or ``"test"``.
        part: which edits, one of :data:`~experiments.study.design.PARTS` or ``others``.
    """

    task: StudyTask
    shots: int
    seed: int
    split: str
    part: str

    @property
    def name(self) -> str:
        """Of its file, without its ending."""
        return f"{self.task.name}-{self.shots}-shots-seed-{self.seed}-{self.split}-{self.part}"

    def path(self, run: Path) -> Path:
        """Its file in a run directory."""
        return run / SCORES / f"{self.name}.npz"

    def scores(self, run: Path) -> Scores:
        """What it measured.

        Raises:
            UserError: it has not been done.
        """
        return Scores.load(self.path(run))


@dataclass
class Runner:
    """Does units, and keeps the last draw, which units of both splits share.

    Attributes:
        model: whose weights are edited.
        run: the run directory.
        data: the folder that holds a folder of each task.
        condition_layers: the layer that Algorithm 1 chooses, by module.
        tasks: of the study, in order.
        seeds: of the draws.
        sizes: at most so many examples of a split; None is the design's.
        progress: where to show it.
    """

    model: Model
    run: Path
    data: Path
    condition_layers: Mapping[str, int]
    tasks: Sequence[StudyTask]
    seeds: Sequence[int]
    sizes: int | None
    progress: Progress
    _draw: tuple[tuple[object, ...], EncodedTask] | None = None

    def places(self, part: str) -> tuple[Place, ...]:
        """Layers and modules of a part."""
        return design.places(part, self.model.config.layers, self.condition_layers)

    def draw(self, task: StudyTask, shots: int, seed: int) -> EncodedTask:
        """The questions of both splits."""
        key = (task.name, shots, seed)
        if self._draw is None or self._draw[0] != key:
            sizes = task.validation_size, task.test_size
            if self.sizes is not None:
                sizes = (min(task.validation_size, self.sizes), self.sizes)
            encoded = encode_task(
                self.model,
                task.task,
                ("validation", "test"),
                data=self.data / task.name,
                shots=shots,
                seed=seed,
                validation_size=sizes[0],
                test_size=sizes[1],
                skip_long=True,
                progress=self.progress,
            )
            self._draw = key, encoded
        return self._draw[1]

    def do(self, unit: Unit, edits: Sequence[Edits]) -> None:
        """Score a unit that has not been done."""
        path = unit.path(self.run)
        if path.exists():
            return
        encoded = self.draw(unit.task, unit.shots, unit.seed)
        scores = score(
            self.model, encoded, unit.split, edits, title=unit.name, progress=self.progress
        )
        scores.save(path)

    def all(self) -> None:
        """Everything, in the order of the design; what takes longest comes last."""
        sst2 = [task for task in self.tasks if task.name == "sst2"]
        short = [task for task in self.tasks if task.name in design.SHORT]
        long = [task for task in self.tasks if task.name not in design.SHORT]
        for part in ("deep", "algorithm1"):
            self.grid(part, self.tasks)
        self.chosen("algorithm1", self.tasks)
        self.chosen("deep", short)
        self.controls(short)
        self.grid("deep", sst2, shots=design.SHOTS)
        self.others(short)
        self.gradients(sst2)
        self.grid("shallow", sst2)
        self.chosen("shallow", sst2)
        self.text()
        self.chosen("deep", long)
        self.grid("shallow", sst2, shots=design.SHOTS)
        self.gradients(short)
        self.others(long)
        self.controls(long)
        self.gradients(long)
        self.grid("shallow", self.tasks)
        self.chosen("shallow", self.tasks)

    def grid(
        self, part: str, tasks: Sequence[StudyTask], shots: Sequence[int] | None = None
    ) -> None:
        """Validation scores of every cell of a part."""
        cells = design.grid(self.places(part))
        if len(cells) == 1:
            return
        for task in tasks:
            for seed in self.seeds:
                for count in (task.shots,) if shots is None else shots:
                    self.do(Unit(task, count, seed, "validation", part), cells)

    def chosen(self, part: str, tasks: Sequence[StudyTask]) -> None:
        """Test scores of each layer and module at the rate that validation chose over draws."""
        for task in tasks if self.places(part) else ():
            chosen = [self.choice(task, place) for place in self.places(part)]
            cells = [cell.edit for cell in chosen if cell.rate]
            for seed in self.seeds:
                self.do(Unit(task, task.shots, seed, "test", part), edits_of(cells))

    @property
    def condition_places(self) -> list[Place]:
        """What Algorithm 1 chooses."""
        return [(layer, module) for module, layer in self.condition_layers.items()]

    def chosen_edits(self) -> list[str]:
        """What Algorithm 1 chooses for any task, as written."""
        cells = [self.choice(task, place) for task in self.tasks for place in self.condition_places]
        return sorted({cell.edit for cell in cells if cell.rate})

    def others(self, tasks: Sequence[StudyTask]) -> None:
        """What Algorithm 1 chooses for one task, on the test sets of the others (question g)."""
        for task in tasks:
            for seed in self.seeds:
                unit = Unit(task, task.shots, seed, "test", "others")
                self.do(unit, edits_of(self.chosen_edits()))

    def controls(self, tasks: Sequence[StudyTask]) -> None:
        """Other changes of the weights that Algorithm 1 truncates (question f), on both splits."""
        for task in tasks:
            cells = [cell for at in self.condition_places if (cell := self.choice(task, at)).rate]
            edits = [(), *(edits for cell in cells for edits in design.controls(*cell))]
            for seed in self.seeds:
                for split in ("validation", "test"):
                    self.do(Unit(task, task.shots, seed, split, "controls"), edits)

    def text(self) -> None:
        """Perplexity of plain texts under what Algorithm 1 chooses for any task (question g)."""
        for path in sorted((self.data / "text").glob("*.txt")):
            for edit in self.chosen_edits():
                out = self.run / TEXTS / f"{path.stem}-{edit.replace(':', '-')}.json"
                if not out.exists():
                    text = next(read_texts(path))[: design.TEXT_SIZE]
                    plain, _ = perplexity(self.model, [text], edit=edit, progress=self.progress)
                    record = {"text": path.stem, "edit": edit} | plain.to_json()
                    out.parent.mkdir(exist_ok=True)
                    write_whole(out, pretty(record))

    def gradients(self, tasks: Sequence[StudyTask]) -> None:
        """What a gradient predicts of every cell of the grid (questions e and h)."""
        for task in tasks:
            for seed in design.GRADIENT_SEEDS:
                out = self.run / PREDICTIONS / f"{task.name}-seed-{seed}.json"
                if out.exists():
                    continue
                places = [place for part in PARTS for place in self.places(part)]
                edits = design.grid(places)
                matrices = {
                    (one.layer, one.module)
                    for several in edits
                    for one in matrix_edits(several, self.model.config)
                }
                draw = self.draw(task, task.shots, seed)
                gradients = matrix_gradients(
                    self.model,
                    draw.encoded,
                    draw.positions("validation")[:EXAMPLES],
                    matrices,
                    progress=self.progress,
                )
                changes = predicted_changes(self.model, gradients, edits)
                written = {format_edits(e): c for e, c in zip(edits, changes, strict=True)}
                out.parent.mkdir(exist_ok=True)
                write_whole(out, pretty({"task": task.name, "seed": seed, "changes": written}))

    def choice(self, task: StudyTask, place: Place) -> EditCell:
        """The rate of a layer and module that validation chooses over all draws."""
        part = next(part for part in PARTS if place in self.places(part))
        units = [Unit(task, task.shots, seed, "validation", part) for seed in self.seeds]
        return choose([unit.scores(self.run) for unit in units], *place)


def edits_of(written: Sequence[str]) -> tuple[Edits, ...]:
    """The untouched model, then every one of some edits."""
    return ((), *map(parse_edits, written))
