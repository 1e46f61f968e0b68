"""Images on rings of their Fourier transform, and the Fourier series along the rings.

For a real image f with pixels p about its centre, F(k) = sum of f(p) exp(-2 pi i k p). On a ring of
radius r the function F(r, theta) has the series sum over m of a_m(r) exp(i m theta). Since
F(-k) = conj F(k), half the circle and the orders m >= 0 hold everything: a_(-m) = (-1)^m conj a_m.
Even orders come from the real part of F alone, odd orders from the imaginary part.

A rotation multiplies a_m by a phase, so that the scores at all rotations are a short sum over m
(Penczek 1992, Ultramicroscopy 40; Barnett 2017, SIAM J Imaging Sci 10, section 3). The sums along
theta and m are matrix products: at these lengths they beat FFTs on CPUs and GPUs alike.

Rings lie at (j + 1/2) times the spacing, which is the inverse of the length over which the images,
blurred by the CTF, are non-zero; the integral over the plane is the midpoint rule in r.
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Disc:
    """The pixels that an image is made of: those within a radius of the centre pixel n // 2.

    Parameters
    ----------
    side_px : n, the image's side.
    radius_px : pixels at most this far from the centre count; below n / 2.
    """

    side_px: int
    radius_px: float

    def half(self) -> torch.Tensor:
        """(H, 2) int64 offsets (y, x) from the centre, one of each pair p, -p."""
        reach = self.side_px // 2 - 1 + self.side_px % 2
        axis = torch.arange(-reach, reach + 1)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        chosen = ((y > 0) | ((y == 0) & (x > 0))) & (y**2 + x**2 <= self.radius_px**2)
        return torch.stack([y[chosen], x[chosen]], 1)

    def split(self, images: torch.Tensor) -> torch.Tensor:
        """Even and odd parts of (..., n, n) images as (..., 2 H + 1): f(0), the H sums
        f(p) + f(-p), the H differences f(p) - f(-p)."""
        flat = images.flatten(-2)
        centre = self.side_px // 2 * (self.side_px + 1)
        step = self._steps(images.device)
        plus, minus = flat[..., centre + step], flat[..., centre - step]
        return torch.cat([flat[..., centre : centre + 1], plus + minus, plus - minus], -1)

    def join(self, parts: torch.Tensor) -> torch.Tensor:
        """The inverse of `split`: (..., n, n), zero outside the disc."""
        step = self._steps(parts.device)
        number = len(step)
        even, odd = parts[..., 1 : number + 1], parts[..., number + 1 :]
        flat = parts.new_zeros((*parts.shape[:-1], self.side_px**2))
        centre = self.side_px // 2 * (self.side_px + 1)
        flat[..., centre] = parts[..., 0]
        flat[..., centre + step] = 0.5 * (even + odd)
        flat[..., centre - step] = 0.5 * (even - odd)
        return flat.unflatten(-1, (self.side_px, self.side_px))

    def _steps(self, device) -> torch.Tensor:
        half = self.half()
        return (half[:, 0] * self.side_px + half[:, 1]).to(device)


@dataclass(frozen=True)
class Band:
    """How finely the transform is sampled: everything up to ring `rings`.

    Parameters
    ----------
    spacing_per_px : distance of rings in cycles per pixel; ring j has radius (j + 1/2) spacing.
    rings : number of rings R.
    first : rings below this one are not scored (the mean and the slowest gradients).
    orders : number of angular orders O, m = 0 .. O - 1.
    rotations : number of in-plane rotations that are scored, even.
    angles : samples of the full circle, a multiple of 4.
    """

    spacing_per_px: float
    rings: int
    first: int
    orders: int
    rotations: int
    angles: int

    @property
    def half(self) -> int:
        """Samples of half a circle, H."""
        return self.angles // 2

    def radii_per_px(self) -> torch.Tensor:
        """(R,) in cycles per pixel."""
        return (torch.arange(self.rings) + 0.5) * self.spacing_per_px

    def areas(self) -> torch.Tensor:
        """(R,) area of the rings, 2 pi r dr, in (cycles per pixel)^2."""
        return 2.0 * math.pi * self.radii_per_px() * self.spacing_per_px

    def theta(self) -> torch.Tensor:
        """(H,) angles in radians from the x-axis towards the y-axis."""
        return torch.arange(self.half) * (2.0 * math.pi / self.angles)

    def psi_deg(self) -> torch.Tensor:
        """(M,) the rotations that are scored, in degrees."""
        return torch.arange(self.rotations) * (360.0 / self.rotations)

    def order_list(self) -> torch.Tensor:
        """(O,) the orders as they are stored: all even ones, then all odd ones."""
        m = torch.arange(self.orders)
        return torch.cat([m[::2], m[1::2]])


def band_up_to(
    limit_per_px: float,
    spacing_per_px: float,
    radius_px: float,
    *,
    first: int = 1,
    finer: float = 1.0,
    shift_px: float = 0.0,
) -> Band:
    """A band to `limit_per_px` for images that are zero beyond `radius_px`.

    An image of that radius has no angular orders above 2 pi r radius, but for an exponential tail.
    `finer` multiplies the number of rotations beyond two an order; shifted images need more angles.
    """
    rings = max(first + 2, round(limit_per_px / spacing_per_px))
    edge = rings * spacing_per_px
    orders = math.ceil(2.0 * math.pi * edge * radius_px) + 4
    beyond = math.ceil(2.0 * math.pi * edge * shift_px)
    return Band(
        spacing_per_px=spacing_per_px,
        rings=rings,
        first=first,
        orders=orders,
        rotations=4 * math.ceil(2 * orders * finer / 4),
        angles=4 * math.ceil((2 * orders + beyond) / 4),
    )


class PolarTransform:
    """The linear maps between pixels, rings and angular orders, as matrices on a device.

    Layouts have the images last, so that every map is one product from the left: rings (H, R, B),
    orders (O, 2, R, B) with the real and imaginary parts in the second place and the orders as in
    `Band.order_list`.
    """

    def __init__(self, disc: Disc, band: Band, device: torch.device | str = "cpu"):
        self.disc, self.band, self.device = disc, band, torch.device(device)
        theta, radii = band.theta().double(), band.radii_per_px().double()
        ky = (torch.sin(theta)[:, None] * radii).flatten()  # (H R)
        kx = (torch.cos(theta)[:, None] * radii).flatten()
        pixels = disc.half().double()
        phase = 2.0 * math.pi * (ky[:, None] * pixels[:, 0] + kx[:, None] * pixels[:, 1])
        ones = torch.ones((len(phase), 1), dtype=phase.dtype)
        self.cosines = self._here(torch.cat([ones, torch.cos(phase)], 1))  # (H R, 1 + P)
        self.sines = self._here(-torch.sin(phase))  # (H R, P)
        self.k_yx = self._here(torch.stack([ky, kx]).view(2, band.half, band.rings))
        self.orders = band.order_list()
        self.even = int((self.orders % 2 == 0).sum())
        turn = self.orders.double()[:, None] * theta  # (O, H)
        cos, sin = torch.cos(turn), torch.sin(turn)
        even = torch.stack([cos, -sin], 1)[: self.even].flatten(0, 1)
        odd = torch.stack([sin, cos], 1)[self.even :].flatten(0, 1)
        self.analyse_even = self._here(even * (2.0 / band.angles))  # (2 O_even, H)
        self.analyse_odd = self._here(odd * (2.0 / band.angles))
        self.order_weight = self._here(torch.where(self.orders == 0, 1.0, 2.0))  # (O,)
        half_turn = torch.arange(band.rotations // 2).double() * (2 * math.pi / band.rotations)
        turn = half_turn[:, None] * self.orders.double()  # (M / 2, O)
        adjoint = torch.stack([torch.cos(turn), -torch.sin(turn)], 2)  # (M / 2, O, 2)
        weighted = adjoint * self.order_weight.cpu().double()[:, None]
        self.scores_even = self._here(weighted[:, : self.even].flatten(1))  # (M / 2, 2 O_even)
        self.scores_odd = self._here(weighted[:, self.even :].flatten(1))
        full = torch.cat([adjoint, adjoint * (1 - 2 * (self.orders % 2))[:, None]], 0)
        self.turn_back = self._here(full.flatten(1).T)  # (2 O, M)

    def _here(self, matrix: torch.Tensor) -> torch.Tensor:
        return matrix.to(torch.float32).contiguous().to(self.device)

    def rings_of(self, parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Real and imaginary parts (H, R, B) of split images (B, 2 P + 1)."""
        number = self.sines.shape[1]
        shape = (self.band.half, self.band.rings, len(parts))
        real = (self.cosines @ parts[:, : number + 1].T).view(shape)
        imaginary = (self.sines @ parts[:, number + 1 :].T).view(shape)
        return real, imaginary

    def orders_of(
        self, real: torch.Tensor, imaginary: torch.Tensor, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(O, 2, R, ...) angular orders of rings (H, R, ...)."""
        if out is None:
            out = real.new_empty((self.band.orders, 2, *real.shape[1:]))
        flat = out.view(2 * self.band.orders, -1)
        torch.mm(self.analyse_even, real.reshape(self.band.half, -1), out=flat[: 2 * self.even])
        torch.mm(self.analyse_odd, imaginary.reshape(self.band.half, -1), out=flat[2 * self.even :])
        return out

    def rings_from(self, orders: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Real and imaginary parts (H, R, B) of angular orders (O, 2, R, B), the inverse of
        `orders_of`."""
        weighted = orders * self.order_weight[:, None, None, None]
        flat = weighted.reshape(2 * self.band.orders, -1)
        scale = 0.5 * self.band.angles
        shape = (self.band.half, *orders.shape[2:])
        real = (self.analyse_even.T * scale) @ flat[: 2 * self.even]
        imaginary = (self.analyse_odd.T * scale) @ flat[2 * self.even :]
        return real.view(shape), imaginary.view(shape)

    def parts_of(self, orders: torch.Tensor) -> torch.Tensor:
        """Split images (B, 2 P + 1) with the angular orders (O, 2, R, B): the inverse transform
        over the band. For images that vanish outside the disc it inverts the way there."""
        real, imaginary = self.rings_from(orders)
        area = (2.0 / self.band.angles) * self.band.areas().to(self.device)[:, None]
        real, imaginary = (real * area).flatten(0, 1), (imaginary * area).flatten(0, 1)
        even = real.T @ self.cosines  # (B, 1 + P)
        even[:, 1:] *= 2.0
        return torch.cat([even, 2.0 * (imaginary.T @ self.sines)], 1)
