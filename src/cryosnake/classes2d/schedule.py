"""How a classification proceeds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How a classification proceeds; the defaults serve every particle size.

    Parameters
    ----------
    batches : number of mini-batches.
    batch_per_class : particles in a mini-batch, per class, at the start and at the end.
    least_batch : at least so many.
    first_resolution, search_resolution : as fractions of the diameter: where the first batches
        end, and where the coarse search ends.
    forget : fraction of the old sums that a batch replaces, at the start and at the end.
    balance : how strongly populous classes are held back (log prior - balance log population), so
        that classes with few particles get their chance; 0 at the full pass.
    trust : factor on the measured signal-to-noise ratio.
    shift_range : of the diameter, how far particles may be off the centre.
    shift_sigma : of that range, standard deviation along each axis.
    shift_step : of the resolution.
    split_below : a class with less than this, of an even share, is replaced by half of the largest,
        every `split_every` batches until this part of the schedule, `split_until`.
    centre_every : batches between which averages are moved to the centre, as long.
    empty_from : from this part of the schedule on, particles may show nothing: before, the averages
        explain too little.
    online_resolution : of the diameter, the finest that mini-batches use.
    full_passes : over all particles, at the end; at least one.
    research : fraction of the particles met before that are searched over all shifts again.
    warm_from : part of the schedule at which a classification with initial averages enters.
    warm_renewed : fraction of those averages that is replaced by random ones.
    start : part of the schedule at which it enters.
    """

    batches: int = 80
    batch_per_class: tuple[int, int] = (20, 40)
    least_batch: int = 300
    first_resolution: float = 1 / 6.5
    search_resolution: float = 1 / 9.5
    forget: tuple[float, float] = (0.9, 0.25)
    balance: float = 0.5
    trust: float = 1.0
    shift_range: float = 0.1
    shift_sigma: float = 0.5
    shift_step: float = 0.33
    split_below: float = 0.4
    split_until: float = 0.9
    split_every: int = 4
    centre_every: int = 12
    empty_from: float = 0.5
    online_resolution: float = 1 / 10.5
    full_passes: int = 1
    research: float = 0.15
    warm_from: float = 0.3
    warm_renewed: float = 0.2
    start: float = 0.0

    def __post_init__(self):
        if self.full_passes < 1:
            raise ValueError(f"{self.full_passes} full passes: classes come from the last of them")
