"""One diameter and its uncertainty from several estimators."""

import numpy as np
import pandas as pd

from cryosnake.picking.size_model import ELONGATED_ABOVE

#: What an estimator is off by whatever the number of particles, relative: its scatter from shape to
#: shape on the tuning samples.
SYSTEMATIC = {"outline": 0.06, "scale": 0.08, "average": 0.10}
#: The median candidate must be this many times higher than nine tenths of those in pure noise.
PRESENCE_ABOVE = 1.2
_CONTRADICTION = 1.6  # between the highest and the lowest estimate


def combined(
    micrographs: pd.DataFrame, long_angst: float | None
) -> tuple[float | None, float, pd.DataFrame]:
    """Weighted mean in the logarithm of the estimators' medians over the micrographs.

    A weight is the inverse variance: of the median, from the scatter between micrographs, plus the
    estimator's systematic error. An estimator that lies three of its deviations from the weighted
    median of all is given less weight in proportion (Huber). The rotational average shows the
    width of an elongated particle and has no weight there.

    Parameters
    ----------
    micrographs : a column `<method>_angst` for each method in `SYSTEMATIC`; nan where it found
        nothing.
    long_angst : length of the particle, None where it is not known.

    Returns
    -------
    The diameter in angstrom (None where no method found anything), its standard deviation, and the
    table of methods: `method`, `diameter_angst`, `uncertainty_angst`, `weight`.
    """
    rows = []
    for method, systematic in SYSTEMATIC.items():
        logs = np.log(micrographs[f"{method}_angst"].dropna().to_numpy(float))
        if not len(logs):
            continue
        scatter = 1.4826 * np.median(np.abs(logs - np.median(logs)))
        relative = float(np.hypot(systematic, scatter * 1.25 / np.sqrt(len(logs))))
        middle = float(np.exp(np.median(logs)))
        rows.append((method, middle, middle * relative, 1.0 / relative**2))
    table = pd.DataFrame(rows, columns=["method", "diameter_angst", "uncertainty_angst", "weight"])
    if not len(table):
        return None, 0.0, table
    logs = np.log(table.diameter_angst.to_numpy())
    sigmas = (table.uncertainty_angst / table.diameter_angst).to_numpy()
    weights = table.weight.to_numpy()
    outline = table.method == "outline"
    if long_angst and outline.any():
        stretched = long_angst > ELONGATED_ABOVE * float(table.diameter_angst[outline].iloc[0])
        if stretched:
            weights = np.where(table.method == "average", 0.0, weights)
    order = np.argsort(logs)
    reached = np.cumsum(weights[order]) / weights.sum()
    middle = logs[order][np.searchsorted(reached, 0.5)]
    weights = weights * np.minimum(1.0, 3.0 * sigmas / np.maximum(np.abs(logs - middle), 1e-9))
    table["weight"] = weights / weights.sum()
    mean = float((table.weight * logs).sum())
    spread = float(np.sqrt((table.weight * (logs - mean) ** 2).sum()))
    relative = float(np.hypot(np.sqrt(1.0 / weights.sum()), spread))
    return float(np.exp(mean)), float(np.exp(mean)) * relative, table


def doubts(
    diameter_angst: float | None,
    methods: pd.DataFrame,
    presence: float,
    min_angst: float,
    max_angst: float,
) -> list[str]:
    """Why the estimate is not to be trusted, as sentences; empty where it is."""
    found = []
    if diameter_angst is None:
        return ["no method found a particle"]
    if presence < PRESENCE_ABOVE:
        found.append(
            f"candidates stand {presence:.2f} times as high as blobs in noise, less than "
            f"{PRESENCE_ABOVE:g}: there may be no particles"
        )
    used = methods[methods.weight > 0].diameter_angst
    if len(used) < 2:
        found.append(f"only one method found particles: {', '.join(methods.method)}")
    elif used.max() > _CONTRADICTION * used.min():
        values = ", ".join(
            f"{m} {d:.0f} A" for m, d in zip(methods.method, methods.diameter_angst, strict=True)
        )
        found.append(f"the methods contradict one another: {values}")
    if not min_angst <= diameter_angst <= max_angst:
        found.append(
            f"the diameter of {diameter_angst:.0f} A is outside of {min_angst:g} to {max_angst:g} A"
        )
    return found
