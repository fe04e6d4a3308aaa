"""Information-theoretic bounds on the gap between population and empirical risk.

:func:`measure` a trajectory once, then ask for bounds: :func:`theorem2` (as printed it is
infinite, and says so), :func:`lemma6` in its variants, both of the noisy algorithm, and
:func:`terminal_noise` of the deterministic model. Each returns a :class:`Bound`: value, terms by
layer, status, and the algorithm that it bounds.
"""

from theory.bounds.gaps import Risks, clipped_risk, predictors, regression_prompts, regression_risks
from theory.bounds.measured import SquaredNorms, measure
from theory.bounds.noisy import isotropic_term, lemma6, theorem2
from theory.bounds.results import Bound
from theory.bounds.terminal import terminal_noise

__all__ = [
    "Bound",
    "Risks",
    "SquaredNorms",
    "clipped_risk",
    "isotropic_term",
    "lemma6",
    "measure",
    "predictors",
    "regression_prompts",
    "regression_risks",
    "terminal_noise",
    "theorem2",
]
