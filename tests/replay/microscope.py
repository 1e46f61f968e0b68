"""The source of movies: files that arrive at a pace, some of them trouble."""

import threading
import time
from pathlib import Path

from replay.plan import Plan

#: Every so many movies one is taken away again, and one has a name that STAR cannot hold.
_VANISHES, _ODD_NAME = 997, 1499


class Microscope(threading.Thread):
    """Writes empty files into a session's movie folder, and the END marker at the end.

    Parameters
    ----------
    movies : how many; first : number of the first one.
    every_s : time between them.
    end : whether to write the marker.
    repair : whether to repeat the transfer of half of the bad movies before that.

    Attributes
    ----------
    names : of the movies as the session should have them; vanished : of these, those that were
    taken away (before or after they were taken in); odd : file names that cannot be taken in;
    repaired : bad movies whose transfer is repeated.
    """

    def __init__(
        self, session: Path, movies: int, *, first=0, every_s: float, end=True, repair=True
    ):
        super().__init__(daemon=True)
        self.session, self.movies, self.first = Path(session), movies, first
        self.every_s, self.end, self.repairs = every_s, end, repair
        self.names: list[str] = []
        self.vanished: list[str] = []
        self.odd: list[str] = []
        self.repaired: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        """Write all files; a file that is late makes no later one later."""
        plan, started = Plan.read(self.session), time.monotonic()
        folder = self.session / "movies"
        for i in range(self.movies):
            number = self.first + i
            if self.stopped.wait(max(0.0, started + i * self.every_s - time.monotonic())):
                return
            name = movie_name(number)
            (self.session / name).touch()
            self.names.append(name)
            if number % _VANISHES == _VANISHES // 2:
                (self.session / name).unlink()
                self.vanished.append(name)
            if number % _ODD_NAME == _ODD_NAME // 2:
                self.odd.append(f"movie '{number}'.tiff")
                (folder / self.odd[-1]).touch()
            if plan.is_bad(name) and number % 2:
                self.repaired.append(name)
        if self.repairs:
            self.repair()
        if self.end:
            (folder / "END").touch()

    def repair(self) -> None:
        """Repeat transfers: what is not empty any more can be read."""
        for name in self.repaired:
            (self.session / name).write_bytes(b"again")


def movie_name(number: int) -> str:
    """The path of a movie below the session."""
    return f"movies/FoilHole_{number // 4:07d}_Data_{number % 4}_{number:06d}_Fractions.tiff"
