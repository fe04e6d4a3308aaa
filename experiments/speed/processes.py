"""The arms' processes: each measurement starts a new one."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsvd.runtime.errors import UserError

Record = dict[str, Any]


def measure(module: str, *arguments: object) -> Record:
    """Run ``python -m experiments.speed.MODULE`` and read the JSON object that it prints.

    Raises:
        UserError: it failed; the last line that it wrote says why.
    """
    command = [sys.executable, "-m", f"experiments.speed.{module}", *map(str, arguments)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    if done.returncode:
        message = done.stderr.strip().splitlines()
        raise UserError(
            f"{' '.join(command)} failed: {message[-1] if message else done.returncode}"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def has_torch() -> bool:
    """Whether the arms to compare with can run."""
    probe = [sys.executable, "-c", "import torch"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def agree(ours: Sequence[Sequence[int]], theirs: Sequence[dict[str, int]]) -> tuple[int, int]:
    """How many of an arm's predictions are ours, and how many there are."""
    pairs = [
        (ours[rate][int(i)], p)
        for rate, predictions in enumerate(theirs)
        for i, p in predictions.items()
    ]
    return sum(a == b for a, b in pairs), len(pairs)
