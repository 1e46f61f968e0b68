"""Which micrographs to train on: as many of each defocus as there are."""

import numpy as np
import pandas as pd


def choose_micrographs(table: pd.DataFrame, number: int, seed: int) -> pd.DataFrame:
    """Choose micrographs balanced over defocus, so that a model learns each appearance.

    The pool, sorted by mean defocus, is cut into `number` ranges that are equally wide in defocus;
    one micrograph is drawn from each. Where a range holds none, one is drawn instead from what the
    fullest ranges have left.

    Parameters
    ----------
    table : one row a micrograph, with `rlnDefocusU` and `rlnDefocusV` in angstrom. Rows whose
        defocus is not known are taken only when nothing else is left.
    number : how many; all where the table has no more.
    seed : of the draw; the order of the rows does not matter where their names
        (`rlnMicrographName`) are given.

    Returns
    -------
    The chosen rows in the order of the table.
    """
    if number < 0:
        raise ValueError(f"{number = } is negative")
    if number >= len(table):
        return table.copy()
    rng = np.random.default_rng([seed, 1])
    defocus = table[["rlnDefocusU", "rlnDefocusV"]].astype(float).mean(axis=1, skipna=False)
    defocus = defocus.to_numpy()
    key = table["rlnMicrographName"].astype(str) if "rlnMicrographName" in table else table.index
    order = np.argsort(np.asarray(key), kind="stable")
    shuffled = order[rng.permutation(len(order))]
    known = shuffled[np.isfinite(defocus[shuffled])]
    chosen: list[int] = []
    if len(known) and number:
        low, high = defocus[known].min(), defocus[known].max()
        width = (high - low) / number
        part = ((defocus[known] - low) / width).astype(int) if width > 0 else np.zeros(len(known))
        ranges = [list(known[np.minimum(part, number - 1) == one]) for one in range(number)]
        while len(chosen) < number and any(ranges):
            if not chosen:
                chosen = [one.pop() for one in ranges if one]
                continue
            fullest = max(range(number), key=lambda one: len(ranges[one]))
            chosen.append(ranges[fullest].pop())
    unknown = [one for one in shuffled if not np.isfinite(defocus[one])]
    chosen += unknown[: number - len(chosen)]
    return table.iloc[sorted(chosen)]
