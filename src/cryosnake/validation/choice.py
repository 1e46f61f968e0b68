"""Which of several volumes goes on, from what their particles say of them.

The most populated volume that looks like a particle. Volumes of the same structure (ab initio gives
either hand) are one: their particles go on together. A volume of another structure stays behind,
and is told of: the sample may hold two species, or one in two states.
"""

import math
from dataclasses import dataclass

import numpy as np

from cryosnake.validation.align_maps import align_maps

#: A volume looks like a particle where its halves agree to this part of the diameter at least.
_RESOLVED = 1 / 4
#: Mean correlation over the shells from which two volumes are one structure.
SAME = 0.75
#: The second is close to the first from this part of its share on.
_CLOSE = 0.7
#: Of the particles of all structures: a smaller one is a leftover rather than a second species.
_NOTABLE = 0.1
#: Of the diameter: noise of finer shells hides that two volumes are the same, and what is coarser
#: is too little to tell.
_FINEST, _COARSEST = 1 / 10, 1 / 5


@dataclass(frozen=True)
class VolumeFacts:
    """A volume and what its particles say of it.

    Parameters
    ----------
    volume : (n, n, n) float32.
    population : particles whose best class it is.
    resolution_angst : of its halves; inf where there is none.
    evidence : mean log evidence of its particles; nan where the engine does not tell.
    """

    name: str
    volume: np.ndarray
    population: int
    resolution_angst: float
    evidence: float

    def looks_like_particle(self, diameter_angst: float) -> bool:
        """Whether its halves agree, and its particles show it rather than nothing."""
        resolved = self.resolution_angst <= _RESOLVED * diameter_angst
        return bool(resolved and self.population > 0 and not self.evidence <= 0)


@dataclass(frozen=True)
class Choice:
    """The volume that goes on.

    Parameters
    ----------
    index : of the chosen volume; None where none looks like a particle.
    together : indices of the volumes of the same structure, the chosen one among them.
    others : indices of volumes that look like particles of another structure, and hold a tenth of
        the particles.
    verdict : `pass`, `unsure` or `fail`; value, evidence : for the decision.
    """

    index: int | None
    together: list[int]
    others: list[int]
    verdict: str
    value: str
    evidence: str


def choose_volume(
    volumes: list[VolumeFacts], *, pixel_size_angst: float, diameter_angst: float
) -> Choice:
    """Choose among volumes of one box.

    It is `unsure` where the second structure has nearly as many particles as the first.
    """
    listed = "; ".join(_told(one, diameter_angst) for one in volumes)
    real = [i for i, one in enumerate(volumes) if one.looks_like_particle(diameter_angst)]
    if not real:
        return Choice(None, [], [], "fail", "no volume looks like a particle", listed)
    groups = structures(
        [volumes[i] for i in real], pixel_size_angst=pixel_size_angst, diameter_angst=diameter_angst
    )
    groups = [[real[i] for i in group] for group in groups]
    sizes = [sum(volumes[i].population for i in group) for group in groups]
    order = np.argsort(sizes, kind="stable")[::-1]
    together = groups[order[0]]
    index = max(together, key=lambda i: volumes[i].population)
    others = [i for g in order[1:] if sizes[g] >= _NOTABLE * sum(sizes) for i in groups[g]]
    close = len(order) > 1 and sizes[order[1]] > _CLOSE * sizes[order[0]]
    value = f"{volumes[index].name}: {sizes[order[0]]} particles"
    if len(together) > 1:
        value += f" with {', '.join(volumes[i].name for i in together if i != index)}"
    if others:
        listed += f"; of another structure: {', '.join(volumes[i].name for i in others)}"
    return Choice(index, together, others, "unsure" if close else "pass", value, listed)


def structures(
    volumes: list[VolumeFacts], *, pixel_size_angst: float, diameter_angst: float
) -> list[list[int]]:
    """Volumes grouped by structure: each is held against the largest of each group so far."""
    order = sorted(range(len(volumes)), key=lambda i: -volumes[i].population)
    groups: list[list[int]] = []
    for i in order:
        for group in groups:
            first = volumes[group[0]]
            claimed = max(first.resolution_angst, volumes[i].resolution_angst)
            coarsest = min(max(claimed, _FINEST * diameter_angst), _COARSEST * diameter_angst)
            found = align_maps(first.volume, volumes[i].volume, pixel_size_angst, coarsest)
            if found.best.correlation >= SAME:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _told(one: VolumeFacts, diameter_angst: float) -> str:
    text = f"{one.name}: {one.population} particles"
    if math.isfinite(one.resolution_angst):
        text += f", {one.resolution_angst:.1f} A"
    if math.isfinite(one.evidence):
        text += f", log evidence {one.evidence:.1f}"
    return text if one.looks_like_particle(diameter_angst) else text + " (not like a particle)"
