"""The detector of a session: how the gain reference lies on the movies, and which pixels are hot.

Both are found once, from the first movies of the ledger that can be read, and kept in
`results/gain.json` and `results/detector/`: every batch, whenever and wherever it runs, uses the
same answer.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from cryosnake import layout
from cryosnake.config.model import AcquisitionConfig
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.files import write_text, written_whole
from cryosnake.movies import (
    ALREADY_CORRECTED,
    UNSURE,
    FrameCorrector,
    Movie,
    MovieInfo,
    check_frame,
    check_gain_shape,
    find_gain_orientation,
    find_hot_pixels,
    orient_gain,
    read_defects,
    read_gain,
    resize_gain,
)
from cryosnake.preprocess.outcome import is_away

log = logging.getLogger("cryosnake")

#: Movies that are looked at for the detector, and movies of the ledger that are tried for them.
_MOVIES, _TRIED = 5, 100
#: Part of a movie's frames that is read for it.
_FRAME_PART = 0.5

#: Opens a movie for reading; raises BadInputError.
Opener = Callable[[str], Movie]


@dataclass(frozen=True)
class Reference:
    """What is applied to the frames: the gain as turned onto them (or None), and the corrector."""

    gain: np.ndarray | None
    corrector: FrameCorrector


class Detector:
    """Finds and keeps the reference of each kind of movie of a session.

    Parameters
    ----------
    session : the session's folder.
    config : gain, its orientation and operation, defect file.
    first_movies : paths of the ledger's first movies, in order.
    opener : opens one of them.
    device : where frames are corrected.
    """

    def __init__(
        self,
        session: Path,
        config: AcquisitionConfig,
        first_movies: list[str],
        opener: Opener,
        device: str,
    ):
        self.session = Path(session)
        self.config = config
        self.first_movies = first_movies[:_TRIED]
        self.opener = opener
        self.device = device
        self._references: dict[tuple, Reference] = {}

    def reference(self, info: MovieInfo) -> Reference:
        """The reference for movies like this one.

        Raises
        ------
        BadInputError : the gain reference or defect file cannot be read or does not fit.
        """
        kind = (info.shape, info.format)
        if kind not in self._references:
            self._references[kind] = self._make(info)
        return self._references[kind]

    def _make(self, info: MovieInfo) -> Reference:
        gain = self._gain(info)
        shape = info.shape
        # a binned movie of a detector is another kind than its full-size ones
        key = f"{info.format} {shape[1]}x{shape[0]} {self._identity()}"
        stem = hashlib.sha1(key.encode()).hexdigest()[:12]
        found = self._found(key, stem, info, gain)
        turned = None
        if gain is not None and found["orientation"] is not None:
            turned = orient_gain(gain, found["orientation"])
        defects = np.zeros(shape, bool)
        if self.config.defects is not None:
            defects |= read_defects(self.session / self.config.defects, shape)
        hot = np.load(self.session / layout.DETECTOR / f"{stem}.npy")
        defects[hot[0], hot[1]] = True
        return Reference(turned, FrameCorrector(turned, defects, device=self.device))

    def _gain(self, info: MovieInfo) -> np.ndarray | None:
        if self.config.gain is None:
            return None
        path = self.session / self.config.gain
        gain = read_gain(path, operation=self.config.gain_operation, movie_format=info.format)
        gain = resize_gain(gain, info.shape)
        turned = self.config.gain_orientation == "auto"
        if not turned:
            check_gain_shape(orient_gain(gain, self.config.gain_orientation), info.shape, path)
        check_gain_shape(gain, info.shape, path, turned=True)
        return gain

    def _identity(self) -> str:
        """What tells one gain reference from another: its path, size and time."""
        if self.config.gain is None:
            return "no gain"
        state = (self.session / self.config.gain).stat()
        return (
            f"{self.config.gain} {state.st_size} {state.st_mtime_ns} "
            f"{self.config.gain_orientation} {self.config.gain_operation}"
        )

    def _found(self, key: str, stem: str, info: MovieInfo, gain: np.ndarray | None) -> dict:
        path = self.session / layout.GAIN
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(".gain.lock")):
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            hot_path = self.session / layout.DETECTOR / f"{stem}.npy"
            if key not in known or not hot_path.exists():
                known[key], hot = self._search(info, gain)
                with written_whole(hot_path) as temporary:
                    np.save(temporary, hot)
                write_text(path, json.dumps(known, indent=1) + "\n")
            return known[key]

    def _search(self, info: MovieInfo, gain: np.ndarray | None) -> tuple[dict, np.ndarray]:
        """Orientation and hot pixels, from the mean of the first frames of the first movies."""
        orientation, verdict, why = self.config.gain_orientation, "info", "as the config says"
        confidence, scores = 1.0, {}
        search = gain is not None and orientation == "auto"
        total, frames, movies = np.zeros(info.shape, np.float64), 0, []
        for movie in self._candidates(info):
            mean = self._mean_of_some(movie, info)
            if mean is None:
                continue
            total += mean[0]
            frames += mean[1]
            movies.append(movie)
            if search:
                fit = find_gain_orientation((total / frames).astype(np.float32), gain)
                orientation, confidence, scores = fit.name, fit.confidence, fit.scores
                if fit.name != UNSURE:
                    break
            if len(movies) >= _MOVIES:
                break
        if gain is None:
            orientation, why = None, "no gain reference is configured"
        elif search and orientation == ALREADY_CORRECTED:
            orientation, verdict = None, "warn"
            why = "the movies' noise shows that the gain was applied before they were written"
        elif search and orientation == UNSURE:
            orientation = "none" if gain.shape == info.shape else "rotate_90"
            verdict, why = "unsure", "no orientation flattens the movies; used as it is"
        elif search:
            why = "flattens the movies best"
        mean_frame = (total / max(frames, 1)).astype(np.float32)
        if orientation is not None:
            mean_frame *= orient_gain(gain, orientation)
        hot = np.argwhere(find_hot_pixels(mean_frame)).T if frames else np.zeros((2, 0), int)
        shown = ", ".join(f"{name} {score:.2f}" for name, score in scores.items()) or "-"
        decision = Decision(
            subject="session",
            rule="gain",
            verdict=verdict,
            value=f"orientation {orientation or 'not applied'}: {why}; {hot.shape[1]} hot pixels",
            threshold="the orientation that flattens the movies best of the eight",
            confidence=confidence,
            evidence=f"{frames} frames of {', '.join(movies) or 'no movie'}; found: {shown}",
        )
        log.info("gain: %s", decision.value)
        return {"orientation": orientation, "decision": asdict(decision)}, hot

    def _candidates(self, info: MovieInfo) -> list[str]:
        own = str(info.path)
        return [*self.first_movies, *([own] if own not in self.first_movies else [])]

    def _mean_of_some(self, path: str, like: MovieInfo) -> tuple[np.ndarray, int] | None:
        """Sum and number of a movie's first frames; None where it is bad or of another kind."""
        try:
            with self.opener(path) as movie:
                if (movie.info.shape, movie.info.format) != (like.shape, like.format):
                    return None
                wanted = max(1, round(_FRAME_PART * movie.info.frames))
                total = np.zeros(like.shape, np.float64)
                for index, frame in enumerate(movie.frames()):
                    check_frame(frame, index, path)
                    total += frame
                    if index + 1 == wanted:
                        break
                return total, wanted
        except BadInputError as error:
            if is_away(error):
                raise  # what is found is kept for the whole session: it must not be a guess
            return None  # its own batch says why


def gain_decisions(session: Path) -> list[Decision]:
    """What was found out about the gain, as entries of `decisions.star`."""
    try:
        known = json.loads((Path(session) / layout.GAIN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [Decision(**found["decision"]) for found in known.values()]
