"""Accuracy and time of motion correction against the truth and against RELION's own, on the same
simulated movies with the same number of threads. Prints a markdown table.

    python benchmarks/motion_accuracy.py --movies 4 --side 1024 --frames 24 --repeats 3

Errors are root mean squares per axis in pixels, the mean over frames taken off each track (it moves
the sum and blurs nothing). Time is per movie, from the file to the written sums and STAR file, for
all movies in one process; the start of Python is not counted (a job pays it once for 20 movies),
nor is RELION's (0.1 s). `signal` is the part of the specimen's amplitude between 5 A and 3.3 A that
the plain sum keeps, relative to the sum with the true motion.
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
import torch

from cryosnake.config.model import MotionConfig
from cryosnake.images import write_mrc
from cryosnake.motion import LocalMotion, correct_motion, write_motion_star
from cryosnake.motion.correction import RawMovie
from cryosnake.motion.sums import combined, weighted_sums
from cryosnake.motion.workers import Workers
from cryosnake.movies import FrameCorrector, open_movie
from cryosnake.simulate import SimulationConfig, simulate_movie
from cryosnake.tables import read_star

HEADER = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
og1 1 {pixel} {voltage} 2.7 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
"""
POINTS = 7
BAND_ANGST = (5.0, 3.3)


def simulated(options, folder: Path):
    """Write the movies and the gain; returns the simulated movies."""
    config = SimulationConfig(
        height_px=options.side,
        width_px=options.side,
        frames=options.frames,
        pixel_size_angst=options.pixel_size_angst,
        dose_e_per_angst2_per_frame=options.dose,
        local_motion_angst=options.local_motion_angst,
        defocus_min_angst=8000,
        defocus_max_angst=20000,
        hot_pixels=0,
        seed=options.seed,
    )
    movies = [simulate_movie(config, index) for index in range(options.movies)]
    (folder / "Movies").mkdir()
    for index, movie in enumerate(movies):
        with mrcfile.new(folder / "Movies" / f"m{index}.mrcs") as mrc:
            mrc.set_data(np.stack(list(movie.frames())).astype(np.uint16))
            mrc.voxel_size = options.pixel_size_angst
            mrc.set_image_stack()
    write_mrc(folder / "gain.mrc", movies[0].gain.astype(np.float32), options.pixel_size_angst)
    text = HEADER.format(pixel=options.pixel_size_angst, voltage=config.voltage_kv)
    text += "".join(f"Movies/m{index}.mrcs 1\n" for index in range(options.movies))
    (folder / "movies.star").write_text(text)
    return movies


def places(shape):
    """(y, x) of a grid of places."""
    edges = (np.arange(POINTS) + 0.5) / POINTS
    return [v.ravel() for v in np.meshgrid(edges * shape[0], edges * shape[1], indexing="ij")]


def true_shifts(movie, y, x) -> np.ndarray:
    """(F, n, 2) shifts in pixels."""
    truth = movie.truth
    out = np.repeat(truth.shift_px[:, None], np.size(y), axis=1)
    if truth.local is not None:
        for frame in range(len(out)):
            out[frame] -= truth.local.displacement_angst(frame, y, x) / truth.pixel_size_angst
    return out


def model_shifts(whole, local, y, x) -> np.ndarray:
    """(F, n, 2) shifts in pixels of whole-frame shifts and a `LocalMotion` or None."""
    out = np.repeat(whole[:, None], np.size(y), axis=1)
    if local is not None:
        frames = np.arange(len(whole))[:, None]
        out = out + np.stack(local.shift_px(frames, y[None], x[None]), axis=-1)
    return out


def errors(movie, whole, local) -> tuple[float, float, np.ndarray]:
    """RMS of whole-frame and of all shifts, and the mean error (y, x)."""
    y, x = places(movie.config.shape)
    error = model_shifts(whole, local, y, x) - true_shifts(movie, y, x)
    mean = error.mean(axis=(0, 1))
    frame = error.mean(axis=1) - mean
    error = error - error.mean(axis=0)
    return float(np.sqrt((frame**2).mean())), float(np.sqrt((error**2).mean())), mean


def kept_signal(image, movie, oracle, reference, mean_error) -> float:
    """Amplitude of the reference that `image` holds in the band, relative to `oracle`."""
    pixel = movie.config.pixel_size_angst
    ky = np.fft.fftfreq(image.shape[0])[:, None]
    kx = np.fft.rfftfreq(image.shape[1])[None]
    radius = np.hypot(ky, kx) / pixel
    band = (radius > 1 / BAND_ANGST[0]) & (radius < 1 / BAND_ANGST[1])
    back = np.exp(2j * np.pi * (ky * mean_error[0] + kx * mean_error[1]))
    target = np.fft.rfft2(reference)
    found = [np.fft.rfft2(v)[band] * p for v, p in ((image, back[band]), (oracle, 1.0))]
    return float(np.vdot(target[band], found[0]).real / np.vdot(target[band], found[1]).real)


def oracle_and_reference(movie):
    """Plain sum with the true motion, and the expected first frame."""
    shape = movie.config.shape
    team = Workers(None, 1)
    raw = RawMovie(FrameCorrector(movie.gain), shape, movie.config.frames, "cpu")
    for index, frame in enumerate(movie.frames()):
        raw.add(index, frame)

    def shift_at(y, x):
        return true_shifts(movie, np.asarray(y), np.asarray(x))

    sums = weighted_sums(raw, shift_at, np.ones((len(raw), 1)), team)
    shifts = shift_at(*places(shape))
    (image,) = combined(sums, [np.ones((1, 64))], shifts_px=shifts, binning=1, team=team)
    return image.numpy(), next(iter(movie.expected_frames())).numpy()


def run_ours(options, folder: Path, patches: int, device: str):
    """Process all movies; (seconds per movie, [(whole, local, plain)])."""
    results = []
    started = time.perf_counter()
    corrector = FrameCorrector(mrcfile.read(folder / "gain.mrc"), device=device)
    for index in range(options.movies):
        with open_movie(folder / "Movies" / f"m{index}.mrcs") as movie:
            result = correct_motion(
                movie.frames(),
                movie.info.frames,
                movie.info.shape,
                corrector,
                pixel_size_angst=options.pixel_size_angst,
                voltage_kv=300.0,
                dose_e_per_angst2_per_frame=options.dose,
                pre_exposure_e_per_angst2=0.0,
                config=MotionConfig(patches=(patches, patches)),
                device=device,
            )
        name = folder / "ours" / f"m{index}"
        write_mrc(name.with_suffix(".mrc"), result.dose_weighted, options.pixel_size_angst)
        write_mrc(folder / "ours" / f"m{index}_noDW.mrc", result.plain, options.pixel_size_angst)
        write_motion_star(
            name.with_suffix(".star"),
            result,
            f"Movies/m{index}.mrcs",
            frame_shape=movie.info.shape,
            frame_pixel_size_angst=options.pixel_size_angst,
            voltage_kv=300.0,
        )
        results.append((result.shifts_px, result.local, result.plain))
    return (time.perf_counter() - started) / options.movies, results


def run_relion(options, folder: Path, patches: int):
    """The same with relion_run_motioncorr."""
    shutil.rmtree(folder / "MotionCorr", ignore_errors=True)
    command = (
        "relion_run_motioncorr --i movies.star --o MotionCorr/ --use_own --dose_weighting "
        f"--save_noDW --dose_per_frame {options.dose} --patch_x {patches} --patch_y {patches} "
        f"--bfactor 150 --gainref gain.mrc --j {options.threads}"
    )
    started = time.perf_counter()
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    seconds = (time.perf_counter() - started) / options.movies
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}\n{done.stderr}")
    results = []
    for index in range(options.movies):
        blocks = read_star(folder / "MotionCorr" / "Movies" / f"m{index}.star")
        table = blocks["global_shift"]
        whole = table[["rlnMicrographShiftY", "rlnMicrographShiftX"]].to_numpy(float)
        local = None
        if "local_motion_model" in blocks:
            c = blocks["local_motion_model"].rlnMotionModelCoeff.to_numpy(float)
            local = LocalMotion(c[18:], c[:18], (options.side, options.side))
        plain = mrcfile.read(folder / "MotionCorr" / "Movies" / f"m{index}_noDW.mrc")
        results.append((whole, local, plain))
    return seconds, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=4)
    parser.add_argument("--side", type=int, default=1024, help="pixels")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--pixel-size-angst", type=float, default=1.0)
    parser.add_argument("--dose", type=float, default=1.0, help="e/A2/frame")
    parser.add_argument("--local-motion-angst", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patches", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-relion", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        movies = simulated(options, folder)
        oracles = [oracle_and_reference(movie) for movie in movies]
        print("| program | patches | whole-frame RMS px | local RMS px | signal | s per movie |")
        print("|---|---|---|---|---|---|")
        zero = np.zeros((options.frames, 2))
        still = [errors(movie, zero, None)[:2] for movie in movies]
        whole_rms, local_rms = _rms([e[0] for e in still]), _rms([e[1] for e in still])
        print(f"| no correction | | {whole_rms:.3f} | {local_rms:.3f} | | |")
        for patches in options.patches:
            programs = {"cryosnake": lambda p: run_ours(options, folder, p, options.device)}
            if not options.no_relion:
                programs["relion --use_own"] = lambda p: run_relion(options, folder, p)
            times = {}
            for program, run in programs.items():
                runs = [run(patches) for _ in range(options.repeats)]
                times[program] = statistics.median(seconds for seconds, _ in runs)
                found, kept = [], []
                for movie, (oracle, reference), (whole, local, plain) in zip(
                    movies, oracles, runs[0][1], strict=True
                ):
                    *rms, mean = errors(movie, whole, local)
                    found.append(rms)
                    kept.append(kept_signal(plain, movie, oracle, reference, mean))
                whole_rms, local_rms = _rms([e[0] for e in found]), _rms([e[1] for e in found])
                print(
                    f"| {program} | {patches} x {patches} | {whole_rms:.3f} | {local_rms:.3f} "
                    f"| {np.mean(kept):.3f} | {times[program]:.2f} |",
                    flush=True,
                )
            if len(times) == 2:
                ratio = times["relion --use_own"] / times["cryosnake"]
                print(f"| time ratio | {patches} x {patches} | | | | {ratio:.1f} |")


def _rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


if __name__ == "__main__":
    main()
