"""Accuracy and time of the CTF fit on simulated micrographs of known defocus.

    python benchmarks/ctf_accuracy.py [--micrographs 20] [--threads 2] [--device cpu]

Prints Markdown rows: median and 90th percentile of the errors of U and V (as percentages and in
angstrom), of the astigmatism and of its angle where the astigmatism exceeds 300 A; the
micrographs within 1 % or 100 A; the fit resolution; the time of a fit. The micrographs are
amorphous ice under a CTF written apart from the fit (RELION's formula), with Poisson counts at
40 e/A^2 and a steep background (`tests/ctf_synthetic.py` makes them), and sums of movies of the
acquisition simulator, 40 e/A^2, frames shifted back by the true motion.
"""

import argparse
import math
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ctf_synthetic import micrograph

from cryosnake.config.model import CtfConfig
from cryosnake.ctf_fit import fit_ctf
from cryosnake.simulate import SimulationConfig, simulate_movie

# name, side, pixel size, ice power over noise, B-factor, background, part of the micrographs
CASES = [
    ("1k, rings to 4 A", 1024, 1.0, 1.0, 80.0, 1.0, 1.0),
    ("2k, rings to 4 A", 2048, 1.0, 1.0, 80.0, 1.0, 1.0),
    ("2k, weak rings, steep background", 2048, 1.0, 0.4, 150.0, 5.0, 1.0),
    ("4k, weak rings, fine pixels", 4096, 0.7, 0.4, 150.0, 5.0, 0.25),
]
ASTIGMATISMS_ANGST = (0, 150, 400, 1000, 2000)
OPTICS = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}
MOVIE_PIXEL_ANGST = 1.5


def angle_error_deg(found, truth):
    return abs((found - truth + 90.0) % 180.0 - 90.0)


def row(name, pixel_size_angst, images, device):
    """One Markdown row: errors over images that come with U, V (angstrom) and angle (degrees)."""
    errors, relative, astigmatic, angles, resolution, seconds, within = [], [], [], [], [], [], 0
    for image, u_angst, v_angst, angle_deg in images:
        start = time.perf_counter()
        fit = fit_ctf(
            image, pixel_size_angst=pixel_size_angst, config=CtfConfig(), device=device, **OPTICS
        )
        seconds.append(time.perf_counter() - start)
        pair = [
            (abs(fit.defocus_u_angst - u_angst), u_angst),
            (abs(fit.defocus_v_angst - v_angst), v_angst),
        ]
        errors += [error for error, _ in pair]
        relative += [100.0 * error / truth for error, truth in pair]
        within += all(error < max(100.0, 0.01 * truth) for error, truth in pair)
        astigmatism = u_angst - v_angst
        astigmatic.append(abs(fit.defocus_u_angst - fit.defocus_v_angst - astigmatism))
        if astigmatism > 300:
            angles.append(angle_error_deg(fit.defocus_angle_deg, angle_deg))
        resolution.append(fit.max_resolution_angst)
    print(
        f"| {name} | {len(seconds)} | {np.median(errors):.0f} / {np.percentile(errors, 90):.0f} "
        f"| {np.median(relative):.2f} / {np.percentile(relative, 90):.2f} "
        f"| {within} of {len(seconds)} "
        f"| {np.median(astigmatic):.0f} / {np.percentile(astigmatic, 90):.0f} "
        f"| {np.median(angles):.1f} / {np.percentile(angles, 90):.1f} "
        f"| {np.median(resolution):.1f} | {np.median(seconds):.2f} |",
        flush=True,
    )


def ice_images(side, pixel_size_angst, strength, b_factor_angst2, background, count):
    """Micrographs of amorphous ice with U, V and angle, defocus spread over 5,000 to 30,000 A."""
    rng = np.random.default_rng(side)
    for i in range(count):
        mean = 5000.0 + 25000.0 * (i + rng.uniform()) / count
        half = 0.5 * ASTIGMATISMS_ANGST[i % len(ASTIGMATISMS_ANGST)]
        truth = {"u_angst": mean + half, "v_angst": mean - half, "angle_deg": rng.uniform(-90, 90)}
        image = micrograph(
            (side, side),
            pixel_size_angst=pixel_size_angst,
            seed=i,
            signal_to_noise=strength,
            b_factor_angst2=b_factor_angst2,
            low_frequency=background,
            **truth,
        )
        yield image, *truth.values()


def movie_images(side, count):
    """Sums of simulated movies of particles in ice, frames shifted back by the true motion."""
    config = SimulationConfig(
        height_px=side,
        width_px=side,
        pixel_size_angst=MOVIE_PIXEL_ANGST,
        astigmatism_max_angst=1500,
    )
    ky, kx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    for i in range(count):
        movie = simulate_movie(config, index=i, scenario="good")
        total = np.zeros((side, side // 2 + 1), complex)
        for frame, (y, x) in zip(movie.frames(), movie.truth.shift_px, strict=True):
            total += np.fft.rfft2(np.asarray(frame, float)) * np.exp(
                -2j * np.pi * (ky * y + kx * x)
            )
        truth = movie.truth.conditions
        image = np.fft.irfft2(total, s=(side, side))
        yield image, truth.defocus_u_angst, truth.defocus_v_angst, truth.defocus_angle_deg


def tilt_rows(device):
    """Tilted micrographs: error of tilt and axis, and what the plane gains in resolution."""
    print()
    print("| tilt, axis (deg) | found | fit resolution without, with the plane (A) | time (s) |")
    print("|---|---|---|---|")
    for tilt, axis in ((0, 0), (15, 45), (30, 200), (45, 100)):
        slope, direction = math.tan(math.radians(tilt)), math.radians(axis + 90)
        image = micrograph(
            (2048, 2048),
            pixel_size_angst=1.5,
            u_angst=18150,
            v_angst=17850,
            angle_deg=20,
            seed=tilt,
            slope_y=slope * math.sin(direction),
            slope_x=slope * math.cos(direction),
        )
        flat, plane = (
            fit_ctf(
                image,
                pixel_size_angst=1.5,
                config=CtfConfig(tilted=tilted),
                device=device,
                **OPTICS,
            )
            for tilted in (False, True)
        )
        print(
            f"| {tilt}, {axis} | {plane.tilt_deg:.1f}, {plane.tilt_axis_deg:.0f} "
            f"| {flat.max_resolution_angst:.1f}, {plane.max_resolution_angst:.1f} "
            f"| {plane.seconds:.1f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--micrographs", type=int, default=20, help="of each kind (4k: a quarter)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"{platform.machine()}, {arguments.device}, {arguments.threads} threads, "
        f"torch {torch.__version__}; median / 90th percentile"
    )
    print()
    print(
        "| micrographs | number | U, V error (A) | U, V error (%) | within 1 % or 100 A "
        "| astigmatism error (A) | angle error (deg) | fit resolution (A) | time (s) |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, side, pixel, strength, b_factor, background, part in CASES:
        count = max(4, round(arguments.micrographs * part))
        images = ice_images(side, pixel, strength, b_factor, background, count)
        row(name, pixel, images, arguments.device)
    for side in (512, 1024):
        images = movie_images(side, arguments.micrographs)
        name = f"{side} px, simulated movies, particles in ice"
        row(name, MOVIE_PIXEL_ANGST, images, arguments.device)
    tilt_rows(arguments.device)


if __name__ == "__main__":
    main()
