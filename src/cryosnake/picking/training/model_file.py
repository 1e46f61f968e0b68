"""A trained picking model on disk: the weights (`.pt`) and what is known about them (`.json`).

A model has a version: the first of a session is 1, and one that is trained anew on request is
written beside it under the next number; files of a version are never overwritten.
"""

import json
import math
import os
import pickle
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake.errors import BadInputError
from cryosnake.files import write_text, written_whole
from cryosnake.picking.coarse import picks_table
from cryosnake.picking.network import Detector
from cryosnake.picking.reliability import Reliability, estimate_reliability
from cryosnake.picking.training.judge import CONSENSUS, TRAINED
from cryosnake.picking.training.scoring import MERIT, SAME_PARTICLE, coordinates
from cryosnake.picking.training.train import Trained

FORMAT = 1
_NAME = re.compile(r"v(\d+)\.json")


@dataclass(frozen=True)
class PickingModel:
    """What to pick a session with.

    Attributes
    ----------
    version : from 1.
    chosen : "trained", "consensus" or the name of a picker; why : in words.
    threshold : on the score of the trained model.
    detector : the trained model; None where none was trained.
    diameter_angst, pixel_size_angst : trained with.
    about : the whole content of the JSON file.
    picks : of each training micrograph, the picks of each picker.
    """

    version: int
    chosen: str
    why: str
    threshold: float
    detector: Detector | None
    diameter_angst: float
    pixel_size_angst: float
    about: dict
    picks: list[dict[str, pd.DataFrame]]

    @cached_property
    def reliability(self) -> Reliability:
        """Of the pickers, from the training micrographs: what their consensus needs."""
        radius_px = SAME_PARTICLE * self.diameter_angst / self.pixel_size_angst
        return estimate_reliability(self.picks, radius_px)


def model_paths(folder: str | os.PathLike, version: int) -> tuple[Path, Path]:
    """The files of a version: weights and description."""
    return Path(folder) / f"v{version}.pt", Path(folder) / f"v{version}.json"


def next_version(folder: str | os.PathLike) -> int:
    """The number of the model that is to be trained next: one more than the highest there is."""
    found = [_NAME.fullmatch(path.name) for path in Path(folder).glob("v*.json")]
    return 1 + max((int(match[1]) for match in found if match), default=0)


def save_model(folder: str | os.PathLike, trained: Trained, version: int) -> tuple[Path, Path]:
    """Write `v<version>.pt` and `v<version>.json`, each whole or not at all.

    Returns
    -------
    The two paths.

    Raises
    ------
    BadInputError : the version exists, or is below 1.
    """
    weights, description = model_paths(folder, version)
    if version < 1:
        raise BadInputError(description, f"{version = }", "1 or more")
    if description.exists():
        raise BadInputError(description, "this version exists", f"version {next_version(folder)}")
    model = trained.model
    state = {
        "format": FORMAT,
        "version": version,
        "architecture": model.architecture if model else "",
        "units": model.units if model else 0,
        "weights": {k: v.detach().cpu() for k, v in model.state_dict().items()} if model else {},
        "picks": [{name: _as_tensor(t) for name, t in one.items()} for one in trained.picks],
    }
    with written_whole(weights) as temporary:
        torch.save(state, temporary)
    text = json.dumps(describe(trained, version), indent=1, allow_nan=False)
    write_text(description, text + "\n")
    return weights, description


def describe(trained: Trained, version: int) -> dict:
    """All that is known about a model, as JSON can hold it; unknown numbers are null."""
    judgement = trained.judgement
    return {
        "format": FORMAT,
        "version": version,
        "chosen": judgement.chosen,
        "why": judgement.why,
        "threshold": _number(judgement.threshold),
        "trained": trained.model is not None,
        "diameter_angst": trained.diameter_angst,
        "pixel_size_angst": trained.pixel_size_angst,
        "seed": trained.seed,
        "scores": {
            name: {key: _number(value) for key, value in row.items()}
            for name, row in judgement.scores.to_dict("index").items()
        },
        "curve": _columns(trained.curve),
        "validation": _columns(_thinned(judgement.validation, 200)),
        "training_micrographs": list(map(str, trained.training_names)),
        "held_out_micrographs": list(map(str, trained.held_out_names)),
        "left_out_micrographs": {str(name): why for name, why in trained.left_out.items()},
    }


def load_model(description: str | os.PathLike, device: torch.device | str = "cpu") -> PickingModel:
    """Read a model from its JSON file and the weights beside it.

    Raises
    ------
    BadInputError : a file is missing or damaged, they are of different versions, of another
        format, or the weights do not fit the network.
    """
    description = Path(description)
    expected = "the description of a picking model"
    try:
        about = json.loads(description.read_text())
        threshold = about["threshold"]
        known = {
            "version": int(about["version"]),
            "chosen": str(about["chosen"]),
            "why": str(about["why"]),
            "threshold": math.inf if threshold is None else float(threshold),
            "diameter_angst": float(about["diameter_angst"]),
            "pixel_size_angst": float(about["pixel_size_angst"]),
        }
        written = int(about["format"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(
            description, f"cannot be read ({type(error).__name__}: {error})", expected
        ) from error
    if written != FORMAT:
        raise BadInputError(description, f"format {written}", f"format {FORMAT}")
    path = description.with_suffix(".pt")
    state = _read_state(path, known["version"])
    detector = _detector(path, state, device) if state["weights"] else None
    if known["chosen"] == TRAINED and (detector is None or not math.isfinite(known["threshold"])):
        raise BadInputError(path, "no trained weights", f"those of {description.name}")
    picks = [{name: _as_table(t) for name, t in one.items()} for one in state["picks"]]
    if known["chosen"] == CONSENSUS and not picks:
        raise BadInputError(path, "no picks of the training micrographs", "those of the pickers")
    return PickingModel(**known, detector=detector, about=about, picks=picks)


def _read_state(path: Path, version: int) -> dict:
    expected = f"the weights of version {version}"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BadInputError(path, f"cannot be read ({error})", expected) from error
    keys = {"format", "version", "architecture", "units", "weights", "picks"}
    if not isinstance(state, dict) or not keys <= set(state):
        raise BadInputError(path, "is not a picking model", expected)
    if state["version"] != version:
        raise BadInputError(path, f"holds version {state['version']}", expected)
    return state


def _detector(path: Path, state: dict, device: torch.device | str) -> Detector:
    try:
        detector = Detector(state["architecture"], state["units"])
        detector.load_state_dict(state["weights"])
    except (RuntimeError, ValueError, TypeError) as error:
        raise BadInputError(path, f"the weights do not fit ({error})", "a detector's") from error
    return detector.to(device).eval()


def _as_tensor(table: pd.DataFrame) -> torch.Tensor:
    merit = table[MERIT].to_numpy(float)
    return torch.from_numpy(np.column_stack([coordinates(table), merit]))


def _as_table(rows: torch.Tensor) -> pd.DataFrame:
    x, y, merit = rows.numpy().T
    return picks_table(x, y, merit, 1)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _columns(table: pd.DataFrame) -> dict[str, list[float | None]]:
    return {name: [_number(value) for value in table[name]] for name in table}


def _thinned(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    """So many rows at most, evenly taken."""
    if len(table) <= rows:
        return table
    return table.iloc[np.linspace(0, len(table) - 1, rows).round().astype(int)]
