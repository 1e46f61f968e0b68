"""Figures of the tools for maps: FSC against relion_postprocess, masks, noise, directions and more.

    python benchmarks/validation_maps.py [PART ...]

Parts: fsc, mask, noise, directions, forecast, local, align, size; all unless named.
"""

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
import torch
from classes2d_common import structures
from scipy import ndimage
from validation_common import (
    ball,
    gaussian_low_pass,
    half_maps,
    random_views,
    sharp_low_pass,
    structure_volume,
    views_near,
)

from cryosnake.tables import read_star
from cryosnake.validation.align_maps import align_maps, mirrored
from cryosnake.validation.directional import directional_fsc
from cryosnake.validation.forecast import fit_resolution, forecast
from cryosnake.validation.fsc import corrected_fsc, fsc_table, resolution_angst, shell_correlation
from cryosnake.validation.local_resolution import local_resolution
from cryosnake.validation.mask import automatic_mask, spherical_mask
from cryosnake.validation.preferred import preferred_orientation
from cryosnake.validation.sampling import sampling
from cryosnake.validation.sharpen import guinier_fit

BOX_PX, PIXEL_ANGST = 64, 4.0


def cpu_s() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def fsc() -> None:
    """Curves, resolution and B-factor against relion_postprocess on the same maps and mask."""
    program = shutil.which("relion_postprocess")
    if program is None:
        print("fsc: relion_postprocess is not installed")
        return
    for structure in structures():
        pixel = 2.5
        volume = structure_volume(structure, 96, pixel)
        rng = np.random.default_rng(1)
        views = random_views(4000, rng)
        halves = half_maps(
            volume, views, rng, pixel_size_angst=pixel, noise=30.0, b_factor_angst2=150.0
        )
        mask = automatic_mask(sum(halves) / 2, pixel)
        start = cpu_s()
        curves = corrected_fsc(*halves, pixel, mask)
        fit = guinier_fit(sum(halves) / 2, curves)
        ours_s = cpu_s() - start
        with tempfile.TemporaryDirectory() as folder:
            for name, data in (("half1", halves[0]), ("half2", halves[1]), ("mask", mask)):
                with mrcfile.new(Path(folder) / f"{name}.mrc", data) as file:
                    file.voxel_size = pixel
            (Path(folder) / "post").mkdir()
            start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run(
                [program, "--i", "half1.mrc", "--i2", "half2.mrc", "--o", "post", "--auto_bfac"]
                + ["--mask", "mask.mrc", "--angpix", str(pixel)],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            theirs_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start
            blocks = read_star(Path(folder) / "post.star")
        theirs, general = blocks["fsc"].astype(float), blocks["general"]
        ours = fsc_table(curves)
        worst = {
            kind: float((ours[column] - theirs[column]).abs()[2:].max())
            for kind, column in (
                ("unmasked", "rlnFourierShellCorrelationUnmaskedMaps"),
                ("masked", "rlnFourierShellCorrelationMaskedMaps"),
                ("corrected", "rlnFourierShellCorrelationCorrected"),
            )
        }
        truth = resolution_angst(shell_correlation(sum(halves) * mask, volume * mask), pixel, 0.5)
        print(
            f"fsc {structure.name}: largest difference from RELION "
            + ", ".join(f"{kind} {value:.3f}" for kind, value in worst.items())
            + f"; resolution {curves.resolution_angst:.2f} A (RELION "
            f"{float(general['rlnFinalResolution']):.2f}, truth at 0.5 {truth:.2f}); B "
            f"{-fit.b_factor_angst2:.0f} +- {fit.uncertainty_angst2:.0f} (true -150, RELION "
            f"{float(general['rlnBfactorUsedForSharpening']):.0f}); "
            f"CPU {ours_s:.2f} s (RELION {theirs_s:.2f})"
        )


def mask() -> None:
    """How much of the molecule the automatic mask holds, and how much else."""
    for structure in structures():
        volume = structure_volume(structure, BOX_PX, PIXEL_ANGST)
        smooth = ndimage.gaussian_filter(volume, 1.0)
        outline = smooth > 0.15 * np.percentile(smooth, 99.5)
        for noise in (0.5, 2.0, 4.0):
            rng = np.random.default_rng(2)
            noisy = volume + noise * rng.standard_normal(volume.shape).astype(np.float32)
            found = automatic_mask(noisy, PIXEL_ANGST)
            held = np.clip(volume, 0, None)
            print(
                f"mask {structure.name}, noise {noise}: holds "
                f"{(held * found).sum() / held.sum():.3f} of the density in "
                f"{found.sum() / outline.sum():.2f} times its volume"
            )


def noise() -> None:
    """Corrected resolution of halves of pure noise: white, and coloured as reconstructions are."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        views = random_views(1000, rng)
        empty = np.zeros((BOX_PX,) * 3, np.float32)
        halves = half_maps(empty, views, rng, pixel_size_angst=PIXEL_ANGST, noise=1.0)
        for shape in (
            spherical_mask(BOX_PX, 100.0, PIXEL_ANGST),
            spherical_mask(BOX_PX, 50.0, PIXEL_ANGST, 3.0),
            automatic_mask(sum(halves) / 2, PIXEL_ANGST),
        ):
            found.append(corrected_fsc(*halves, PIXEL_ANGST, shape).resolution_angst)
    print(
        f"noise: finest resolution claimed in {len(found)} trials (3 masks) {min(found):.1f} A, "
        f"median {np.median(found):.1f} A; finer than 20 A in {np.sum(np.array(found) < 20)}"
    )
    masked = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        reference = gaussian_low_pass(ball(BOX_PX, 15), PIXEL_ANGST, 40.0)
        reference = 3 * reference / reference.std()
        halves = [
            (reference + rng.standard_normal(reference.shape)).astype(np.float32) for _ in range(2)
        ]
        shape = automatic_mask(sum(halves) / 2, PIXEL_ANGST)
        masked.append(corrected_fsc(*halves, PIXEL_ANGST, shape).resolution_angst)
    print(f"noise about a common ball at 40 A, automatic mask: finest {min(masked):.1f} A")


def directions() -> None:
    """Verdict, cones and sampling for views of several kinds."""
    rng = np.random.default_rng(3)
    number = 6000
    top = views_near((0.3, 0.2, 1.0), 8.0, number, rng)
    angle = rng.uniform(0, 2 * np.pi, number)
    side = np.stack([np.cos(angle), np.sin(angle), rng.normal(0, 0.1, number)], 1)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    everywhere = random_views(40 * number, rng)
    kinds = {
        "even": (random_views(number, rng), "none"),
        "side views": (side, "none"),
        "half on one axis": (
            np.where(rng.random((number, 1)) < 0.5, top, random_views(number, rng)),
            "none",
        ),
        "97 % on one axis": (
            np.where(rng.random((number, 1)) < 0.97, top, random_views(number, rng)),
            "preferred",
        ),
        "one axis, 8 degrees": (top, "preferred"),
        "within 30 degrees": (
            everywhere[everywhere[:, 2] > np.cos(np.pi / 6)][:number],
            "preferred",
        ),
        "within 60 degrees": (
            everywhere[everywhere[:, 2] > 0.5][:number],
            "preferred",
        ),
    }
    right = unsure = total = 0
    used = 0.0
    for structure in structures():
        volume = structure_volume(structure, BOX_PX, PIXEL_ANGST)
        for kind, (views, expected) in kinds.items():
            for noise_level in (30.0, 70.0, 120.0):
                halves = half_maps(
                    volume, views, rng, pixel_size_angst=PIXEL_ANGST, noise=noise_level
                )
                shape = automatic_mask(sum(halves) / 2, PIXEL_ANGST)
                overall = corrected_fsc(*halves, PIXEL_ANGST, shape).resolution_angst
                start = cpu_s()
                cones = directional_fsc(*halves, PIXEL_ANGST, shape)
                found = preferred_orientation(cones, views)
                used += cpu_s() - start
                right += found.verdict == expected
                unsure += found.verdict == "unsure"
                total += 1
                tilt = ""
                if found.tilt_deg is not None:
                    tilt = (
                        f" tilt {found.tilt_deg} (score {found.score_at_tilt[found.tilt_deg]:.2f})"
                    )
                print(
                    f"directions {structure.name}, {kind}, noise {noise_level:.0f}: "
                    f"{found.verdict}{tilt} ({found.confidence:.2f}); cones mean "
                    f"{cones.mean_angst:.1f} best {cones.best_angst:.1f} worst "
                    f"{cones.worst_angst:.1f} deviation {cones.deviation_angst:.1f} A (global "
                    f"{overall:.1f}); area ratio {found.area_ratio:.2f}, gap ratio "
                    f"{found.gap_ratio:.2f}, score {found.score:.2f}"
                )
    print(f"directions: {used / total:.2f} s of CPU each")
    print(f"directions: {right} of {total} verdicts as expected, {unsure} unsure")
    print(f"side views exactly: score {sampling(side * [1, 1, 0]).score:.3f} (theory 0.811)")


def forecast_() -> None:
    """Forecast from three to five points of a simulated reconstruction, held against the truth."""
    pixel, slices = 2.5, 3000
    counts = [5000, 10000, 20000, 40000, 80000, 320000]
    ratio: dict[int, list[float]] = {3: [], 4: [], 5: []}
    verdicts: list[str] = []
    hits = total = 0
    for structure in structures():
        volume = structure_volume(structure, 96, pixel)
        shape = automatic_mask(volume, pixel)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            found = []
            for count in counts:
                # the noise of `count` particles, seen along fewer views
                halves = half_maps(
                    volume,
                    random_views(slices, rng),
                    rng,
                    pixel_size_angst=pixel,
                    noise=80.0 * np.sqrt(slices / count),
                    b_factor_angst2=250.0,
                )
                found.append(corrected_fsc(*halves, pixel, shape).resolution_angst)
            print(
                f"forecast {structure.name}, seed {seed}: "
                + ", ".join(f"{c} {r:.2f} A" for c, r in zip(counts, found, strict=True))
            )
            for points in (3, 4, 5):
                fit = fit_resolution(counts[:points], found[:points])
                ahead = forecast(fit, found[-1], pixel_size_angst=pixel, particles_per_hour=10_000)
                ratio[points].append(ahead.particles / counts[-1])
                hits += ahead.low <= counts[-1] <= ahead.high
                total += 1
                verdicts.append(ahead.verdict)
                print(
                    f"  {points} points up to {counts[points - 1]}: {ahead.verdict}, "
                    f"{ahead.particles:.3g} particles ({ahead.low:.3g} - {ahead.high:.3g}), "
                    f"{ahead.hours:.0f} h; {ahead.evidence}"
                )
    for points, values in ratio.items():
        print(
            f"forecast from {points} points, {counts[-1] / counts[points - 1]:.0f} times ahead: "
            f"forecast / truth {min(values):.2f} to {max(values):.2f}, "
            f"median {np.median(values):.2f}"
        )
    print(
        f"forecast: truth within the 68 % interval in {hits} of {total}; "
        f"unsure in {verdicts.count('unsure')}"
    )


def local() -> None:
    """Time and memory of local resolution."""
    volume = structure_volume(structures()[1], 96, 2.5)
    rng = np.random.default_rng(4)
    halves = half_maps(
        volume, random_views(4000, rng), rng, pixel_size_angst=2.5, noise=30.0, b_factor_angst2=150
    )
    shape = automatic_mask(sum(halves) / 2, 2.5)
    overall = corrected_fsc(*halves, 2.5, shape).resolution_angst
    start = cpu_s()
    found = local_resolution(*halves, shape, 2.5, overall)[shape > 0.5]
    print(
        f"local resolution, 96 px: median {np.median(found):.2f} A, 5-95 % "
        f"{np.percentile(found, 5):.2f}-{np.percentile(found, 95):.2f} A (global {overall:.2f} A), "
        f"{cpu_s() - start:.1f} s"
    )


def align() -> None:
    """Maps turned, shifted, mirrored and with noise, brought back."""
    for structure in structures():
        volume = structure_volume(structure, BOX_PX, PIXEL_ANGST)
        for seed in range(4):
            rng = np.random.default_rng(seed)
            given = mirrored(volume) if seed % 2 else volume
            for axes in ((0, 1), (0, 2), (1, 2)):
                given = ndimage.rotate(given, rng.uniform(0, 360), axes=axes, reshape=False)
            given = ndimage.shift(given, rng.uniform(-4, 4, 3))
            given = given + 1.5 * rng.standard_normal(given.shape)
            given = sharp_low_pass(given.astype(np.float32), PIXEL_ANGST, 10.0)
            start = cpu_s()
            found = align_maps(volume, given, PIXEL_ANGST, 12.0)
            print(
                f"align {structure.name}, {'mirrored' if seed % 2 else 'same'}: {found.hand}; "
                f"as is {found.as_is.correlation:.3f}, mirrored {found.mirrored.correlation:.3f}; "
                f"{cpu_s() - start:.1f} s"
            )


def size() -> None:
    """Time and peak memory of each tool on larger maps."""
    for n in (128, 256):
        rng = np.random.default_rng(5)
        volume = ball(n, 0.25 * n) * ndimage.gaussian_filter(rng.standard_normal((n,) * 3), 1.5)
        volume = (volume / volume.std()).astype(np.float32)
        halves = [volume + rng.standard_normal(volume.shape).astype(np.float32) for _ in range(2)]
        shape = spherical_mask(n, 0.3 * n, 1.0)
        overall = corrected_fsc(*halves, 1.0, shape).resolution_angst
        jobs = {
            "automatic mask": lambda: automatic_mask(sum(halves) / 2, 1.0),  # noqa: B023
            "corrected FSC": lambda: corrected_fsc(*halves, 1.0, shape),  # noqa: B023
            "directional FSC": lambda: directional_fsc(*halves, 1.0, shape),  # noqa: B023
            "local resolution": lambda: local_resolution(*halves, shape, 1.0, overall),  # noqa: B023
            "alignment": lambda: align_maps(halves[0], mirrored(halves[1]), 1.0, 12.0),  # noqa: B023
        }
        for name, job in jobs.items():
            start = cpu_s()
            job()
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"size {n}: {name} {cpu_s() - start:.1f} s, peak of all so far {peak_mb:.0f} MB")


PARTS = {
    "fsc": fsc,
    "mask": mask,
    "noise": noise,
    "directions": directions,
    "forecast": forecast_,
    "local": local,
    "align": align,
    "size": size,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    torch.set_num_threads(1)
    for name in chosen:
        started = time.process_time()
        PARTS[name]()
        print(f"[{name}: {time.process_time() - started:.0f} s of CPU]", flush=True)


if __name__ == "__main__":
    main()
