"""Files of megabytes, good and damaged at their end: never more than four times their size."""

import json
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.model import load_tokenizer
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import sources
from jaxsvd.tasks.built_in import SPECS

from .trials import peak_memory

ROWS = 10_000
TEXT = "a film of quite some length that says little and says it twice, naïve and slow " * 6
SLACK = 4 * 2**20  # of the allocator


def write(path: Path) -> int:
    """Some 5 MB of reviews; the size."""
    rows = [{"sentence": f"{i} {TEXT}{i}", "label": i % 2} for i in range(ROWS)]
    if path.suffix == ".parquet":
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, path, compression=None, write_page_checksum=True)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        between = {".csv": ",", ".tsv": "\t"}[path.suffix]
        lines = [f'"{r["sentence"]}"{between}{r["label"]}\n' for r in rows]
        path.write_text(f"sentence{between}label\n" + "".join(lines), "utf-8")
    return path.stat().st_size


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.brief(suffix=(".csv", ".parquet"))
def test_rows_of_a_large_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train{suffix}"
    size = write(path)
    assert size > 4_000_000
    with peak_memory() as peak:
        rows = sources.load(SPECS["sst2"], tmp_path)[0]["train"]
    assert len(rows) == ROWS
    assert peak.bytes < 4 * size + SLACK
    del rows
    data = path.read_bytes()
    for damaged in (data[: -len(data) // 3], data[:-50_000] + b"\xff" * 50_000):
        path.write_bytes(damaged)
        with peak_memory() as peak, pytest.raises(UserError):
            sources.load(SPECS["sst2"], tmp_path)
        assert peak.bytes < 4 * size + SLACK


@pytest.mark.long
@pytest.mark.parametrize("where", ["vocabulary", "added token", "special token"])
def test_a_token_of_100_megabytes(tmp_path: Path, where: str) -> None:
    """Refused before the tokenizers library, which would take ninety bytes for each of its own."""
    shutil.copytree(BUNDLED, tmp_path / "m")
    name = "tokenizer_config.json" if where == "special token" else "tokenizer.json"
    path = tmp_path / "m" / name
    raw = json.loads(path.read_text("utf-8"))
    token = "x" * 10**8
    if where == "vocabulary":
        raw["model"]["vocab"][token] = len(raw["model"]["vocab"])
    elif where == "added token":
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
        raw["added_tokens"].append({"id": len(raw["model"]["vocab"]), "content": token} | flags)
    else:
        raw["bos_token"] = token
    path.write_text(json.dumps(raw), "utf-8")
    del raw
    with peak_memory() as peak, pytest.raises(UserError, match="100,000,000 characters"):
        load_tokenizer(tmp_path / "m")
    assert peak.bytes < 9 * 10**8
