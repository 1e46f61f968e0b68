"""Fourier shell correlation of half maps, corrected for the mask, and the resolution it gives.

Harauz and van Heel 1986 (Optik 73) for the correlation; Rosenthal and Henderson 2003 (J Mol Biol
333) for the threshold of 0.143; Chen et al. 2013 (Ultramicroscopy 135), equation 4, for the
correction with phase-randomised maps.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.validation.shells import Shells, check_maps, inverse, shells, transform

THRESHOLD = 0.143
_RANDOMISE_BELOW = 0.8  # as RELION: phases beyond the first shell below this are randomised
_MARGIN_SHELLS = 2  # what a mask carries over that border is not corrected (RELION)
_LASTING_SHELLS = 5
_NONE_ANGST = 999.0  # RELION's stand-in for infinity
_FIRST_SHELL = 2  # a handful of coefficients below: no claim rests on them


def shell_correlation(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(n // 2 + 1,) correlation of two maps, shell by shell; 0 where one of them is empty."""
    n = check_maps(one, two)
    return correlation_of(shells(n), transform(one), transform(two))


def correlation_of(where: Shells, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """As `shell_correlation`, of transforms."""
    cross = where.sums((one * two.conj()).real)
    power = where.sums(np.abs(one) ** 2) * where.sums(np.abs(two) ** 2)
    return np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)


def crossing_shell(curve: np.ndarray, threshold: float = THRESHOLD) -> float:
    """The shell, between whole ones by linear interpolation, where a curve first falls below the
    threshold; its last shell where it never does, 0 where it does at once."""
    below = np.flatnonzero(curve[_FIRST_SHELL:] < threshold)
    if not len(below):
        return float(len(curve) - 1)
    at = int(below[0]) + _FIRST_SHELL
    if at == _FIRST_SHELL:
        return 0.0
    before, after = curve[at - 1], curve[at]
    return at - 1 + float((before - threshold) / (before - after))


def lasting_crossing_shell(curve: np.ndarray, threshold: float = THRESHOLD) -> float:
    """As `crossing_shell`, but the curve also has to stay below on average over five shells: the
    few coefficients of a cone or a window fall below where the molecule's own transform is nearly
    zero, and recover."""
    ahead = np.append(curve, np.full(_LASTING_SHELLS - 1, curve[-1]))
    mean = np.convolve(ahead, np.full(_LASTING_SHELLS, 1.0 / _LASTING_SHELLS), mode="valid")
    return crossing_shell(np.where(mean < threshold, curve, np.maximum(curve, mean)), threshold)


def resolution_angst(
    curve: np.ndarray, pixel_size_angst: float, threshold: float = THRESHOLD
) -> float:
    """Resolution in angstrom at which a curve (n // 2 + 1,) of maps of even side n falls below the
    threshold: at best Nyquist, infinite where there is none."""
    shell = crossing_shell(curve, threshold)
    side_angst = 2 * (len(curve) - 1) * pixel_size_angst
    return side_angst / shell if shell > 0 else float("inf")


def randomisation_shell(where: Shells, one: np.ndarray, two: np.ndarray) -> int:
    """The first shell of two transforms whose correlation is below 0.8, beyond which phases are
    randomised."""
    return _first_low(correlation_of(where, one, two))


def _first_low(curve: np.ndarray) -> int:
    low = np.flatnonzero(curve[1:] < _RANDOMISE_BELOW)
    return int(low[0]) + 1 if len(low) else len(curve) - 1


def phase_randomised(
    spectrum: np.ndarray, where: Shells, first_shell: int, rng: np.random.Generator
) -> np.ndarray:
    """(n, n, n) map of a transform whose phases from `first_shell` on are replaced by those of
    white noise, so that it stays the transform of a real map."""
    noise = transform(rng.standard_normal((where.n,) * 3, dtype=np.float32))
    turned = np.abs(spectrum) * noise / np.maximum(np.abs(noise), np.finfo(np.float32).tiny)
    return inverse(np.where(where.index < first_shell, spectrum, turned), where.n)


@dataclass(frozen=True)
class FscCurves:
    """Correlations of two half maps of side n, shell by shell.

    Attributes
    ----------
    unmasked, masked, randomised, corrected : (n // 2 + 1,), each; without a mask the last three
        are the first.
    randomised_from : first shell whose phases were randomised.
    resolution_angst, resolution_half_angst : where the corrected curve falls below 0.143 and 0.5;
        infinite where it is never above.
    """

    pixel_size_angst: float
    unmasked: np.ndarray
    masked: np.ndarray
    randomised: np.ndarray
    corrected: np.ndarray
    randomised_from: int
    resolution_angst: float
    resolution_half_angst: float


def corrected_fsc(
    half1: np.ndarray,
    half2: np.ndarray,
    pixel_size_angst: float,
    mask: np.ndarray | None = None,
    *,
    seed: int = 1,
) -> FscCurves:
    """Correlation of independent half maps, with what a mask adds to it taken out.

    Phases are randomised from the shell on where the unmasked correlation falls below 0.8. From two
    shells beyond, corrected = (masked - randomised) / (1 - randomised); where the mask alone makes
    more than is there, 0.

    Raises
    ------
    BadInputError : maps or mask are not equal cubes of even side.
    """
    n = check_maps(half1, half2, *([] if mask is None else [mask]))
    where = shells(n)
    spectra = [transform(half1), transform(half2)]
    unmasked = correlation_of(where, *spectra)
    start = _first_low(unmasked)
    masked = randomised = corrected = unmasked
    if mask is not None:
        rng = np.random.default_rng(seed)
        masked = correlation_of(where, transform(half1 * mask), transform(half2 * mask))
        noise = [transform(phase_randomised(s, where, start, rng) * mask) for s in spectra]
        randomised = correlation_of(where, *noise)
        corrected = without_mask_effect(masked, randomised, start)
    return FscCurves(
        pixel_size_angst=pixel_size_angst,
        unmasked=unmasked,
        masked=masked,
        randomised=randomised,
        corrected=corrected,
        randomised_from=start,
        resolution_angst=resolution_angst(corrected, pixel_size_angst),
        resolution_half_angst=resolution_angst(corrected, pixel_size_angst, 0.5),
    )


def without_mask_effect(masked: np.ndarray, randomised: np.ndarray, first_shell: int) -> np.ndarray:
    """Correlation curves (..., shells) of masked maps, corrected by those of maps with phases
    randomised from `first_shell` on."""
    true = np.where(randomised > masked, 0.0, (masked - randomised) / (1.0 - randomised + 1e-12))
    shell = np.arange(masked.shape[-1])
    return np.where(shell < first_shell + _MARGIN_SHELLS, masked, true)


def fsc_blocks(curves: FscCurves) -> dict[str, dict | pd.DataFrame]:
    """The blocks `general` (`rlnFinalResolution`, `rlnRandomiseFrom`, in angstrom; 999 where there
    is no resolution) and `fsc` of a STAR file."""
    side_angst = 2 * (len(curves.unmasked) - 1) * curves.pixel_size_angst
    general = {
        "rlnFinalResolution": min(curves.resolution_angst, _NONE_ANGST),
        "rlnRandomiseFrom": side_angst / curves.randomised_from,
    }
    return {"general": general, "fsc": fsc_table(curves)}


def fsc_table(curves: FscCurves) -> pd.DataFrame:
    """One row a shell, in the columns of the loop `fsc` of RELION's postprocess.star."""
    shell = np.arange(len(curves.unmasked))
    side_angst = 2 * (len(shell) - 1) * curves.pixel_size_angst
    return pd.DataFrame(
        {
            "rlnSpectralIndex": shell,
            "rlnResolution": shell / side_angst,
            "rlnAngstromResolution": np.where(
                shell > 0, side_angst / np.maximum(shell, 1), _NONE_ANGST
            ),
            "rlnFourierShellCorrelationCorrected": curves.corrected,
            "rlnFourierShellCorrelationUnmaskedMaps": curves.unmasked,
            "rlnFourierShellCorrelationMaskedMaps": curves.masked,
            "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": curves.randomised,
        }
    )
