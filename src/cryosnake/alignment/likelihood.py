"""The likelihood of images under references, at all rotations and shifts.

With images x (masked, in units of the background noise), transfer functions c, contrast alpha and
references v, and noise of power s2 per pixel, up to terms that no pose changes,

    log P(n, k, t, psi) = integral over the plane of
        [ alpha Re(conj(x exp(-2 pi i k o_t)) c v_psi) - alpha^2 c^2 |v|^2 / 2 ] / s2

(Scheres 2012, J Struct Biol 180, equation 3, on rings). The image with origin o shows the particle
at minus o from its centre, RELION's sign, and F_image(theta) = F_reference(theta + psi), which is
RELION's psi. The CTF multiplies the image where it is sampled, astigmatism and all; only c^2 in the
second term is its mean over the ring.
"""

from dataclasses import dataclass

import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.workspace import Workspace


@dataclass(frozen=True)
class References:
    """References ready to be scored in one band.

    Parameters
    ----------
    orders : (O, 2, R, K) angular orders of the references.
    products : (O, 2 K, 2 R) such that products[m] @ image orders (2 R) are the real parts (K rows)
        and imaginary parts (K rows) of sum over r of w(r) conj(a_m(r)) v_m(r).
    energies : (K, R) w(r) times the mean of |v|^2 over ring r.
    """

    orders: torch.Tensor
    products: torch.Tensor
    energies: torch.Tensor

    def __len__(self) -> int:
        return self.orders.shape[-1]

    def only(self, chosen: torch.Tensor | slice) -> "References":
        """Some of them."""
        number = len(self)
        products = self.products.view(-1, 2, number, self.products.shape[-1])[:, :, chosen]
        return References(
            self.orders[..., chosen], products.flatten(1, 2).contiguous(), self.energies[chosen]
        )


def references(
    transform: PolarTransform, orders: torch.Tensor, noise_power: torch.Tensor
) -> References:
    """Prepare references for scoring.

    Parameters
    ----------
    orders : (O, 2, R, K).
    noise_power : (R,) power of the noise per pixel, s2; the rings below `band.first` are left out.
    """
    band = transform.band
    weight = band.areas().to(orders.device) / noise_power
    weight = weight * (torch.arange(band.rings, device=orders.device) >= band.first)
    weighted = orders * weight[:, None]
    real, imaginary = weighted[:, 0].transpose(1, 2), weighted[:, 1].transpose(1, 2)  # (O, K, R)
    products = torch.cat(
        [torch.cat([real, imaginary], 2), torch.cat([imaginary, -real], 2)], 1
    ).contiguous()
    power = (orders.square().sum(1) * transform.order_weight[:, None, None]).sum(0)  # (R, K)
    return References(orders, products, (power * weight[:, None]).T.contiguous())


@dataclass(frozen=True)
class Images:
    """A chunk of images on rings, the CTF multiplied on.

    Parameters
    ----------
    real, imaginary : (H, R, B) of x c.
    squared : (R, B) mean of c^2 over the rings.
    contrast : (B,) alpha.
    """

    real: torch.Tensor
    imaginary: torch.Tensor
    squared: torch.Tensor
    contrast: torch.Tensor

    def __len__(self) -> int:
        return len(self.contrast)


def shift_ramp(
    transform: PolarTransform, origins_px: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin (H, R, T) of -2 pi k o: multiplied by exp(i phase), an image whose particle is at
    minus the origin has it at its centre.

    Parameters
    ----------
    origins_px : (T, 2) as (y, x).
    """
    phase = torch.einsum("chr,tc->hrt", transform.k_yx, origins_px) * (-2.0 * torch.pi)
    return torch.cos(phase), torch.sin(phase)


def recentred(transform: PolarTransform, images: Images, origins_px: torch.Tensor) -> Images:
    """The images with each one's origin (B, 2) taken out."""
    cos, sin = shift_ramp(transform, origins_px)
    real = images.real * cos - images.imaginary * sin
    imaginary = images.imaginary * cos + images.real * sin
    return Images(real, imaginary, images.squared, images.contrast)


def shifted_orders(
    transform: PolarTransform,
    images: Images,
    ramp: tuple[torch.Tensor, torch.Tensor],
    workspace: Workspace,
) -> torch.Tensor:
    """(O, 2, R, T, B) orders of all images, each with its contrast, at all T shifts; in the
    workspace's buffer `orders`."""
    band, number = transform.band, len(images)
    cos, sin = (part[..., None] for part in ramp)
    count = cos.shape[2]
    shape = (band.half, band.rings, count, number)
    real = (images.real * images.contrast)[:, :, None]
    imaginary = (images.imaginary * images.contrast)[:, :, None]
    out = workspace.get("orders", band.orders, 2, band.rings, count, number)
    flat = out.view(2 * band.orders, -1)
    moved = workspace.get("moved", *shape)
    torch.mul(real, cos, out=moved)
    moved.addcmul_(imaginary, sin, value=-1.0)
    even = 2 * transform.even
    torch.mm(transform.analyse_even, moved.view(band.half, -1), out=flat[:even])
    torch.mul(imaginary, cos, out=moved)
    moved.addcmul_(real, sin)
    torch.mm(transform.analyse_odd, moved.view(band.half, -1), out=flat[even:])
    return out


def log_likelihoods(
    transform: PolarTransform,
    orders: torch.Tensor,
    refs: References,
    bias: torch.Tensor,
    workspace: Workspace,
) -> torch.Tensor:
    """(M, K, T, B) log-likelihood at all rotations, plus `bias`; in the buffer `scores`.

    Parameters
    ----------
    orders : (O, 2, R, T, B) of `shifted_orders`.
    bias : (K, T, B) what does not depend on the rotation.
    """
    band, number = transform.band, len(refs)
    count, images = orders.shape[-2:]
    columns = number * count * images
    products = workspace.get("products", band.orders, 2 * number, count * images)
    torch.bmm(refs.products, orders.view(band.orders, 2 * band.rings, -1), out=products)
    flat = products.view(2 * band.orders, columns)
    flat[0] += bias.reshape(-1)  # the zeroth order is the mean over the circle
    half = band.rotations // 2
    scores = workspace.get("scores", band.rotations, columns)
    odd = workspace.get("odd", half, columns)
    even = 2 * transform.even
    torch.mm(transform.scores_even, flat[:even], out=scores[:half])
    torch.mm(transform.scores_odd, flat[even:], out=odd)
    torch.sub(scores[:half], odd, out=scores[half:])
    scores[:half] += odd
    return scores.view(band.rotations, number, count, images)


def energies(images: Images, refs: References) -> torch.Tensor:
    """(K, B) integral of c^2 |v|^2 / s2, without the contrast."""
    return refs.energies @ images.squared
