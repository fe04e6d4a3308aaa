"""Where a model comes from: a directory here, or a repository on the Hugging Face hub."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxsvd.checkpoints.factored import without_factors
from jaxsvd.checkpoints.gguf import config as gguf_config
from jaxsvd.checkpoints.gguf import header
from jaxsvd.checkpoints.gguf.header import is_gguf
from jaxsvd.checkpoints.tensors import LAYOUTS, is_file, read_json, require_torch, unreadable
from jaxsvd.models import read_config
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.hf_config import Family
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.paths import resolved

BUNDLED = resolved(Path(__file__).parents[1] / "bundled")
"""The model that is used when none is named."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_HUB_GGUF = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)/(?P<file>[\w./ -]+\.gguf)")
_SMALL = ("*.json", "*.jinja", "tokenizer*", "*.model", "vocab*", "merges.txt", "README.md")
_SMALL += ("LICEN[CS]E*", "NOTICE*")


def model_directory(
    source: str | Path | None,
    revision: str | None = None,
    *,
    judge: Callable[[DecoderConfig], None] = lambda config: None,
) -> Path:
    """The local directory or GGUF file that holds a model, downloaded first if it is a hub id.

    Args:
        source: a directory in Hugging Face layout or with one GGUF file, such a file, a hub id
            (of a GGUF file of several ``OWNER/NAME/FILE.gguf``), or None (or ``"bundled"``) for
            the bundled model.
        revision: branch, tag or commit on the hub.
        judge: refuses a model of the hub by its config.json, before its weights are fetched.

    Returns:
        For a directory its absolute path, symbolic links followed.

    Raises:
        UserError: neither a directory nor an id, a revision of a directory, or the hub's reason.
    """
    if source is None or source == "bundled":
        return BUNDLED
    path = _path(source)
    if path.is_dir() or (path.exists() and is_gguf(path)):
        if revision is not None:
            what = "directory" if path.is_dir() else "file"
            raise UserError(f"{source} is a {what}; --revision is for hub ids")
        return _gguf_in(path) or path
    if path.exists():
        raise UserError(
            f"{source} is a file; a model is a directory in Hugging Face layout, or a .gguf file"
        )
    if isinstance(source, str) and (named := _HUB_GGUF.fullmatch(source)):
        return _download_gguf(named["id"], named["file"], revision)
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise UserError(
            f"{source}: no such directory, and not a hub id such as EleutherAI/gpt-j-6b"
        )
    return _download(source, revision, judge)


def recorded_source(source: str | Path | None, directory: Path) -> str:
    """How records name a model: ``"bundled"``, the hub id, or the absolute path.

    Args:
        source: as given.
        directory: that :func:`model_directory` returned for it.
    """
    if directory == BUNDLED:
        return "bundled"
    assert source is not None
    return str(directory) if _path(source).exists() else str(source)


def _gguf_in(path: Path) -> Path | None:
    """The one GGUF file of a directory without weights in Hugging Face layout; None if none.

    Raises:
        UserError: several, or a directory that cannot be read.
    """
    if not path.is_dir() or any(is_file(path / layout) for layout in LAYOUTS):
        return None
    try:
        files = sorted(file for file in path.iterdir() if is_gguf(file))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({unreadable(error)})") from None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UserError(f"{path} holds {len(files)} GGUF files; name one of them: {names}")
    return files[0] if files else None


def read_raw_config(directory: Path) -> tuple[dict[str, Any], Path]:
    """The config.json of a model as it is, or what a GGUF file says in its place; and where.

    Raises:
        UserError: not there, or damaged.
    """
    if is_gguf(directory):
        return gguf_config.config(header.read(directory)), directory
    path = directory / "config.json"
    return read_json(path), path


def _path(source: str | Path) -> Path:
    """A source as a path that the file system can look at."""
    try:
        path = resolved(source)
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # also no home directory, a NUL
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{str(source)[:200]}: can't be read ({reason})") from None
    return path


def is_local(source: str | Path | None) -> bool:
    """Whether a source is the bundled model or something on this machine.

    Raises:
        UserError: a name that the file system cannot look at.
    """
    return source in (None, "bundled") or _path(source).exists()


def _download(hub_id: str, revision: str | None, judge: Callable[[DecoderConfig], None]) -> Path:
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

    # A model that is not supported is refused before gigabytes of it are fetched.
    config = fetch("config.json") / "config.json"
    if not config.is_file() and (file := _only_gguf(hub_id, revision, where)):
        return _download_gguf(hub_id, file, revision)
    judged, family = _read(config)
    judge(judged)
    directory = fetch(*_SMALL, "model*.safetensors")
    if any((directory / layout).is_file() for layout in LAYOUTS if ".bin" not in layout):
        return directory
    if file := _only_gguf(hub_id, revision, where):
        return _download_gguf(hub_id, file, revision)
    require_torch(where, family)
    return fetch(*_SMALL, "pytorch_model*.bin")


def _download_gguf(hub_id: str, file: str, revision: str | None) -> Path:
    """One GGUF file of a repository, which has no config.json to be judged before it."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, file, revision=revision))
    except Exception as error:  # the hub's client raises its own, httpx's and the system's
        raise UserError(f"{hub_id}/{file}: {_reason(error)}") from None


def _only_gguf(hub_id: str, revision: str | None, where: str) -> str | None:
    """The one GGUF file of a repository without weights of another kind; None if it has none.

    Raises:
        UserError: it has several.
    """
    from huggingface_hub import model_info

    try:
        siblings = model_info(hub_id, revision=revision).siblings or []
    except Exception:  # whoever fetches the weights next says what is wrong
        return None
    names = sorted(file.rfilename for file in siblings)
    if any(name.endswith((".bin", ".safetensors")) for name in names):
        return None
    ggufs = [name for name in names if is_gguf(Path(name))]
    if len(ggufs) > 1:
        shown = ", ".join(f"{hub_id}/{name}" for name in ggufs)
        raise UserError(f"{where} holds {len(ggufs)} GGUF files; name one of them: {shown}")
    return ggufs[0] if ggufs else None


def _read(path: Path) -> tuple[DecoderConfig, Family]:
    raw, _ = without_factors(read_json(path), path)
    return read_config(raw, str(path))


def config_file(hub_id: str, revision: str | None = None) -> Path:
    """The directory with the config.json of a hub id, alone.

    Raises:
        UserError: not a hub id, or the hub's reason.
    """
    from huggingface_hub import snapshot_download

    if not _HUB_ID.fullmatch(hub_id):
        raise UserError(
            f"{hub_id}: no such directory, and not a hub id such as EleutherAI/gpt-j-6b"
        )
    try:
        snapshot = snapshot_download(hub_id, revision=revision, allow_patterns=["config.json"])
    except Exception as error:  # the hub's client raises its own, httpx's and the system's
        where = f"{hub_id}{'' if revision is None else f' at {revision}'}"
        raise UserError(f"{where}: {_reason(error)}") from None
    return Path(snapshot)


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
        case errors.RemoteEntryNotFoundError():
            return "no such file here, and none in that repository of the hub"
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            return (
                "no such directory here, and the hub cannot be reached (no network, or offline "
                "mode) nor is the model in the local cache"
            )
        case errors.HFValidationError():
            return f"not a hub id ({error})"
        case _:
            return f"download failed ({type(error).__name__}: {error})"
