"""The worked examples of docs/theory.md run as they stand, in order and in one namespace."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_worked_examples_run() -> None:
    chapters = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    assert len(chapters) == 4
    namespace: dict[str, object] = {}
    printed = io.StringIO()
    for chapter in chapters[1:]:
        code = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
        assert len(code) >= 3
        for number, block in enumerate(code):
            with contextlib.redirect_stdout(printed):
                exec(compile(block, f"{chapter.splitlines()[0]}, {number + 1}", "exec"), namespace)
    assert "the trajectory diverged" in printed.getvalue()
    assert "Bayes gap" in printed.getvalue()
