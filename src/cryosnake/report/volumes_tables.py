"""Tables of 3D as the report uses them: which columns, and each of one type."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

#: Columns of the tables, with what stands in for a value that is missing; text where that is text.
VOLUMES = {
    "rlnClassDistribution": np.nan,
    "csnVolumePopulation": np.nan,
    "rlnEstimatedResolution": np.nan,
    "csnVolumeEvidence": np.nan,
    "csnVolumeChosen": 0.0,
}
SCORES = {
    "csnVolume": "-",
    "csnVolumeScore": np.nan,
    "csnVolumeError": np.nan,
    "csnVolumeSpread": np.nan,
    "csnVolumeConfidence": np.nan,
    "csnVolumeHand": "-",
    "csnVolumeChosen": 0.0,
}
CURVES = {
    "rlnResolution": np.nan,
    "rlnFourierShellCorrelationCorrected": np.nan,
    "rlnFourierShellCorrelationUnmaskedMaps": np.nan,
    "rlnFourierShellCorrelationMaskedMaps": np.nan,
    "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": np.nan,
}
KNOWN = {"rlnResolution": np.nan, "rlnFourierShellCorrelation": np.nan}
CONES = {"csnConeResolution_angst": np.nan}


@dataclass
class Told:
    """A table of a step with what stands above it.

    Parameters
    ----------
    about : its block `general`; empty where it has none.
    table : its rows, each column of one type.
    """

    about: dict = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def failure(self) -> str:
        """Why there is no result; empty where there is one."""
        problem = str(self.about.get("csnProblem", "-"))
        return "" if problem == "-" else problem


def typed(table: pd.DataFrame, columns: dict) -> pd.DataFrame:
    """The columns of the report out of a table, each of one type."""
    source = table.reset_index(drop=True)
    found = pd.DataFrame(index=source.index)
    for name, missing in columns.items():
        values = pd.Series(source.get(name, missing), index=found.index)
        if isinstance(missing, str):
            found[name] = values.astype(object).where(values.notna(), missing).astype(str)
        else:
            numbers = pd.to_numeric(values, errors="coerce").astype(float)
            found[name] = numbers.where(np.isfinite(numbers), missing)
    return found
