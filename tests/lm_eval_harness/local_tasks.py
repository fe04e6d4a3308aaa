"""Tasks of lm-evaluation-harness in local files: written by the tests, read by the harness."""

import json
import random
from pathlib import Path

import yaml

TEXT = (
    "once upon a time there was little girl named lily she liked to play with her dog in the park "
    "one day they saw big red ball and were very happy"
)
WORDS = TEXT.split()

TASKS = ("first_choice", "second_choice", "shots_choice", "rolling", "writing")
"""Three of multiple choice (one with demonstrations), one of rolling perplexity, one written."""


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def write_tasks(directory: Path, documents: int = 12) -> Path:
    """A folder for ``--include_path``."""
    rng = random.Random(0)
    rows = []
    for _ in range(documents):
        choices = [" " + _words(rng, rng.randint(1, 4)) for _ in range(3)]
        # Two continuations of which one begins the other, and texts beyond a small context.
        choices.append(choices[0] + " and then")
        rows.append(
            {
                "question": _words(rng, rng.randint(2, 14)),
                "choices": choices,
                "label": rng.randrange(4),
                "text": _words(rng, rng.choice([3, 40, 160])),
            }
        )
    data = directory / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    base = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data), "train": str(data)}},
        "test_split": "test",
    }
    choice = base | {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    tasks = {
        "first_choice": choice | {"doc_to_text": "{{question}}"},
        "second_choice": choice | {"doc_to_text": "{{text}} {{question}} "},
        "shots_choice": choice
        | {"doc_to_text": "{{question}}", "fewshot_split": "train", "num_fewshot": 3},
        "rolling": base
        | {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "word_perplexity"}],
        },
        "writing": base
        | {
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{question}}",
            "generation_kwargs": {"until": [".", "\n"], "max_gen_toks": 24, "do_sample": False},
            "metric_list": [{"metric": "exact_match"}],
        },
    }
    for name, task in tasks.items():
        text = yaml.safe_dump({"task": name} | task)
        (directory / f"{name}.yaml").write_text(text, "utf-8")
    return directory
