"""Model cards: README.md of a directory, with the metadata that the hub reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CARD = "README.md"

_INHERITED = ("license", "license_name", "license_link", "language", "pipeline_tag")


def write_card(
    directory: Path, text: str, *, base: str | None, tags: Sequence[str], library: str, source: Path
) -> None:
    """Write a model card.

    Args:
        directory: gets it.
        text: in Markdown.
        base: hub id of the model that this one was made of; None for one that is on no hub.
        tags: for the hub.
        library: that loads the model.
        source: directory of the source; its card's terms and languages are this model's.
    """
    from huggingface_hub import ModelCard, ModelCardData

    known = _of_source(source)
    data = ModelCardData(base_model=base, library_name=library, tags=[*tags], **known)
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")
    (directory / CARD).write_text(str(card), "utf-8")


def _of_source(source: Path) -> dict[str, Any]:
    """What a card inherits; nothing where the source has none that can be read."""
    from huggingface_hub import ModelCard

    path = source / CARD
    if not path.is_file():
        return {}
    try:
        metadata = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except Exception:  # the metadata of a source's card, in YAML, may be anything
        return {}
    return {name: metadata[name] for name in _INHERITED if metadata.get(name)}
