"""What can be measured on a class average and in the table of its classification.

All features are free of the scale of the grey values and of the box; lengths are relative to the
radius of the mask. Those that an engine does not give (evidence, accuracy) are NaN.
"""

import numpy as np
import pandas as pd

from cryosnake.assessment.appearance import appearance
from cryosnake.assessment.grid import grid, on_grid
from cryosnake.errors import BadInputError

#: Name: what it is. Those that end in `_relative` compare with the median of the classification,
#: weighted by population.
FEATURES = {
    "resolution": "log2 of the diameter over the resolution; 0 where there is none",
    "population": "log2 of the population over the mean of all classes",
    "inner_power": "log10 of the power within 0.7 of the radius over that beyond 0.8",
    "offset": "distance of the centre of mass of the dense part from the centre",
    "main_offset": "distance of the centre of mass of the largest dense object from the centre",
    "main_share": "share of the largest object in the mass of the dense part",
    "objects": "number of dense objects of more than 1 % of the circle",
    "spread": "root mean square distance of the dense part from the centre",
    "dense_area": "share of the circle that is dense",
    "dense_area_relative": "log2 of that over the median",
    "edge_density": "share of the dense mass beyond 0.8 of the radius",
    "edge_peak": "highest density beyond 0.8 of the radius over the highest at all",
    "edge_uneven": "share of the power beyond 0.8 of the radius on its stronger side",
    "line": "largest share of the variance that a profile in one direction explains",
    "line_excess": "that over the mean of all directions",
    "coherence": "how much gradients share one direction",
    "radial": "share of the variance that the rotational average explains",
    "skewness": "of the densities inside the circle",
    "dark": "depth of the darkest over the height of the brightest parts",
    "low_power": "share of the power below 3 periods in the diameter",
    "high_power": "log10 of the share of the power above 10 periods in the diameter",
    "slope": "log10 of the power at 2 to 4 periods over that at 7 to 10",
    "strength_relative": "log2 of the root mean square over the median",
    "accuracy_rotation": "log2 of the accuracy of rotation in degrees",
    "accuracy_shift": "log2 of the accuracy of shifts over the diameter",
    "probability": "mean posterior probability of the class of its particles",
    "evidence": "arsinh of a fifth of the evidence per particle",
    "evidence_relative": "log2 of the evidence (at least 1) over the median",
    "contrast": "mean contrast of the particles",
}
#: What some engines do not tell.
ACCURACY = ("accuracy_rotation", "accuracy_shift")
EVIDENCE = ("evidence", "evidence_relative", "contrast")
EVIDENCE_UNIT = 5.0  # below it the feature is linear, above logarithmic
COLUMNS = (
    "csnClassPopulation",
    "rlnEstimatedResolution",
    "rlnAccuracyRotations",
    "rlnAccuracyTranslationsAngst",
    "csnClassEvidence",
    "csnClassContrast",
    "csnClassProbability",
)
_NONE = 999.0  # what tables write for a value that could not be estimated


def class_features(
    averages: np.ndarray, table: pd.DataFrame, *, pixel_size_angst: float, diameter_angst: float
) -> pd.DataFrame:
    """Measure class averages.

    Parameters
    ----------
    averages : (K, n, n), white particles.
    table : K rows with `COLUMNS`; 999, NaN and infinity are missing values.
    diameter_angst : of the circular mask of the classification.

    Returns
    -------
    K rows with the columns `FEATURES`.

    Raises
    ------
    BadInputError : a column is missing, numbers of rows and averages differ, or the mask does not
        fit the box.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise BadInputError(None, f"a table of classes without {', '.join(missing)}", "all of them")
    if len(averages) != len(table):
        raise BadInputError(None, f"{len(averages)} averages, {len(table)} rows", "one row a class")
    images = on_grid(averages, pixel_size_angst, diameter_angst)
    rows = pd.DataFrame([appearance(image) for image in images])
    population = table["csnClassPopulation"].to_numpy(float)
    area = rows["dense_area"].to_numpy()
    rows["dense_area_relative"] = _relative(area, population, 0.02)
    strength = np.sqrt(np.mean(images[:, grid().inside] ** 2, axis=1))
    rows["strength_relative"] = _relative(strength, population, 1e-12 + 1e-3 * strength.max())
    return rows.join(_of_table(table, diameter_angst))[list(FEATURES)]


def _relative(values: np.ndarray, population: np.ndarray, least: float) -> np.ndarray:
    """log2 of values (at least `least`) over their median, weighted by population."""
    values = np.maximum(values, least)
    order = np.argsort(values)
    weight = np.cumsum(population[order] + 1e-9)
    median = values[order[np.searchsorted(weight, 0.5 * weight[-1])]]
    return np.log2(values / median)


def _of_table(table: pd.DataFrame, diameter_angst: float) -> pd.DataFrame:
    def known(name):
        values = table[name].to_numpy(float)
        return np.where(np.isfinite(values) & (values < _NONE) & (values >= 0), values, np.nan)

    population = table["csnClassPopulation"].to_numpy(float)
    resolution = known("rlnEstimatedResolution")
    found = pd.DataFrame(
        {
            "resolution": np.log2(np.fmax(diameter_angst / resolution, 1.0)),
            "population": np.log2(np.maximum(population, 1) / max(population.mean(), 1.0)),
            "probability": np.nan_to_num(known("csnClassProbability"), nan=0.0),
        }
    ).fillna({"resolution": 0.0})
    rotation, shift = known("rlnAccuracyRotations"), known("rlnAccuracyTranslationsAngst")
    if np.all(np.isnan(rotation)):
        found[list(ACCURACY)] = np.nan
    else:
        # where others have one, a class without cannot be aligned at all
        rotation = np.clip(np.nan_to_num(rotation, nan=45.0), 0.1, 45.0)
        shift = np.nan_to_num(shift / diameter_angst, nan=0.3)
        found["accuracy_rotation"] = np.log2(rotation)
        found["accuracy_shift"] = np.log2(np.clip(shift, 0.002, 0.3))
    evidence = table["csnClassEvidence"].to_numpy(float)
    filled = np.nan_to_num(evidence, nan=0.0)  # a class without particles
    relative = _relative(filled, population, 1.0)
    contrast = np.clip(table["csnClassContrast"].to_numpy(float), 0.0, 3.0)
    given = not np.all(np.isnan(evidence))
    found["evidence"] = np.arcsinh(filled / EVIDENCE_UNIT) if given else np.nan
    found["evidence_relative"] = relative if given else np.nan
    found["contrast"] = np.nan_to_num(contrast, nan=0.0) if given else np.nan
    return found
