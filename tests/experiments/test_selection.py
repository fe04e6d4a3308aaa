"""Selection compared: rows are what the searches say, and are read as they were written."""

from pathlib import Path

import pytest

import jaxsvd
from experiments.common.scaffold import main
from experiments.selection.experiment import EXPERIMENT, frontier, rows_of
from experiments.selection.rows import SelectionRow
from jaxsvd.results.fields import Fields

SMALL = ["--layers", "0", "--modules", "attn", "--rates", "0,0.5,0.95", "--seeds", "0"]


def test_a_row_of_algorithm_1() -> None:
    few = {"validation_size": 12, "test_size": 8, "shots": 2}
    result = jaxsvd.search(jaxsvd.load(), layer=0, module="mlp", rates=(0.0, 0.99), **few)
    row = SelectionRow.of(result, "condition, mlp", 9)
    assert (row.passes, row.exhaustive) == (24, 108)
    assert row.chosen == ("" if result.best_rate == 0 else "0:mlp:0.99")
    assert row.raw.difference == result.paired.difference
    assert SelectionRow.from_json(Fields(row.to_json())) == row


@pytest.mark.long
def test_a_run(tmp_path: Path) -> None:
    """Exhaustive search is the best on validation; a race is as good as it says."""
    out = tmp_path / "run"
    sizes = ["--validation-size", "40", "--test-size", "20"]
    assert main(EXPERIMENT, [*SMALL, *sizes, "--out", str(out)]) == 0
    import json

    result = json.loads((out / "result.json").read_text())
    rows = {row.method: row for row in rows_of(result)}
    assert set(rows) == {"condition, attn", "gradient", "race", "all", "greedy"}
    assert rows["all"].passes == rows["all"].exhaustive == 3 * 40
    assert (
        rows["greedy"].score
        >= rows["all"].score
        == max(
            row.score for method, row in rows.items() if method != "greedy" and "cond" not in method
        )
    )
    assert frontier(result).axes
    assert (out / "frontier.png").is_file()
