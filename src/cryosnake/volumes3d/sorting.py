"""Volumes that compete for particles, from pass to pass."""

import itertools
import math

import numpy as np
import torch

from cryosnake.volumes3d.learning import Learnt, together
from cryosnake.volumes3d.model import Model, VolumeSums
from cryosnake.volumes3d.passes import Passes
from cryosnake.volumes3d.search import EXCLUDED
from cryosnake.volumes3d.splitting import by_contrast, twins

_EMPTY_LIMITS = (0.01, 0.7)
_FIRST_EMPTY = 0.1
_LEAST_SHARE = 1e-4
_LOST = 0.02  # of the particles: a volume with fewer is made anew
_LEAST_TO_SPLIT = 60  # particles


class Sorting:
    """K volumes that particles are sorted among.

    Attributes
    ----------
    share : (K,) of the posterior weight of all particles but outliers; empty : that of showing
        nothing. They add up to 1 once both have been estimated.
    sums : of the last pass.
    """

    def __init__(self, passes: Passes, model: Model):
        self.passes, self.model = passes, model
        self.share = torch.full((len(model),), 1.0 / len(model), device=model.volumes.device)
        self.empty = _FIRST_EMPTY
        self.sums: VolumeSums = passes.empty_sums()
        self._dropped: set[int] = set()
        self._split: list[tuple[int, int]] = []

    def once(self, chosen, band_angst: float, *, nothing: bool, local: bool) -> Learnt:
        """One pass, and the volumes and shares after it."""
        learnt = self._learn([(chosen, self._dropped)], band_angst, nothing=nothing, local=local)
        self.share = self.sums.counts.sum(0) / self.sums.seen[0]
        if nothing:
            low, high = _EMPTY_LIMITS
            self.empty = min(max(1.0 - float(self.share.sum()), low), high)
        return learnt

    def to_split(self) -> tuple[int, int] | None:
        """The most populous volume, and one that has lost its particles and was not split off
        before; None if there is none, or too few particles to share."""
        largest, done = int(self.share.argmax()), {new for _, new in self._split}
        lost = [k for k, value in enumerate(self.share.tolist()) if value < _LOST and k not in done]
        poses = self.passes.particles.poses
        enough = np.count_nonzero(poses.class_index == largest) >= _LEAST_TO_SPLIT
        return (largest, lost[0]) if lost and enough else None

    def split(
        self, source: int, new: int, most: int, band_angst: float
    ) -> tuple[np.ndarray, Learnt]:
        """A pass that makes a volume anew from those particles of another that it fits worse."""
        volumes = self.model.volumes.clone()
        volumes[new] = volumes[source]
        self.model.volumes = volumes
        groups = by_contrast(self.passes.particles, source, most, self.passes.rng)
        every = set(range(len(self.model)))
        shut = [(groups[0], every - {source}), (groups[1], every - {new})]
        learnt = self._learn(shut, band_angst, nothing=True, local=False)
        self.share[source] *= 0.5
        self.share[new] = self.share[source]
        self._split.append((source, new))
        return np.concatenate(groups), learnt

    def drop_twins(self) -> None:
        """Give up volumes that were split off and came to show the same as their source."""
        for source, new in self._split:
            if twins(self.model, self.sums, source, new):
                self.share[source] += self.share[new]
                self.share[new] = 0.0
                self._dropped.add(new)

    def _learn(self, groups, band_angst: float, *, nothing: bool, local: bool) -> Learnt:
        """Search groups of particles, each with a set of volumes that are shut to it."""
        passes, model = self.passes, self.model
        self.sums = passes.empty_sums()
        for (chosen, shut), half in itertools.product(groups, (0, 1)):
            known = self._known(shut, nothing)
            mine = passes.particles.half(half, chosen)
            if local:
                passes.local(mine, half, model, band_angst, self.sums, **known)
            elif band_angst >= passes.coarse_angst:
                passes.everywhere(mine, half, model, self.sums, **known)
            else:
                passes.finer(mine, half, model, band_angst, self.sums, **known)
        passes.particles.level_contrast()
        learnt = together(model, self.sums, passes.geometry.pixel / band_angst)
        model.volumes = learnt.volumes
        model.learn_noise(self.sums)
        return learnt

    def _known(self, shut: set[int], nothing: bool) -> dict:
        """What is known before, as `Passes.prior` takes it."""
        share = self.share.clamp_min(_LEAST_SHARE)
        volumes = torch.log(share / share.sum())
        volumes[list(shut)] = EXCLUDED
        if not nothing:
            return {"volumes": volumes}
        return {
            "volumes": volumes + math.log(1.0 - self.empty),
            "nothing": math.log(self.empty),
        }
