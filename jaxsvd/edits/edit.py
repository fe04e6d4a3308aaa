"""An edit of a model: one module of one layer, how much of it stays, and by which method.

Edits are values: two that are equal make the same weights of the same model, whatever else is
edited, scored or written beside them. They are written ``26:mlp:0.95+25:attn:0.9``.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from jaxsvd import svd
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.matrices import layer_index, matrices
from jaxsvd.runtime.errors import UserError

Method = Literal[
    "exact",
    "randomized",
    "magnitude",
    "noise",
    "spectrum-noise",
    "random-directions",
    "removed-part",
    "magnitude-norm",
]
"""What takes a matrix's place.

Its truncated SVD, ``exact`` or ``randomized``; or the matrix with its entries of smallest
``magnitude`` set to zero, as many parameters kept as by a truncation. The others are controls of
the exact truncation of the same rank (:mod:`jaxsvd.edits.controls`): ``noise`` added with the norm
of the part that it removes; ``spectrum-noise`` with its singular values too; the matrix projected
on ``random-directions``, as many as it keeps; the ``removed-part`` in place of the kept one; and
``magnitude-norm``, small entries set to zero until their norm is the removed part's. A further
method needs its name here and a case in :func:`jaxsvd.edits.replacement.edited_matrix`.
"""

CONTROLS: tuple[Method, ...] = (
    "noise",
    "spectrum-noise",
    "random-directions",
    "removed-part",
    "magnitude-norm",
)

TRUNCATIONS = ("exact", "randomized")
"""The methods that leave a matrix of low rank."""

RANDOM = ("randomized", "noise", "spectrum-noise", "random-directions")
"""The methods that draw random numbers, by an edit's seed."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """A module of a layer, edited.

    Attributes:
        layer: an index; negative ones count from the end.
        module: a matrix or a group of them, see :mod:`jaxsvd.models.matrices`.
        rate: clipping rate in [0, 1); at 0 the weights are untouched. None where a rank is given.
        rank: kept of every matrix, at least 1; None where a rate is given.
        method: what takes the place of a matrix.
        seed: of the random numbers of the methods that draw some; 0 for the others.

    Raises:
        UserError: not exactly one of rate and rank, one that is out of range, or no such method.
    """

    layer: int
    module: str
    rate: float | None = None
    rank: int | None = dataclasses.field(default=None, kw_only=True)
    method: Method = dataclasses.field(default="exact", kw_only=True)
    seed: int = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.rank is None):
            raise UserError("an edit needs a clipping rate or a rank, and not both")
        if self.rate is not None:
            object.__setattr__(self, "rate", svd.check_rate(self.rate))
        if self.rank is not None and self.rank < 1:
            raise UserError(f"rank {self.rank} should be at least 1")
        if self.method not in get_args(Method):
            known = ", ".join(get_args(Method))
            raise UserError(f"method {self.method!r} should be one of {known}")
        if not self.random:
            object.__setattr__(self, "seed", 0)

    def __str__(self) -> str:
        """``26:mlp:0.95``, or ``26:fc_in:r40`` for a rank; ``26:mlp:0.95:noise@3`` of a method.

        Exact truncation, the usual method, and seed 0 are not written.
        """
        kept = f"r{self.rank}" if self.rate is None else _shortest(self.rate)
        method = "" if self.method == "exact" else f":{self.method}"
        seed = f"@{self.seed}" if self.seed else ""
        return f"{self.layer}:{self.module}:{kept}{method}{seed}"

    @property
    def random(self) -> bool:
        """Whether its method draws random numbers, from the seed."""
        return self.method in RANDOM

    @property
    def touches(self) -> bool:
        """Whether it changes any weights."""
        return self.rate != 0

    def rank_of(self, shape: tuple[int, ...]) -> int:
        """Singular values that it keeps of a matrix.

        Raises:
            UserError: the matrix has fewer.
        """
        if self.rate is not None:
            return svd.rank_at(self.rate, shape)
        assert self.rank is not None
        if self.rank > min(shape):
            raise UserError(f"{self}: the matrix has only {min(shape)} singular values")
        return self.rank

    def resolved(self, config: DecoderConfig) -> "Edit":
        """The same edit, its layer counted from 0.

        Raises:
            UserError: a layer or module that the model does not have.
        """
        matrices(config, self.module)
        return dataclasses.replace(self, layer=layer_index(config, self.layer))

    def by_matrix(self, config: DecoderConfig) -> tuple["Edit", ...]:
        """The edits of single matrices that it stands for; none at rate 0.

        Raises:
            UserError: a layer or module that the model does not have.
        """
        edit = self.resolved(config)
        names = matrices(config, self.module) if self.touches else ()
        return tuple(dataclasses.replace(edit, module=name) for name in names)

    def ranks(self, config: DecoderConfig, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """What each matrix keeps, by name; none where the method leaves no matrix of low rank.

        Args:
            config: of the model.
            shapes: of the matrices of a layer, by name.
        """
        edits = self.by_matrix(config) if self.method in TRUNCATIONS else ()
        return {edit.module: edit.rank_of(shapes[edit.module]) for edit in edits}


Edits = tuple[Edit, ...]
"""What is edited together; none at all is the model itself."""


def parse_edits(text: str) -> Edits:
    """Edits as they are written: layer, module, rate and method, several joined by ``+``.

    ``26:mlp:0.95``; ``26:mlp:r40`` for a rank of 40; ``26:mlp:0.95:noise@3`` for another method,
    with the seed of its random numbers.

    Raises:
        UserError: anything else.
    """
    return tuple(_parse(part) for part in text.split("+"))


def _parse(text: str) -> Edit:
    wrong = UserError(
        f"edit {text!r} should be LAYER:MODULE:RATE, like 26:mlp:0.95 "
        "(r40 for a rank of 40; a method after it, like 26:mlp:0.95:noise@3; several joined by +)"
    )
    fields = text.strip().split(":")
    if len(fields) not in (3, 4):
        raise wrong
    layer, module, kept, *rest = fields
    if rest and rest[0].partition("@")[0] not in get_args(Method):
        raise UserError(
            f"edit {text!r} should be LAYER:MODULE:RATE or LAYER:MODULE:RATE:METHOD, where the "
            f"method is one of {', '.join(get_args(Method))}"
        )
    method, _, seed = rest[0].partition("@") if rest else ("exact", "", "")
    by_rank = kept.startswith("r")
    try:
        index, amount = int(layer), int(kept[1:]) if by_rank else float(kept)
        number = int(seed) if seed else 0
    except ValueError:
        raise wrong from None
    options: dict[str, Any] = {"method": method, "seed": number}
    if by_rank:
        return Edit(index, module, rank=int(amount), **options)
    return Edit(index, module, amount, **options)


def format_edits(edits: Iterable[Edit]) -> str:
    """As :func:`parse_edits` reads them; the empty text for none."""
    return "+".join(map(str, edits))


def as_edits(edits: Edit | str | Iterable[Edit]) -> Edits:
    """One edit, several, or their written form, as a tuple."""
    if isinstance(edits, str):
        return parse_edits(edits)
    return (edits,) if isinstance(edits, Edit) else tuple(edits)


def matrix_edits(edits: Sequence[Edit], config: DecoderConfig) -> Edits:
    """The edits of single matrices that some edits of one model stand for, none at rate 0.

    Raises:
        UserError: a layer or module that the model does not have, or a matrix edited twice.
    """
    by_matrix: dict[tuple[int, str], Edit] = {}
    for edit in edits:
        for one in edit.by_matrix(config):
            if (one.layer, one.module) in by_matrix:
                raise UserError(
                    f"{format_edits(edits)}: {one.module} of layer {one.layer} is edited twice; "
                    "edit it once, or edit the edited model"
                )
            by_matrix[one.layer, one.module] = one
    return tuple(by_matrix.values())


def _shortest(rate: float) -> str:
    """The fewest digits that give the very same number: 0.95 and not 0.95000000000000001."""
    return repr(rate) if rate else "0"
