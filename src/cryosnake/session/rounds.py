"""The rounds of 2D classification that a session is configured for."""

from pathlib import Path

from cryosnake import layout
from cryosnake.config.model import Class2dConfig


class Rounds:
    """Which rounds there are, and what each starts from.

    Parameters
    ----------
    session : the session's folder.
    """

    def __init__(self, session: Path, config: Class2dConfig):
        self.session, self.config = Path(session), config
        self.numbers = [one.particles for one in config.rounds]

    @property
    def streaming(self) -> bool:
        """Whether particles are assigned between rounds; only the native engine can."""
        return self.config.streaming and self.config.engine == "native"

    def classes(self, particles: int) -> int:
        """The number of classes of the round that starts at so many particles.

        The last round of a session that has ended has as many as the next one would have had.
        """
        wanted = [one.classes for one in self.config.rounds if one.particles >= particles]
        return wanted[0] if wanted else self.config.rounds[-1].classes

    def before(self, particles: int) -> list[str]:
        """What says that the round before this one is done: its averages are started from."""
        earlier = [n for n in self.numbers if n < particles]
        return [layout.class2d_file(earlier[-1], "averages.star")] if earlier else []

    def overrides(self) -> list[str]:
        """The file of labels given by hand, if there is one."""
        path = self.config.overrides
        return [path] if (self.session / path).exists() else []

    def begun(self) -> list[int]:
        """The rounds that have a folder, by their number; the last of a session that has ended is
        not configured."""
        try:
            names = [path.name for path in (self.session / layout.CLASS2D).iterdir()]
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdigit())

    def finished(self) -> list[int]:
        """The rounds whose classes are assessed, by their number."""
        return [
            n
            for n in self.begun()
            if (self.session / layout.class2d_file(n, "classes.star")).exists()
        ]
