"""How ab initio reconstruction proceeds."""

from dataclasses import dataclass, field

from cryosnake.volumes3d.passes import SearchSettings


@dataclass(frozen=True)
class Stage:
    """Mini-batches in one band.

    Parameters
    ----------
    resolution : of the diameter, where the band ends.
    batches : number of mini-batches; particles : in each, per volume.
    forget : fraction of the old sums that a batch replaces, at the first and at the last.
    more : at most so many further batches, as long as the mean log evidence rises.
    """

    resolution: float
    batches: int
    particles: int
    forget: tuple[float, float]
    more: int = 0


@dataclass(frozen=True)
class AbInitioSchedule:
    """The stages; the first one is gone through by every restart, the others by the best.

    Parameters
    ----------
    search : how poses are sampled.
    trial : ends where the search of all views ends.
    start : particles in random views that a volume starts from.
    judged : batches at the end of the trial whose mean log evidence decides between restarts.
    trust : factor on the measured signal-to-noise ratio.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    trial: Stage = Stage(1 / 6.0, 40, 250, (0.7, 0.5))
    stages: tuple[Stage, ...] = (
        Stage(1 / 7.5, 20, 400, (0.6, 0.4)),
        Stage(1 / 10.0, 10, 800, (0.7, 0.5), more=12),
        Stage(1 / 12.0, 4, 1500, (0.8, 0.6)),
    )
    start: int = 300
    judged: int = 5
    trust: float = 1.0
