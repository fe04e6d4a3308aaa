"""run.json as dataclasses: what decides the results of a run; a resumed run must have the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxsvd.results.fields import COUNT, FLAG, TEXT, Fields, JsonObject
from jaxsvd.results.records import ModelRecord, TaskRecord

_COMMON = ("command", "model", "task", "questions", "asked")


@dataclass(frozen=True, kw_only=True)
class DrawRequest:
    """The ``asked`` object: arguments of :func:`jaxsvd.encoded_task.encode_task`.

    Shots, seed and protocol are in the task's record, which has the values that were used.

    Attributes:
        task: a name, or the whole path of a task file.
        data: whole path of the folder with the task's files; None for the hub.
        validation_size, test_size: examples; None for the task's default.
        paper_sizes: whether sizes that are None were the paper's; None in runs of version 0.1.0,
            where they were, or all the rows of the user's own task.
        skip_long: whether queries longer than the context are left out.
        allow_zero_shot: whether prompts without room for a demonstration are kept; None in runs of
            version 0.1.0, which kept them.
    """

    task: str
    data: str | None = None
    validation_size: int | None = None
    test_size: int | None = None
    paper_sizes: bool | None = None
    skip_long: bool = False
    allow_zero_shot: bool | None = None

    def to_json(self) -> dict[str, object]:
        """All fields, null where None; left out where earlier versions had no such field."""
        later = ("allow_zero_shot", "paper_sizes")
        return {k: v for k, v in vars(self).items() if v is not None or k not in later}

    @classmethod
    def from_json(cls, fields: Fields) -> "DrawRequest":
        """As written.

        Raises:
            Damaged: a field is missing or of another kind.
        """
        return cls(
            task=fields.read("task", TEXT),
            data=fields.maybe("data", TEXT),
            validation_size=fields.maybe("validation_size", COUNT),
            test_size=fields.maybe("test_size", COUNT),
            paper_sizes=fields.maybe("paper_sizes", FLAG),
            skip_long=fields.maybe("skip_long", FLAG) or False,
            allow_zero_shot=fields.maybe("allow_zero_shot", FLAG),
        )


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """run.json of a command. What a record lacks is None: ``condition`` has no task.

    Attributes:
        command: its name.
        model: the model, as it was before the command edited it.
        files: whole path of the model's directory.
        contents: fingerprint of the model's files.
        task: the task as it was drawn.
        questions: fingerprint of the questions; a tuple of several draws and of a sweep.
        draw: the arguments that the questions were drawn with.
        options: the command's own, by name, as JSON has them.
    """

    command: str
    model: ModelRecord | None = None
    files: str | None = None
    contents: str | None = None
    task: TaskRecord | None = None
    questions: str | tuple[str, ...] | None = None
    draw: DrawRequest | None = None
    options: JsonObject = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The whole of run.json, in its order; ``asked`` is empty where the draw is unknown."""
        record: dict[str, object] = {"command": self.command}
        if self.model is not None:
            record["model"] = self.model.to_json() | {
                name: value
                for name, value in (("files", self.files), ("contents", self.contents))
                if value is not None
            }
        if self.task is not None:
            questions = self.questions
            record["task"] = self.task.to_json()
            record["questions"] = list(questions) if isinstance(questions, tuple) else questions
            record["asked"] = {} if self.draw is None else self.draw.to_json()
        return record | dict(self.options)

    @classmethod
    def from_json(cls, fields: Fields) -> "RunRequest":
        """As written, by this version or an earlier one.

        Raises:
            Damaged: a field cannot be.
        """
        draw = DrawRequest.from_json(fields.nested("asked")) if fields.values.get("asked") else None
        model = fields.nested("model") if fields.has("model") else None
        return cls(
            command=fields.read("command", TEXT),
            model=None if model is None else ModelRecord.from_json(model),
            files=None if model is None else model.maybe("files", TEXT),
            contents=None if model is None else model.maybe("contents", TEXT),
            task=TaskRecord.from_json(fields.nested("task")) if fields.has("task") else None,
            questions=fields.one_or_more("questions", TEXT) if fields.has("questions") else None,
            draw=draw,
            options={k: v for k, v in fields.values.items() if k not in _COMMON},
        )


@dataclass(frozen=True, kw_only=True)
class ExperimentRequest:
    """run.json of an experiment.

    Attributes:
        experiment: its name.
        options: of its command line but for ``--out`` and ``--resume``, as JSON has them.
    """

    experiment: str
    options: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """The whole of run.json."""
        return {"experiment": self.experiment, "options": dict(self.options)}

    @classmethod
    def from_json(cls, fields: Fields) -> "ExperimentRequest":
        """As written.

        Raises:
            Damaged: a field is missing or of another kind.
        """
        return cls(
            experiment=fields.read("experiment", TEXT), options=fields.nested("options").values
        )
