"""``jaxsvd tasks check``."""

from pathlib import Path

import pytest

from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.cli.main import main


def write(folder: Path, template: str = "text: {body} label :") -> Path:
    """A task file with 12 + 4 rows of the bundled model's words."""
    path = folder / "mine.toml"
    path.write_text(
        f'name = "mine"\ntemplate = "{template}"\nshots = 2\n[files]\ntrain = "train.csv"\n'
        'test = "test.csv"\n[labels]\n1 = "early"\n2 = "inner"\n'
    )
    words = [
        "salmon",
        "trout",
        "carp",
        "herring",
        "cod",
        "tuna",
        "perch",
        "pike",
        "wool",
        "silk",
        "denim",
        "cotton",
    ]
    for split, rows in (("train", words), ("test", words[:4])):
        lines = [f"{split} {word},{1 + i % 2}" for i, word in enumerate(rows)]
        (folder / f"{split}.csv").write_text("\n".join(["body,label", *lines]) + "\n")
    return path


def test_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes, labels, tokens and a prompt, none of the model's weights read."""
    assert main(["tasks", "check", str(write(tmp_path)), str(BUNDLED)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "sizes   2 demonstrations, 10 validation and 4 test examples" in lines
    assert "label   early: 7 of 14 examples (50%)" in lines
    assert "label   inner: 7 of 14 examples (50%)" in lines
    assert "tokens  early: 1 (' early')" in lines
    prompt = lines[lines.index(next(x for x in lines if x.startswith("prompt"))) + 1 :]
    assert len(prompt) == 3
    assert all(line.startswith("        text: t") for line in prompt)
    assert prompt[-1].endswith((" label : [early]", " label : [inner]"))


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error."""
    assert main(["tasks", "check", str(write(tmp_path, "{body} {label}:"))]) == 2
    assert "template names the label's own column {label}" in capsys.readouterr().err
    assert main(["tasks", "check", str(write(tmp_path, "{txt}:"))]) == 2
    assert "train.csv, line 1: no column 'txt' in the header (it has 'body', 'label')" in (
        capsys.readouterr().err
    )
    assert main(["tasks", "check"]) == 2
    assert "tasks check needs a task file" in capsys.readouterr().err
