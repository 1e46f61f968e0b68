"""One movie: specimen, microscope and detector put together, frame by frame.

    specimen = particles x damage + film + crystals         (static but for the damage)
    frame    = 1 + IFFT[ 2 CTF E specimen + 2 CTF' E ice ]   moved by drift and local motion
    counts   = Poisson(dose pixel^2 transmission beam sensitivity frame)

E is the envelope and the pixel's aperture; CTF' is the transfer of a slab of the ice's thickness.
The ice is noise that the beam stirs (`ice.brownian_correlation`). Fields are computed with a margin
that the motion needs and cut, so that nothing wraps around.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from cryosnake.simulate import ice
from cryosnake.simulate.assemble import assemble, draw_motion
from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.detector import gain_reference, pixel_sensitivity, poisson_counts
from cryosnake.simulate.exposure import Exposure, Specimen
from cryosnake.simulate.scenarios import conditions
from cryosnake.simulate.truth import MovieTruth


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread, so that sums and transforms do not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Detector:
    """The camera of a session: sensitivity (H, W), gain (H, W; multiplicative, row 0 bottom), hot
    pixels (K, 2) as (y, x) and their extra counts per frame (K,)."""

    sensitivity: np.ndarray
    gain: np.ndarray
    hot_yx: np.ndarray
    hot_counts: np.ndarray


@lru_cache(maxsize=2)
def _detector(
    seed: int, shape: tuple[int, int], rms: float, dead: int, hot: int, dose_counts: float
) -> Detector:
    rng = np.random.default_rng([seed, 202])
    sensitivity = pixel_sensitivity(rng, shape, rms=rms, dead_columns=dead)
    return Detector(
        sensitivity=sensitivity,
        gain=gain_reference(sensitivity),
        hot_yx=np.stack([rng.integers(0, shape[0], hot), rng.integers(0, shape[1], hot)], 1),
        hot_counts=dose_counts * rng.uniform(8, 40, hot),
    )


def session_detector(config: SimulationConfig) -> Detector:
    """The camera: it depends on the seed and the shape, not on the movie."""
    counts = config.dose_e_per_angst2_per_frame * config.pixel_size_angst**2
    return _detector(
        config.seed,
        config.shape,
        config.gain_rms,
        config.dead_columns,
        config.hot_pixels,
        counts,
    )


@dataclass
class SimulatedMovie:
    """A movie that has not been exposed yet: `frames()` gives it, the same one every time.

    Attributes
    ----------
    config, truth, detector, specimen : what it is made from.
    dtype : type of the frames: uint8, or uint16 where counts may exceed 255.
    """

    config: SimulationConfig
    truth: MovieTruth
    detector: Detector
    specimen: Specimen = field(repr=False)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.truth.mean_counts < 12 else np.uint16)

    @property
    def gain(self) -> np.ndarray:
        """Gain reference (H, W), multiplicative, row 0 bottom, 0 at dead pixels."""
        return self.detector.gain

    def particle_phase(self) -> np.ndarray:
        """Phase of the particles alone in radians, (H, W), undamaged, in the first frame: the
        clean micrograph, before the CTF."""
        with one_thread():
            full = torch.fft.irfft2(self.specimen.particles, s=self.specimen.padded)
        return self.specimen.cut(full, self.config.shape).numpy()

    def expected_frames(self) -> Iterator[torch.Tensor]:
        """Expected relative intensity of each frame, (H, W) float32, mean about 1: what counts
        would follow without the detector and without noise."""
        generator = torch.Generator().manual_seed(_bulk_seed(self.config, self.truth.index, 2))
        with one_thread():
            state = Exposure(
                self.config,
                self.truth.conditions,
                self.specimen,
                self.truth.displacement_px,
                self.truth.local,
                generator,
            )
        for index in range(self.config.frames):
            with one_thread():
                frame = state.frame(index)
            yield frame

    def frames(self) -> Iterator[np.ndarray]:
        """Raw frames (H, W) of `dtype`, row 0 bottom, before gain correction."""
        config = self.config
        generator = torch.Generator().manual_seed(_bulk_seed(config, self.truth.index, 3))
        height, width = config.shape
        slope = config.illumination_gradient
        beam = 1.0 + slope * (
            torch.linspace(0.5, -0.5, height)[:, None] + torch.linspace(0.5, -0.5, width)[None, :]
        )
        rate = self.truth.mean_counts * beam * torch.from_numpy(self.detector.sensitivity)
        hot_y, hot_x = self.detector.hot_yx.T
        hot = torch.from_numpy(self.detector.hot_counts).float() * self.truth.conditions.dose_factor
        highest = np.iinfo(self.dtype).max
        for expected in self.expected_frames():
            with one_thread():
                mean = expected.mul_(rate)
                counts = poisson_counts(mean, generator)
                counts[hot_y, hot_x] += torch.poisson(hot, generator=generator)
                counts.clamp_(max=highest)
                frame = counts.numpy().astype(self.dtype)
            yield frame


def _bulk_seed(config: SimulationConfig, index: int, stream: int) -> int:
    return int(np.random.SeedSequence([config.seed, index, stream]).generate_state(1)[0])


def simulate_movie(
    config: SimulationConfig,
    index: int,
    *,
    scenario: str = "good",
    name: str | None = None,
    cache_dir: Path | None = None,
) -> SimulatedMovie:
    """The movie of number `index` (from 0); it depends on config, index and scenario only.

    Parameters
    ----------
    scenario : see `cryosnake.simulate.config.SCENARIOS`.
    name : name in the truth; `movie_00001` for index 0 unless given.
    cache_dir : folder that keeps the potential of the structures, else computed once a process.
    """
    rng = np.random.default_rng([config.seed, index, 1])
    state = conditions(config, scenario, index, rng)
    tracks, local = draw_motion(config, state, rng)
    generator = torch.Generator().manual_seed(_bulk_seed(config, index, 1))
    with one_thread():
        particles, specimen = assemble(config, state, rng, generator, tracks, local, cache_dir)
    counts = (
        config.dose_e_per_angst2_per_frame
        * state.dose_factor
        * config.pixel_size_angst**2
        * ice.transmission(state.ice_thickness_angst)
    )
    truth = MovieTruth(
        index=index,
        name=name or f"movie_{index + 1:05d}",
        conditions=state,
        particles=particles,
        displacement_px=tracks / config.pixel_size_angst,
        local=local,
        pixel_size_angst=config.pixel_size_angst,
        voltage_kv=config.voltage_kv,
        cs_mm=config.cs_mm,
        amplitude_contrast=config.amplitude_contrast,
        dose_e_per_angst2_per_frame=config.dose_e_per_angst2_per_frame * state.dose_factor,
        mean_counts=counts,
        tilt_deg=config.tilt_deg,
        tilt_axis_deg=config.tilt_axis_deg,
    )
    return SimulatedMovie(config, truth, session_detector(config), specimen)
