"""Linear attention as gradient descent on an implicit weight (the paper's Lemma 1 and Theorem 1).

Tokens are rows here and columns in the paper: ``tokens[:-1]`` are the N demonstrations, transposed
H_s, and ``tokens[-1]`` is the test token. Matrices act on the left of a token, as in the paper.
With the mask M demonstrations attend to demonstrations and the test token to demonstrations
only. Then, writing A_t = I + W_t,

    h^t_{N+1} = A_t h^0_{N+1},   A_t = (I + dW_t) A_{t-1},   G_t = dW_t A_{t-1},
    dW_t = sum_i v_i q_i^T,   G_t = sum_i v_i r_i^T,   v_i = W_V h_i,   q_i = W_Q^T W_K h_i,
    r_i = A_{t-1}^T q_i,   with h_i the demonstrations' tokens of layer t - 1.

Slips of the paper that matter here: the "1" of its equations is the identity matrix, and the sum
over j of G_t in Theorem 1 is the sum of G_j, which is W_t.

Several heads add (:func:`multi_head`), and matrices may be rectangular (the paper's A.3). Batches
of prompts: ``jax.vmap``.
"""

from theory.implicit.stacks import (
    Activation,
    Factors,
    Updates,
    attention_mask,
    example_factors,
    head_factors,
    masked_linear_stack,
    moment_recursion,
    updates,
)
from theory.implicit.weights import (
    Mlp,
    Weights,
    check_tokens,
    check_weights,
    gd_weights,
    has_heads,
    multi_head,
    with_heads,
)

__all__ = [
    "Activation",
    "Factors",
    "Mlp",
    "Updates",
    "Weights",
    "attention_mask",
    "check_tokens",
    "check_weights",
    "example_factors",
    "gd_weights",
    "has_heads",
    "head_factors",
    "masked_linear_stack",
    "moment_recursion",
    "multi_head",
    "updates",
    "with_heads",
]
