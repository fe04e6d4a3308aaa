"""The text of an edited model's card: what was cut, from what, and how to load it."""

import os
from typing import Literal

from jaxsvd.edits.edit import Edit
from jaxsvd.edits.provenance import Provenance, ranks_of
from jaxsvd.models.config import DecoderConfig

Format = Literal["dense", "lora", "factored"]
"""How an edited model is written.

``dense``: whole matrices in Hugging Face layout. ``lora``: what was removed, as a PEFT adapter of
the source. ``factored``: each truncated matrix as two factors, which only jaxsvd reads.
"""

TAGS = ("jaxsvd", "svd", "pruning")

LIBRARIES: dict[Format, str] = {"dense": "transformers", "lora": "peft", "factored": "jaxsvd"}

_USE: dict[Format, str] = {
    "dense": """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{here}")
tokenizer = AutoTokenizer.from_pretrained("{here}")""",
    "lora": """from peft import PeftModel
from transformers import AutoModelForCausalLM

source = AutoModelForCausalLM.from_pretrained("{source}")
model = PeftModel.from_pretrained(source, "{here}")  # .merge_and_unload() for whole matrices""",
    "factored": """import jaxsvd  # transformers does not read factors

model = jaxsvd.load("{here}")""",
}


def hub_id(source: str) -> str | None:
    """The model of the hub that a recorded source names, or a file of; None of a path."""
    if source == "bundled" or os.path.isabs(source):
        return None
    return "/".join(source.split("/")[:2])


def card_text(
    provenance: Provenance, config: DecoderConfig, format: Format, name: str, measured: str = ""
) -> str:
    """The card in Markdown, without its metadata.

    Args:
        provenance: where the weights come from.
        config: of the model.
        format: of the files.
        name: of their directory.
        measured: more of it, such as what a search measured.
    """
    source = provenance.source
    hub = hub_id(source)
    shown = f"[{source}](https://huggingface.co/{hub})" if hub else f"`{source}`"
    revision = f", revision `{provenance.revision}`" if provenance.revision else ""
    lines = [
        f"# {name}",
        "",
        f"{shown}{revision}, with some matrices replaced by lower-rank ones (SVD), by jaxsvd. All "
        "other weights are the source's.",
        "",
        "| layer | module | clipping rate | rank kept | method |",
        "|---|---|---|---|---|",
        *(_row(edit, config) for edit in provenance.edits),
        "",
        "Layers are counted from 0; later rows were done after earlier ones.",
        "",
    ]
    if provenance.quantization is not None:
        lines += [
            f"The source's weights are quantised ({provenance.quantization}); the dequantised "
            "ones were edited, and are what is written here.",
            "",
        ]
    use = _USE[format].format(here=f"path/to/{name}", source=source)
    lines += ["## Use", "", "```python", use, "```", ""]
    if measured:
        lines += ["## What was measured", "", measured, ""]
    return "\n".join(lines)


def _row(edit: Edit, config: DecoderConfig) -> str:
    ranks = ranks_of(edit, config)
    rate = "" if edit.rate is None else f"{edit.rate:g}"
    kept = ", ".join(f"{name} {rank}" for name, rank in ranks.items()) or "all"
    method = f"{edit.method}, seed {edit.seed}" if edit.random else edit.method
    return f"| {edit.layer} | {edit.module} | {rate} | {kept} | {method} |"
