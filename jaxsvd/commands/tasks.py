"""The tasks, a line each."""

from collections.abc import Iterator

from jaxsvd.tasks import describe
from jaxsvd.tasks.bundled import SUMMARY


def described() -> Iterator[str]:
    """Every task's name, sizes, labels and source."""
    for task in describe():
        sizes = f"{task.shots} shots, {_count(task.validation_size)} validation, "
        sizes += f"{_count(task.test_size)} test"
        labels = "a choice" if task.kind == "choices" else " ".join(task.labels)
        yield f"{task.name:<8} {task.description}: {labels}; {sizes}; {task.source}"
    yield f"{'bundled':<8} {SUMMARY}"


def _count(size: int | None) -> str:
    return "the rest for" if size is None else f"{size:,}"
