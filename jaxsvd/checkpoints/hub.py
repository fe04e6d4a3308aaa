"""Where a model comes from: a directory here, or a repository on the Hugging Face hub."""

import re
from pathlib import Path

from jaxsvd.checkpoints.tensors import LAYOUTS, read_json, require_torch
from jaxsvd.models import FAMILIES
from jaxsvd.runtime.errors import UserError

BUNDLED = Path(__file__).parents[1] / "bundled"
"""The model that is used when none is named."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_SMALL = ("*.json", "tokenizer*", "*.model", "vocab*", "merges.txt")


def model_directory(source: str | Path | None, revision: str | None = None) -> Path:
    """The local directory that holds a model, downloaded first if it is a hub id.

    Args:
        source: a directory in Hugging Face layout, a hub id, or None for the bundled model.
        revision: branch, tag or commit on the hub.

    Raises:
        UserError: neither a directory nor an id, a revision of a directory, or the hub's reason.
    """
    if source is None:
        return BUNDLED
    path = Path(source).expanduser()
    if path.is_dir():
        if revision is not None:
            raise UserError(f"{source} is a directory; --revision is for hub ids")
        return path
    if path.exists():
        raise UserError(f"{source} is a file; a model is a directory in Hugging Face layout")
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise UserError(
            f"{source}: no such directory, and not a hub id such as EleutherAI/gpt-j-6b"
        )
    return _download(source, revision)


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    where = f"{hub_id}{'' if revision is None else f' at {revision}'}"

    def fetch(*patterns: str) -> Path:
        try:
            return Path(
                snapshot_download(
                    hub_id,
                    revision=revision,
                    allow_patterns=list(patterns),
                    ignore_patterns=["*/*"],  # other layouts of the same weights
                )
            )
        except Exception as error:  # the hub's client raises its own, httpx's and the system's
            raise UserError(f"{where}: {_reason(error)}") from None

    directory = fetch(*_SMALL, "model*.safetensors")
    if any((directory / layout).is_file() for layout in LAYOUTS if ".bin" not in layout):
        return directory
    model_type = read_json(directory / "config.json").get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    require_torch(where, family)
    return fetch(*_SMALL, "pytorch_model*.bin")


def config_file(hub_id: str, revision: str | None = None) -> Path:
    """The config.json of a hub id, alone.

    Raises:
        UserError: not a hub id, or the hub's reason.
    """
    from huggingface_hub import snapshot_download

    if not _HUB_ID.fullmatch(hub_id):
        raise UserError(
            f"{hub_id}: no such directory, and not a hub id such as EleutherAI/gpt-j-6b"
        )
    try:
        found = snapshot_download(hub_id, revision=revision, allow_patterns=["config.json"])
    except Exception as error:  # the hub's client raises its own, httpx's and the system's
        where = f"{hub_id}{'' if revision is None else f' at {revision}'}"
        raise UserError(f"{where}: {_reason(error)}") from None
    return Path(found) / "config.json"


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return (
                "the hub wants you to accept this model's terms on its page and to log in "
                "(`hf auth login`, or HF_TOKEN)"
            )
        case errors.RevisionNotFoundError():
            return "the hub has no such revision"
        case errors.RepositoryNotFoundError():
            return "no such directory here, and no such model on the hub (or a private one)"
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            return (
                "no such directory here, and the hub cannot be reached (no network, or offline "
                "mode) nor is the model in the local cache"
            )
        case errors.HFValidationError():
            return f"not a hub id ({error})"
        case _:
            return f"download failed ({type(error).__name__}: {error})"
