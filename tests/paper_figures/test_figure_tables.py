"""Tables parsed back from CSV, Markdown and LaTeX hold what result.json says."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import figure_runs
import pytest

from experiments.language.pooled import binomial_interval
from jaxsvd.tasks.published import published
from paper_figures.formats import markdown
from paper_figures.reading import find
from paper_figures.works import Works

Cells = dict[str, list[str]]
"""Of a table by the name of the row; ``""`` is the heading."""


def files(name: str, *runs: Path) -> dict[str, str]:
    """A table's files by their ending."""
    made_files = Works(find(runs).sources).make(name).files()
    return {path.rpartition(".")[2]: data.decode() for path, data in made_files.items()}


def of_markdown(text: str) -> Cells:
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return {
        re.sub(r"\\(.)", r"\1", row[0].strip()): [
            re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row[1:]
        ]
        for row in rows
    }


LATEX = {
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textbackslash{}": "\\",
    r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~",
    "$-$": "-",
    **{f"\\{sign}": sign for sign in "&%$#_{}"},
}


def plain(text: str) -> str:
    pattern = "|".join(re.escape(written) for written in LATEX)
    return re.sub(pattern, lambda match: LATEX[match[0]], text.strip())


def of_latex(text: str) -> Cells:
    body = text.partition(r"\begin{tabular}")[2].partition(r"\end{tabular}")[0]
    rows = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r" \\")]
    cells = [[plain(cell) for cell in re.split(r"(?<!\\)&", row)] for row in rows]
    modules, *rest = cells[1:]
    owners = []
    for span, name in re.findall(
        r"\\multicolumn\{(\d+)\}\{c\}\{((?:[^{}\\]|\\[a-z]+\{\}|\\.)*)\}", rows[0]
    ):
        owners += [plain(name)] * int(span)
    heading = [f"{owner}: {module}" for owner, module in zip(owners, modules[1:], strict=True)]
    return {"": heading} | {row[0]: row[1:] for row in rest}


def of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three tasks and seeds on a model whose name is awkward in every format."""
    return figure_runs.algorithm1(
        tmp_path / "run", of=figure_runs.model("org/a_b$c|d%e&{x}\\y#z^~<i>*")
    )


def test_both_formats_are_one_table(run: Path) -> None:
    """Markdown and LaTeX say the same, cell by cell."""
    for name in ("table2", "table3", "table6", "table-bundled"):
        written = files(name, run)
        assert of_markdown(written["md"]) == of_latex(written["tex"])


@pytest.mark.parametrize(("name", "task"), [("table2", "sst2"), ("table-bundled", "bundled")])
def test_cells(run: Path, name: str, task: str) -> None:
    """Each cell of one's own columns, to the digits printed."""
    result, table = figure_runs.read(run), of_markdown(files(name, run)["md"])
    model = "a_b$c|d%e&{x}\\y#z^~<i>*"
    for column, module in enumerate(("mlp", "attn")):
        assert table[""][column] == f"{model}: {module.upper()}"
        at = {"task": task, "module": module}
        [summary] = [row for row in result["summary"] if at.items() <= row.items()]
        searches = [s for s in result["searches"] if at.items() <= s.items()]
        got = {row: cells[column] for row, cells in table.items()}
        assert got["layer"] == "4"
        assert got["clipping rate"] == ", ".join(f"{s['best_rate']:g}" for s in searches)
        assert got["before"] == f"{summary['base_mean']:.4f}"
        assert got["after"] == f"{summary['pruned_mean']:.4f}"
        assert got["difference"] == f"{summary['difference_mean']:+.4f}"
        assert got["before, spread over seeds"] == f"{summary['base_spread']:.4f}"
        assert got["after, spread over seeds"] == f"{summary['pruned_spread']:.4f}"
        assert got["difference, spread over seeds"] == f"{summary['difference_spread']:.4f}"
        assert got["seeds with p < 0.05"] == f"{summary['significant']} of 3"
        for row, name in (("before", "base"), ("after", "pruned")):
            counts = ([s["test"][name][what] for s in searches] for what in ("correct", "total"))
            low, high = binomial_interval(*counts)
            assert got[f"{row}, 95 % interval"] == f"[{low:.4f}, {high:.4f}]"
        assert got["demonstrations"] == "10"
        assert got["test examples"] == "120"
        for search in searches:
            low, high = search["test"]["interval"]
            row = f"difference, seed {search['seed']}, 95 % interval"
            assert got[row] == f"[{low:.4f}, {high:.4f}]"


def test_csv(run: Path) -> None:
    """Every number of every search and mean, exactly."""
    result, rows = figure_runs.read(run), of_csv(files("table2", run)["csv"])
    searches = [s for s in result["searches"] if s["task"] == "sst2"]
    seeds = [row for row in rows if row["kind"] == "seed"]
    assert len(searches) == len(seeds) == 6
    for search, row in zip(searches, seeds, strict=True):
        test: Any = search["test"]
        assert (row["module"], int(row["seed"])) == (search["module"], search["seed"])
        expected = {
            "rate": search["best_rate"],
            "before": test["base"]["accuracy"],
            "before_low": test["base"]["interval"][0],
            "before_high": test["base"]["interval"][1],
            "after": test["pruned"]["accuracy"],
            "after_low": test["pruned"]["interval"][0],
            "after_high": test["pruned"]["interval"][1],
            "difference": test["difference"],
            "difference_low": test["interval"][0],
            "difference_high": test["interval"][1],
            "p_value": test["p_value"],
            "before_correct": test["base"]["correct"],
            "total": test["base"]["total"],
        }
        assert {name: float(row[name]) for name in expected} == expected
    summaries = [row for row in result["summary"] if row["task"] == "sst2"]
    means = [row for row in rows if row["kind"] == "mean"]
    for summary, row in zip(summaries, means, strict=True):
        for ours, theirs in (("before", "base"), ("after", "pruned"), ("difference",) * 2):
            assert float(row[ours]) == pytest.approx(summary[f"{theirs}_mean"], abs=1e-12)
            assert float(row[f"{ours}_spread"]) == pytest.approx(summary[f"{theirs}_spread"])


@pytest.mark.parametrize("number", range(2, 9))
def test_published_columns(tmp_path: Path, number: int) -> None:
    """As in the data file, in all formats, and named as published."""
    task = ("sst2", "agnews", "emoc", "mrpc", "rte", "cb", "copa")[number - 2]
    written = files(f"table{number}", figure_runs.plain_search(tmp_path / "run", task="rte"))
    table = of_latex(written["tex"])
    columns = [c for c, name in enumerate(table[""]) if "(published)" in name]
    assert [table[""][c] for c in columns] == [
        f"{model} (published): {module}"
        for model in ("GPT-J-6B", "Llama-2-7B")
        for module in ("MLP", "ATTN")
    ]
    for column in columns:
        model, _, module = table[""][column].partition(" (published): ")
        result = published(model.lower(), task, module.lower())  # pyright: ignore
        assert result is not None
        got = {row: cells[column] for row, cells in table.items()}
        assert float(got["before"]) == result.before
        assert float(got["after"]) == result.after
        assert float(got["clipping rate"]) == result.rate
        assert int(got["layer"]) == result.layer
        assert got["before, 95 % interval"] == "-"
        [row] = [
            row
            for row in of_csv(written["csv"])
            if (row["kind"], row["model"], row["module"]) == ("published", model, module.lower())
        ]
        assert (float(row["before"]), float(row["after"])) == (result.before, result.after)


def test_missing_cells(tmp_path: Path) -> None:
    """What was not run is a dash: one's own columns of another task, a module, a seed."""
    run = figure_runs.plain_search(tmp_path / "run", task="copa", module="attn")
    table = of_markdown(files("table8", run)["md"])
    assert table[""][:2] == ["tiny: MLP", "tiny: ATTN"]
    assert {cells[0] for row, cells in table.items() if row} == {"-"}
    assert table["before"][1] != "-"
    assert table["before, spread over seeds"][1] == "-"
    table = of_markdown(files("table2", run)["md"])
    assert table[""][0] == "your model (not run): MLP"
    assert {cells[0] for row, cells in table.items() if row} == {"-"}


def test_two_layers(tmp_path: Path) -> None:
    """Searches of two layers of one module are two columns."""
    first = figure_runs.plain_search(tmp_path / "a", task="cb")
    second = figure_runs.plain_search(tmp_path / "b", task="cb", hour=1)
    figure_runs.change(second, layer=2)
    table = of_markdown(files("table7", first, second)["md"])
    assert table[""][:3] == ["tiny: MLP", "tiny: MLP", "tiny: ATTN"]
    assert table["layer"][:3] == ["2", "4", "-"]


def test_latex_is_balanced(run: Path) -> None:
    """No LaTeX here to compile with: braces, environments and columns at least agree."""
    for name in ("table2", "table7", "table-bundled"):
        text = files(name, run)["tex"]
        bare = re.sub(r"\\\\|\\[{}]", "", text)
        depth = 0
        for sign in bare:
            depth += {"{": 1, "}": -1}.get(sign, 0)
            assert depth >= 0
        assert depth == 0
        begun, ended = (re.findall(rf"\\{w}\{{(\w+)\}}", text) for w in ("begin", "end"))
        assert begun == ended[::-1] == ["table", "tabular"]
        columns = len(re.findall(r"\\begin\{tabular\}\{l(r+)\}", text)[0])
        table = of_latex(text)
        assert {len(cells) for cells in table.values()} == {columns}
        assert text.isascii()
        assert not re.search(r"(?<!\\)[%#]", text)


def test_markdown_escapes() -> None:
    """A name cannot leave its cell, nor be read as markup."""
    from paper_figures.tables import Column, ResultTable

    odd = Column("a|b\n*c* <b> [x](y)", "mlp", False, {"layer": "1"})
    text = markdown(ResultTable("t", "t", ("layer",), (odd,), (), (), ()))
    assert of_markdown(text) == {"": ["a|b *c* <b> [x](y): MLP"], "layer": ["1"]}
    assert "*c*" not in text
    assert "<b>" not in text
