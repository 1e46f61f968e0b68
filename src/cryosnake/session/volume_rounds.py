"""The 2D rounds that 3D follows, and what each step of it waits for."""

from collections.abc import Callable

from cryosnake import layout
from cryosnake.config.model import Config


class VolumeRounds:
    """Which rounds go on to volumes, by their number of particles."""

    def __init__(self, config: Config):
        self.config = config
        configured = [one.particles for one in config.class2d.rounds]
        left_out = set(configured) - set(config.class3d.rounds or configured)
        self.configured = [n for n in configured if n not in left_out]
        self._left_out = left_out

    def follows(self, particles: int) -> bool:
        """Whether 3D follows a 2D round; it does the last one of a session that has ended."""
        return particles not in self._left_out

    def last_file(self, *, refined: bool) -> Callable[[int], str]:
        """Gives the file that a round ends with: of the forecast, or of the 3D classes."""
        if refined:
            return lambda particles: layout.refine_file(particles, "forecast.json")
        return lambda particles: layout.class3d_file(particles, "volumes.star")

    def branch2d_input(self, particles: int, number: int) -> str:
        """The particles of a round, from 1, of the branch in 2D."""
        if number == 1:
            return layout.class3d_file(particles, "selected.star")
        return f"{layout.branch2d_folder(particles, number - 1)}/selected.star"

    def branch2d_classes(self, particles: int) -> list[str]:
        """The classes of all rounds of that branch."""
        numbers = range(1, len(self.config.validation.rounds2d) + 1)
        return [f"{layout.branch2d_folder(particles, n)}/classes.star" for n in numbers]

    def refined_before(self, particles: int) -> list[str]:
        """What says that the refinement of the round before is done: this one starts from it."""
        earlier = [n for n in self.configured if n < particles]
        return [layout.refine_file(earlier[-1], "result.json")] if earlier else []
