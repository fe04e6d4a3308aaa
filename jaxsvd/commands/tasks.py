"""The tasks, a line each."""

from collections.abc import Iterator

from jaxsvd.tasks import describe
from jaxsvd.tasks.bundled import SUMMARY


def described() -> Iterator[str]:
    """Every task's name, sizes, labels and source."""
    for task in describe():
        sizes = f"{task.shots} shots"
        if task.paper:
            sizes += f", {task.paper.validation:,} validation and {task.paper.test:,} test rows by "
            sizes += "--paper-sizes"
        labels = "a choice" if task.kind == "choices" else " ".join(task.labels)
        yield f"{task.name:<11} {task.description}: {labels}; {sizes}; {task.source}"
    yield f"{'bundled':<11} {SUMMARY}"
