"""What is told of the defocus of each particle."""

import numpy as np

from cryosnake.config.model import Config
from cryosnake.decisions import Decision


def defocus_told(subject: str, config: Config, offset_angst: np.ndarray | None) -> list[Decision]:
    """Told where the defocus of each particle was asked for.

    Parameters
    ----------
    offset_angst : (N,) what was added to it; None where it was left as it is.
    """
    if not config.refine.per_particle_defocus:
        return []
    if offset_angst is None:
        value = "the defocus of each particle was not refined"
        verdict, text = "fail", "this takes the engine native, and particles that show a map"
    else:
        moved = offset_angst[offset_angst != 0.0]
        spread = float(moved.std()) if len(moved) else 0.0
        value = f"moved by {spread:.0f} A (standard deviation), {len(moved)} particles"
        verdict, text = "info", "then all particles were refined once more next to their poses"
    return [
        Decision(
            subject=subject,
            rule="refine_defocus",
            verdict=verdict,
            value=value,
            threshold="-",
            evidence=text,
        )
    ]
