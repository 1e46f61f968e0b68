"""Training the picker: its micrographs, three pickers on them, their consensus, the model."""

import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.files import write_text
from cryosnake.images import mrc_shape
from cryosnake.picking.agreement import agreement
from cryosnake.picking.choose import choose_micrographs
from cryosnake.picking.consensus import consensus
from cryosnake.picking.denoise import denoise
from cryosnake.picking.mask import keep, usable_mask
from cryosnake.picking.network import pretrained_detector
from cryosnake.picking.pickers import PICKERS
from cryosnake.picking.reliability import PickerReliability, Reliability, estimate_reliability
from cryosnake.picking.size_model import ParticleSize, read_size
from cryosnake.picking.training.judge import TRAINED
from cryosnake.picking.training.model_file import save_model
from cryosnake.picking.training.scoring import SAME_PARTICLE
from cryosnake.picking.training.train import Trained, train_detector
from cryosnake.session.tables import micrograph_blocks
from cryosnake.stages.files import (
    image_reader,
    read_coordinates,
    read_subset,
    write_coordinates,
    write_decisions,
)
from cryosnake.tables import write_star

log = logging.getLogger("cryosnake")


def choose_training(session: Path, config: Config) -> pd.DataFrame:
    """Choose the micrographs that the model is trained on, from the frozen pool; returns them."""
    pool = read_subset(session, layout.subset_star("training"))
    chosen = choose_micrographs(pool, config.picking.training_micrographs, config.compute.seed)
    write_star(
        Path(session) / layout.TRAINING_MICROGRAPHS,
        micrograph_blocks(chosen.drop(columns="rlnOpticsGroup"), config),
    )
    return chosen


def pick_training(session: Path, picker: str, config: Config, device) -> pd.DataFrame:
    """What one picker finds on the training micrographs; a picker that fails finds nothing.

    A failure of the picker is a decision, and the session goes on with the others.
    """
    session = Path(session)
    size = read_size(session / layout.SIZE)[0]
    look = _on_denoised if config.picking.denoise and picker != "network" else _on_original
    rows = read_subset(session, layout.TRAINING_MICROGRAPHS)
    read = image_reader(session)
    tables, decisions = [], []
    started = time.perf_counter()
    for name, pixel_angst in zip(
        rows["rlnMicrographName"], rows["rlnMicrographPixelSize"], strict=True
    ):
        try:
            image = read(name)
            picks = look(picker, image, pixel_angst, size, device)
        except BadInputError as error:
            decisions.append(_problem(name, picker, error, "the picker cannot use it"))
            continue
        except Exception as error:  # whatever it is, it must not end the session
            log.exception("the picker %s failed on %s", picker, name)
            decisions.append(_problem(name, picker, error, "the picker failed and is left out"))
            tables = []
            break
        picks.insert(0, "rlnMicrographName", name)
        tables.append(picks)
    write_decisions(session / layout.picker_decisions(picker), decisions)
    table = write_coordinates(session / layout.picker_star(picker), tables)
    seconds = (time.perf_counter() - started) / max(1, len(rows))
    log.info("%s: %d picks, %.1f s a micrograph", picker, len(table), seconds)
    return table


def _on_original(
    picker: str, image: np.ndarray, pixel_angst: float, size: ParticleSize, device
) -> pd.DataFrame:
    mask = usable_mask(image, pixel_angst, size)
    return PICKERS[picker](image, pixel_angst, size, mask=mask, device=device)


def _on_denoised(
    picker: str, image: np.ndarray, pixel_angst: float, size: ParticleSize, device
) -> pd.DataFrame:
    clean = denoise(image, pixel_angst, device=device)
    picks = PICKERS[picker](clean.image, clean.pixel_size_angst, size, mask=None, device=device)
    for column in ("rlnCoordinateX", "rlnCoordinateY"):
        picks[column] *= clean.factor
    return keep(picks, *usable_mask(image, pixel_angst, size))


def _problem(name: str, picker: str, error: Exception, evidence: str) -> Decision:
    return Decision(
        subject=name,
        rule=f"picker_{picker}",
        verdict="fail",
        value=str(error) or type(error).__name__,
        threshold="a picker that runs to its end",
        evidence=evidence,
    )


def training_picks(session: Path, config: Config) -> dict[str, dict[str, pd.DataFrame]]:
    """Of each training micrograph, the picks of each picker."""
    session = Path(session)
    names = read_subset(session, layout.TRAINING_MICROGRAPHS)["rlnMicrographName"]
    found: dict[str, dict[str, pd.DataFrame]] = {name: {} for name in names}
    for picker in config.picking.pickers:
        table = read_coordinates(session / layout.picker_star(picker))
        for name in names:
            own = table[table["rlnMicrographName"] == name]
            found[name][picker] = own.drop(columns="rlnMicrographName").reset_index(drop=True)
    return found


def agree(session: Path, config: Config) -> pd.DataFrame:
    """The consensus of the pickers on the training micrographs, and how far each can be trusted."""
    session = Path(session)
    rows = read_subset(session, layout.TRAINING_MICROGRAPHS)
    radius_px = SAME_PARTICLE * read_size(session / layout.SIZE)[0].diameter_angst
    radius_px /= float(rows["rlnMicrographPixelSize"].median())
    found = training_picks(session, config)
    height, width = mrc_shape(session / rows["rlnMicrographName"].iloc[0])
    reliability = estimate_reliability(
        list(found.values()), radius_px, area_px2=float(height * width)
    )
    tables = []
    for name, picks in found.items():
        table = consensus(
            picks,
            radius_px,
            mode=config.picking.consensus,
            k=min(config.picking.consensus_k, len(picks)),
            reliability=reliability,
        )
        table.insert(0, "rlnMicrographName", name)
        tables.append(table)
    together = pd.concat(tables, ignore_index=True)
    write_text(session / layout.AGREEMENT, json.dumps(_evidence(found, reliability, together)))
    write_decisions(session / layout.CONSENSUS_DECISIONS, _decisions(reliability, together))
    write_coordinates(
        session / layout.CONSENSUS, [together.rename(columns={"found_by": "csnFoundBy"})]
    )
    return together


def _evidence(found: dict, reliability: Reliability, together: pd.DataFrame) -> dict:
    """What `agreement.json` holds: each picker's reliability, and who found what."""
    overlap = agreement(list(found.values()), reliability.radius_px)
    return {
        "micrographs": len(found),
        "consensus": len(together),
        "radius_px": reliability.radius_px,
        "pickers": {
            name: {
                "picks": one.picks,
                "status": one.status,
                "failed": one.failed,
                "why": _in_words(one),
                "precision": _number(one.precision),
                "recall": _number(one.recall),
            }
            for name, one in reliability.pickers.items()
        },
        "subsets": {
            row["found_by"]: int(row["locations"]) for row in overlap.subsets.to_dict("records")
        },
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _in_words(one: PickerReliability) -> str:
    return {
        "works": "its picks meet those of the others beyond chance",
        "empty": "it found nothing",
        "chance": "its picks meet those of the others no more often than random points do",
        "unknown": "there is nothing to compare it with",
    }[one.status]


def _decisions(reliability: Reliability, together: pd.DataFrame) -> list[Decision]:
    decisions = [
        Decision(
            subject="session",
            rule="consensus",
            verdict="fail" if one.failed else "pass" if one.status == "works" else "unsure",
            value=f"{name}: {one.picks} picks, {_in_words(one)}",
            threshold="agreement beyond chance",
            evidence=f"estimated precision {one.precision:.2f}, recall {one.recall:.2f}"
            if one.status == "works"
            else layout.AGREEMENT,
        )
        for name, one in reliability.pickers.items()
    ]
    return [
        *decisions,
        Decision(
            subject="session",
            rule="consensus",
            verdict="info" if len(together) else "fail",
            value=f"{len(together)} particles by consensus",
            threshold="-",
            evidence=layout.AGREEMENT,
        ),
    ]


def train(session: Path, version: int, config: Config, device) -> Trained:
    """Train the model on the consensus, judge it, and write it with its evidence.

    A training that fails is a decision: then the best of what there is without it picks.
    """
    session = Path(session)
    rows = read_subset(session, layout.TRAINING_MICROGRAPHS)
    table = read_coordinates(session / layout.CONSENSUS)
    names = list(rows["rlnMicrographName"])
    failure, decisions = None, []

    def trained(start_model) -> Trained:
        return train_detector(
            _readable(names, image_reader(session), decisions),
            {name: table[table["rlnMicrographName"] == name] for name in names},
            training_picks(session, config),
            float(rows["rlnMicrographPixelSize"].median()),
            read_size(session / layout.SIZE)[0],
            start_model=start_model,
            seed=config.compute.seed,
            device=device,
        )

    result = None
    if config.picking.train:
        try:
            result = trained(pretrained_detector(device=device))
        except Exception as error:  # whatever it is, it must not end the session
            log.exception("the training failed")
            failure = str(error) or type(error).__name__
            decisions.clear()
    if result is None:
        result = trained(None)
    write_decisions(
        session / layout.model_decisions(version),
        [*decisions, *_model_decisions(result, failure, version)],
    )
    folder = (session / layout.model_file(version, "json")).parent
    save_model(folder, result, version)
    return result


def _readable(names: list[str], read, decisions: list[Decision]):
    """Names and images; what cannot be read is left out, and told."""
    for name in names:
        try:
            image = read(name)
        except BadInputError as error:
            decisions.append(_problem(name, "training", error, "left out of the training"))
            continue
        yield name, image


def _model_decisions(result: Trained, failure: str | None, version: int) -> list[Decision]:
    judgement = result.judgement
    decisions = [
        Decision(
            subject="session",
            rule="picking_model",
            verdict="pass" if judgement.chosen == TRAINED else "warn",
            value=f"version {version}: picked with {judgement.chosen}",
            threshold="a model that is no worse than any other way on held-out micrographs",
            evidence=f"{judgement.why}; {layout.model_file(version, 'json')}",
        )
    ]
    if failure:
        decisions.append(
            Decision(
                subject="session",
                rule="picking_model",
                verdict="fail",
                value=f"the training failed: {failure}",
                threshold="a training that runs to its end",
                evidence="the log of rule train_picker",
            )
        )
    decisions += [
        Decision(
            subject=name,
            rule="picking_model",
            verdict="fail",
            value=why,
            threshold="a micrograph that can be trained on",
            evidence="left out of the training",
        )
        for name, why in result.left_out.items()
    ]
    return decisions
