"""Softmax attention read as an implicit update (the paper's appendix A.2), on real layers.

With K(x, y) = exp(<x, y>) = <phi(x), phi(y)> a head adds M sum_i v_i <phi(k_i), phi(q)> / D' to the
test token: an update dW = (1 / D') sum_i M v_i phi(k_i)^T of the features phi(q), M the head's part
of W_O. phi has infinitely many entries, but the norm needs only kernels:

    ||dW||_F^2 = D'^{-2} sum_ij <M v_i, M v_j> exp(<k_i, k_j> / sqrt(d_head)),

i and j over the demonstrations' tokens, D' over every visible key, the test token's own included.
Slips of the paper corrected here: sqrt(d_scale) belongs inside the softmax, and the normaliser of
A.2 runs over N + 1 keys. The reading is exact for one layer and one query: D' depends on the
query, so that Theorems 1 and 2 do not extend to stacks of softmax layers.

The norm is no property of the function: adding one vector to every key multiplies it by anything
(1e8 with ease) and leaves the output as it is. Report it, and beside it the head's Jacobian in the
test token, J = M V^T (diag a - a a^T) K W_Q / sqrt(d_head), a the attention, which is invariant.

The update acts on features of its own in every head, so the layer's squared norm is the sum of the
heads' (:func:`total`). The Jacobians do not add so: all heads read one input, and their products
count, as those of two identical heads, whose sum has twice the norm of each and not sqrt 2 times.
The layer's is a field of its own, ``Norms.layer``. It is the derivative through the *query* only,
keys and values held: what the test token looks for, not what it adds to what is seen.

Logarithms throughout: the exponents reach 146 in trained models. Grouped queries: G <= H heads of
keys and values, each shared by H / G heads of queries.
"""

from theory.softmax.norms import Norms, head_norms, layer_norms, total
from theory.softmax.weights import AttentionWeights, Grams, Rotary, grams, in_query_frame

__all__ = [
    "AttentionWeights",
    "Grams",
    "Norms",
    "Rotary",
    "grams",
    "head_norms",
    "in_query_frame",
    "layer_norms",
    "total",
]
