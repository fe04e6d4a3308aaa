"""Sizes: shape of the model and of its training, as data."""

import dataclasses
import math
from typing import Any, Literal

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.matrices import ATTENTION, MLP
from jaxsvd.models.rotary import rotary_config
from jaxsvd.runtime.errors import UserError

Positions = Literal["learned", "rotary"]


@dataclasses.dataclass(frozen=True)
class Size:
    """All that decides the weights, but for the seed and the machine.

    Attributes:
        d: dimensions of x.
        points: P, points of a prompt: the last has seen P - 1 examples.
        layers: of the transformer.
        width: D.
        heads: N.
        positions: ``learned``, a vector added for each token as in GPT-2, or ``rotary``.
        steps: of training.
        batch: fresh prompts a step.
        learning_rate: Adam's, after warm-up.
        warm_up: steps of a linear rise to that.
        decay: last part of the run, over which it falls linearly to zero.
        clip: largest norm of a gradient; 0 for any.
        initial: standard deviation of the matrices of the layers at the start.
        curriculum: whether dimensions and points grow (:meth:`grown`).
    """

    d: int
    points: int
    layers: int
    width: int
    heads: int
    positions: Positions
    steps: int
    batch: int
    learning_rate: float
    warm_up: int = 0
    decay: float = 0.0
    clip: float = 0.0
    initial: float = 0.02
    curriculum: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name, least in (("d", 1), ("points", 2), ("layers", 1), ("heads", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)} should be {least} or more")
        if self.steps < 1:
            raise UserError(f"--steps {self.steps} should be 1 or more")
        if self.width < 1 or self.width % self.heads or (self.width // self.heads) % 2:
            raise UserError(
                f"--width {self.width} should be an even multiple of --heads {self.heads}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"--learning-rate {self.learning_rate:g} should be positive")

    @property
    def config(self) -> DecoderConfig:
        """Of the layers: GPT-2's, which is what Garg et al. train."""
        head_width = self.width // self.heads
        rotary = None
        if self.positions == "rotary":
            rotary = rotary_config("default", 10_000.0, head_width, {}, "interleaved")
        return DecoderConfig(
            family="linear functions",
            vocabulary=0,
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            key_value_heads=self.heads,
            head_width=head_width,
            mlp_width=4 * self.width,
            context=2 * self.points - 1,
            activation="gelu_new",
            norm="layer",
            norm_epsilon=1e-5,
            gated=False,
            residual="pre",
            biased=frozenset((*ATTENTION, *MLP)),
            tied=False,
            kinds=(LayerKind(rotary),),
        )

    def lengths(self) -> tuple[int, ...]:
        """Steps after which the weights are kept: an eighth, a quarter, half and all of them."""
        return tuple(sorted({max(1, self.steps // part) for part in (8, 4, 2, 1)}))

    def record(self) -> dict[str, Any]:
        """For result.json and checkpoints."""
        return dataclasses.asdict(self)


PAPER = Size(
    d=20,
    points=41,
    layers=12,
    width=256,
    heads=8,
    positions="learned",
    steps=500_000,
    batch=64,
    learning_rate=1e-4,
)
"""Garg et al. (2022): 40 examples before the last point."""

DEFAULT = Size(
    d=5,
    points=11,
    layers=4,
    width=64,
    heads=4,
    positions="rotary",
    steps=12_000,
    batch=64,
    learning_rate=1e-3,
    warm_up=500,
    decay=0.5,
    clip=1.0,
    initial=0.06,
)
"""Ten minutes of one core; 10 examples before the last point, 2 d as in Garg et al.

Where it leaves them, each because a run of minutes needs it: 4 layers of width 64 instead of 12 of
256, and d = 5 instead of 20; 12,000 steps at ten times their rate, with a rise, a fall to zero and
clipped gradients; layers that start at 0.06 instead of 0.02; and rotary positions, with which the
plateau at 1, where no y is yet read with its x, is left after some 400 steps.
"""

QUICK = dataclasses.replace(DEFAULT, layers=2, width=32, heads=2, steps=300, warm_up=50)
"""Seconds; too short to learn anything."""
