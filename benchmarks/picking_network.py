"""The pretrained detectors on real and simulated micrographs, and how fast they are.
Prints markdown tables.

    python benchmarks/picking_network.py --simulated 4
    python benchmarks/picking_network.py --denoiser

Real: the 12 micrographs of EMPIAR-10017 (beta-galactosidase; denoised 8-bit images), a data set
that is among the training data of public networks; the expert's picks also lie where the mask
forbids picks. Simulated: with contamination, three structures; only particles whose centre is half
a diameter from the border count. `adaptive`: the threshold of each micrograph follows from its own
scores. `best`: the one threshold for all micrographs that is best, known only to who has the truth.
Hits are within 40 px (EMPIAR) or 0.4 diameters of the truth, one to one. Time is of all threads
together, without reading the file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import picking_common as common
import scipy.ndimage as ndi
import torch

from cryosnake.picking.denoise import denoise, pretrained_denoiser
from cryosnake.picking.mask import keep, usable_mask
from cryosnake.picking.network import pretrained_detector, pretrained_pair
from cryosnake.picking.network_input import DIAMETER_PX, binned
from cryosnake.picking.network_picker import pick_network, score_threshold
from cryosnake.picking.size_model import ParticleSize
from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.movie import simulate_movie

PIXEL_ANGST = 1.5
STRUCTURES = common.SHARED / "structures"
#: Structure, diameter, and smallest distance of two particles (A).
SIMULATED = {
    "beta-galactosidase": (str(STRUCTURES / "5a1a.pdb"), 150.0, 200.0),
    "apoferritin": (str(STRUCTURES / "6z6u.pdb"), 120.0, 150.0),
    "proteasome": ("proteasome", 140.0, 190.0),
}
EMPIAR_DIAMETER_ANGST = 150.0
THRESHOLDS = np.arange(-4.0, 6.0, 0.25)


def particle(diameter_angst: float) -> ParticleSize:
    return ParticleSize(
        diameter_angst, 0.1 * diameter_angst, diameter_angst, diameter_angst, False, 256
    )


def real(count: int):
    """Image, pixel size, diameter, truth, tolerance (px) of the first micrographs."""
    for name in common.empiar_names()[:count]:
        yield (
            common.empiar_micrograph(name),
            common.EMPIAR_PIXEL_ANGST,
            EMPIAR_DIAMETER_ANGST,
            common.empiar_truth(name),
            common.TOLERANCE_PX,
        )


def simulation(name: str, count: int) -> SimulationConfig:
    structure, _, distance_angst = SIMULATED[name]
    return SimulationConfig(
        movies=count,
        seed=7,
        height_px=2048,
        width_px=2048,
        frames=2,
        dose_e_per_angst2_per_frame=20.0,
        pixel_size_angst=PIXEL_ANGST,
        species=[{"structure": structure}],
        min_distance_angst=distance_angst,
        particles_per_um2=1500.0,
        drift_scale=0.0,
        local_motion_angst=0.0,
    )


def simulated(name: str, count: int, cache_dir: Path | None):
    """The same of simulated micrographs of 2048 x 2048 px."""
    config = simulation(name, count)
    diameter_angst = SIMULATED[name][1]
    for index in range(count):
        made = common.simulated_micrograph(
            config, index, scenario="contamination", cache_dir=cache_dir
        )
        border_px = 0.5 * diameter_angst / PIXEL_ANGST
        limits = np.array(made.image.shape)[::-1] - 1 - border_px
        inside = ((made.truth > border_px) & (made.truth < limits)).all(axis=1)
        tolerance_px = 0.4 * diameter_angst / PIXEL_ANGST
        yield made.image, PIXEL_ANGST, diameter_angst, made.truth[inside], tolerance_px


def tested(micrographs, model, diameter_px: float) -> dict:
    """Scores with the adaptive threshold and with every fixed one, and the time of picking."""
    adaptive = common.Score(0, 0, 0)
    fixed = [common.Score(0, 0, 0) for _ in THRESHOLDS]
    seconds = []
    for image, pixel_angst, diameter_angst, truth, tolerance_px in micrographs:
        size = particle(diameter_angst)
        mask = usable_mask(image, pixel_angst, size)
        start = time.process_time()
        picks = pick_network(
            image, pixel_angst, size, model=model, threshold=-np.inf, diameter_px=diameter_px
        )
        seconds.append(time.process_time() - start)
        picks = keep(picks, *mask)
        found, merit = common.positions(picks), picks["rlnAutopickFigureOfMerit"].to_numpy()
        cut = score_threshold(merit)
        adaptive += common.score(found[merit >= cut], truth, tolerance_px)
        for index, threshold in enumerate(THRESHOLDS):
            fixed[index] += common.score(found[merit >= threshold], truth, tolerance_px)
    best = max(range(len(fixed)), key=lambda index: fixed[index].f1)
    return {
        "adaptive": adaptive,
        "best": fixed[best],
        "threshold": THRESHOLDS[best],
        "seconds": float(np.median(seconds)),
    }


def denoiser_rows(cache_dir: Path | None):
    """Rows of a table: correlation with the particles alone, by the denoiser's working pixel.

    All are compared on a grid of 12 A, without detail coarser than 250 A.
    """
    model = pretrained_denoiser()
    movie = simulate_movie(simulation("proteasome", 1), 0, scenario="good", cache_dir=cache_dir)
    image = sum(frame.astype(np.float32) for frame in movie.frames()) * movie.gain
    particles = -movie.particle_phase()  # particles are dark

    def compared(picture: np.ndarray, pixel_angst: float) -> np.ndarray:
        coarse = binned(picture, 12.0 / pixel_angst)[0].numpy()
        return coarse - ndi.gaussian_filter(coarse, 250.0 / 12.0)

    truth = compared(particles, PIXEL_ANGST).ravel()
    for pixel_angst in (3.0, 6.0, 12.0):
        start = time.process_time()
        clean = denoise(image, PIXEL_ANGST, model=model, working_pixel_angst=pixel_angst)
        seconds = time.process_time() - start
        close = np.corrcoef(compared(clean.image, clean.pixel_size_angst).ravel(), truth)[0, 1]
        shape = " x ".join(map(str, clean.image.shape))
        yield f"| U-Net at {clean.pixel_size_angst:g} A | {shape} | {close:.3f} | {seconds:.1f} |"
    plain = compared(image, PIXEL_ANGST)
    for sigma_angst in (0.0, 12.0, 24.0, 48.0):
        smooth = ndi.gaussian_filter(plain, sigma_angst / 12.0)
        close = np.corrcoef(smooth.ravel(), truth)[0, 1]
        yield f"| Gaussian, sigma {sigma_angst:g} A | | {close:.3f} | |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=int, default=12, help="micrographs of EMPIAR-10017")
    parser.add_argument("--simulated", type=int, default=4, help="micrographs of each structure")
    parser.add_argument("--models", default="pair", help="pair,resnet8_u32,resnet16_u32,...")
    parser.add_argument("--diameters-px", default=f"{DIAMETER_PX:g}", help="on the model's grid")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="folder for the simulator's potentials")
    parser.add_argument("--denoiser", action="store_true", help="the table of the denoiser alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.denoiser:
        print("| picture | pixels | correlation | CPU s |\n|---|---|---|---|")
        for row in denoiser_rows(options.cache):
            print(row, flush=True)
        return
    data = {}
    if common.empiar_names() and options.real:
        data["EMPIAR-10017"] = list(real(options.real))
    for name, (structure, _, _) in SIMULATED.items():
        if options.simulated and (Path(structure).is_file() or "." not in structure):
            data[name] = list(simulated(name, options.simulated, options.cache))
    print("| data | detector | diameter, px | P | R | F1 adaptive | F1 best | at | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model_name in options.models.split(","):
        model = pretrained_pair() if model_name == "pair" else pretrained_detector(model_name)
        for diameter_px in map(float, options.diameters_px.split(",")):
            for name, micrographs in data.items():
                result = tested(micrographs, model, diameter_px)
                ours = result["adaptive"]
                print(
                    f"| {name} | {model_name} | {diameter_px:g} | {ours.precision:.3f} |"
                    f" {ours.recall:.3f} | {ours.f1:.3f} | {result['best'].f1:.3f} |"
                    f" {result['threshold']:.2f} | {result['seconds']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
