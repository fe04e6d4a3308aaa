"""Whether a model's files are still what they were, without reading gigabytes."""

import hashlib
from fnmatch import fnmatch
from pathlib import Path

_WHOLE = ("config.json", "*.index.json", "tokenizer*", "*.model", "vocab*", "merges.txt")
_WHOLE += ("special_tokens_map.json", "added_tokens.json")
_SAMPLED = ("model*.safetensors", "pytorch_model*.bin", "*.gguf")
_BLOCK, _STEP = 4096, 2**22


def of_model(directory: Path) -> str:
    """A digest of the files that decide a model's logits and tokens.

    Files are read whole, but of weights larger than 4 MiB only the size and a thousand blocks or
    more, one in every 4 MiB at least: another checkpoint, or a matrix that was trained or edited,
    differs there too. A single flipped bit may not.

    Args:
        directory: of a model, or its GGUF file; files that cannot be read count as missing.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*")) if directory.is_dir() else (directory,):
        whole = any(fnmatch(path.name, pattern) for pattern in _WHOLE)
        if not whole and not any(fnmatch(path.name, pattern) for pattern in _SAMPLED):
            continue
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                digest.update(f"{path.name}\0{size}\0".encode("utf-8", "surrogateescape"))
                step = _BLOCK if whole else min(_STEP, max(_BLOCK, size // 1024))
                for start in range(0, size, step):
                    file.seek(start)
                    digest.update(file.read(_BLOCK))
        except OSError:
            continue
    return digest.hexdigest()[:16]
