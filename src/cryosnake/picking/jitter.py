"""How precise the positions of each picker are, from the distances between those of two."""

from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.optimize import lsq_linear

from cryosnake.picking.detection_model import DetectionModel

#: No picker is taken to be more precise than this part of the radius.
_LEAST_RADII = 0.1


def with_jitter(
    model: DetectionModel, points: list[list[np.ndarray]], members: list[np.ndarray]
) -> DetectionModel:
    """The model with the jitter of the pickers' positions, from the distances within cliques.

    The squared distance of two picks of one particle has the median 2 ln 2 (s_1^2 + s_2^2). Pairs
    of pickers give linear equations for the variances; what they leave open is shared equally.

    Parameters
    ----------
    points, members : of each micrograph, the positions of each picker and the locations.
    """
    count = len(model.pickers)
    rows, values = [], []
    for first, second in combinations(range(count), 2):
        squares = []
        for one, of_one in zip(points, members, strict=True):
            both = of_one[(of_one[:, first] >= 0) & (of_one[:, second] >= 0)]
            offset = one[first][both[:, first]] - one[second][both[:, second]]
            squares.append((offset**2).sum(axis=1))
        squares = np.concatenate(squares)
        if len(squares):
            row = np.zeros(count)
            row[[first, second]] = np.sqrt(len(squares))
            rows.append(row)
            values.append(np.sqrt(len(squares)) * np.median(squares) / (2 * np.log(2)))
    if not rows:
        return model
    variances = lsq_linear(
        np.concatenate([rows, 0.1 * (np.eye(count) - 1 / count)]),
        np.concatenate([values, np.zeros(count)]),
        bounds=((_LEAST_RADII * model.radius_px) ** 2, model.radius_px**2),
    ).x
    pickers = {
        name: replace(picker, jitter_px=float(np.sqrt(variance)))
        for (name, picker), variance in zip(model.pickers.items(), variances, strict=True)
    }
    return replace(model, pickers=pickers)
