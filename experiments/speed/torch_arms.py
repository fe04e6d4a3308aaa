"""The same search in torch, in a process of its own: ``python -m experiments.speed.torch_arms``.

Four arms, from what the reference scripts do to what a careful user of torch would write. All
truncate exactly, once for each matrix, and read only the labels' logits at the last position.

    one       one example at a time, the whole prompt again for every example and rate
    batched   sixteen at a time, of like length
    prefix    the prefix's keys and values once a rate, the examples' own tokens in batches
    branch    that, and everything below the truncated layer once for all rates
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]
from transformers import AutoModelForCausalLM

from jaxsvd.svd import RATES, rank_at

ARMS = ("one", "batched", "prefix", "branch")
BATCH, CACHED_BATCH = 16, 40
Tensor = Any


class TorchLayer:
    """A layer's modules under common names."""

    def __init__(self, block: Any, config: Any) -> None:
        """Of a GPT-J or a Llama block."""
        self.gptj = config.model_type == "gptj"
        self.heads = config.n_head if self.gptj else config.num_attention_heads
        attention = block.attn if self.gptj else block.self_attn
        self.q, self.k, self.v = attention.q_proj, attention.k_proj, attention.v_proj
        self.out = attention.out_proj if self.gptj else attention.o_proj
        self.norm = block.ln_1 if self.gptj else block.input_layernorm
        self.norm_mlp = None if self.gptj else block.post_attention_layernorm
        self.mlp = block.mlp
        self.rotary = config.rotary_dim if self.gptj else config.hidden_size // self.heads
        names = ("fc_in", "fc_out") if self.gptj else ("gate_proj", "up_proj", "down_proj")
        self.truncated = [getattr(block.mlp, name) for name in names]

    def turn(self, x: Tensor, angles: Tensor) -> Tensor:
        """Rotary positions; ``x`` is ``[batch, heads, tokens, features]``."""
        cos, sin = angles.cos(), angles.sin()
        turned, rest = x[..., : self.rotary], x[..., self.rotary :]
        if self.gptj:
            a, b = turned[..., 0::2], turned[..., 1::2]
            turned = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            turned = torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
        return torch.cat((turned, rest), -1)

    def __call__(
        self, x: Tensor, angles: Tensor, mask: Tensor | None, prefix: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The stream after the layer, and the keys and values of its own tokens."""
        normed = self.norm(x)
        q, k, v = (
            f(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f in (self.q, self.k, self.v)
        )
        q, k = self.turn(q, angles), self.turn(k, angles)
        own = (k, v)
        if prefix is not None:
            k = torch.cat((prefix[0].expand(len(x), -1, -1, -1), k), 2)
            v = torch.cat((prefix[1].expand(len(x), -1, -1, -1), v), 2)
        attended = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None
        )
        attended = self.out(attended.transpose(1, 2).flatten(-2))
        if self.norm_mlp is None:
            return x + attended + self.mlp(normed), own
        x = x + attended
        return x + self.mlp(self.norm_mlp(x)), own


class Search:
    """A model, its prompts, and the truncated layer."""

    def __init__(self, model: Any, prompts: dict[str, Any], layer: int, rates: Sequence[float]):
        """Factors the layer's matrices."""
        self.model, self.config, self.rates = model, model.config, rates
        self.prefix, self.lines, self.labels = (prompts[k] for k in ("prefix", "lines", "labels"))
        gptj = self.config.model_type == "gptj"
        body = model.transformer if gptj else model.model
        self.embed = body.wte if gptj else body.embed_tokens
        self.final = body.ln_f if gptj else body.norm
        self.layers = [
            TorchLayer(block, self.config) for block in (body.h if gptj else body.layers)
        ]
        self.layer = layer % len(self.layers)
        self.matrices = [linear.weight for linear in self.layers[self.layer].truncated]
        self.original = [matrix.detach().clone() for matrix in self.matrices]
        self.factors = [torch.linalg.svd(m, full_matrices=False) for m in self.original]
        rotary = self.layers[0].rotary
        base = 10_000.0
        self.frequencies = base ** -(torch.arange(0, rotary, 2, dtype=torch.float32) / rotary)

    def truncate(self, rate: float) -> None:
        """Put the truncated matrices in place."""
        for target, whole, (u, s, vt) in zip(
            self.matrices, self.original, self.factors, strict=True
        ):
            r = rank_at(rate, tuple(whole.shape))
            target.data = whole if rate == 0 else (u[:, :r] * s[:r]) @ vt[:r]

    def labelled(self, x: Tensor) -> list[int]:
        """Predictions from the stream at last positions."""
        head = self.model.lm_head
        rows = head.weight[self.labels]
        bias = None if head.bias is None else head.bias[self.labels]
        return functional.linear(self.final(x), rows, bias).argmax(-1).tolist()

    def batches(self, size: int) -> list[list[int]]:
        """Examples of like length together."""
        order = sorted(range(len(self.lines)), key=lambda i: len(self.lines[i]))
        return [order[start : start + size] for start in range(0, len(order), size)]

    def padded(self, chosen: Sequence[int], before: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Token ids ``[batch, tokens]``, padded at the end, and the last position of each."""
        rows = [[*before, *self.lines[i]] for i in chosen]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return ids, torch.tensor([len(row) - 1 for row in rows])

    def whole_prompts(self, batches: Sequence[Sequence[int]]) -> list[dict[int, int]]:
        """Arms ``one`` and ``batched``: transformers' own forward pass of whole prompts."""
        answers: list[dict[int, int]] = []
        for rate in self.rates:
            self.truncate(rate)
            answers.append({})
            for chosen in batches:
                ids, last = self.padded(chosen, self.prefix)
                logits = self.model(ids).logits if len(chosen) == 1 else None
                if logits is not None:
                    predictions = [int(logits[0, -1, self.labels].argmax())]
                else:
                    # Causal: what is padded at the end changes nothing before it.
                    body = getattr(self.model, "transformer", None) or self.model.model
                    x = body(ids).last_hidden_state[torch.arange(len(chosen)), last]
                    head = self.model.lm_head
                    bias = None if head.bias is None else head.bias[self.labels]
                    predictions = functional.linear(x, head.weight[self.labels], bias)
                    predictions = predictions.argmax(-1).tolist()
                answers[-1] |= dict(zip(chosen, predictions, strict=True))
        return answers

    def cached(self, start: int) -> list[dict[int, int]]:
        """Arms ``prefix`` (start 0) and ``branch`` (start at the truncated layer)."""
        n = len(self.prefix)
        angles = torch.arange(n, dtype=torch.float32)[:, None] * self.frequencies
        x = self.embed(torch.tensor(self.prefix))[None]
        below = []
        for layer in self.layers[:start]:
            x, own = layer(x, angles, None, None)
            below.append(own)
        streams = [self.start(chosen, below, start) for chosen in self.batches(CACHED_BATCH)]
        answers: list[dict[int, int]] = []
        for rate in self.rates:
            self.truncate(rate)
            above, y = [], x
            for layer in self.layers[start:]:
                y, own = layer(y, angles, None, None)
                above.append(own)
            answers.append({})
            for chosen, z, turn, mask, last in streams:
                for layer, own in zip(self.layers[start:], above, strict=True):
                    z, _ = layer(z, turn, mask, own)
                predictions = self.labelled(z[torch.arange(len(z)), last])
                answers[-1] |= dict(zip(chosen, predictions, strict=True))
        return answers

    def start(self, chosen: list[int], below: list[tuple[Tensor, Tensor]], start: int) -> tuple:
        """A batch's stream before a layer, with what all layers above need of it."""
        ids, last = self.padded(chosen, ())
        n, tokens = len(self.prefix), ids.shape[1]
        turn = torch.arange(n, n + tokens, dtype=torch.float32)[:, None] * self.frequencies
        causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
        mask = torch.cat((torch.ones(tokens, n, dtype=torch.bool), causal), 1)
        x = self.embed(ids)
        for layer, own in zip(self.layers[:start], below, strict=True):
            x, _ = layer(x, turn, mask, own)
        return chosen, x, turn, mask, last


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("prompts", type=Path)
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--sample", type=int, help="examples, in the first two arms")
    options = parser.parse_args()
    prompts = json.loads(options.prompts.read_text("utf-8"))
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    n = len(prompts["lines"])
    with torch.inference_mode():
        model(torch.tensor([prompts["prefix"][:8]]))  # threads and kernels are warm
        start = time.perf_counter()
        search = Search(model, prompts, options.layer, RATES)
        scale = 1.0
        if options.arm in ("one", "batched"):
            size = 1 if options.arm == "one" else BATCH
            batches = search.batches(size)
            wanted = max(1, (options.sample or n) // size)
            # Evenly over the lengths, so that the sample's mean is the set's.
            batches = [batches[int((i + 0.5) * len(batches) / wanted)] for i in range(wanted)]
            scale = n / sum(map(len, batches))
            predictions = search.whole_prompts(batches)
        else:
            predictions = search.cached(0 if options.arm == "prefix" else search.layer)
        seconds = (time.perf_counter() - start) * scale
    result = {
        "search": seconds,
        "scaled": scale,
        "predictions": [{str(i): p for i, p in at.items()} for at in predictions],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "torch": torch.__version__,
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
