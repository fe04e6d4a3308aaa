"""A finished run directory: its result as a typed record, and what was asked."""

import json
from dataclasses import dataclass
from pathlib import Path

from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.fields import Damaged, Fields, JsonObject
from jaxsvd.results.other import OtherResult
from jaxsvd.results.request import RunRequest
from jaxsvd.results.search import SearchResult
from jaxsvd.results.sweep import SweepResult
from jaxsvd.runs.directory import PREDICTIONS, PROMPTS, REQUEST, RESULT
from jaxsvd.runtime.errors import UserError, path_errors

AnyResult = SearchResult | SweepResult | Evaluation | ConditionResult | OtherResult

RESULTS = {
    "search": SearchResult,
    "sweep": SweepResult,
    "evaluate": Evaluation,
    "condition": ConditionResult,
}
"""Commands whose results are of a kind of their own."""


@dataclass(frozen=True)
class FinishedRun:
    """What a run was asked and what it measured.

    Attributes:
        path: the run directory.
        result: of a kind that its command has.
        fields: result.json as it is, with what no kind has a place for: a newer version's fields.
        request: run.json as it is; empty where there is none.
    """

    path: Path
    result: AnyResult
    fields: JsonObject
    request: JsonObject

    @property
    def typed_request(self) -> RunRequest | None:
        """run.json of a command; None where there is none, or it is an experiment's.

        Raises:
            UserError: a field of it cannot be.
        """
        if "command" not in self.request:
            return None
        try:
            return RunRequest.from_json(Fields(self.request))
        except Damaged as error:
            raise UserError(f"{self.path / REQUEST}: damaged: {error}") from None

    @property
    def predictions(self) -> Path | None:
        """predictions.jsonl, where there is one."""
        return self._file(PREDICTIONS)

    @property
    def prompts(self) -> Path | None:
        """prompts.jsonl, where there is one."""
        return self._file(PROMPTS)

    def _file(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.is_file() else None


@path_errors()
def read_run(run: str | Path) -> FinishedRun:
    """Read a run directory, of this version or an earlier one.

    Raises:
        UserError: there is none, it is not finished, or a file of it is damaged.
    """
    path = Path(run)
    fields = read_fields(path)
    request = _object(path / REQUEST) if (path / REQUEST).exists() else {}
    try:
        return FinishedRun(path, result_of(fields, path), fields, request)
    except Damaged as error:
        raise damaged(path, str(error)) from None


def result_of(fields: JsonObject, out: Path | None = None) -> AnyResult:
    """A result, as the kind that its command has.

    Raises:
        Damaged: a field of it is missing or cannot be.
    """
    command = fields.get("command")
    kind = RESULTS.get(command) if isinstance(command, str) else None
    return (kind or OtherResult).from_json(Fields(fields), out)


def damaged(path: Path, said: str) -> UserError:
    """For raising: something in result.json of a run is not as it should be."""
    return UserError(f"{path / RESULT}: damaged: {said}")


def read_fields(path: Path) -> JsonObject:
    """result.json of a finished run, unread but for its command.

    Raises:
        UserError: there is none, it is not finished, or the file is no such object.
    """
    if not path.exists():
        raise UserError(f"{path}: no such run directory")
    if not path.is_dir():
        raise UserError(f"{path}: is a file; a run is a directory with a {RESULT}")
    if not (path / RESULT).exists():
        if (path / REQUEST).exists():
            raise UserError(
                f"{path}: the run is not finished (no {RESULT} yet); "
                f"its command with --resume --out {path} finishes it"
            )
        raise UserError(f"{path}: not a run directory (no {RESULT} there)")
    fields = _object(path / RESULT)
    if not isinstance(fields.get("command"), str | list) or not fields["command"]:
        raise damaged(path, "it does not say which command it is of")
    return fields


def _object(path: Path) -> JsonObject:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged: should be an object")
    return value
