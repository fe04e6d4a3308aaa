"""Prompts encoded in pieces beside whole ones: ``python -m experiments.speed.encoding MODEL DATA``.

Prints one JSON object: core-seconds of both ways and whether all token ids are equal. One process,
so that the ratio holds on a busy machine too.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from jaxsvd import tasks
from jaxsvd.model import load_tokenizer
from jaxsvd.runtime.collection import paused
from jaxsvd.tokenizer.prompts import PromptEncoder, PromptTokens, Text


def core_seconds(encoder: PromptEncoder, texts: list[Text]) -> tuple[float, list[PromptTokens]]:
    """Of encoding texts, and their tokens."""
    start = time.process_time()
    with paused():
        tokens = encoder(texts)
    return time.process_time() - start, tokens


def same(a: PromptTokens, b: PromptTokens) -> bool:
    """Whether two encodings have the same tokens, however they are divided."""
    one, other = (np.concatenate([tokens.shared, tokens.rest]) for tokens in (a, b))
    return np.array_equal(one, other) and a.endings.continuations == b.endings.continuations


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, help="a directory or GGUF file with a tokenizer")
    parser.add_argument("data", type=Path, help="the folder of SST-2's files")
    parser.add_argument("--examples", type=int, default=67_339)
    options = parser.parse_args()
    tokenizer, half = load_tokenizer(options.model), options.examples // 2
    prepared = tasks.prepare(
        "sst2", data=options.data, validation_size=half, test_size=options.examples - half
    )
    questions = (*prepared.validation, *prepared.test)
    texts = [Text("".join(q.demonstrations), q.query, q.candidates) for q in questions]
    whole = PromptEncoder(tokenizer)
    whole.seams = None
    pieces, encoded = core_seconds(PromptEncoder(tokenizer), texts)
    joint, expected = core_seconds(whole, texts)
    equal = all(map(same, encoded, expected))
    result = {"prompts": len(texts), "pieces": pieces, "whole": joint, "equal": equal}
    json.dump(result | {"ratio": joint / pieces}, sys.stdout)


if __name__ == "__main__":
    main()
