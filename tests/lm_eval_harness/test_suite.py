"""``jaxsvd suite``: the table against the harness's own numbers."""

from pathlib import Path

import numpy as np
import pytest

from jaxsvd.cli.suite import suite_table
from jaxsvd.results.statistics import paired_difference
from jaxsvd.results.suite import SuiteRow
from jaxsvd.runtime.errors import UserError
from tests.lm_eval_harness.local_tasks import write_tasks


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
def test_rows_are_the_harness_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    from jaxsvd.commands.suite import suite
    from jaxsvd.lm_eval import JaxsvdLM

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    tasks = write_tasks(tmp_path, documents=8)
    rows = suite(
        None, edit="0:mlp:0.9", tasks=["first_choice", "second_choice"], include_path=tasks, limit=6
    )
    assert [(row.task, row.metric, row.examples) for row in rows] == [
        ("first_choice", "acc", 6),
        ("first_choice", "acc_norm", 6),
        ("second_choice", "acc", 6),
        ("second_choice", "acc_norm", 6),
    ]
    actual = lm_eval.simple_evaluate(
        JaxsvdLM(edits="0:mlp:0.9"),
        tasks=["first_choice", "second_choice"],
        task_manager=TaskManager(include_path=str(tasks)),
        num_fewshot=0,
        limit=6,
        bootstrap_iters=0,
    )
    for row in rows:
        assert row.after == actual["results"][row.task][f"{row.metric},none"]
        if row.paired is not None:
            assert row.paired.difference == pytest.approx(row.after - row.before, abs=1e-12)
    with pytest.raises(UserError, match="no_such_task: its data cannot be read"):
        suite(None, tasks=["no_such_task"], include_path=tasks)


def test_table_of_before_and_after() -> None:
    first, second = np.array([True, False, False]), np.array([True, True, False])
    paired = paired_difference(first, second)
    rows = [
        SuiteRow("t", "acc", 3, 1 / 3, 2 / 3, paired),
        SuiteRow("u", "word_perplexity", 1, 20.0, 21.5, None),
    ]
    table = suite_table(rows)
    assert [column.header for column in table.columns][4] == "after"
    assert list(table.columns[5].cells) == ["+0.3333", "+1.5000"]
    alone = suite_table([SuiteRow("t", "acc", 3, 1 / 3, None, None)])
    assert len(alone.columns) == 4
