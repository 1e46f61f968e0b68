"""All rules on the class averages of a round."""

import numpy as np
import pandas as pd

from cryosnake.decisions import Decision
from cryosnake.feedback import (
    featureless,
    fragments,
    mask_edge,
    size_contradiction,
    species,
    views,
)
from cryosnake.feedback.classes import Classes

_MODULES = (views, species, fragments, mask_edge, size_contradiction, featureless)
RULES = tuple(module.RULE for module in _MODULES)


def structural_feedback(
    averages: np.ndarray,
    classes: pd.DataFrame,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    long_axis_angst: float,
    short_axis_angst: float,
    mask_diameter_angst: float,
    subject: str = "class2d",
    evidence: str = "-",
) -> list[Decision]:
    """What 2D class averages alone say about the specimen and how it was extracted.

    Parameters
    ----------
    averages : (K, n, n), white on a background of about zero.
    classes : K rows in the same order; columns csnClassPopulation, csnClassLabel, csnClassKept,
        rlnEstimatedResolution.
    diameter_angst, long_axis_angst, short_axis_angst : the measured size of the particle.
    mask_diameter_angst : of the circle within which particles were classified.
    subject, evidence : of the decisions; `evidence` names the picture that each sentence refers to.

    Returns
    -------
    One decision a rule, in the order of `RULES`. `warn` is an alarm, `unsure` a suspicion, `pass`
    finds nothing, `info` cannot tell.

    Raises
    ------
    BadInputError : a column is missing, there is not one row an average, or a size is not positive.
    """
    session = Classes.of(
        averages,
        classes,
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        long_axis_angst=long_axis_angst,
        short_axis_angst=short_axis_angst,
        mask_diameter_angst=mask_diameter_angst,
        subject=subject,
        evidence=evidence,
    )
    return [module.decide(session) for module in _MODULES]
