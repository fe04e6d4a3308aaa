"""A sweep: every cell is its own search, files and resumption, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tolerances import decoder_sums, rounding

import jaxsvd
from jaxsvd.commands.sweep import SweepResult
from jaxsvd.engine import engine as engine_module
from jaxsvd.model import Model
from jaxsvd.results.statistics import mcnemar
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

RATES = (0.0, 0.5, 0.95)
SMALL: dict[str, Any] = {"validation_size": 12, "rates": RATES}
GRID: dict[str, Any] = {"layers": [-1, 1], "modules": ["mlp", "attn"], "shots": [1, 2]}
KEYS = ("module", "layer", "rate", "shots", "seed")


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


@pytest.fixture(scope="module")
def swept(model: Model, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    """A finished sweep."""
    out = tmp_path_factory.mktemp("runs") / "sweep"
    return jaxsvd.sweep(model, out=out, save_prompts=True, seeds=[0, 3], **GRID, **SMALL)


def lines(path: Path | None, name: str = "predictions.jsonl") -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in (path / name).read_text("utf-8").splitlines()]


def test_cells_are_all_combinations_and_what_the_predictions_say(swept: SweepResult) -> None:
    assert swept.out is not None
    result = json.loads((swept.out / "result.json").read_text())
    assert result["command"] == "sweep"
    cells = result["cells"]
    assert [[cell[key] for key in KEYS] for cell in cells] == [
        [module, layer, rate, shots, seed]
        for shots in (1, 2)
        for seed in (0, 3)
        for layer in (1, 3)
        for module in ("mlp", "attn")
        for rate in RATES
    ]
    records = lines(swept.out)
    for cell in cells:
        mine = [r for r in records if all(r[key] == cell[key] for key in KEYS)]
        assert len(mine) == cell["total"] == 12
        assert sum(r["prediction"] == r["gold"] for r in mine) == cell["correct"]
        assert cell["accuracy"] == cell["correct"] / 12
        base = {
            r["index"]: r["prediction"] == r["gold"]
            for r in records
            if all(r[key] == (0.0 if key == "rate" else cell[key]) for key in KEYS)
        }
        if cell["rate"] > 0:
            after = {r["index"]: r["prediction"] == r["gold"] for r in mine}
            assert cell["gained"] == sum(after[i] and not base[i] for i in base)
            assert cell["lost"] == sum(base[i] and not after[i] for i in base)
            assert cell["p_value"] == pytest.approx(mcnemar(cell["gained"], cell["lost"]))
    assert len(lines(swept.out, "prompts.jsonl")) == 4 * 12
    assert result["task"]["shots"] == [1, 2]


def apart(model: Model, largest: float) -> float:
    """How far two float32 scores may be apart whose exact value is one: each by its rounding."""
    sums = decoder_sums(model.config, model.config.context)
    return 2 * rounding([*sums, *[model.config.width] * 2 * 4], largest)


@pytest.mark.parametrize(("layer", "module"), [(1, "attn"), (3, "mlp")])
def test_a_cell_is_its_own_search(
    model: Model, swept: SweepResult, tmp_path: Path, layer: int, module: str
) -> None:
    """The same draw searched alone: predictions equal, scores but for rounding in either."""
    jaxsvd.search(
        model, layer=layer, module=module, shots=2, seed=3, test_size=5, out=tmp_path / "s", **SMALL
    )
    alone = [r for r in lines(tmp_path / "s") if r["split"] == "validation"]
    ours = {
        (r["rate"], r["index"]): r
        for r in lines(swept.out)
        if (r["layer"], r["module"], r["shots"], r["seed"]) == (layer, module, 2, 3)
    }
    assert len(alone) == len(ours) == 3 * 12
    largest = max(abs(score) for r in alone for score in r["scores"])
    for record in alone:
        same = ours[record["rate"], record["index"]]
        assert same["prediction"] == record["prediction"]
        assert same["scores"] == pytest.approx(record["scores"], rel=0, abs=apart(model, largest))


class InterruptingSweep(Progress):
    """Ctrl-C after some scores."""

    def __init__(self, after: int) -> None:
        self.left = after

    def bar(self, description: str, total: int, unit: str) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def built() -> Any:
            def advance(n: int) -> None:
                self.left -= n if description.startswith("scoring") else 0
                if self.left < 0:
                    raise KeyboardInterrupt

            yield advance

        return built()


def test_resumed(model: Model, swept: SweepResult, tmp_path: Path) -> None:
    """Interrupted twice, then to the end: the same files, and nothing of a cell is lost."""
    out, options = tmp_path / "run", {"seeds": [0, 3], **GRID, **SMALL}
    for after in (30, 210):
        with pytest.raises(KeyboardInterrupt):
            jaxsvd.sweep(model, out=out, resume=True, progress=InterruptingSweep(after), **options)
    with pytest.raises(UserError, match=r"layers was \[1, 3\], is \[0\]"):
        jaxsvd.sweep(model, out=out, resume=True, **options | {"layers": [0]})
    result = jaxsvd.sweep(model, out=out, resume=True, **options)
    assert swept.out is not None
    assert (out / "predictions.jsonl").read_bytes() == (
        swept.out / "predictions.jsonl"
    ).read_bytes()
    assert result.cells == swept.cells


@pytest.mark.long
def test_small_memory_changes_nothing(
    model: Model, swept: SweepResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stream of a few kilobytes: many passes, one batch each, the same scores."""
    limits = engine_module.Limits(batch_tokens=64, stream_bytes=1, workers=1)
    monkeypatch.setattr(engine_module.Limits, "of_device", staticmethod(lambda mesh: limits))
    jaxsvd.sweep(model, out=tmp_path / "s", seeds=[0, 3], **GRID, **SMALL)
    ours, theirs = lines(tmp_path / "s"), lines(swept.out)
    largest = max(abs(score) for record in theirs for score in record["scores"])
    for one, other in zip(ours, theirs, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], rel=0, abs=apart(model, largest))
        assert one | {"scores": 0} == other | {"scores": 0}


def test_refusals(model: Model) -> None:
    for options, message in (
        ({"layers": [4]}, "no layer 4"),
        ({"layers": []}, "no layers; give at least one"),
        ({"modules": ["fc_up"]}, "gptj has no module 'fc_up'"),
        ({"modules": []}, "no modules"),
        ({"rates": [1.0]}, "below 1"),
        ({"seeds": []}, "no seeds"),
    ):
        with pytest.raises(UserError, match=message):
            jaxsvd.sweep(model, **options)
