"""The CTF of micrographs: defocus, astigmatism, fit resolution, tilt and ice rings."""

from cryosnake.ctf_fit.fit import CtfFit, fit_ctf
from cryosnake.ctf_fit.picture import draw_ctf

__all__ = ["CtfFit", "draw_ctf", "fit_ctf"]
