"""What each movie looks like: the conditions that a scenario sets."""

from dataclasses import dataclass

import numpy as np

from cryosnake.simulate.config import SimulationConfig


@dataclass(frozen=True)
class Conditions:
    """The state of specimen and microscope for one movie.

    Parameters
    ----------
    scenario : its name, the label of the truth.
    ring : strength of crystalline rings, as a multiple of the shot noise of the summed movie,
        before CTF and envelope (which leave about a twentieth of it at 3.7 A).
    crystals : number of crystalline domains; crystal_amplitude_rad : phase of their fringes.
    texture : relative spread of the transmission over 120 A (crystals of unequal thickness).
    blobs : contaminating lumps, dark; aggregated : particles in clumps.
    file_fault : none, truncated or half_written.
    """

    scenario: str
    ice_thickness_angst: float
    defocus_u_angst: float
    defocus_v_angst: float
    defocus_angle_deg: float
    dose_factor: float
    particle_factor: float = 1.0
    ring: float = 0.0
    crystals: int = 0
    crystal_amplitude_rad: float = 0.0
    texture: float = 0.0
    blobs: int = 0
    film: bool = False
    crack: bool = False
    bad_drift: bool = False
    aggregated: bool = False
    file_fault: str = "none"


def scenario_sequence(config: SimulationConfig, first_index: int) -> list[str]:
    """The scenario of every movie of an acquisition that begins at `first_index`.

    Exact counts are placed at random; the other movies draw from the probabilities. The sequence
    depends on the seed and the first index only.
    """
    rng = np.random.default_rng([config.seed, first_index, 101])
    names: list[str | None] = [n for n, count in config.counts.items() for _ in range(count)]
    names += [None] * (config.movies - len(names))
    names = [names[i] for i in rng.permutation(len(names))]
    chances = list(config.probabilities.items())
    draws = rng.random(len(names))
    edges = np.cumsum([p for _, p in chances]) if chances else np.array([])
    result = []
    for name, draw in zip(names, draws, strict=True):
        if name is None:
            place = int(np.searchsorted(edges, draw, side="right"))
            name = chances[place][0] if place < len(chances) else "good"
        result.append(name)
    return result


def conditions(
    config: SimulationConfig, scenario: str, index: int, rng: np.random.Generator
) -> Conditions:
    """Draw the conditions of the movie of this index (counted from 0)."""
    defocus = rng.uniform(config.defocus_min_angst, config.defocus_max_angst)
    astigmatism = rng.uniform(0.0, config.astigmatism_max_angst)
    angle = rng.uniform(0.0, 180.0)
    thickness = config.ice_thickness_angst * float(np.exp(rng.normal(0.0, 0.15)))
    dose = (1.0 - config.dose_decay_per_movie) ** index * float(np.exp(rng.normal(0.0, 0.005)))
    if config.dose_step_movie is not None and index + 1 >= config.dose_step_movie:
        dose *= config.dose_step_factor
    changes: dict = {}
    match scenario:
        case "good":
            pass
        case "drift":
            changes["bad_drift"] = True
        case "crack":
            changes.update(crack=True, particle_factor=0.7)
        case "ice_minor":
            changes.update(ring=rng.uniform(10.0, 25.0), crystals=2, crystal_amplitude_rad=0.03)
        case "ice_major":
            changes.update(
                ring=rng.uniform(80.0, 250.0),
                crystals=int(rng.integers(15, 40)),
                crystal_amplitude_rad=rng.uniform(0.1, 0.2),
                texture=rng.uniform(0.03, 0.08),
            )
        case "contamination":
            changes.update(blobs=int(rng.integers(3, 8)))
        case "film":
            changes.update(film=True)
        case "empty":
            thickness = 0.0
            changes.update(particle_factor=0.0)
        case "thick_ice":
            thickness = rng.uniform(1800.0, 2800.0)
            changes.update(particle_factor=1.5)
        case "astigmatism":
            astigmatism = defocus * rng.uniform(0.2, 0.4)
        case "dose_low":
            dose *= rng.uniform(0.4, 0.8)
        case "aggregation":
            changes.update(aggregated=True, particle_factor=1.5)
        case "no_particles":
            changes.update(particle_factor=0.0)
        case "truncated" | "half_written":
            changes.update(file_fault=scenario)
        case _:
            raise ValueError(f"{scenario = } is not known")
    return Conditions(
        scenario=scenario,
        ice_thickness_angst=thickness / np.cos(np.deg2rad(config.tilt_deg)),
        defocus_u_angst=defocus + astigmatism / 2,
        defocus_v_angst=defocus - astigmatism / 2,
        defocus_angle_deg=angle,
        dose_factor=dose,
        **changes,
    )
