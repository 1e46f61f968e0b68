"""Sums over images, the references they give, and the spectra of noise and signal.

The sums of two independent halves of the images are kept apart. Their difference measures the noise
of a reference ring by ring, their agreement its signal: the ratio is the step that the data allow
at each frequency, as in the diagonal metric of VDAM, whose second moment is that difference
(Kimanius 2021, Biochem J 478), and the prior of Scheres 2012 (J Struct Biol 180) with tau2 from
half sets. Older sums fade, so that a sequence of mini-batches is a stochastic gradient ascent in
that metric (online EM: Cappe and Moulines 2009, J R Stat Soc B 71).
"""

from dataclasses import dataclass, fields

import torch

from cryosnake.alignment.likelihood import Images, References
from cryosnake.alignment.polar import Band, PolarTransform

_LEAST = 0.05  # of a particle: what fewer have seen is nothing


@dataclass
class Sums:
    """What has been seen so far of K references in a band.

    Parameters
    ----------
    images : (2, O, 2, R, K) weighted sums of alpha c x, by half.
    weights : (2, R, K) weighted sums of alpha^2 c^2.
    counts : (2, K) posterior weight.
    residual : (R,) power of the images less their references; seen : images in it.
    """

    images: torch.Tensor
    weights: torch.Tensor
    counts: torch.Tensor
    residual: torch.Tensor
    seen: torch.Tensor

    @classmethod
    def empty(cls, band: Band, number: int, device) -> "Sums":
        """Zeros for `number` references."""
        return cls(
            torch.zeros((2, band.orders, 2, band.rings, number), device=device),
            torch.zeros((2, band.rings, number), device=device),
            torch.zeros((2, number), device=device),
            torch.zeros(band.rings, device=device),
            torch.zeros((), device=device),
        )

    def to(self, device, dtype: torch.dtype = torch.float32, *, copy: bool = False) -> "Sums":
        """The same sums on a device, in a precision."""
        return Sums(*(getattr(self, one.name).to(device, dtype, copy=copy) for one in fields(self)))

    def fade(self, keep: float) -> None:
        """Multiply all sums by `keep`."""
        for one in fields(self):
            getattr(self, one.name).mul_(keep)

    def add(self, other: "Sums") -> None:
        """Add the sums of other images in the same band."""
        for one in fields(self):
            getattr(self, one.name).add_(getattr(other, one.name))

    def in_band(self, old: Band, new: Band) -> "Sums":
        """The same sums where a finer or coarser band keeps them; new rings and orders are 0."""
        number = self.counts.shape[1]
        out = Sums.empty(new, number, self.images.device)
        rings, orders = min(old.rings, new.rings), min(old.orders, new.orders)
        have, want = old.order_list(), new.order_list()
        source = torch.argsort(have)[:orders].to(self.images.device)
        target = torch.argsort(want)[:orders].to(self.images.device)
        out.images[:, target, :, :rings] = self.images[:, source, :, :rings]
        out.weights[:, :rings] = self.weights[:, :rings]
        out.residual[:rings] = self.residual[:rings]
        out.counts, out.seen = self.counts.clone(), self.seen.clone()
        return out


def add_chunk(
    sums: Sums,
    half: int,
    transform: PolarTransform,
    images: Images,
    power: torch.Tensor,
    refs: References,
    shares: torch.Tensor,
    products: torch.Tensor,
) -> None:
    """Add a chunk of images of one half.

    Parameters
    ----------
    power : (R,) summed over the images: mean of |x|^2 on the rings.
    shares : (K, B) posterior probabilities of the references.
    products : (O, 2, K, R) of `weighted_sums`.
    """
    update = products.transpose(2, 3)  # (O, 2, R, K)
    sums.images[half] += update
    weight = (images.squared * images.contrast.square()) @ shares.T  # (R, K)
    sums.weights[half] += weight
    sums.counts[half] += shares.sum(1)
    cross = (update * refs.orders).sum(1) * transform.order_weight[:, None, None]
    own = refs.orders.square().sum(1) * transform.order_weight[:, None, None]
    model = own.sum(0) * weight - 2.0 * cross.sum(0)  # (R, K)
    sums.residual += power + model.sum(1)
    sums.seen += len(images)


@dataclass(frozen=True)
class Update:
    """New references.

    Parameters
    ----------
    orders : (O, 2, R, K) of the regularised references.
    snr : (R, K) signal over noise of their power.
    frc : (R, K) correlation of the halves, as measured.
    """

    orders: torch.Tensor
    snr: torch.Tensor
    frc: torch.Tensor


def update(transform: PolarTransform, sums: Sums, *, trust: float = 1.0, smooth: int = 1) -> Update:
    """References from the sums of both halves.

    Parameters
    ----------
    trust : factor on the measured signal-to-noise ratio (RELION's tau2_fudge).
    smooth : rings to either side over which the spectra are averaged.
    """
    weight = transform.order_weight[:, None, None]
    first, second = (
        sums.images[half] / sums.weights[half].clamp_min(_LEAST)[None, None] for half in (0, 1)
    )
    cross = ((first * second).sum(1) * weight).sum(0)  # (R, K)
    powers = [((one.square()).sum(1) * weight).sum(0) for one in (first, second)]
    radii = transform.band.radii_per_px().to(cross.device)[:, None]
    cross, one, two = (_smoothed(part * radii, smooth) / radii for part in (cross, *powers))
    frc = cross / torch.sqrt(one * two).clamp_min(1e-30)
    total = sums.weights.sum(0)
    both = 1.0 / sums.weights.clamp_min(_LEAST)
    noisy = (one + two - 2.0 * cross).clamp_min(0.0)  # noise of the difference
    unit = (noisy * total).sum(1) / ((both[0] + both[1]) * total).sum(1).clamp_min(_LEAST)
    noise = unit[:, None] / total.clamp_min(_LEAST)  # of the mean of all images
    snr = trust * (cross.clamp_min(0.0) / noise.clamp_min(1e-30)).clamp(0.0, 1e4)
    snr = torch.where(sums.weights.amin(0) > _LEAST, snr, 0.0)
    mean = sums.images.sum(0) / total.clamp_min(_LEAST)
    return Update(mean * (snr / (1.0 + snr)), snr, frc)


def _smoothed(spectra: torch.Tensor, width: int) -> torch.Tensor:
    """Running mean over rings (R, K), shorter at the ends."""
    if width == 0:
        return spectra
    total = torch.zeros_like(spectra)
    count = torch.zeros(len(spectra), 1, device=spectra.device)
    for step in range(-width, width + 1):
        low, high = max(0, step), min(len(spectra), len(spectra) + step)
        total[low:high] += spectra[low - step : high - step]
        count[low:high] += 1
    return total / count


def noise_power(sums: Sums, mask_px: float, *, smooth: int = 1) -> torch.Tensor:
    """(R,) power of the noise per pixel, from what references leave of the images.

    Parameters
    ----------
    mask_px : sum of the squared mask, in pixels: noise of unit variance under it has this power.
    """
    power = _smoothed((sums.residual / sums.seen.clamp_min(1.0))[:, None], smooth)[:, 0]
    return (power / mask_px).clamp_min(1e-12)
