"""The parts that results share: the model, the task, and what they were measured with."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxsvd.results.fields import COUNT, NUMBER, RATE, TEXT, WHOLE, Fields, JsonObject

Several = int | tuple[int, ...] | None
"""One number, or those of a sweep over several."""


@dataclass(frozen=True)
class EditRecord:
    """Weights that were touched.

    Attributes:
        layer, module: where.
        rate: clipping rate; None of a given rank.
        ranks: kept, by matrix; empty where no matrix is of low rank.
        method: other than the exact truncated SVD.
        seed: of a method that draws random numbers.
    """

    layer: int
    module: str
    rate: float | None
    ranks: Mapping[str, int]
    method: str | None = None
    seed: int | None = None

    def to_json(self) -> dict[str, object]:
        """One of the ``edits``."""
        record: dict[str, object] = {"layer": self.layer, "module": self.module, "rate": self.rate}
        record["ranks"] = dict(self.ranks)
        return record | without_none(method=self.method, seed=self.seed)

    @classmethod
    def from_json(cls, fields: Fields) -> "EditRecord":
        """As written."""
        return cls(
            layer=fields.read("layer", WHOLE),
            module=fields.read("module", TEXT),
            rate=fields.maybe("rate", RATE),
            ranks=fields.named("ranks", WHOLE),
            method=fields.maybe("method", TEXT),
            seed=fields.maybe("seed", COUNT),
        )


def read_edits(fields: Fields) -> tuple[EditRecord, ...]:
    """The ``edits`` of an object; none where it has no such field."""
    edits = fields.objects("edits", empty=True) if fields.has("edits") else []
    return tuple(map(EditRecord.from_json, edits))


def without_none(**values: object) -> dict[str, object]:
    """The values that are not None, by name."""
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class ModelRecord:
    """Which model.

    Attributes:
        source: a path or a hub id.
        family: the architecture, such as ``llama``.
        layers: how many.
        parameters: how many.
        dtype: of the weights in memory.
        revision: of a hub id.
        edits: of the weights, before the command did anything.
        quantization: of the file that the weights were dequantised from.
    """

    source: str
    family: str
    layers: int
    parameters: int
    dtype: str
    revision: str | None = None
    edits: tuple[EditRecord, ...] = ()
    quantization: str | None = None

    @property
    def name(self) -> str:
        """The last part of the source."""
        return self.source.rstrip("/").split("/")[-1]

    def to_json(self) -> dict[str, object]:
        """The ``model`` object."""
        edits = [edit.to_json() for edit in self.edits] or None
        return {
            "source": self.source,
            "revision": self.revision,
            "family": self.family,
            "layers": self.layers,
            "parameters": self.parameters,
            "dtype": self.dtype,
        } | without_none(edits=edits, quantization=self.quantization)

    @classmethod
    def from_json(cls, fields: Fields) -> "ModelRecord":
        """As written."""
        return cls(
            source=fields.read("source", TEXT),
            revision=fields.maybe("revision", TEXT),
            family=fields.read("family", TEXT),
            layers=fields.read("layers", COUNT),
            parameters=fields.read("parameters", COUNT),
            dtype=fields.read("dtype", TEXT),
            edits=read_edits(fields),
            quantization=fields.maybe("quantization", TEXT),
        )


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """The task as it was drawn. Fields that a record lacks are None.

    Attributes:
        name: of the task.
        source: where the rows came from.
        protocol: ``clean`` or ``scripts``.
        shots, seed: demonstrations in all, and the draw's seed; tuples in a sweep of several.
        validation_size, test_size: questions scored.
        labels: the label words, in label order.
        rule: how candidates are scored, see :data:`jaxsvd.tasks.base.Rule`.
        scoring: the same in words.
        chance: accuracy of a uniform guess.
        shortened_prompts, dropped_demonstrations, skipped_queries: what was too long.
        fewest_demonstrations, most_demonstrations: that a prompt shows.
    """

    name: str
    source: str | None = None
    protocol: str | None = None
    shots: Several = None
    seed: Several = None
    validation_size: int | None = None
    test_size: int | None = None
    labels: tuple[str, ...] | None = None
    rule: str | None = None
    scoring: str | None = None
    chance: float
    shortened_prompts: int | None = None
    dropped_demonstrations: int | None = None
    fewest_demonstrations: int | None = None
    most_demonstrations: int | None = None
    skipped_queries: int | None = None

    @property
    def draw(self) -> tuple[int | None, int | None]:
        """Shots and seed, where there is one of each."""
        shots, seed = (v if isinstance(v, int) else None for v in (self.shots, self.seed))
        return shots, seed

    def to_json(self) -> dict[str, object]:
        """The ``task`` object, without the fields that are None."""
        listed = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}
        return without_none(**listed)

    @classmethod
    def from_json(cls, fields: Fields) -> "TaskRecord":
        """As written."""
        return cls(
            name=fields.read("name", TEXT),
            source=fields.maybe("source", TEXT),
            protocol=fields.maybe("protocol", TEXT),
            shots=fields.one_or_more("shots", COUNT) if fields.has("shots") else None,
            seed=fields.one_or_more("seed", COUNT) if fields.has("seed") else None,
            validation_size=fields.maybe("validation_size", COUNT),
            test_size=fields.maybe("test_size", COUNT),
            labels=fields.several("labels", TEXT, empty=True) if fields.has("labels") else None,
            rule=fields.maybe("rule", TEXT),
            scoring=fields.maybe("scoring", TEXT),
            chance=fields.read("chance", NUMBER),
            shortened_prompts=fields.maybe("shortened_prompts", COUNT),
            dropped_demonstrations=fields.maybe("dropped_demonstrations", COUNT),
            fewest_demonstrations=fields.maybe("fewest_demonstrations", COUNT),
            most_demonstrations=fields.maybe("most_demonstrations", COUNT),
            skipped_queries=fields.maybe("skipped_queries", COUNT),
        )


@dataclass(frozen=True)
class Device:
    """What computed."""

    platform: str
    kind: str
    count: int

    @classmethod
    def from_json(cls, fields: Fields) -> "Device":
        """As written."""
        return cls(
            platform=fields.read("platform", TEXT),
            kind=fields.read("kind", TEXT),
            count=fields.read("count", COUNT),
        )


@dataclass(frozen=True)
class Measured:
    """When, how long, and with what.

    Attributes:
        started: in ISO 8601.
        seconds: by what they were spent on; ``total`` among them.
        versions: of Python and the packages, by name.
        git: the commit, where the library is a checkout.
        device: the accelerators, or the CPU.
        mesh: its axes, where there is one.
    """

    started: str | None = None
    seconds: Mapping[str, float] | None = None
    versions: Mapping[str, str] | None = None
    git: str | None = None
    device: Device | None = None
    mesh: Mapping[str, int] | None = None

    @classmethod
    def of(cls, started: str, seconds: Mapping[str, float], surroundings: JsonObject) -> "Measured":
        """From :func:`jaxsvd.runs.directory.surroundings`, with the ``mesh`` if there is one."""
        fields = {"started": started, "seconds": dict(seconds)}
        return cls.from_json(Fields(fields | dict(surroundings)))

    def to_json(self) -> dict[str, object]:
        """Fields of result.json."""
        return self.time_json() | self.surroundings_json()

    def time_json(self) -> dict[str, object]:
        """``started`` and ``seconds``."""
        return without_none(started=self.started, seconds=self.seconds)

    def surroundings_json(self) -> dict[str, object]:
        """``versions``, ``git``, ``device`` and the ``mesh``; no commit is null."""
        record = without_none(versions=self.versions)
        if self.versions is not None or self.git is not None:
            record["git"] = self.git
        device = None if self.device is None else dict(vars(self.device))
        return record | without_none(device=device, mesh=self.mesh)

    @classmethod
    def from_json(cls, fields: Fields) -> "Measured":
        """As written; older runs, and those of experiments, need not have all."""
        return cls(
            started=fields.maybe("started", TEXT),
            seconds=fields.named("seconds", NUMBER) if fields.has("seconds") else None,
            versions=fields.named("versions", TEXT) if fields.has("versions") else None,
            git=fields.maybe("git", TEXT),
            device=Device.from_json(fields.nested("device")) if fields.has("device") else None,
            mesh=fields.named("mesh", COUNT) if fields.has("mesh") else None,
        )
