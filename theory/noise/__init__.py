"""The gradient noise of the paper's Assumption 1, and the noisy algorithm that its bounds bound.

C = kappa / N sum_i (g_i - G)(g_i - G)^T with kappa = (N - b) / (b (N - 1)) and g_i = N v_i r_i^T
(:class:`theory.implicit.Factors`). The noisy algorithm is W_t = W_{t-1} + G_t + C_t^{1/2} xi_t (the
paper's step size stands inside the weights, its sign too).

Whose numbers are N and b? Here N is the prompt's shots and b a virtual subsample of them. In the
paper b is the prompt's shots and N a threshold beyond them: the roles are exchanged. Both readings
are offered, and neither virtual number is fixed by a model: sweep it, and say which was taken
(:func:`kappa`).
"""

from theory.noise.algorithm import Noisy, layer_factors, noisy_trajectory
from theory.noise.ridge import Ridge, check_ridge, ridge_level
from theory.noise.spectrum import eigenvalues, gram, kappa, log_determinant
from theory.subspaces import (
    BlockSubspace,
    Subspace,
    dimension,
    gradient_dimensions,
    indicator,
    regression_block,
)

__all__ = [
    "BlockSubspace",
    "Noisy",
    "Ridge",
    "Subspace",
    "check_ridge",
    "dimension",
    "eigenvalues",
    "gradient_dimensions",
    "gram",
    "indicator",
    "kappa",
    "layer_factors",
    "log_determinant",
    "noisy_trajectory",
    "regression_block",
    "ridge_level",
]
