"""SQuAD: prompts, rules by hand, and answers of the bundled model."""

import json
from pathlib import Path

import pytest

import jaxsvd
from jaxsvd.commands.squad import squad
from jaxsvd.results.squad import SquadResult
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.squad import contains_gold, exact_match, normalised, read_squad, token_f1


def write(path: Path, questions: list[tuple[str, list[str]]]) -> Path:
    qas = [
        {"id": str(i), "question": question, "answers": [{"text": text} for text in answers]}
        for i, (question, answers) in enumerate(questions)
    ]
    articles = [{"title": "T", "paragraphs": [{"context": "the film", "qas": qas}]}]
    path.write_text(json.dumps({"version": "1.1", "data": articles}), "utf-8")
    return path


def test_prompts_are_the_scripts(tmp_path: Path) -> None:
    """A question that nobody answers is left out; equal gold answers count once."""
    path = write(tmp_path / "dev.json", [("who?", ["a", "a", "b"]), ("none?", [])])
    [question] = read_squad(path)
    assert question.answers == ("a", "b")
    assert question.query == "title: T\ncontext: the film\nquestion: who?\nanswer:"
    assert question.demonstration == question.query + "a\n"


def test_rules_by_hand() -> None:
    assert normalised("  The U.S.,  an  answer ") == "us answer"
    assert exact_match("the Dog.", ["cat", "dog"])
    assert not exact_match("dogs", ["dog"])
    # Two of three words, two of four: 2 * 2 / 7; the better gold answer counts.
    assert token_f1("big red dog", ["big red ball house", "cat"]) == pytest.approx(4 / 7)
    assert token_f1("dog dog", ["dog"]) == pytest.approx(2 / 3)
    assert token_f1("", ["dog"]) == 0
    # As written: no normalisation.
    assert contains_gold("it was 1912, they say", ["1912"])
    assert not contains_gold("The dog", ["the dog"])


def test_wrong_files(tmp_path: Path) -> None:
    model = jaxsvd.load()
    with pytest.raises(UserError, match=r"one train\*\.json of SQuAD; it has 0"):
        squad(model, tmp_path)
    for text in ("[]", "{}", "no json", '{"data": [{"title": 1}]}'):
        (tmp_path / "train.json").write_text(text, "utf-8")
        with pytest.raises(UserError, match="should be SQuAD's JSON"):
            read_squad(tmp_path / "train.json")


@pytest.mark.long
def test_answers_of_the_bundled_model(tmp_path: Path) -> None:
    write(tmp_path / "train-v1.1.json", [("which?", ["good"])])
    write(tmp_path / "dev-v1.1.json", [("who?", ["a"]), ("what?", ["b", "c"])])
    result = squad(jaxsvd.load(), tmp_path)
    assert [answer.id for answer in result.answers] == ["0", "1"]
    assert all("\n" not in answer.text for answer in result.answers)
    assert result.f1 == sum(answer.f1 for answer in result.answers) / 2
    assert isinstance(result, SquadResult)
    assert json.loads(json.dumps(result.to_json()))["exact_match"]["total"] == 2
    with pytest.raises(UserError, match="3 questions of dev are wanted; there are 2"):
        squad(jaxsvd.load(), tmp_path, test_size=3)
