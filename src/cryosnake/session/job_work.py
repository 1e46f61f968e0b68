"""How much work a job has, from what is on disk before it runs: nothing heavy is read for it."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import tifffile

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.quick_star import read_columns
from cryosnake.session.rounds import Rounds

#: Particles of a micrograph before they are counted; generous.
_PARTICLES_PER_MICROGRAPH = 300
#: Movies of the ledger that are tried for their size.
_TRIED = 5
#: Frames of an EER movie where the configuration does not say into how many it is cut.
_EER_FRACTIONS = 60
#: Window that a refinement cuts from its boxes (mask, edge and margin), in long axes of the
#: particle, and in pixels before that is known.
_REFINEMENT_WINDOW, _REFINEMENT_WINDOW_PX = 1.5, 256


@dataclass(frozen=True)
class MovieSize:
    """Frames of a movie as they are read, their sides, and bytes of a pixel."""

    frames: int
    height_px: int
    width_px: int
    pixel_bytes: int = 1

    @property
    def frame_mpx(self) -> float:
        """Millions of pixels in a frame."""
        return self.height_px * self.width_px / 1e6


#: What costs were measured on; taken for movies that cannot be looked into.
REFERENCE_MOVIE = MovieSize(frames=40, height_px=4092, width_px=5760)


@dataclass(frozen=True)
class Work:
    """What a job has to do.

    Parameters
    ----------
    units : movies or particles in it, whichever its rule counts in.
    movie : size of the session's movies.
    box_px : side of the particle images that it works on.
    classes, volumes : how many of them it makes, or compares with.
    """

    units: int
    movie: MovieSize
    box_px: int
    classes: int
    volumes: int


class SessionWork:
    """Measures the work of jobs of a session; what does not change is looked up once."""

    def __init__(self, session: Path, config: Config):
        self.session, self.config = Path(session), config
        self.rounds = Rounds(self.session, config.class2d)
        self._movie: MovieSize | None = None

    def of(self, rule: str, wildcards: Mapping[str, str]) -> Work:
        """The work of a job, from its rule and wildcards."""
        wildcards = dict(wildcards.items())  # Snakemake's own are a list first
        particles = int(wildcards.get("particles", 0))
        refines = rule in ("reextract", "refine", "forecast")
        volumes = self.config.validation if rule == "branch3d" else self.config.abinitio
        return Work(
            units=self._units(rule, wildcards, particles),
            movie=self.movie,
            box_px=self.refinement_box_px if refines else self.box_px,
            classes=self._classes(rule, wildcards, particles),
            volumes=volumes.volumes,
        )

    def _units(self, rule: str, wildcards: Mapping[str, str], particles: int) -> int:
        if "batch" in wildcards:
            movies = self._movies(wildcards["batch"])
            if rule in ("extract", "stream_class2d", "take_particles"):
                return self._particles(rule, wildcards["batch"], movies)
            return movies
        if rule in ("class3d", "abinitio", "branch3d"):
            return min(particles, self.config.class3d.particles_max)
        return particles

    def _movies(self, batch: str) -> int:
        """The movies of a batch; as many as it may have where it is one of particles."""
        path = self.session / layout.batch_star(batch)
        try:
            return len(read_columns(path, "movies", ["rlnMicrographMovieName"]))
        except BadInputError:
            return self.config.ingest.batch_movies

    def _particles(self, rule: str, batch: str, movies: int) -> int:
        """The particles of a batch: counted, if they are by now."""
        if self.config.input.kind == "particles":
            return self.config.ingest.batch_particles
        counts = layout.picked_counts if rule == "extract" else layout.extracted_counts
        column = "picks" if rule == "extract" else "extracted"
        try:
            with open(self.session / counts(batch), encoding="utf-8", newline="") as file:
                return sum(int(row[column]) for row in csv.DictReader(file))
        except (OSError, KeyError, ValueError):
            return movies * _PARTICLES_PER_MICROGRAPH

    def _classes(self, rule: str, wildcards: Mapping[str, str], particles: int) -> int:
        if rule == "branch2d":
            return self.config.validation.rounds2d[int(wildcards["number"]) - 1].classes
        return self.rounds.classes(particles)

    @property
    def movie(self) -> MovieSize:
        """The size of the session's movies, from the first that can be read."""
        if self._movie is None and self.config.input.kind != "particles":
            for name in self._first_movies():
                self._movie = movie_size(self.session / name, self.config)
                if self._movie is not None:
                    break
        return self._movie or REFERENCE_MOVIE

    def _first_movies(self) -> list[str]:
        names: list[str] = []
        for batch in layout.closed_batches(self.session)[:_TRIED]:
            path = self.session / layout.batch_star(batch)
            names += [row[0] for row in read_columns(path, "movies", ["rlnMicrographMovieName"])]
        return names[:_TRIED]

    @property
    def box_px(self) -> int:
        """Side of the particle images of classification."""
        return self.config.particles.output_px

    @property
    def refinement_box_px(self) -> int:
        """Side of those of a refinement, without what its mask cuts off."""
        try:
            size = json.loads((self.session / layout.SIZE).read_text(encoding="utf-8"))
            long_axis_angst = float(size["long_axis_angst"])
        except (OSError, ValueError, KeyError):
            return _REFINEMENT_WINDOW_PX
        return round(_REFINEMENT_WINDOW * long_axis_angst / self.config.refine.pixel_size_angst)

    def chosen_picker(self) -> str | None:
        """What batches are picked with, once that is decided."""
        path = self.session / layout.model_file(self.config.picking.model_version, "json")
        try:
            return json.loads(path.read_text(encoding="utf-8"))["chosen"]
        except (OSError, ValueError, KeyError):
            return None


def movie_size(path: Path, config: Config) -> MovieSize | None:
    """The size of a movie from its headers alone, or None where they cannot be read.

    What is wrong with the file is told by the job that reads it.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".mrc", ".mrcs"):
            with mrcfile.open(path, permissive=True, header_only=True) as mrc:
                header = mrc.header
                size = {0: 1, 1: 2, 6: 2, 12: 2}.get(int(header.mode), 4)
                return MovieSize(int(header.nz), int(header.ny), int(header.nx), size)
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            height_px, width_px = int(page.imagelength), int(page.imagewidth)
            frames, size = len(tiff.pages), max(1, int(page.bitspersample) // 8)
    except (OSError, ValueError, IndexError, tifffile.TiffFileError):
        return None
    if suffix == ".eer":
        facts = config.acquisition
        scale = facts.eer_upsampling
        frames = min(frames, facts.eer_fractions or _EER_FRACTIONS)
        return MovieSize(frames, scale * height_px, scale * width_px)
    return MovieSize(frames, height_px, width_px, size)
