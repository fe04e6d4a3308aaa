"""Bounds from predictions: what can be checked on a model whose weights are not noisy.

The supersample of Steinke and Zakynthinou (2020): N independent pairs of examples, and a mask
U in {0, 1}^N of fair coins, independent of them, that picks one member of each pair as a
demonstration. All 2 N members are then queried. How much the answers say about the mask bounds the
gap between the losses on members that were not and that were demonstrations:

- :func:`f_cmi` (Harutyunyan et al., 2021), :func:`e_cmi` and :func:`binary_kl`
  (Hellström and Durisi, 2022), :func:`ld_mi`, :func:`single_loss`, :func:`fast_rate` and
  :func:`interpolating` (Wang and Mao, 2023).

What they are, and what they are not:

- A pooled bound for 0-1 loss is a function of the measured training and test errors (see
  :func:`zero_one_ld` and :func:`zero_one_single`): a consistency check of the theory, *not a
  prediction* of the test error, unless it is estimated on another split or task than it is held
  against. Print :func:`hoeffding`, the plain held-out interval, beside it.
- A demonstration that is queried may simply be copied from the prompt. A training error near 0 is
  then about copying, and the gap with it.
- Estimated information is biased upwards: report :func:`noise_floor` or :func:`measured_floor`.

NumPy throughout: counting is exact, and float64 by nature.
"""

from theory.cmi.bounds import (
    InformationBound,
    binary_kl,
    e_cmi,
    f_cmi,
    fast_rate,
    hoeffding,
    interpolating,
    ld_mi,
    measured_floor,
    single_loss,
    standard_error,
)
from theory.cmi.information import (
    asymptotic_floor,
    entropy,
    kl,
    kl_upper,
    mutual_information,
    noise_floor,
    zero_one_ld,
    zero_one_single,
)
from theory.cmi.supersample import Supersample, draw_masks, pick

__all__ = [
    "InformationBound",
    "Supersample",
    "asymptotic_floor",
    "binary_kl",
    "draw_masks",
    "e_cmi",
    "entropy",
    "f_cmi",
    "fast_rate",
    "hoeffding",
    "interpolating",
    "kl",
    "kl_upper",
    "ld_mi",
    "measured_floor",
    "mutual_information",
    "noise_floor",
    "pick",
    "single_loss",
    "standard_error",
    "zero_one_ld",
    "zero_one_single",
]
