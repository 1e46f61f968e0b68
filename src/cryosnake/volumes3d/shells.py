"""Shells of Fourier space: means and correlations over them."""

import numpy as np
import torch


class Shells:
    """Shells of a cube of side n, one cycle per cube wide; S = n // 2 of them.

    Parameters
    ----------
    side_px : n.
    """

    def __init__(self, side_px: int, device: torch.device | str = "cpu"):
        self.side_px, self.number = side_px, side_px // 2
        full = torch.fft.fftfreq(side_px, 1.0 / side_px, device=device)
        half = torch.fft.rfftfreq(side_px, 1.0 / side_px, device=device)
        radius = torch.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
        self._shell = radius.round().long().clamp_max(self.number).flatten()
        # the plane kx = 0 holds its own mirror image
        weight = torch.where(half == 0, 0.5, 1.0).expand_as(radius)
        self._weight = weight.flatten().contiguous()

    def frequency_per_px(self) -> np.ndarray:
        """(S,)."""
        return np.arange(self.number) / self.side_px

    def counts(self) -> torch.Tensor:
        """(S,) independent complex coefficients."""
        return self.sums(torch.ones_like(self._weight))

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """(S,) sums of the half cube (n, n, n // 2 + 1) over the shells."""
        out = values.new_zeros(self.number + 1)
        return out.index_add_(0, self._shell, values.flatten() * self._weight)[: self.number]

    def correlation(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        """(S,) Fourier shell correlation of two cubes (Harauz and van Heel 1986, Optik 73)."""
        first, second = torch.fft.rfftn(one), torch.fft.rfftn(two)
        cross = self.sums((first * second.conj()).real)
        powers = self.sums(first.abs().square()) * self.sums(second.abs().square())
        return cross / torch.sqrt(powers).clamp_min(1e-30)

    def at(self, curve: torch.Tensor, radii_per_px: torch.Tensor) -> torch.Tensor:
        """A curve (S,) at radii, linear between shells."""
        place = (radii_per_px * self.side_px).clamp(0.0, self.number - 1.0)
        low = place.long().clamp_max(self.number - 2)
        part = place - low
        return curve[low] * (1.0 - part) + curve[low + 1] * part

    def table_mean(self, values: torch.Tensor, radii_per_px: torch.Tensor) -> torch.Tensor:
        """Each value of a table replaced by the mean of its shell."""
        shell = (radii_per_px * self.side_px).round().long()
        number = int(shell.max()) + 1
        total = values.new_zeros(number).index_add_(0, shell.flatten(), values.flatten())
        count = torch.bincount(shell.flatten(), minlength=number)
        return (total / count.clamp_min(1))[shell]
