"""The classifier's features on simulated micrographs: what its thresholds were chosen with.

    python benchmarks/curation_tune.py [--each 6] [--seed 11] [--picture docs/images/...png]

Movies are aligned with the true shifts, so that only curation is looked at. Prints, for each
feature, its range over the movies of each scenario, and the thresholds of `classifier.json`.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from scipy import ndimage

from cryosnake.curation import FEATURES, MicrographClass, classify_micrograph
from cryosnake.curation.classifier import rules
from cryosnake.fourier import frequencies
from cryosnake.images import stretched
from cryosnake.movies import FrameCorrector
from cryosnake.simulate import SimulationConfig, simulate_movie

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SCENARIOS = ("good", "film", "crack", "ice_minor", "ice_major", "contamination", "empty")
PIXEL_ANGST = 1.2


def aligned_sum(config: SimulationConfig, index: int, scenario: str, cache: Path) -> np.ndarray:
    """The sum of the gain-corrected frames, moved by the true shifts of the whole frame."""
    movie = simulate_movie(config, index, scenario=scenario, cache_dir=cache)
    correct = FrameCorrector(movie.gain)
    ky, kx = frequencies(config.shape)
    total = 0
    for frame, (dy, dx) in zip(movie.frames(), movie.truth.shift_px, strict=True):
        turn = torch.exp(-2j * np.pi * (ky * float(dy) + kx * float(dx)))
        total = total + torch.fft.rfft2(correct(frame)) * turn
    return torch.fft.irfft2(total, s=config.shape).numpy()


def picture(path: Path, shown: dict[str, tuple[np.ndarray, MicrographClass]]) -> None:
    figure, axes = plt.subplots(2, len(shown), figsize=(2.3 * len(shown), 5.2))
    for column, (scenario, (image, found)) in enumerate(shown.items()):
        smooth = ndimage.gaussian_filter(image, 4)
        axes[0, column].imshow(stretched(smooth), cmap="gray", origin="lower")
        axes[0, column].set_title(f"{scenario}\n{found.label}, {found.confidence:.2f}", fontsize=9)
        window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None, :]
        power = np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window))) ** 2
        log_power = np.log(ndimage.gaussian_filter(power, 2))
        axes[1, column].imshow(
            stretched(log_power, low_percent=5, high_percent=99.7), cmap="gray", origin="lower"
        )
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache-curation"))
    args = parser.parse_args()
    config = SimulationConfig(
        height_px=1024,
        width_px=1024,
        frames=20,
        pixel_size_angst=PIXEL_ANGST,
        hot_pixels=0,
        seed=args.seed,
    )
    found: dict[str, list[MicrographClass]] = {}
    shown = {}
    for number, scenario in enumerate(SCENARIOS):
        for i in range(args.each):
            image = aligned_sum(config, 1000 * number + i, scenario, args.cache)
            result = classify_micrograph(image, PIXEL_ANGST)
            found.setdefault(scenario, []).append(result)
            shown.setdefault(scenario, (image, result))
    if args.picture:
        picture(args.picture, shown)
    print(f"| feature | {' | '.join(SCENARIOS)} | thresholds |\n|{'---|' * (len(SCENARIOS) + 2)}")
    for name in FEATURES:
        ranges = [[r.features[name] for r in found[s]] for s in SCENARIOS]
        used = [
            f"{label} {c.direction} {c.threshold:g}"
            for label, alternatives in rules().items()
            for rule in alternatives
            for c in rule
            if c.feature == name
        ]
        cells = [f"{min(values):.3g} to {max(values):.3g}" for values in ranges]
        print(f"| {name} | {' | '.join(cells)} | {'; '.join(used)} |")
    for scenario, results in found.items():
        labels = [r.label for r in results]
        print(f"\n{scenario}: {', '.join(f'{x} {labels.count(x)}' for x in sorted(set(labels)))}")


if __name__ == "__main__":
    main()
