"""Progress where there is no terminal: lines of a log."""

import pytest

from jaxsvd.runtime import progress


def test_a_line_every_half_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.TerminalProgress().bar("scoring test", 4000, "examples") as advance:
        for seconds in (10, 19, 1, 15, 15, 40):
            now[0] += seconds
            advance(500)
    assert capsys.readouterr().err.splitlines() == [
        "note: scoring test: 1,500 of 4,000 examples in 30 s, about 50 s left",
        "note: scoring test: 2,500 of 4,000 examples in 60 s, about 36 s left",
        "note: scoring test: 3,000 of 4,000 examples in 100 s, about 33 s left",
    ]


def test_what_is_done_soon_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.TerminalProgress().bar("encoding", 3, "prompts") as advance:
        advance(3)
    assert capsys.readouterr().err == ""
