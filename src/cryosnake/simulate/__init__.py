"""The acquisition simulator: movies as a microscope writes them, with the truth beside them.

Examples
--------
>>> config = SimulationConfig(height_px=256, width_px=256, frames=4, particles_per_um2=500)
>>> movie = simulate_movie(config, index=0, scenario="good")
>>> frames = list(movie.frames())       # (H, W) uint8, row 0 bottom
>>> movie.truth.shift_px                # (F, 2) as (y, x), the correction, relative to frame 0
"""

from cryosnake.simulate.config import SCENARIOS, SimulationConfig, Species
from cryosnake.simulate.movie import SimulatedMovie, session_detector, simulate_movie
from cryosnake.simulate.session import simulate
from cryosnake.simulate.truth import MovieTruth

__all__ = [
    "SCENARIOS",
    "MovieTruth",
    "SimulatedMovie",
    "SimulationConfig",
    "Species",
    "session_detector",
    "simulate",
    "simulate_movie",
]
