"""Rows from the Hugging Face hub, through ``datasets``."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import rows
from jaxsvd.tasks.files import Record
from jaxsvd.tasks.specs import Row, TaskSpec

if TYPE_CHECKING:
    import datasets

_PROBE_SECONDS = 5.0
_OFFLINE = "HF_HUB_OFFLINE"


def load(spec: TaskSpec) -> dict[str, tuple[Row, ...]]:
    """The splits of a task from the hub, or from the local cache of an earlier download.

    Args:
        spec: a task with a hub source.

    Returns:
        Rows by split.

    Raises:
        UserError: the data can't be had, or is not what it was.
    """
    assert spec.hub is not None
    try:
        import datasets

        with _quiet(), _offline_if_unreachable():
            loaded = datasets.load_dataset(
                spec.hub.repository,
                spec.hub.config,
                split=list(spec.splits),
                revision=spec.hub.revision,
            )
    # Whatever `datasets` and what it stands on can raise: no network, a proxy, a full disk, a
    # renamed data set. To the user it is one thing, and local files are the way out.
    except Exception as error:
        raise UserError(
            f"can't load {spec.hub} from the Hugging Face hub ({type(error).__name__}: {error});"
            f" give local files with --data DIR"
        ) from error
    parts = cast("list[datasets.Dataset]", loaded)
    return {
        split: from_dataset(spec, part, f"{spec.hub}, {split}")
        for split, part in zip(spec.splits, parts, strict=True)
    }


def from_dataset(spec: TaskSpec, dataset: "datasets.Dataset", where: str) -> tuple[Row, ...]:
    """Rows of one split.

    Args:
        spec: the task.
        dataset: the split.
        where: its name for messages.

    Returns:
        The rows, in the data set's order.

    Raises:
        UserError: a column is missing, the class names are not those that the task was written
            for, or a row is bad.
    """
    columns = spec.columns
    missing = [name for name in columns if name not in dataset.column_names]
    if missing:
        raise UserError(f"{where}: no column {', '.join(missing)}")
    label = None if spec.gold is not None else dataset.features[spec.label_field]
    names = getattr(label, "names", None)
    if names is not None and tuple(names) != spec.classes:
        raise UserError(
            f"{where}: the classes are {', '.join(names)}, not {', '.join(spec.classes)}"
        )
    values = dataset.select_columns(list(columns)).to_dict()
    assert isinstance(values, dict)
    records = (
        Record(f"{where}, row {i + 1}", {name: values[name][i] for name in columns})
        for i in range(len(dataset))
    )
    return rows.to_rows(spec, where, records)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides progress bars, log lines and warnings of the libraries, and puts all back."""
    import datasets
    import huggingface_hub.utils as hub_utils

    libraries = (datasets.utils.logging, hub_utils.logging)
    levels = [library.get_verbosity() for library in libraries]
    bars = datasets.is_progress_bar_enabled()
    hub_bars = not hub_utils.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in libraries:
            library.set_verbosity(library.CRITICAL)
        datasets.disable_progress_bars()
        hub_utils.disable_progress_bars()
        try:
            yield
        finally:
            for library, level in zip(libraries, levels, strict=True):
                library.set_verbosity(level)
            if bars:
                datasets.enable_progress_bars()
            if hub_bars:
                hub_utils.enable_progress_bars()


@contextlib.contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Uses the cache at once where the hub does not answer.

    Without a network the libraries retry for half a minute before they look into the cache.
    One short request of our own tells whether to spare that.
    """
    import datasets.config
    from huggingface_hub import constants, get_session

    places = (constants, datasets.config)
    before = [getattr(place, _OFFLINE) for place in places]
    try:
        if not any(before):
            get_session().head(constants.ENDPOINT, timeout=_PROBE_SECONDS)
    except Exception:
        for place in places:
            setattr(place, _OFFLINE, True)
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            setattr(place, _OFFLINE, value)
