"""Small runs of the experiments on language models, for their tests."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.algorithm1 import experiment as algorithm1
from experiments.common.scaffold import parser, run
from experiments.condition_numbers import experiment as condition_numbers
from experiments.depth_sweep import experiment as depth_sweep
from experiments.drop_layer import experiment as drop_layer
from experiments.same_rate import experiment as same_rate
from experiments.shots_sweep import experiment as shots_sweep
from experiments.single_module import experiment as single_module
from jaxsvd.runtime.progress import Advance, Progress

EXPERIMENTS = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        algorithm1,
        condition_numbers,
        depth_sweep,
        drop_layer,
        same_rate,
        shots_sweep,
        single_module,
    )
}
# One validation size for all, so that what one compiles serves the others.
SMALL = ["--quick", "--validation-size", "12"]
ONE = [*SMALL, "--rates", "0,0.5,0.95", "--layers", "-1"]
WORDS = {
    "algorithm1": [*SMALL, "--rates", "0,0.5,0.95", "--test-size", "12"],
    "condition_numbers": ["--quick"],
    "depth_sweep": ONE,
    "drop_layer": [*ONE, "--modules", "mlp", "all"],
    "same_rate": [*ONE, "--modules", "mlp", "--test-size", "12"],
    "shots_sweep": [*ONE, "--shots", "0,4"],
    "single_module": [*ONE, "--modules", "k_proj", "--test-size", "12"],
}


def measured(
    name: str, out: Path, *more: str, progress: Progress | None = None, resume: bool = False
) -> dict[str, Any]:
    """Run an experiment; result.json."""
    experiment = EXPERIMENTS[name]
    words = [*WORDS[name], *more, "--out", str(out), *["--resume"] * resume]
    options = parser(experiment).parse_args(words)
    return run(experiment, options, progress=progress or Progress())


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def predictions(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]


def films(root: Path) -> Path:
    """A folder with a folder sst2."""
    (root / "data" / "sst2").mkdir(parents=True)
    rows = "".join(f"the  film {i} \t{i % 2}\n" for i in range(40))
    (root / "data" / "sst2" / "train.tsv").write_text("sentence\tlabel\n" + rows)
    return root / "data"


class Interrupting(Progress):
    """Ctrl-C after some scores; counts those made."""

    def __init__(self, after: int) -> None:
        self.left, self.scored = after, 0

    @contextlib.contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """Advances that count."""
        del total, unit
        ours = description.startswith("scoring")

        def advance(n: int) -> None:
            self.scored += n * ours
            if self.scored > self.left:
                raise KeyboardInterrupt

        yield advance
