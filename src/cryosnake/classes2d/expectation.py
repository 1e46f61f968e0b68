"""The expectation over particles: their poses, and the sums that new averages come from."""

import numpy as np
import torch

from cryosnake.alignment.likelihood import (
    Images,
    energies,
    log_likelihoods,
    recentred,
    shift_ramp,
    shifted_orders,
)
from cryosnake.alignment.pairs import score_pairs
from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.posterior import candidates, posterior, weighted_sums
from cryosnake.alignment.update import Sums, add_chunk
from cryosnake.alignment.workspace import Workspace, images_at_once
from cryosnake.classes2d.levels import Level, Priors, Survivors
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.result import ParticlePoses
from cryosnake.classes2d.stack import PreparedStack

CONTRAST_SIGMA = 0.3
CONTRAST_LIMITS = (0.4, 2.0)
_PAIR_MARGIN = 6.0
_PAIRS_PER_IMAGE = 3
_CPU_TOGETHER, _GPU_TOGETHER = 512, 8192  # images whose fine pairs are sorted together
_CPU_PAIR_FLOATS = 6_000_000  # what a chunk of pairs holds


class Expectation:
    """Scores particles of a prepared stack; keeps what belongs to each: contrast and pose.

    Parameters
    ----------
    half : (N,) 0 or 1, the half set of each particle.
    empty_class : index that particles get which are most probably empty.
    """

    def __init__(
        self,
        stack: PreparedStack,
        optics: Optics,
        half: np.ndarray,
        *,
        empty_class: int,
        device: torch.device,
        budget_mb: float,
    ):
        self.stack, self.optics, self.half = stack, optics, half
        self.empty_class = empty_class
        self.device, self.budget_mb = device, budget_mb
        self.workspace = Workspace(device)
        self.poses = ParticlePoses.empty(len(stack))
        self.pixel = stack.window.pixel_size_angst
        on_cpu = self.device.type == "cpu"
        self.together = _CPU_TOGETHER if on_cpu else _GPU_TOGETHER
        self.pair_floats = _CPU_PAIR_FLOATS if on_cpu else int(budget_mb * 2**20 / 32)

    def load(self, chosen: np.ndarray, transform: PolarTransform) -> tuple[Images, torch.Tensor]:
        """Particles on rings times CTF, and the power of their rings (R, B) without it."""
        parts = self.stack.parts[torch.from_numpy(chosen)].to(self.device).float()
        real, imaginary = transform.rings_of(parts)
        power = (real.square() + imaginary.square()).mean(0)
        ctf = self.optics.on_rings(chosen, transform, self.pixel)
        contrast = torch.from_numpy(self.poses.contrast[chosen]).to(self.device)
        real *= ctf
        imaginary *= ctf
        return Images(real, imaginary, ctf.square_().mean(0), contrast), power

    def run_near(self, chosen: np.ndarray, level: Level, priors: Priors) -> Sums:
        """Score particles against all references at shifts about the origin that each one has."""
        sums = Sums.empty(level.transform.band, len(level.refs), self.device)
        ramp = shift_ramp(level.transform, level.shifts_px)
        scores = level.transform.band.rotations * len(level.refs) * len(level.shifts_px)
        at_once = images_at_once(scores, self.budget_mb, self.device)
        for half in (0, 1):
            mine = chosen[self.half[chosen] == half]
            for start in range(0, len(mine), at_once):
                part = mine[start : start + at_once]
                origins = np.stack(
                    [self.poses.origin_y_angst[part], self.poses.origin_x_angst[part]], 1
                )
                origins = torch.from_numpy(origins / np.float32(self.pixel)).to(self.device)
                self._dense(part, half, level, ramp, sums, priors, origins)
        return sums

    def run(
        self,
        chosen: np.ndarray,
        coarse: Level,
        fine: Level | None,
        priors: Priors,
    ) -> Sums:
        """Score particles against all references; their sums, in the band of `fine` if given.

        Parameters
        ----------
        fine : None, or where the survivors of the coarse search are refined.
        """
        last = fine or coarse
        sums = Sums.empty(last.transform.band, len(last.refs), self.device)
        scores = coarse.transform.band.rotations * len(coarse.refs) * len(coarse.shifts_px)
        at_once = images_at_once(scores, self.budget_mb, self.device)
        ramp = shift_ramp(coarse.transform, coarse.shifts_px)
        fine_ramp = shift_ramp(fine.transform, fine.shifts_px) if fine else None
        for half in (0, 1):
            mine = chosen[self.half[chosen] == half]
            if fine is None:
                for start in range(0, len(mine), at_once):
                    self._dense(mine[start : start + at_once], half, coarse, ramp, sums, priors)
                continue
            for start in range(0, len(mine), self.together):
                block = mine[start : start + self.together]
                left = [
                    self._search(block[at : at + at_once], coarse, ramp, priors)
                    for at in range(0, len(block), at_once)
                ]
                self._refine(block, half, fine, fine_ramp, sums, Survivors.joined(left), priors)
        return sums

    def _bias(self, images, level: Level, priors, origins=None):
        energy = energies(images, level.refs)  # (K, B)
        by_reference = priors.references[:, None] - 0.5 * energy * images.contrast.square()
        at = level.shifts_px[:, None]  # (T, 1 or B, 2)
        if origins is not None:
            at = at + origins
        return energy, by_reference[:, None, :] + priors.origins(at)

    def _dense(self, chosen, half, level, ramp, sums, priors, origins=None) -> None:
        transform, refs = level.transform, level.refs
        images, power = self.load(chosen, transform)
        if origins is not None:
            images = recentred(transform, images, origins)
        orders = shifted_orders(transform, images, ramp, self.workspace)
        energy, bias = self._bias(images, level, priors, origins)
        scores = log_likelihoods(transform, orders, refs, bias, self.workspace)
        found = posterior(scores, nothing=priors.empty(level))
        products = weighted_sums(transform, found, orders, len(refs), self.workspace)
        add_chunk(sums, half, transform, images, power.sum(1), refs, found.classes, products)
        every = torch.arange(len(chosen), device=self.device)
        found_at = level.shifts_px[found.shift]
        if origins is not None:
            found_at = found_at + origins
        self._keep(
            chosen,
            images,
            reference=found.reference,
            rotation=(found.rotation + found.turn) / transform.band.rotations,
            origins_px=found_at,
            peak=found.peak,
            filled=found.classes.sum(0),
            evidence=found.evidence - priors.volume(level),
            signal=found.best - bias[found.reference, found.shift, every],
            energy=energy[found.reference, every],
        )

    def _search(self, chosen, level, ramp, priors) -> Survivors:
        images, _ = self.load(chosen, level.transform)
        orders = shifted_orders(level.transform, images, ramp, self.workspace)
        _, bias = self._bias(images, level, priors)
        scores = log_likelihoods(level.transform, orders, level.refs, bias, self.workspace)
        image, reference, shift = candidates(scores, margin=_PAIR_MARGIN, most=_PAIRS_PER_IMAGE)
        return Survivors(image, reference, level.shifts_px[shift], reference[: len(chosen)])

    def _refine(self, block, half, level, ramp, sums, left: Survivors, priors) -> None:
        transform, refs = level.transform, level.refs
        band = transform.band
        floats = 2 * band.orders * band.rings * len(level.shifts_px)
        at_once = max(1, self.pair_floats // floats)
        order, left = left.by_reference()
        block = block[order.cpu().numpy()]
        for start in range(0, len(block), at_once):
            chosen = block[start : start + at_once]
            pairs = left.pairs(start, start + len(chosen))
            images, power = self.load(chosen, transform)
            energy = energies(images, refs)
            own = energy[pairs.reference, pairs.image]
            at = pairs.origins_px[:, None] + level.shifts_px
            bias = (
                priors.references[pairs.reference] - 0.5 * own * images.contrast[pairs.image] ** 2
            )[:, None] + priors.origins(at)
            found = score_pairs(
                transform,
                images,
                refs,
                pairs,
                level.shifts_px,
                ramp,
                bias,
                self.workspace,
                nothing=priors.empty(level),
            )
            add_chunk(sums, half, transform, images, power.sum(1), refs, found.weights, found.sums)
            every = torch.arange(len(chosen), device=self.device)
            energy = energy[found.reference, every]
            prior = priors.references[found.reference] + priors.origins(found.origins_px)
            self._keep(
                chosen,
                images,
                reference=found.reference,
                rotation=found.rotation / band.rotations,
                origins_px=found.origins_px,
                peak=found.weights[found.reference, every],
                filled=found.weights.sum(0),
                evidence=found.evidence - priors.volume(level),
                signal=found.best - prior + 0.5 * energy * images.contrast.square(),
                energy=energy,
            )

    def _keep(
        self,
        chosen,
        images,
        *,
        reference,
        rotation,
        origins_px,
        peak,
        filled,
        evidence,
        signal,
        energy,
    ) -> None:
        """Note the poses, and the contrast as the posterior mean given the best pose."""
        trust = 1.0 / CONTRAST_SIGMA**2
        contrast = (signal / images.contrast + trust) / (energy + trust)
        contrast = contrast.clamp(*CONTRAST_LIMITS)
        psi = torch.remainder(rotation * 360.0 + 180.0, 360.0) - 180.0
        usable = self.stack.usable[chosen]
        reference = torch.where(peak < 1.0 - filled, self.empty_class, reference)
        peak = torch.maximum(peak, 1.0 - filled)

        def array(values):
            return values.to(torch.float32).cpu().numpy()

        origins = array(origins_px) * self.pixel
        self.poses.put(
            chosen,
            ParticlePoses(
                class_index=np.where(usable, reference.cpu().numpy(), -1).astype(np.int32),
                psi_deg=array(psi),
                origin_x_angst=origins[:, 1],
                origin_y_angst=origins[:, 0],
                probability=np.where(usable, array(peak), 0.0),
                contrast=array(contrast),
                log_evidence=array(evidence),
            ),
        )
