"""The built-in tasks: task files that come with jaxsvd, in ``built_in/``.

They have the form of a user's own (``userfile.py``). Templates and label words of the paper's seven
are those of its Table 1, sizes those of its Appendix C.3 (arXiv 2406.03768).
"""

import functools
import importlib.resources
from collections.abc import Iterator, Mapping

from jaxsvd.tasks import userfile
from jaxsvd.tasks.specs import TaskSpec

PAPER = ("sst2", "agnews", "emoc", "mrpc", "rte", "cb", "copa")
"""The tasks of the paper, in its order."""

_MORE = ("boolq", "wic", "multirc", "wsc", "trec", "hellaswag", "counterfact")


@functools.cache
def _read(name: str) -> TaskSpec:
    file = importlib.resources.files("jaxsvd.tasks") / "built_in" / f"{name}.toml"
    spec, _ = userfile.spec_of(userfile.parsed(file.read_bytes(), name), name)
    return spec


class _BuiltIn(Mapping[str, TaskSpec]):
    """Reads a file when its task is first looked up."""

    def __getitem__(self, name: str) -> TaskSpec:
        if name not in (*PAPER, *_MORE):
            raise KeyError(name)
        return _read(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*PAPER, *_MORE))

    def __len__(self) -> int:
        return len(PAPER) + len(_MORE)


SPECS: Mapping[str, TaskSpec] = _BuiltIn()
"""The built-in tasks by name: the paper's in its order, then the others."""
