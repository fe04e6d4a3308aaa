"""Whether a gain is one of the label prior or of discrimination: the record of the answer.

:mod:`jaxsvd.results.calibration` computes it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from jaxsvd.results.fields import COUNT, FLAG, INTERVAL, NUMBER, SHARE, TEXT, Fields
from jaxsvd.results.origins import Origins
from jaxsvd.results.perplexity import Perplexity
from jaxsvd.results.spread import Spread

T = TypeVar("T")

Verdict = Literal["label prior", "discrimination", "both", "no change"]
"""What a truncation changed."""

CONTEXTUAL, DOMAIN = "contextual", "domain_context"
"""Readings that take passes of their own, see :mod:`jaxsvd.commands.explain`."""

SUMMED, LENGTH, PMI = "summed", "length_normalised", "pmi"
"""Readings of candidates of several tokens: the log-probability in all, by token, and less what
the candidate gets without context (pointwise mutual information; Holtzman et al., 2021)."""

RAW, BATCH, FITTED = "raw", "batch_calibrated", "fitted_prior"
SCORINGS = (RAW, BATCH, FITTED)
"""How answers are read off the scores: as they are, or with an offset for each label."""

READING_NAMES = {
    RAW: "as it is",
    BATCH: "batch calibrated",
    FITTED: "fitted prior",
    CONTEXTUAL: "contextual calibration",
    DOMAIN: "domain-context calibration",
    SUMMED: "summed over tokens",
    LENGTH: "mean over tokens",
    PMI: "less the score without context",
}
"""In words, for tables and pictures."""


@dataclass(frozen=True)
class Change:
    """A quantity of the untouched and the truncated model on the same examples.

    Attributes:
        untouched, truncated: its values.
        difference: the second less the first.
        interval: the difference's, 95 %, paired.
        p_value: McNemar's exact test, two-sided; None of what is no count.
    """

    untouched: float
    truncated: float
    difference: float
    interval: tuple[float, float]
    p_value: float | None = None

    @property
    def sign(self) -> int:
        """1 of a gain beyond noise, -1 of a loss beyond noise, 0 where the interval holds 0."""
        low, high = self.interval
        return int(low > 0) - int(high < 0)

    def to_json(self) -> dict[str, object]:
        """Its fields."""
        p_value: dict[str, object] = {} if self.p_value is None else {"p_value": self.p_value}
        return {
            "untouched": self.untouched,
            "truncated": self.truncated,
            "difference": self.difference,
            "interval": list(self.interval),
        } | p_value

    @classmethod
    def from_json(cls, fields: Fields) -> "Change":
        """As written."""
        return cls(
            untouched=fields.read("untouched", NUMBER),
            truncated=fields.read("truncated", NUMBER),
            difference=fields.read("difference", NUMBER),
            interval=fields.read("interval", INTERVAL),
            p_value=fields.maybe("p_value", SHARE),
        )


@dataclass(frozen=True)
class Share:
    """A share and its 95 % interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Control:
    """Another edit of the same weights, on the test set.

    Attributes:
        kind: the method, see :class:`jaxsvd.Edit`.
        draws: seeds of its random numbers.
        accuracy: mean over these.
        sd: over these; None of one.
        calibrated: mean accuracy with the label prior fitted on validation; None where it is not
            known.
        calibrated_sd: likewise.
        difference: of accuracy, against the untouched model.
        interval: its 95 % interval, over seeds and examples, or draws and examples of a search of
            several draws; None in older records.
        calibrated_difference, calibrated_interval: likewise, of the calibrated accuracies.
    """

    kind: str
    draws: int
    accuracy: float
    sd: float | None
    calibrated: float | None = None
    calibrated_sd: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    calibrated_difference: float | None = None
    calibrated_interval: tuple[float, float] | None = None

    def to_json(self) -> dict[str, object]:
        """One of ``controls``."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in vars(self).items()}

    @classmethod
    def from_json(cls, fields: Fields) -> "Control":
        """As written."""
        return cls(
            kind=fields.read("kind", TEXT),
            draws=fields.read("draws", COUNT),
            accuracy=fields.read("accuracy", SHARE),
            sd=fields.maybe("sd", NUMBER),
            calibrated=fields.maybe("calibrated", SHARE),
            calibrated_sd=fields.maybe("calibrated_sd", NUMBER),
            difference=fields.maybe("difference", NUMBER),
            interval=fields.maybe("interval", INTERVAL),
            calibrated_difference=fields.maybe("calibrated_difference", NUMBER),
            calibrated_interval=fields.maybe("calibrated_interval", INTERVAL),
        )


@dataclass(frozen=True)
class SideEffect:
    """The same edit on another task, untouched beside truncated.

    Attributes:
        task: its name.
        examples: how many.
        change: of accuracy, as the model answers.
        significant: whether the exact test rejects at 5 %, after Holm's correction over all.
        margin: a change of accuracy that would not matter.
        equivalent: whether two one-sided tests at 5 % reject a change of the margin or more.
    """

    task: str
    examples: int
    change: Change
    significant: bool
    margin: float
    equivalent: bool

    def to_json(self) -> dict[str, object]:
        """One of ``also``."""
        return {**vars(self), "change": self.change.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> "SideEffect":
        """As written."""
        return cls(
            task=fields.read("task", TEXT),
            examples=fields.read("examples", COUNT),
            change=Change.from_json(fields.nested("change")),
            significant=fields.read("significant", FLAG),
            margin=fields.read("margin", NUMBER),
            equivalent=fields.read("equivalent", FLAG),
        )


@dataclass(frozen=True)
class Explanation:
    """What a truncation changed on the test set.

    Attributes:
        accuracy: by scoring: ``raw``, ``batch_calibrated``, ``fitted_prior`` and, where the
            data allow them, further ones.
        auc: area under the ROC curve, one label against the rest, mean over labels; None where
            the test set has one gold label only.
        share_explained: of the raw difference, by the label prior: 1 - difference of
            ``fitted_prior`` / difference of ``raw``; None where the interval of the latter
            holds 0.
        verdict: in a word or two, see :func:`jaxsvd.results.calibration.explain`.
        controls: other edits of the same weights.
        spread: of the raw change over ``draws`` of demonstrations and over their ``orders``.
        also: the same edit on other tasks.
        texts: perplexity of plain texts, by the file's name.
        origins: of two labels, through which layers and by which singular directions the logit
            difference changed; None where that was not measured.
    """

    accuracy: Mapping[str, Change]
    auc: Change | None
    share_explained: Share | None
    verdict: Verdict
    controls: tuple[Control, ...] = ()
    spread: Mapping[str, Spread] = field(default_factory=dict)
    also: tuple[SideEffect, ...] = ()
    texts: Mapping[str, Perplexity] = field(default_factory=dict)
    origins: Origins | None = None

    @property
    def raw(self) -> Change:
        """Accuracy as it is."""
        return self.accuracy[RAW]

    @property
    def batch_calibrated(self) -> Change:
        """Accuracy after batch calibration."""
        return self.accuracy[BATCH]

    @property
    def fitted_prior(self) -> Change:
        """Accuracy with the label prior fitted on validation."""
        return self.accuracy[FITTED]

    def to_json(self) -> dict[str, object]:
        """The ``explanation`` object of result.json."""
        share = self.share_explained
        more: dict[str, object] = {}
        if self.spread:
            more["spread"] = {name: spread.to_json() for name, spread in self.spread.items()}
        if self.also:
            more["also"] = [effect.to_json() for effect in self.also]
        if self.texts:
            more["texts"] = {name: perplexity.to_json() for name, perplexity in self.texts.items()}
        if self.origins is not None:
            more["origins"] = self.origins.to_json()
        return {
            "accuracy": {name: change.to_json() for name, change in self.accuracy.items()},
            "auc": None if self.auc is None else self.auc.to_json(),
            "share_explained": {
                "value": None if share is None else share.value,
                "interval": None if share is None else list(share.interval),
            },
            "verdict": self.verdict,
            "controls": [control.to_json() for control in self.controls],
        } | more

    @classmethod
    def from_json(cls, fields: Fields) -> "Explanation":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        accuracy, verdict = fields.nested("accuracy"), fields.read("verdict", TEXT)
        changes = {str(n): Change.from_json(accuracy.nested(str(n))) for n in accuracy.values}
        for name in SCORINGS:
            accuracy.raw(name)
        words = get_args(Verdict)
        if verdict not in words:
            raise fields.damaged(f"verdict should be one of {', '.join(words)}")
        share = fields.nested("share_explained")
        return cls(
            accuracy=changes,
            auc=Change.from_json(fields.nested("auc")) if fields.has("auc") else None,
            share_explained=Share(share.read("value", NUMBER), share.read("interval", INTERVAL))
            if share.has("value")
            else None,
            verdict=verdict,  # type: ignore[arg-type]
            controls=tuple(map(Control.from_json, fields.objects("controls", empty=True)))
            if fields.has("controls")
            else (),
            spread=_named(fields, "spread", Spread.from_json),
            also=tuple(map(SideEffect.from_json, fields.objects("also", empty=True)))
            if fields.has("also")
            else (),
            texts=_named(fields, "texts", Perplexity.from_json),
            origins=Origins.from_json(fields.nested("origins")) if fields.has("origins") else None,
        )


def _named(fields: Fields, name: str, read: Callable[[Fields], T]) -> dict[str, T]:
    """The objects of a field by their names; none where there is no such field."""
    if not fields.has(name):
        return {}
    inner = fields.nested(name)
    return {str(key): read(inner.nested(str(key))) for key in inner.values}
