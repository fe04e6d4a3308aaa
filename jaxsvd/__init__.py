"""Does truncating a language model's weights by SVD make it better at in-context learning?

The names below are imported on first use, so that ``import jaxsvd`` costs nothing and touches no
device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsvd.commands.compare import compare as compare
    from jaxsvd.commands.evaluate import evaluate as evaluate
    from jaxsvd.commands.explain import explain as explain
    from jaxsvd.commands.perplexity import perplexity as perplexity
    from jaxsvd.commands.prune import prune as prune
    from jaxsvd.commands.report import report as report
    from jaxsvd.commands.search import search as search
    from jaxsvd.commands.sweep import sweep as sweep
    from jaxsvd.edits.edit import Edit as Edit
    from jaxsvd.model import Model as Model
    from jaxsvd.model import load as load
    from jaxsvd.runtime.errors import UserError as UserError
    from jaxsvd.selection.condition import condition_numbers as condition_numbers

_HOMES = {
    "Edit": "jaxsvd.edits.edit",
    "Model": "jaxsvd.model",
    "UserError": "jaxsvd.runtime.errors",
    "compare": "jaxsvd.commands.compare",
    "condition_numbers": "jaxsvd.selection.condition",
    "evaluate": "jaxsvd.commands.evaluate",
    "explain": "jaxsvd.commands.explain",
    "load": "jaxsvd.model",
    "perplexity": "jaxsvd.commands.perplexity",
    "prune": "jaxsvd.commands.prune",
    "report": "jaxsvd.commands.report",
    "search": "jaxsvd.commands.search",
    "sweep": "jaxsvd.commands.sweep",
}

__all__ = [
    "Edit",
    "Model",
    "UserError",
    "compare",
    "condition_numbers",
    "evaluate",
    "explain",
    "load",
    "perplexity",
    "prune",
    "report",
    "search",
    "sweep",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
