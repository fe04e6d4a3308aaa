"""The experiments by name, found without importing them."""

import importlib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import experiments
from jaxsvd.runtime.errors import UserError


def names() -> list[str]:
    """Of all experiments, sorted: the folders of this package that run with ``python -m``."""
    roots = (Path(root) for root in experiments.__path__)
    return sorted(path.parent.name for root in roots for path in root.glob("*/__main__.py"))


def run(name: str, argv: Sequence[str]) -> int:
    """Run ``python -m experiments.NAME ARGV`` in this process and return its exit status.

    Only the named experiment is imported. ``sys.argv`` is replaced for the time of the run.

    Raises:
        UserError: no experiment has this name.
    """
    if name not in names():
        raise UserError(f"no experiment {name!r}; choose from {', '.join(names())}")
    module = f"experiments.{name}"
    importlib.import_module(module)
    before = sys.argv
    sys.argv = [f"python -m {module}", *argv]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    finally:
        sys.argv = before
    return 0
