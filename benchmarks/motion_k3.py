"""Time and peak memory of the motion correction of a K3-size movie (5760 x 4092 x 40, 8-bit TIFF,
LZW), read from the file, with gain and defects. Prints a markdown row for each run.

    python benchmarks/motion_k3.py --threads 2 --repeats 3 [--device cuda] [--relion]

The movie holds smooth random blobs that drift by 12 px and stretch by 3 px, and counts of 1 per
pixel and frame. Each run is a process of its own; its time begins after Python and torch are
loaded and ends when the sums are in memory; on a GPU a first small movie warms the device up. Peak
memory is that of the whole process.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from cryosnake.config.model import MotionConfig
from cryosnake.images import write_mrc
from cryosnake.motion import correct_motion
from cryosnake.movies import FrameCorrector, open_movie

STAR = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
og1 1 1.0 300.0 2.7 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
movie.tif 1
"""


def write_movie(path: Path, shape, frames: int, seed: int) -> None:
    """A movie with something to align, made quickly."""
    rng = np.random.default_rng(seed)
    height, width = shape
    blobs = rng.normal(size=(height // 4 + 16, width // 4 + 16)).astype(np.float32)
    blobs = gaussian_filter(blobs, 1.5) - gaussian_filter(blobs, 8.0)
    blobs *= 0.06 / blobs.std()
    y, x = (v.astype(np.float32) for v in np.mgrid[: height // 2, : width // 2])
    with tifffile.TiffWriter(path) as tiff:
        for frame in range(frames):
            t = 1 - np.exp(-3 * frame / frames)
            move_y = t * (8 + 3 * (x / width - 0.25))
            move_x = t * (-9 + 3 * (y / height - 0.25))
            half = map_coordinates(
                blobs, [(y * 2 - move_y) / 4 + 8, (x * 2 - move_x) / 4 + 8], order=1, mode="wrap"
            )
            rate = 1 + np.kron(half, np.ones((2, 2), np.float32))
            # Inverse of the cumulative Poisson distribution: counts above 6 do not matter here.
            draw = rng.random(rate.shape, dtype=np.float32)
            term = np.exp(-rate)
            counts, total = np.zeros(rate.shape, np.uint8), term.copy()
            for k in range(1, 7):
                counts += draw > total
                term *= rate / k
                total += term
            tiff.write(counts, compression="lzw", photometric="minisblack", contiguous=False)


def correct_once(options) -> dict:
    """Correct the movie in this process; seconds, peak memory, shift of the last frame."""
    torch.set_num_threads(options.threads)
    gain = np.load(options.folder / "gain.npy")
    defects = np.zeros(gain.shape, bool)
    defects[1000, :] = True
    corrector = FrameCorrector(gain, defects, device=options.device)
    if options.device != "cpu":
        run(
            open_movie(options.folder / "small.tif"), FrameCorrector(device=options.device), options
        )
    started = time.perf_counter()
    result = run(
        open_movie(options.folder / "movie.tif", threads=options.threads), corrector, options
    )
    report = {
        "seconds": time.perf_counter() - started,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "shift_px": result.shifts_px[-1].round(2).tolist(),
        "problem": result.problem,
    }
    if options.device != "cpu":
        report["device_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return report


def run(movie, corrector, options):
    with movie:
        patches = "auto" if options.patches == 0 else (options.patches, options.patches)
        return correct_motion(
            movie.frames(),
            movie.info.frames,
            movie.info.shape,
            corrector,
            pixel_size_angst=1.0,
            voltage_kv=300.0,
            dose_e_per_angst2_per_frame=1.0,
            pre_exposure_e_per_angst2=0.0,
            config=MotionConfig(patches=patches),
            device=options.device,
        )


def relion_seconds(options, folder: Path) -> float:
    """Time of RELION's own implementation on the same movie."""
    (folder / "movies.star").write_text(STAR)
    patches = options.patches or 5
    command = (
        "relion_run_motioncorr --i movies.star --o MotionCorr/ --use_own --dose_weighting "
        f"--save_noDW --dose_per_frame 1 --patch_x {patches} --patch_y {patches} --bfactor 150 "
        f"--gainref gain.mrc --j {options.threads}"
    )
    shutil.rmtree(folder / "MotionCorr", ignore_errors=True)
    started = time.perf_counter()
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=5760)
    parser.add_argument("--height", type=int, default=4092)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patches", type=int, default=0, help="patches each way; 0: auto")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--relion", action="store_true", help="also time relion_run_motioncorr")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(correct_once(options)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = (options.height, options.width)
        write_movie(folder / "movie.tif", shape, options.frames, options.seed)
        write_movie(folder / "small.tif", (1024, 1024), 8, options.seed)
        gain = np.random.default_rng(options.seed).normal(1, 0.01, shape).astype(np.float32)
        np.save(folder / "gain.npy", gain)
        write_mrc(folder / "gain.mrc", gain, 1.0)
        print("| program | device | threads | s | peak GB | last shift (y, x) px |")
        print("|---|---|---|---|---|---|")
        for _ in range(options.repeats):
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            report = json.loads(done.stdout.splitlines()[-1])
            peak = f"{report['peak_gb']:.2f}"
            if "device_gb" in report:
                peak += f" (device {report['device_gb']:.2f})"
            print(
                f"| cryosnake | {options.device} | {options.threads} | {report['seconds']:.2f} "
                f"| {peak} | {report['problem'] or report['shift_px']} |",
                flush=True,
            )
        if options.relion:
            seconds = relion_seconds(options, folder)
            print(f"| relion --use_own | cpu | {options.threads} | {seconds:.2f} | | |")


if __name__ == "__main__":
    main()
