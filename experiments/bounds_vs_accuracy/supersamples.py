"""Bounds from predictions of one cell, with what their estimates show without any information.

Estimated on supersamples of one part of the data (of the bundled task: other categories than those
of the test) and held against the gap of another: on their own supersample the pooled bounds are
functions of the measured errors and predict nothing.
"""

import functools
from collections.abc import Callable, Mapping

from experiments.common.records import Record
from theory import cmi
from theory.cmi import InformationBound, Supersample

BOUNDS: Mapping[str, Callable[[Supersample], InformationBound]] = {
    "f-CMI": cmi.f_cmi,
    "e-CMI": cmi.e_cmi,
    "e-CMI, pooled": functools.partial(cmi.e_cmi, pooled=True),
    "ld-MI": cmi.ld_mi,
    "single loss": cmi.single_loss,
    "binary KL": cmi.binary_kl,
    "fast rate": cmi.fast_rate,
    "interpolating": cmi.interpolating,
}
"""``f-CMI`` and ``e-CMI`` condition on the supersample: they need several masks of each."""

FLOOR_DRAWS = 10
ERROR_DRAWS = 20


def bounds_of(sample: Supersample, seed: int, *, predictions: bool = True) -> Record:
    """Every bound of a supersample: ``bound``, ``information``, ``floor`` and ``error``.

    ``floor`` is the mean of the same estimate with masks drawn afresh, which know nothing;
    ``error`` the standard error over supersamples, without the bias that the floor shows.

    Args:
        sample: as a model answered it.
        seed: of the fresh masks and the bootstrap.
        predictions: whether there are any for f-CMI.
    """
    bounds: Record = {
        "gap": [sample.gap, sample.gap_error],
        "training_error": sample.training_error,
        "test_error": sample.test_error,
        "hoeffding": list(cmi.hoeffding(sample.test_error, sample.test.size)),
        "bounds": {},
    }
    for name, bound in BOUNDS.items():
        conditional = name in ("f-CMI", "e-CMI")
        if (name == "f-CMI" and not predictions) or (conditional and sample.masks.shape[1] < 2):
            continue
        one = bound(sample)
        record: Record = {"bound": one.gap, "information": one.information}
        if name != "interpolating":  # no bound at all unless the training error is 0
            record["floor"] = cmi.measured_floor(bound, sample, draws=FLOOR_DRAWS, seed=seed)
            record["error"] = cmi.standard_error(bound, sample, draws=ERROR_DRAWS, seed=seed)
        bounds["bounds"][name] = record
    return bounds
