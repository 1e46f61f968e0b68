"""Which micrographs are good enough, and why not.

Filters in the order in which they are asked: dose, drift, power spectrum, micrograph class, CTF.
Each is a pure function that gives a `Verdict`; thresholds come from the configuration.
"""

from cryosnake.curation.agreement import Agreement, agreement
from cryosnake.curation.classifier import classify_features, classify_micrograph
from cryosnake.curation.curate import COMPUTED, Ctf, curate_micrograph
from cryosnake.curation.dose import apply_dose_filter, derive_acceptance, dose_reference
from cryosnake.curation.features import FEATURES, measure_features
from cryosnake.curation.filters import (
    class_filter,
    ctf_filter,
    dose_counts_per_angst2,
    dose_filter,
    drift_filter,
)
from cryosnake.curation.fixed_pattern import gain_residual, stripe_ratio
from cryosnake.curation.labels import LABELS, MicrographClass
from cryosnake.curation.spectrum import quadrant_spectrum_correlations, spectrum_filter
from cryosnake.curation.verdict import FILTERS, FLAG_COLUMNS, Verdict, movie_columns

__all__ = [
    "COMPUTED",
    "FEATURES",
    "FILTERS",
    "FLAG_COLUMNS",
    "LABELS",
    "Agreement",
    "Ctf",
    "MicrographClass",
    "Verdict",
    "agreement",
    "apply_dose_filter",
    "class_filter",
    "classify_features",
    "classify_micrograph",
    "ctf_filter",
    "curate_micrograph",
    "derive_acceptance",
    "dose_counts_per_angst2",
    "dose_filter",
    "dose_reference",
    "drift_filter",
    "gain_residual",
    "measure_features",
    "movie_columns",
    "quadrant_spectrum_correlations",
    "spectrum_filter",
    "stripe_ratio",
]
