"""Everything the classifier looks at, by name, with its unit and what it means physically."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.curation.real_features import real_features, small_map
from cryosnake.curation.spectral_features import ice_features, structure_features, tile_spectra

#: The outermost part of the sum on each side: not all frames reach it after alignment.
MARGIN_FRACTION = 0.03
_SIDE_MIN_PX = 192


@dataclass(frozen=True)
class Feature:
    """Unit and meaning of a feature."""

    unit: str
    meaning: str


FEATURES: dict[str, Feature] = {
    "lump_fraction": Feature(
        "of the view", "area of dark lumps that stand out of all other fluctuations"
    ),
    "lump_count": Feature("-", "number of those lumps"),
    "lump_depth": Feature(
        "-", "depth of the darkest place over the median depth of all local minima"
    ),
    "gap_fraction": Feature("of the view", "area of bright gaps (torn or missing ice)"),
    "gap_span": Feature("of the shorter side", "extent of the longest bright gap"),
    "gap_height": Feature("-", "height of the brightest place over the median of local maxima"),
    "edge_span": Feature("of the shorter side", "extent of the longest thin dark line"),
    "brightness_separation": Feature(
        "standard deviations", "distance of two areas of different mean"
    ),
    "brightness_fraction": Feature("of the view", "the smaller of the two areas, 0 if scattered"),
    "texture_separation": Feature(
        "standard deviations", "distance of two areas of different texture"
    ),
    "texture_fraction": Feature("of the view", "the smaller of the two areas, 0 if scattered"),
    "coarse_power_log10": Feature("decades", "power at 60-20 A over the noise floor at Nyquist"),
    "medium_power_log10": Feature("decades", "power at 20-8 A over the noise floor at Nyquist"),
    "direction_asymmetry": Feature(
        "nepers", "two-fold direction dependence of the spectrum, 30-6 A, alike at all radii"
    ),
    "thon_visibility": Feature(
        "standard errors", "oscillation of the radial spectrum about its trend, 25-5 A"
    ),
    "ice_ring_excess": Feature("-", "power of the ring at 3.7 A over its surroundings, less 1"),
    "ice_ring_z": Feature("standard errors", "the same, over its uncertainty"),
    "ice_spot_ratio": Feature(
        "-", "strongest spot between 3.95 and 3.40 A over what noise alone would give"
    ),
    "ice_spot_tiles": Feature("of the tiles", "part of the view with such spots (1.5 times noise)"),
}


def measure_features(image: np.ndarray | torch.Tensor, pixel_size_angst: float) -> dict[str, float]:
    """Measure all `FEATURES` of a micrograph.

    Parameters
    ----------
    image : (H, W), at least 205 px on each side; the sum, preferably without dose weights. Its
        grey values may have any scale and offset. A tensor is used on its device.
    pixel_size_angst : of the image. Where the 3.7 A ring is beyond what the pixels resolve, the
        ice features are NaN.
    """
    image = torch.as_tensor(image).to(torch.float32)
    rows, columns = (int(MARGIN_FRACTION * side) for side in image.shape)
    inner = image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]
    if min(inner.shape) < _SIDE_MIN_PX:
        raise ValueError(f"{tuple(image.shape) = } is too small; at least 205 px on each side")
    spread = float(inner.std())
    if not math.isfinite(spread) or spread <= 0.0:
        return dict.fromkeys(FEATURES, 0.0)
    inner = (inner - inner.mean()) / spread
    spectra = tile_spectra(inner, pixel_size_angst)
    found = (
        real_features(*small_map(inner, pixel_size_angst))
        | structure_features(spectra, pixel_size_angst)
        | ice_features(spectra, pixel_size_angst)
    )
    return {name: found[name] for name in FEATURES}
