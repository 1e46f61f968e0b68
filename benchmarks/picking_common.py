"""What the benchmarks and tests of picking share: real and simulated micrographs with their truth,
and how picks are held against it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.movie import simulate_movie

#: Real data, where it is at hand (see its page): EMPIAR-10017 with expert picks.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
EMPIAR = SHARED / "empiar10017"
EMPIAR_PIXEL_ANGST = 1.77
TOLERANCE_PX = 40.0


@dataclass(frozen=True)
class Score:
    """Picks against the truth: hits, number of picks, number of true particles."""

    hits: int
    picks: int
    truth: int

    @property
    def precision(self) -> float:
        return self.hits / self.picks if self.picks else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.truth if self.truth else 0.0

    @property
    def f1(self) -> float:
        total = self.picks + self.truth
        return 2 * self.hits / total if total else 0.0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.hits + other.hits, self.picks + other.picks, self.truth + other.truth)


def matched(picks: np.ndarray, truth: np.ndarray, tolerance_px: float) -> np.ndarray:
    """Index of the true particle of each pick, one to one, -1 for none.

    Parameters
    ----------
    picks (N, 2), truth (M, 2) : positions in pixels.

    Returns
    -------
    (N,) int: the assignment with most pairs within the tolerance, then the smallest distances.
    """
    found = np.full(len(picks), -1)
    if not len(picks) or not len(truth):
        return found
    near = cKDTree(picks).sparse_distance_matrix(cKDTree(truth), tolerance_px).tocoo()
    # a pair is worth more than any sum of distances can cost
    worth = np.zeros((len(picks), len(truth)))
    worth[near.row, near.col] = 10.0 - near.data / tolerance_px
    for pick, particle in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
        if worth[pick, particle] > 0:
            found[pick] = particle
    return found


def score(picks: np.ndarray, truth: np.ndarray, tolerance_px: float = TOLERANCE_PX) -> Score:
    """Hits of picks (N, 2) among true particles (M, 2), one to one."""
    hits = int((matched(np.asarray(picks), np.asarray(truth), tolerance_px) >= 0).sum())
    return Score(hits, len(picks), len(truth))


def positions(table: pd.DataFrame) -> np.ndarray:
    """(N, 2) as (x, y) in pixels of the full-size micrograph, from a table of coordinates."""
    return table[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(float)


def empiar_names() -> list[str]:
    """The micrographs of EMPIAR-10017 at hand, in order of time; empty where there are none."""
    return sorted(path.stem for path in (EMPIAR / "micrographs").glob("*.jpg"))


def empiar_picked_names() -> list[str]:
    """Those for which picks of other programs are at hand."""
    return sorted(path.stem for path in (EMPIAR / "picks" / "crYOLO").glob("*.box"))


def empiar_micrograph(name: str) -> np.ndarray:
    """(4096, 4096) float32, row 0 at the bottom, particles dark; denoised 8-bit images."""
    with Image.open(EMPIAR / "micrographs" / f"{name}.jpg") as image:
        return np.flipud(np.asarray(image.convert("L"), np.float32)).copy()


def empiar_truth(name: str) -> np.ndarray:
    """(M, 2) centres as (x, y) in pixels."""
    return pd.read_csv(EMPIAR / "truth" / f"{name}.csv")[["x_px", "y_px"]].to_numpy(float)


def empiar_picks(program: str, name: str) -> pd.DataFrame:
    """Picks of `crYOLO`, `topaz` or `deepPicker` as a table of coordinates with their scores."""
    rows = np.loadtxt(EMPIAR / "picks" / program / f"{name}.box", ndmin=2)
    return pd.DataFrame(
        {
            "rlnCoordinateX": rows[:, 0] + rows[:, 2] / 2,
            "rlnCoordinateY": rows[:, 1] + rows[:, 3] / 2,
            "rlnAutopickFigureOfMerit": rows[:, 4] if rows.shape[1] > 4 else 1.0,
        }
    )


@dataclass(frozen=True)
class SimulatedMicrograph:
    """An aligned sum as preprocessing leaves it, with its truth.

    Attributes
    ----------
    image : (H, W) float32, mean about the counts of the whole exposure, particles dark.
    particles : as the simulator's table of particles has it: coordinates, angles, species.
    defocus_u_angst, defocus_v_angst, defocus_angle_deg : of the CTF.
    """

    image: np.ndarray
    particles: pd.DataFrame
    defocus_u_angst: float
    defocus_v_angst: float
    defocus_angle_deg: float
    pixel_size_angst: float

    @property
    def truth(self) -> np.ndarray:
        """(M, 2) centres as (x, y) in pixels."""
        return positions(self.particles)


def simulated_micrograph(
    config: SimulationConfig,
    index: int,
    *,
    scenario: str = "good",
    cache_dir: Path | None = None,
) -> SimulatedMicrograph:
    """Sum of the frames of a simulated movie in which nothing moves, divided by the sensitivity.

    Give it few frames (2 to 4) of the whole dose, `drift_scale=0` and `local_motion_angst=0`.
    """
    movie = simulate_movie(config, index, scenario=scenario, cache_dir=cache_dir)
    total = sum(frame.astype(np.float32) for frame in movie.frames()) * movie.gain
    image = np.where(movie.gain > 0, total, np.median(total[::8, ::8])).astype(np.float32)
    state = movie.truth.conditions
    for y, x in movie.detector.hot_yx:
        image[y, x] = np.median(image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3])
    return SimulatedMicrograph(
        image,
        movie.truth.particle_table(),
        state.defocus_u_angst,
        state.defocus_v_angst,
        state.defocus_angle_deg,
        config.pixel_size_angst,
    )
