"""The clean protocol's prompts, written out."""

from pathlib import Path

import pytest

from jaxsvd import tasks

from .folders import folder

# For each task: a demonstration for each label word and a scored example, which stands twice in
# the data so that it never demonstrates; then what must come of them.
CASES = {
    "sst2": (
        [{"sentence": " a fine\n  film ", "label": 1}, {"sentence": "dull ", "label": 0}],
        {"sentence": "so  so", "label": 1},
        "text: dull sentiment: neg\ntext: a fine film sentiment: pos\ntext: so so sentiment:",
        (" neg", " pos"),
        1,
    ),
    "agnews": (
        [
            {"text": "chips", "label": 3},
            {"text": "shares", "label": 2},
            {"text": "goals", "label": 1},
            {"text": "talks", "label": 0},
        ],
        {"text": "a new planet", "label": 3},
        "text: talks classification: world\ntext: goals classification: sports\n"
        "text: shares classification: business\ntext: chips classification: science\n"
        "text: a new planet classification:",
        (" world", " sports", " business", " science"),
        3,
    ),
    "emoc": (
        [{"text": "hi yes wow", "label": "happy"}, {"text": "no oh grr", "label": "angry"}],
        {"text": "i am fine", "label": "others"},
        "text: no oh grr sentiment: neg\ntext: hi yes wow sentiment: pos\n"
        "text: i am fine sentiment:",
        (" neg", " pos"),
        0,
    ),
    "mrpc": (
        [
            {"sentence1": "A fell.", "sentence2": "B rose.", "label": 0},
            {"sentence1": "C won.", "sentence2": "C was first.", "label": 1},
        ],
        {"sentence1": "D.", "sentence2": "Not D.", "label": 0},
        "sentence1: C won. sentence2: C was first. label : true\n"
        "sentence1: A fell. sentence2: B rose. label : false\n"
        "sentence1: D. sentence2: Not D. label :",
        (" true", " false"),
        1,
    ),
    "rte": (
        [
            {"premise": "It rains.", "hypothesis": "It is dry.", "label": "not_entailment"},
            {"premise": "It snows.", "hypothesis": "It is cold.", "label": "entailment"},
        ],
        {"premise": "It is six.", "hypothesis": "It is late.", "label": "entailment"},
        "It snows. Does this mean that It is cold. is true? select Yes or No? Yes\n"
        "It rains. Does this mean that It is dry. is true? select Yes or No? No\n"
        "It is six. Does this mean that It is late. is true? select Yes or No?",
        (" Yes", " No"),
        0,
    ),
    "cb": (
        [
            {"premise": "It rains.", "hypothesis": "it is dry", "label": "contradiction"},
            {"premise": "It snows.", "hypothesis": "it is cold", "label": "entailment"},
            {"premise": "It is.", "hypothesis": "it was", "label": "neutral"},
        ],
        {"premise": "It is six.", "hypothesis": "it is late", "label": "neutral"},
        "Suppose It snows. Can we infer that 'it is cold'? Yes, No, or Maybe? Yes\n"
        "Suppose It rains. Can we infer that 'it is dry'? Yes, No, or Maybe? No\n"
        "Suppose It is. Can we infer that 'it was'? Yes, No, or Maybe? Maybe\n"
        "Suppose It is six. Can we infer that 'it is late'? Yes, No, or Maybe?",
        (" Yes", " No", " Maybe"),
        2,
    ),
    "copa": (
        [
            {
                "premise": "He fell.",
                "question": "cause",
                "choice1": "It was icy.",
                "choice2": "It was noon.",
                "label": 0,
            },
            {
                "premise": "She sang.",
                "question": "effect",
                "choice1": "It rained.",
                "choice2": "They clapped.",
                "label": 1,
            },
        ],
        {
            "premise": "The ice melted.",
            "question": "cause",
            "choice1": "It was hers.",
            "choice2": "It was  warm.",
            "label": 1,
        },
        "He fell. cause It was icy.\nShe sang. effect They clapped.\nThe ice melted. cause",
        (" It was hers.", " It was warm."),
        1,
    ),
}
SCORED = {"sst2": "train", "agnews": "test", "emoc": "test", "mrpc": "test"}


@pytest.mark.parametrize("task", CASES)
def test_prompt(task: str, tmp_path: Path) -> None:
    """Demonstrations in label order, a line each; the query ends before the label's space."""
    demonstrations, scored, prompt, candidates, gold = CASES[task]
    splits = {"train": [*demonstrations, scored, scored]}
    if task == "mrpc":
        splits["validation"] = [scored]
    if task != "sst2":
        splits[SCORED.get(task, "validation")] = [scored]
    prepared = tasks.prepare(
        task, data=folder(tmp_path, **splits), shots=len(demonstrations), seed=3
    )
    assert prepared.rule == ("choice" if task == "copa" else "label")
    assert prepared.protocol == "clean"
    assert prepared.round_size == len(prepared.labels) == len(demonstrations)
    for question in (*prepared.validation, *prepared.test):
        assert question.prompt == prompt
        assert question.candidates == candidates
        assert question.gold == gold


def test_labels() -> None:
    """The label words of Table 1, in its order."""
    assert {summary.name: summary.labels for summary in tasks.describe() if summary.paper} == {
        "sst2": ("neg", "pos"),
        "agnews": ("world", "sports", "business", "science"),
        "emoc": ("neg", "pos"),
        "mrpc": ("true", "false"),
        "rte": ("Yes", "No"),
        "cb": ("Yes", "No", "Maybe"),
        "copa": ("1", "2"),
    }


def test_without_demonstrations(tmp_path: Path) -> None:
    """Zero shots leave the query alone."""
    data = folder(tmp_path, train=[{"sentence": f"s{i}", "label": 0} for i in range(2)])
    question = tasks.prepare("sst2", data=data, shots=0).test[0]
    assert question.demonstrations == ()
    assert question.prompt in ("text: s0 sentiment:", "text: s1 sentiment:")


def test_braces_in_the_text_stay(tmp_path: Path) -> None:
    """A text that looks like a template is not filled again."""
    data = folder(tmp_path, train=[{"sentence": f"{{sentence}} {i}", "label": 0} for i in range(2)])
    assert "{sentence} " in tasks.prepare("sst2", data=data, shots=0).test[0].prompt
