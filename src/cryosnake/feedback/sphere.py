"""Could a set of class averages be views, from everywhere, of something of positive density?"""

import numpy as np
from scipy import ndimage
from scipy.optimize import nnls

_POINTS = 90
_SUBSAMPLES = np.linspace(-0.4, 0.4, 5)


def radial_profile(image: np.ndarray, centre_px: tuple[float, float], radius_px: int) -> np.ndarray:
    """(radius + 1,) mean of the image on circles about a centre, at 0, 1, 2, ... pixels."""
    angle = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    radius = np.arange(radius_px + 1)[:, None]
    places = [centre_px[0] + radius * np.sin(angle), centre_px[1] + radius * np.cos(angle)]
    return ndimage.map_coordinates(np.asarray(image, float), places, order=1).mean(1)


def shell_projections(number: int) -> np.ndarray:
    """(R, R) projections, at radii 0 to R - 1, of spherical shells of thickness one and unit
    density: the Abel transform, whose chord through a sphere of radius b at a distance y from the
    centre is 2 sqrt(b^2 - y^2)."""
    radius = np.abs(np.arange(number)[:, None] + _SUBSAMPLES)[:, None, :]
    outer = np.arange(number)[None, :, None] + 0.5
    inner = np.maximum(outer - 1.0, 0.0)
    chords = np.sqrt(np.clip(outer**2 - radius**2, 0, None))
    chords -= np.sqrt(np.clip(inner**2 - radius**2, 0, None))
    return 2 * chords.mean(-1)


def misfit(profile: np.ndarray) -> float:
    """What of a mean radial profile no density of spherical shells can explain, 0 to 1.

    The mean of the views of any object from all directions is the projection of the object's
    rotational average. As density is not negative, neither is the inverse Abel transform of that
    mean: the profile must be a sum of shells with positive weights (Lawson and Hanson 1974,
    non-negative least squares). A ring around an empty centre, as a barrel shows from the top, is
    none: shells that make the ring also fill the centre.

    Returns
    -------
    Root of the unexplained over the whole power of the profile, each radius weighted by its
    circumference.
    """
    weight = np.sqrt(np.arange(len(profile)) + 0.25)
    target = weight * profile
    power = float(np.linalg.norm(target))
    if not power > 0:
        return 0.0
    return float(nnls(weight[:, None] * shell_projections(len(profile)), target)[1] / power)
