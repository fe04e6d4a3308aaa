"""Through which layers, and by which singular directions, a truncation reaches the answer.

Of two labels the logit difference decides. Its change has a mean over the examples, which is a
shift of the label prior, and a rest, which may tell the labels apart.
:mod:`jaxsvd.commands.explaining.origins` measures it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxsvd.results.fields import COUNT, INTERVAL, NUMBER, SPREAD, TEXT, WHOLE, Fields, Kind

Part = Literal["direct", "attn", "mlp"]

PART: Kind[Part] = Kind(
    "direct, attn or mlp",
    lambda value: next((part for part in get_args(Part) if part == value), None),
)


@dataclass(frozen=True)
class Shift:
    """A change of the logit difference, second label less first, over some examples.

    Attributes:
        prior: its mean: how much it moves the label prior, in nats.
        interval: of the mean, 95 %, over examples.
        discrimination: its mean over the examples of the second label less that over those of the
            first: above 0 it moves towards the right answers. None where one label has none.
        sd: of the change over the examples, its mean taken out.
    """

    prior: float
    interval: tuple[float, float]
    discrimination: float | None
    sd: float

    def to_json(self) -> dict[str, object]:
        """Its fields."""
        return {**vars(self), "interval": list(self.interval)}

    @classmethod
    def from_json(cls, fields: Fields) -> "Shift":
        """As written."""
        return cls(
            prior=fields.read("prior", NUMBER),
            interval=fields.read("interval", INTERVAL),
            discrimination=fields.maybe("discrimination", NUMBER),
            sd=fields.read("sd", SPREAD),
        )


@dataclass(frozen=True)
class EffectOrigin:
    """What one part of the model adds to the change.

    Attributes:
        layer: counted from 0.
        part: ``direct``, what the truncated matrices themselves add to the stream; ``attn`` or
            ``mlp``, what that half of the layer answers to it.
        shift: of the logit difference.
    """

    layer: int
    part: Part
    shift: Shift

    @property
    def name(self) -> str:
        """In words."""
        if self.part == "direct":
            return f"layer {self.layer}, directly"
        return f"layer {self.layer}, through {self.part}"

    def to_json(self) -> dict[str, object]:
        """One of ``parts``."""
        return {"layer": self.layer, "part": self.part, "shift": self.shift.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> "EffectOrigin":
        """As written."""
        shift = Shift.from_json(fields.nested("shift"))
        return cls(fields.read("layer", WHOLE), fields.read("part", PART), shift)


@dataclass(frozen=True)
class Direction:
    """A singular direction that was removed.

    Attributes:
        matrix: its name.
        number: from 1, by descending singular value.
        singular_value: of the untouched matrix.
        shift: of the logit difference by its removal, directly and to first order.
        words: tokens of the prompts to which it responds most, the strongest first.
        in_demonstrations: the share of its squared responses that lies in the demonstrations; None
            where there are none, or no token was left to respond to.
        demonstration: the one to which it responds most, its text.
    """

    matrix: str
    number: int
    singular_value: float
    shift: Shift
    words: tuple[str, ...] = ()
    in_demonstrations: float | None = None
    demonstration: str | None = None

    def to_json(self) -> dict[str, object]:
        """One of ``directions``."""
        return {**vars(self), "shift": self.shift.to_json(), "words": list(self.words)}

    @classmethod
    def from_json(cls, fields: Fields) -> "Direction":
        """As written."""
        return cls(
            matrix=fields.read("matrix", TEXT),
            number=fields.read("number", COUNT),
            singular_value=fields.read("singular_value", NUMBER),
            shift=Shift.from_json(fields.nested("shift")),
            words=fields.several("words", TEXT, empty=True) if fields.has("words") else (),
            in_demonstrations=fields.maybe("in_demonstrations", NUMBER),
            demonstration=fields.maybe("demonstration", TEXT),
        )


@dataclass(frozen=True)
class Origins:
    """The change of the logit difference, by origin.

    Attributes:
        labels: the two, in label order.
        examples: test examples that were measured.
        total: of the whole change.
        parts: that add up to it: first what is direct, then each later half of a layer, in order.
        removed: how many singular directions the truncation removes.
        first_order: prior of all their direct effects together, to first order.
        directions: those that move the prior most, the strongest first.
    """

    labels: tuple[str, str]
    examples: int
    total: Shift
    parts: tuple[EffectOrigin, ...]
    removed: int
    first_order: float
    directions: tuple[Direction, ...] = ()

    @property
    def direct(self) -> Shift:
        """What the truncated matrices add by themselves."""
        return self.parts[0].shift

    def to_json(self) -> dict[str, object]:
        """The ``origins`` object of an explanation."""
        return {
            "labels": list(self.labels),
            "examples": self.examples,
            "total": self.total.to_json(),
            "parts": [part.to_json() for part in self.parts],
            "removed": self.removed,
            "first_order": self.first_order,
            "directions": [direction.to_json() for direction in self.directions],
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Origins":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        labels = fields.several("labels", TEXT)
        if len(labels) != 2:
            raise fields.damaged("labels should be two")
        return cls(
            labels=(labels[0], labels[1]),
            examples=fields.read("examples", COUNT),
            total=Shift.from_json(fields.nested("total")),
            parts=tuple(map(EffectOrigin.from_json, fields.objects("parts"))),
            removed=fields.read("removed", COUNT),
            first_order=fields.read("first_order", NUMBER),
            directions=tuple(map(Direction.from_json, fields.objects("directions", empty=True))),
        )
