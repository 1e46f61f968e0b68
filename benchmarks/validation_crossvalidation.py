"""Does cross-validation choose the true volume?

Twenty simulated cases. The averages come from noisy, misaligned particles of a structure; the
candidates are that structure low-passed to 10-20 A with noise, two blobs of noise sharpened to look
fine (they claim 8 A), another structure of the same box, and, in every second case, the true
volume's mirror image, turned at random, as a further candidate.

    python benchmarks/validation_crossvalidation.py [--cases 20] [--averages 15]
    python benchmarks/validation_crossvalidation.py --classified 2000 --cases 3

With --classified the averages are those of 2D classification, of that many particles with 20 %
junk, in 16 classes; classes that are mostly junk are left out, as assessment would.
"""

import argparse
import resource

import numpy as np
import torch
from classes2d_common import Structure, simulated_stack, structures
from classes2d_rounds import classified
from scipy import ndimage
from validation_common import ball, noise_blob, sharp_low_pass, simulated_averages, structure_volume

from cryosnake.validation.average_set import AverageSet
from cryosnake.validation.crossvalidate import Candidate, CrossValidation, cross_validate

BOX_PX, PIXEL_ANGST, DIAMETER_ANGST, AVERAGES_ANGST = 64, 4.0, 200.0, 15.0


def candidates_of(case: int, rng: np.random.Generator, volumes: dict[str, np.ndarray]):
    """Candidates of a case, the true one's name, and the noise-free true volume."""
    names = list(volumes)
    name = names[case % len(names)]
    other = names[(case + 1 + case // len(names) % (len(names) - 1)) % len(names)]
    truth = volumes[name]
    resolution = rng.uniform(10, 20)
    noise = ball(BOX_PX, 0.5 * DIAMETER_ANGST / PIXEL_ANGST) * rng.standard_normal(truth.shape)
    noisy = truth + rng.uniform(1.0, 3.0) * noise.astype(np.float32)
    low = sharp_low_pass(noisy, PIXEL_ANGST, resolution)
    given = [
        Candidate("true", low, PIXEL_ANGST, resolution),
        Candidate("blob", noise_blob(truth, rng, PIXEL_ANGST, 3.0), PIXEL_ANGST, 8.0),
        Candidate("coarse blob", noise_blob(truth, rng, PIXEL_ANGST, 8.0), PIXEL_ANGST, 8.0),
        Candidate("other", sharp_low_pass(volumes[other], PIXEL_ANGST, 10.0), PIXEL_ANGST, 10.0),
    ]
    if case % 2:
        flipped = np.roll(low[:, :, ::-1], 1, 2)
        turned = ndimage.rotate(flipped, rng.uniform(0, 360), axes=(0, 1), reshape=False, order=3)
        given.append(Candidate("mirror", turned, PIXEL_ANGST, resolution))
    order = rng.permutation(len(given))
    return [given[index] for index in order], name, other, truth


def classified_averages(
    structure: Structure, particles: int, case: int
) -> tuple[np.ndarray, np.ndarray]:
    """Averages (K, n, n) of 2D classification that are not mostly junk, and their populations."""
    stack = simulated_stack(
        particles,
        box_px=BOX_PX,
        pixel_size_angst=PIXEL_ANGST,
        species=[structure],
        seed=case + 1,
    )
    found, _ = classified(stack, classes=16, seed=case + 1)
    index = found.poses.class_index
    good = [
        k
        for k in range(len(found.classes.averages))
        if (index == k).sum() >= 20 and stack.junk[index == k].mean() < 0.5
    ]
    averages = np.asarray(found.classes.averages, np.float32)[good]
    return averages, np.array([(index == k).sum() for k in good])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--averages", type=int, default=15)
    parser.add_argument("--particles", type=int, nargs=2, default=(20, 200), help="of an average")
    parser.add_argument("--classified", type=int, default=0, help="particles to classify in 2D")
    options = parser.parse_args()
    torch.set_num_threads(1)
    volumes = {s.name: structure_volume(s, BOX_PX, PIXEL_ANGST) for s in structures()}
    right = weighted_right = sure = hands = mirrors = 0
    for case in range(options.cases):
        rng = np.random.default_rng(case)
        candidates, name, other, truth = candidates_of(case, rng, volumes)
        if options.classified:
            structure = next(s for s in structures() if s.name == name)
            images, populations = classified_averages(structure, options.classified, case)
        else:
            images, populations = simulated_averages(
                truth,
                options.averages,
                rng,
                pixel_size_angst=PIXEL_ANGST,
                particles=tuple(options.particles),
            )
        averages = AverageSet(images, PIXEL_ANGST, DIAMETER_ANGST, AVERAGES_ANGST)
        found = cross_validate(candidates, averages)
        winner = found.winner.name
        correct = winner in ("true", "mirror")
        right += correct
        sure += correct and found.verdict == "pass"
        by_population = [
            np.average(v.matches.correlation, weights=populations) for v in found.volumes
        ]
        weighted_right += found.volumes[int(np.argmax(by_population))].name in ("true", "mirror")
        if case % 2:
            mirrors += 1
            hands += _hand_reported(found)
        listed = "  ".join(
            f"{v.name} {v.score:.3f} ({v.hand})"
            for v in sorted(found.volumes, key=lambda v: -v.score)
        )
        print(
            f"case {case:2d} {name:>12s} against {other:12s} {found.verdict:6s} "
            f"{found.confidence:.2f}  {listed}  ball {found.featureless:.3f}",
            flush=True,
        )
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"true volume chosen in {right} of {options.cases} (weighted by population "
        f"{weighted_right}), sure in {sure}; mirrored hand reported in {hands} of {mirrors}; "
        f"{used.ru_utime:.0f} s of CPU, {used.ru_maxrss / 1024:.0f} MB"
    )


def _hand_reported(found: CrossValidation) -> bool:
    """Whether true and mirror image are called each other's mirror image."""
    loser = "mirror" if found.winner.name == "true" else "true"
    return any(v.name == loser and v.hand == "mirrored" for v in found.volumes)


if __name__ == "__main__":
    main()
