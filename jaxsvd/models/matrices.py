"""What can be truncated: the names of modules, and the matrices of a layer that they stand for.

Names follow LASER (Sharma et al., ICLR 2024). A matrix is addressed by the path of its
projection in :class:`jaxsvd.models.decoder.Block`.
"""

import operator

from jaxsvd.models.config import DecoderConfig
from jaxsvd.runtime.errors import UserError

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
MLP = ("fc_in", "fc_up", "fc_out")
MODULES = (*ATTENTION, *MLP, "mlp", "attn", "all")


def matrices(config: DecoderConfig, module: str) -> tuple[str, ...]:
    """Names of the matrices of one layer that ``module`` stands for, in the order of the layer.

    ``attn`` is the four projections of attention, ``mlp`` those of the MLP (``fc_up`` where the
    model has a gate), ``all`` both; any other name is a single matrix.

    Raises:
        UserError: a name that is unknown, or that this family does not have.
    """
    mlp = tuple(name for name in MLP if config.gated or name != "fc_up")
    groups = {"attn": ATTENTION, "mlp": mlp, "all": (*ATTENTION, *mlp)}
    known = (*ATTENTION, *mlp, *groups)
    if module not in known:
        reason = f"{config.family} has no" if module in MODULES else "unknown"
        raise UserError(f"{reason} module {module!r}; known: {' '.join(known)}")
    return groups.get(module, (module,))


def part(matrix: str) -> str:
    """The half of the layer that a matrix belongs to: ``attn`` or ``mlp``."""
    return "attn" if matrix in ATTENTION else "mlp"


def whole(layer: object) -> int:
    """A layer's number as an ``int``; numpy's whole numbers are too.

    Raises:
        UserError: anything else: 3.7 is no layer.
    """
    try:
        return operator.index(layer)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise UserError(f"layer {layer!r} should be a whole number") from None


def layer_index(config: DecoderConfig, layer: object) -> int:
    """A layer counted from 0; negative numbers count from the end.

    Raises:
        UserError: no such layer, or no whole number.
    """
    layer = whole(layer)
    if not -config.layers <= layer < config.layers:
        last = config.layers - 1
        raise UserError(
            f"no layer {layer}: the model has {config.layers} layers, "
            f"0 to {last} (or -{config.layers} to -1 from the end)"
        )
    return layer % config.layers
