"""Verdicts of other programs on class averages: RELION's class ranker and 2DAssess.

Neither was at hand to run: the command lines and file formats are those of RELION 4 and 5
(`relion_class_ranker --help`, `rank_model.star`) and of cryoassess 0.1 to 1.0 (`2dassess`).
"""

import os
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from cryosnake.assessment.labels import LABELS
from cryosnake.engines.command import split_command
from cryosnake.errors import BadInputError
from cryosnake.tables import read_table

#: 2DAssess's folders, by our labels.
ASSESS2D_FOLDERS = {"good": "Good", "clip": "Clip", "edge": "Edge", "noise": "Noise"}

#: How far beyond 0 and 1 the ranker's regression is believed to run.
_BEYOND = 0.25


def class_ranker_command(
    optimiser: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    min_score: float = 0.15,
    python: str | None = None,
    command: str = "relion_class_ranker",
) -> list[str]:
    """The command line of RELION's class ranker; run it where RELION's classification ran.

    Parameters
    ----------
    optimiser : `run_itNNN_optimiser.star` of a classification with CTF correction.
    folder : for its output, of which `rank_model.star` holds the scores.
    min_score : for its own selection of particles (Kimanius 2021 use 0.15).
    python : an interpreter with PyTorch; None: RELION's own, or that of RELION_PYTHON_EXECUTABLE.

    Raises
    ------
    EngineError : there is no such program.
    """
    line = [*split_command(command), "--opt", os.fspath(optimiser), "--o", f"{os.fspath(folder)}/"]
    line += ["--fn_root", "rank", "--do_granularity_features"]
    line += ["--auto_select", "--min_score", f"{min_score:g}"]
    line += ["--fn_sel_parts", "particles.star", "--fn_sel_classavgs", "class_averages.star"]
    return line if python is None else [*line, "--python", python]


def read_class_ranker(path: str | os.PathLike, classes: int) -> np.ndarray:
    """Scores of all classes from the ranker's `rank_model.star`.

    Parameters
    ----------
    classes : number of classes.

    Returns
    -------
    (K,) from 0 to 1, where 1 is good; NaN for classes that were not ranked, because they are empty
    (RELION writes -999).

    Raises
    ------
    BadInputError : no scores, other than one a class, or values that are no scores.
    """
    table = read_table(path, "model_classes")
    missing = {"rlnReferenceImage", "rlnClassScore"} - set(table)
    if missing:
        raise BadInputError(path, f"no {min(missing)} among {list(table)}", "the ranker's output")
    numbers = table["rlnReferenceImage"].astype(str).str.extract(r"^(\d+)@")[0]
    if sorted(numbers.fillna("0").astype(int)) != list(range(1, classes + 1)):
        raise BadInputError(path, f"classes {numbers.tolist()}", f"1 to {classes}, each once")
    scores = np.empty(classes)
    scores[numbers.astype(int) - 1] = table["rlnClassScore"].astype(float)
    ranked = scores != -999.0
    plausible = (scores >= -_BEYOND) & (scores <= 1.0 + _BEYOND)
    if not plausible[ranked].all() or not ranked.any():
        raise BadInputError(path, f"scores {scores.tolist()}", "0 to 1, or -999 for empty classes")
    return np.where(ranked, scores.clip(0.0, 1.0), np.nan)


def assess2d_command(
    averages: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    model: str | os.PathLike,
    command: str = "2dassess",
) -> list[str]:
    """The command line of 2DAssess. It deletes `folder` before it fills it.

    Parameters
    ----------
    averages : stack of class averages, in 32-bit floats, masked by a circle as RELION's are.
    folder : for its output.
    model : its weights, such as `2dassess_062119.h5`.

    Raises
    ------
    EngineError : there is no such program.
    """
    places = {"-i": averages, "-m": model, "-o": folder}  # absolute: it changes folder on its way
    arguments = [part for flag, path in places.items() for part in (flag, os.path.abspath(path))]
    return [*split_command(command), *arguments, "-n", "particle"]


def read_assess2d(
    folder: str | os.PathLike, classes: int, *, blank: Collection[int] = ()
) -> np.ndarray:
    """The label of every class from the folders into which 2DAssess sorts its pictures.

    Parameters
    ----------
    folder : its output, with `Good/particle_3.jpg` and so on.
    classes : number of classes.
    blank : numbers (from 1) of classes whose average adds up to 0, such as empty ones. 2DAssess
        passes over them; here they are noise.

    Returns
    -------
    (K, 4) in the order of `LABELS`: 1 for the label, 0 for the others. 2DAssess writes no
    probabilities.

    Raises
    ------
    BadInputError : a class with no label or with several, or a picture of no such class.
    """
    verdicts = np.zeros((classes, len(LABELS)))
    for label, name in ASSESS2D_FOLDERS.items():
        for picture in sorted((Path(folder) / name).glob("*.jpg")):
            found = re.fullmatch(r".*_(\d+)", picture.stem)
            if found is None or not 1 <= int(found[1]) <= classes:
                raise BadInputError(picture, "no class of this name", f"particle_1 to _{classes}")
            verdicts[int(found[1]) - 1, LABELS.index(label)] = 1.0
    for number in blank:
        verdicts[number - 1, LABELS.index("noise")] = 1.0
    odd = np.flatnonzero(verdicts.sum(axis=1) != 1.0)
    if len(odd):
        labels = int(verdicts[odd[0]].sum())
        raise BadInputError(
            folder, f"class {odd[0] + 1} of {len(odd)} such has {labels} labels", "one a class"
        )
    return verdicts
