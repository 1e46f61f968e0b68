"""Measuring the particle, once, on the first good micrographs."""

from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.images import write_png
from cryosnake.picking.size import SizeEstimate, estimate_size
from cryosnake.picking.size_model import ParticleSize, extraction_box_px, write_size
from cryosnake.picking.size_picture import draw_size
from cryosnake.stages.files import image_reader, read_subset, write_decisions


def measure_size(session: Path, config: Config) -> ParticleSize:
    """Measure the particle on micrographs drawn from the frozen subset; write it with its evidence.

    A diameter in the configuration is taken as it is; the measurement is made all the same, and a
    contradiction is told.
    """
    session = Path(session)
    rows = drawn(
        read_subset(session, layout.subset_star("size")),
        config.picking.size_micrographs,
        config.compute.seed,
    )
    estimate = _estimated(session, rows, config)
    size = estimate.size
    if config.picking.diameter_angst is not None:
        size = _configured(config, rows)
    write_png(session / layout.SIZE_PICTURE, draw_size(estimate))
    write_decisions(session / layout.SIZE_DECISIONS, _decisions(size, estimate, config))
    write_size(session / layout.SIZE, size, estimate.evidence())
    return size


def drawn(table: pd.DataFrame, number: int, seed: int) -> pd.DataFrame:
    """Rows drawn at random, the same ones for the same table and seed, in the table's order."""
    if len(table) <= number:
        return table
    chosen = np.random.default_rng(seed).choice(len(table), number, replace=False)
    return table.iloc[np.sort(chosen)]


def _estimated(session: Path, rows: pd.DataFrame, config: Config) -> SizeEstimate:
    read = image_reader(session)
    names = list(rows["rlnMicrographName"])
    defocus = rows[["rlnDefocusU", "rlnDefocusV"]].mean(axis=1)
    return estimate_size(
        ((name, read(name)) for name in names),
        float(rows["rlnMicrographPixelSize"].median()),
        min_angst=config.picking.size_min_angst,
        max_angst=config.picking.size_max_angst,
        seed=config.compute.seed,
        defocus_angst=dict(zip(names, defocus, strict=True)),
        voltage_kv=float(rows["rlnVoltage"].median()),
        amplitude_contrast=float(rows["rlnAmplitudeContrast"].median()),
        output_px=config.particles.output_px,
    )


def _configured(config: Config, rows: pd.DataFrame) -> ParticleSize:
    diameter_angst = config.picking.diameter_angst
    return ParticleSize(
        diameter_angst=diameter_angst,
        uncertainty_angst=0.0,
        long_axis_angst=diameter_angst,
        short_axis_angst=diameter_angst,
        elongated=False,
        box_px=extraction_box_px(
            diameter_angst,
            float(rows["rlnMicrographPixelSize"].median()),
            voltage_kv=float(rows["rlnVoltage"].median()),
            output_px=config.particles.output_px,
        ),
    )


def _decisions(size: ParticleSize, estimate: SizeEstimate, config: Config) -> list[Decision]:
    measured = estimate.size
    decisions = [
        Decision(
            subject="session",
            rule="particle_size",
            verdict="info" if measured.sure else "unsure",
            value=f"diameter {measured.diameter_angst:.0f} +- {measured.uncertainty_angst:.0f} A, "
            f"axes {measured.long_axis_angst:.0f} and {measured.short_axis_angst:.0f} A, "
            f"box {measured.box_px} px",
            threshold=f"{config.picking.size_min_angst:g} to {config.picking.size_max_angst:g} A",
            confidence=max(0.0, 1 - measured.uncertainty_angst / measured.diameter_angst),
            evidence="; ".join([layout.SIZE_PICTURE, *estimate.notes]),
        )
    ]
    if size is not measured:
        apart = abs(size.diameter_angst - measured.diameter_angst) / measured.diameter_angst
        decisions.append(
            Decision(
                subject="session",
                rule="particle_size",
                verdict="warn" if apart > 0.2 and measured.sure else "info",
                value=f"picking.diameter_angst = {size.diameter_angst:g} A is taken",
                threshold=f"measured {measured.diameter_angst:.0f} A, to within 20 %",
                evidence=layout.SIZE_PICTURE,
            )
        )
    decisions += [
        Decision(
            subject=row["name"],
            rule="particle_size",
            verdict="fail",
            value=row["reason"],
            threshold="a micrograph that can be measured",
            evidence="left out of the measurement",
        )
        for row in estimate.evidence()["micrographs"]
        if row["reason"] != "-"
    ]
    return decisions
