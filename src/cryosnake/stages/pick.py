"""Picking a batch with what the training chose."""

import logging
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.files import written_whole
from cryosnake.picking.final import pick_micrograph
from cryosnake.picking.size_model import read_size
from cryosnake.picking.training.model_file import load_model
from cryosnake.stages.files import image_reader, read_batch, write_coordinates, write_decisions

log = logging.getLogger("cryosnake")


def pick(session: Path, batch: str, config: Config, device) -> pd.DataFrame:
    """Pick the accepted micrographs of a batch: coordinates, counts, decisions; returns the counts.

    A micrograph that cannot be picked costs itself only.
    """
    session = Path(session)
    size = read_size(session / layout.SIZE)[0]
    version = config.picking.model_version
    model = load_model(session / layout.model_file(version, "json"), device)
    read = image_reader(session)
    tables, counts, decisions = [], [], []
    rows = read_batch(session, layout.batch_table(batch))
    for name, pixel_angst in zip(
        rows.get("rlnMicrographName", []), rows.get("rlnMicrographPixelSize", []), strict=True
    ):
        try:
            picks = pick_micrograph(
                read(name),
                pixel_angst,
                size,
                model,
                mode=config.picking.consensus,
                k=config.picking.consensus_k,
                device=device,
            )
        except BadInputError as error:
            decisions.append(_unpicked(name, str(error)))
            continue
        except (RuntimeError, ValueError, ArithmeticError) as error:
            log.exception("%s cannot be picked", name)
            decisions.append(_unpicked(name, str(error) or type(error).__name__))
            continue
        picks.insert(0, "rlnMicrographName", name)
        tables.append(picks)
        counts.append({"micrograph": name, "picks": len(picks)})
        log.info("%s: %d particles", name, len(picks))
    table = pd.DataFrame(counts, columns=["micrograph", "picks"])
    decisions.append(
        Decision(
            subject=batch,
            rule="picking",
            verdict="info",
            value=f"{table['picks'].sum()} particles on {len(table)} micrographs",
            threshold="-",
            evidence=f"model version {version}, picked with {model.chosen}",
        )
    )
    with written_whole(session / layout.picked_counts(batch)) as temporary:
        table.to_csv(temporary, index=False)
    write_decisions(session / layout.coordinates_decisions(batch), decisions)
    # the coordinates last: they say that the batch is finished
    write_coordinates(session / layout.coordinates_star(batch), tables)
    return table


def _unpicked(name: str, problem: str) -> Decision:
    return Decision(
        subject=name,
        rule="picking",
        verdict="fail",
        value=problem,
        threshold="a micrograph that can be picked",
        evidence="no particle of it is extracted",
    )
