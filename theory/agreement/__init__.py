"""Do a bound, or a norm, and what is measured move together? With honest uncertainty.

A record is one measurement: an outcome (the gap, the test error), predictors (bounds, norms), the
clipping ``rate``, and the seed, module and layer it was made at. Records of one (seed, module,
layer) share their model and prompts, so they are one *cluster*: intervals leave out clusters, and
the null hypothesis exchanges them whole.

Pooled correlations mix two things: that everything moves with the rate, and that the predictor
knows which cell is better. ``within="rate"`` and ``within="layer"`` hold one fixed; the baselines
(rate alone, layer alone, the norm of dW) show what the predictor has to beat.
"""

from theory.agreement.correlation import (
    BASELINES,
    CLUSTER,
    Correlation,
    FewClusters,
    PredictorComparison,
    compare,
    correlate,
)
from theory.agreement.coverage import Coverage, SignAgreement, coverage, sign_agreement
from theory.agreement.ranks import kendall, spearman

__all__ = [
    "BASELINES",
    "CLUSTER",
    "Correlation",
    "Coverage",
    "FewClusters",
    "PredictorComparison",
    "SignAgreement",
    "compare",
    "correlate",
    "coverage",
    "kendall",
    "sign_agreement",
    "spearman",
]
