"""A search recomputed in torch: from prompts.jsonl, with transformers and exact truncation."""

import json
from pathlib import Path
from typing import Any

import pytest

import jaxsvd
from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.svd import rank_at

pytestmark = pytest.mark.parity

MATRICES = {
    "gptj": ("mlp.fc_in", "mlp.fc_out"),
    "llama": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
}


def torch_scores(
    directory: Path, run: Path, layer: int
) -> dict[tuple[str, int, float], list[float]]:
    """Scores of every prompt at every rate of the run, one prompt and candidate at a time."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = json.loads((run / "result.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    blocks = model.transformer.h if result["model"]["family"] == "gptj" else model.model.layers
    weights = [
        blocks[layer].get_submodule(name).weight for name in MATRICES[result["model"]["family"]]
    ]
    originals = [weight.detach().clone() for weight in weights]
    prompts = [json.loads(line) for line in (run / "prompts.jsonl").read_text().splitlines()]
    scores: dict[tuple[str, int, float], list[float]] = {}
    for rate in [entry["rate"] for entry in result["validation"]]:
        for weight, original in zip(weights, originals, strict=True):
            if rate:
                u, s, vt = torch.linalg.svd(original.double(), full_matrices=False)
                r = rank_at(rate, tuple(original.shape))
                weight.data = (u[:, :r] * s[:r] @ vt[:r]).float()
        for prompt in prompts:
            if prompt["split"] == "test" and rate not in (0.0, result["best_rate"]):
                continue
            n = len(tokenizer(prompt["prompt"])["input_ids"])
            row = []
            for text in prompt.get("choices") or prompt["labels"]:
                ids = torch.tensor([tokenizer(prompt["prompt"] + text)["input_ids"]])
                with torch.no_grad():
                    logits = model(ids).logits[0, n - 1 : -1].double()
                if result["task"]["scoring"] == "label tokens":
                    row.append(float(logits[0, ids[0, n]]))
                    continue
                logp = torch.log_softmax(logits, -1).gather(-1, ids[0, n:, None])[:, 0]
                mean = result["task"]["scoring"] == "mean log-likelihood"
                row.append(float(logp.mean() if mean else logp.sum()))
            scores[prompt["split"], prompt["index"], rate] = row
    return scores


def assert_agrees(directory: Path, run: Path, layer: int) -> None:
    """Every prediction, and every score to 1e-3."""
    reference = torch_scores(directory, run, layer)
    records: list[dict[str, Any]] = [
        json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()
    ]
    assert len(records) == len(reference)
    for record in records:
        row = reference[record["split"], record["index"], record["rate"]]
        assert record["scores"] == pytest.approx(row, abs=1e-3)
        best = max(row)
        # Equal to the last digits in both: either may come first.
        assert row[record["prediction"]] == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("task", ["sst2", "agnews", "rte", "copa"])
def test_real_tasks(task: str, shared: Path, tmp_path: Path) -> None:
    directory = shared / "models" / "stories260K"
    jaxsvd.search(
        jaxsvd.load(directory),
        task,
        data=shared / "data" / task,
        layer=-2,
        shots=4,
        validation_size=16,
        test_size=12,
        rates=[0.0, 0.5, 0.95],
        skip_long=True,
        allow_zero_shot=True,
        save_prompts=True,
        out=tmp_path / "run",
    )
    assert_agrees(directory, tmp_path / "run", 3)


def test_bundled_task(tmp_path: Path) -> None:
    model = jaxsvd.load()
    layer = model.config.layers - 2
    sizes = {"validation_size": 40, "test_size": 30}
    jaxsvd.search(model, layer=layer, save_prompts=True, out=tmp_path / "run", **sizes)
    assert_agrees(BUNDLED, tmp_path / "run", layer)
