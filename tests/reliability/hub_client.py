"""Run as a program of its own, with the environment of a user: what is asked, and one answer each.

python hub_client.py '{"model": "someone/tiny", "revision": null}' '{"task": "sst2"}'
"""

import json
import sys
from typing import Any

import numpy as np

import jaxsvd
from jaxsvd import tasks


def answer(requested: dict[str, Any]) -> dict[str, Any]:
    """What came of a question, or the error's line."""
    try:
        if "task" in requested:
            prepared = tasks.prepare(requested["task"], shots=2, validation_size=4, test_size=4)
            return {"source": prepared.source, "prompt": prepared.test[0].prompt}
        model = jaxsvd.load(requested["model"], revision=requested.get("revision"))
        embedding = np.asarray(model.decoder.embedding.tokens[...], np.float64)
        return {"sum": float(embedding.sum()), "tokens": len(model.tokenizer)}
    except jaxsvd.UserError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(json.dumps(answer(json.loads(text))), flush=True)
