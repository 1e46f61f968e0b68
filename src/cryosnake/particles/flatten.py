"""Micrographs whose power falls by orders of magnitude from ring to ring, made flat again.

A denoised image is a strongly low-passed one. What is left beside the particle then is as smooth as
the particle itself: cut by a mask, it leaves an edge that is stronger, at all fine rings, than what
the particle has there, and particles are aligned by their neighbours' edges. Divided by its own
amplitude spectrum, the whole micrograph has noise that is white, as everything after expects it.
"""

import numpy as np
from scipy import fft, ndimage

#: Power relative to that of the coarse rings below which nothing is raised: rounding, compression.
_LEAST = 3e-4
#: Rings finer and coarser than these, in angstrom, are the coarse ones.
_COARSE_ANGST = (100.0, 300.0)
#: Coarser than this an image holds ice and illumination.
_COARSEST_ANGST = 600.0
#: Width of a ring, and of a place of the spectrum that may stand out, as the fields in angstrom of
#: which they are the frequency.
_RING_ANGST, _LOCAL_ANGST = 7000.0, 300.0


def flattened(image: np.ndarray, pixel_size_angst: float) -> np.ndarray:
    """An image divided by the rotational mean of its amplitude spectrum.

    Places of the spectrum that stand out of their ring, as the lattice of a compressed image does,
    are divided by their own.

    Parameters
    ----------
    image : (H, W) float32, finite.

    Returns
    -------
    (H, W) float32, mean 0, standard deviation 1.
    """
    height, width = image.shape
    spectrum = fft.rfft2(image - image.mean(dtype=np.float64), workers=1)
    frequency = np.hypot(
        np.fft.fftfreq(height, pixel_size_angst)[:, None],
        np.fft.rfftfreq(width, pixel_size_angst),
    ).astype(np.float32)
    spectrum[frequency < 1 / _COARSEST_ANGST] = 0.0
    field_angst = min(height, width) * pixel_size_angst
    here = np.abs(spectrum) ** 2
    local = max(2 * int(field_angst / _LOCAL_ANGST / 2) + 1, 3)
    here = ndimage.uniform_filter(here, local, mode=("wrap", "nearest"))
    here = np.maximum(here, np.finfo(np.float32).tiny)
    # the geometric mean of a ring: a few places that stand out do not raise it
    ring = (frequency * min(_RING_ANGST, field_angst)).astype(np.int32)
    number = np.maximum(np.bincount(ring.ravel()), 1)
    power = np.exp(np.bincount(ring.ravel(), np.log(here).ravel()) / number)
    middle = (np.arange(len(power)) + 0.5) / min(_RING_ANGST, field_angst)
    coarse = (middle < 1 / _COARSE_ANGST[0]) & (middle > 1 / _COARSE_ANGST[1])
    least = _LEAST * power[coarse].mean()
    of_ring = power.astype(np.float32)[ring]
    spectrum *= np.sqrt(of_ring / (of_ring + least) / np.maximum(here, of_ring))
    flat = fft.irfft2(spectrum, s=image.shape, workers=1).astype(np.float32)
    return flat / flat.std()
