"""What particles add to classes: sums that can be made apart and added in any order.

Every contribution is scored against the same fixed references, so none depends on another, and
together they are what one pass over all the particles would have given.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch

from cryosnake.alignment.polar import Band
from cryosnake.alignment.update import Sums
from cryosnake.classes2d import saved
from cryosnake.classes2d.expectation import Expectation
from cryosnake.classes2d.model import Model
from cryosnake.errors import BadInputError

_KIND = "contribution to 2D classes"
_BLOCK = 4096  # particles that are summed at a time


@dataclass(frozen=True)
class Contribution:
    """Sums of some particles over K classes, the last of which takes what shows nothing.

    Parameters
    ----------
    references : fingerprint of the references they were scored against.
    band : of the sums.
    sums : over the K - 1 classes of particles, by half; on the CPU.
    nothing : (2, 2 P + 1) plain sums of the particles of the last class, as they lie, by half.
    population : (2, K) int64 number of particles by half and best class.
    """

    references: str
    band: Band
    sums: Sums
    nothing: torch.Tensor
    population: torch.Tensor

    @property
    def classes(self) -> int:
        """K, the class of nothing included."""
        return self.population.shape[1]

    @property
    def particles(self) -> int:
        """Number of usable particles in it."""
        return int(self.population.sum())

    def content(self) -> dict:
        """Tensors and plain values, for a file."""
        return {
            "references": self.references,
            "band": asdict(self.band),
            "sums": {one.name: getattr(self.sums, one.name) for one in fields(Sums)},
            "nothing": self.nothing,
            "population": self.population,
        }

    @classmethod
    def from_content(cls, content: dict) -> "Contribution":
        """The inverse of `content`."""
        return cls(
            content["references"],
            Band(**content["band"]),
            Sums(**content["sums"]),
            content["nothing"],
            content["population"],
        )

    def save(self, path) -> None:
        """Write it, whole or not at all."""
        saved.write(path, _KIND, self.content())


def load_contribution(path) -> Contribution:
    """Read what `Contribution.save` wrote.

    Raises
    ------
    BadInputError : missing, damaged, or something else.
    """
    return Contribution.from_content(saved.read(path, _KIND))


def contribution_of(
    expectation: Expectation, sums: Sums, band: Band, references: str
) -> Contribution:
    """What a pass over all particles of a stack found.

    Parameters
    ----------
    sums : of that pass, in `band`.
    references : fingerprint of the model that was scored.
    """
    found, half = expectation.poses.class_index, expectation.half
    number = expectation.empty_class + 1
    parts = expectation.stack.parts
    nothing = torch.zeros((2, parts.shape[1]))
    population = np.zeros((2, number), np.int64)
    for side in (0, 1):
        mine = found[half == side]
        population[side] = np.bincount(mine[mine >= 0], minlength=number)
        empty = np.flatnonzero((found == expectation.empty_class) & (half == side))
        for block in torch.split(torch.from_numpy(empty), _BLOCK):
            nothing[side] += parts[block].float().sum(0)
    return Contribution(references, band, sums.to("cpu"), nothing, torch.from_numpy(population))


def total(first: Contribution, others: Iterable[Contribution]) -> Contribution:
    """All of them together, added in double precision, so that their order does not show.

    Raises
    ------
    BadInputError : one was scored against other references.
    """
    one = added(first, others)
    return replace(one, sums=one.sums.to("cpu", torch.float32), nothing=one.nothing.float())


def added(first: Contribution, others: Iterable[Contribution]) -> Contribution:
    """The same as `total`, and still in double precision: more can be added."""
    sums = first.sums.to("cpu", torch.float64, copy=True)
    nothing, population = first.nothing.double(), first.population.clone()
    for one in others:
        _check_same(first, one)
        sums.add(one.sums)
        nothing += one.nothing
        population += one.population
    return Contribution(first.references, first.band, sums, nothing, population)


def _check_same(first: Contribution, other: Contribution) -> None:
    if other.classes != first.classes:
        raise BadInputError(
            None, f"a contribution to {other.classes} classes", f"to {first.classes} classes"
        )
    if other.band != first.band:
        raise BadInputError(
            None, f"a contribution in the band {other.band}", f"{first.band}, as the classes"
        )
    if other.references != first.references:
        raise BadInputError(
            None,
            f"a contribution scored against references {other.references}",
            f"{first.references}: of this classification",
        )


def fingerprint(model: Model) -> str:
    """Name of what particles are scored against: equal for equal references."""
    digest = hashlib.sha256(repr((model.band, model.empty)).encode())
    for part in (model.parts, model.noise):
        digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
