"""Finding the metadata of a movie: where EPU and SerialEM put it.

At most a few hundred files are looked up by name, and only folders above the movie's own are
listed, so that a session with thousands of movies in a folder stays cheap.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from cryosnake.acquisition.epu import places, read_epu_xml
from cryosnake.acquisition.facts import Facts, combined, facts_from
from cryosnake.acquisition.headers import read_fei_header, read_header
from cryosnake.acquisition.serialem import read_mdoc
from cryosnake.errors import BadInputError
from cryosnake.movies import MovieInfo, open_movie

_MOVIE_ENDING = re.compile(r"_(fractions|eer|frames|movie)$", re.IGNORECASE)
_DISCS = tuple(f"Images-Disc{number}" for number in (1, 2, 3))
_SIMPLE_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_SIBLINGS = 64


def find_metadata(movie_path: str | os.PathLike, *, info: MovieInfo | None = None) -> Facts:
    """Facts about a movie from EPU's XML, SerialEM's mdoc, and the movie's header.

    Parameters
    ----------
    movie_path : the movie.
    info : of the open movie; without it the movie is opened here for its header. A movie that
        cannot be opened still has its other metadata: the reader reports it.

    Returns
    -------
    Facts : of the sources in this order of belief, EPU XML, mdoc, Thermo Fisher's extended MRC
        header, plain header; but the number of frames is the file's own. The pixel size is brought
        to the movie's sampling where the metadata are about a binned image. Files that are there
        but cannot be read are in `problems`.
    """
    movie_path = Path(movie_path)
    if info is None:
        info = _info(movie_path)
    problems: list[str] = []
    sources = []
    xml = find_epu_xml(movie_path)
    if xml is not None:
        sources.append(_attempt(lambda: read_epu_xml(xml), problems))
    mdoc = find_mdoc(movie_path)
    if mdoc is not None:
        sources.append(_attempt(lambda: read_mdoc(mdoc, movie=movie_path), problems))
    if info is not None:
        if info.format == "mrc":
            sources.append(_attempt(lambda: _fei_header(movie_path), problems))
        sources = [_fitted(facts, info, problems) for facts in sources]
        header = read_header(info)
        own = facts_from(str(movie_path), frames=info.frames)
        sources = [own, *sources, header]
    sources.append(facts_from(str(movie_path), **places(movie_path)))
    return combined(*sources, Facts(problems=tuple(problems)))


def find_epu_xml(movie_path: Path) -> Path | None:
    """The XML of a movie: beside it; in an `Images-Disc` tree beside it or above it; or in the
    same place of a tree that mirrors the movie's (a folder beside one of those above it)."""
    stem = _MOVIE_ENDING.sub("", movie_path.stem)
    names = list(dict.fromkeys((f"{stem}.xml", f"{movie_path.stem}.xml")))
    for folder in _epu_folders(movie_path.parent):
        for name in names:
            candidate = folder / name
            if candidate.is_file():
                return candidate
    return None


def find_mdoc(movie_path: Path) -> Path | None:
    """The mdoc of a movie: `movie.tif.mdoc`, or `movie.mdoc`, beside it."""
    for name in (f"{movie_path.name}.mdoc", f"{movie_path.stem}.mdoc"):
        candidate = movie_path.with_name(name)
        if candidate.is_file():
            return candidate
    return None


def check_frame_count(found: Facts, info: MovieInfo) -> None:
    """Refuse a movie that has another number of frames than the microscope's metadata say.

    EER is not held against them: its number of camera frames is in no metadata.

    Raises
    ------
    BadInputError : with both numbers and who said the other.
    """
    if info.format == "eer":
        return
    for other in found.alternatives:
        if other.name == "frames" and other.value != info.raw_frames:
            raise BadInputError(
                info.path, f"has {info.raw_frames} frames", f"{other.value}, as {other.source} says"
            )


def _epu_folders(parent: Path) -> Iterator[Path]:
    yield parent
    if parent.name == "Data":
        yield parent.parent
    else:
        yield parent / "Data"
    above = list(parent.parents)[:5]
    # movies in a folder of their own, EPU's tree beside or above it
    for folder in (parent, *above[:2]):
        for disc in _DISCS:
            if (folder / disc).is_dir():
                yield from sorted((folder / disc).glob("GridSquare_*/Data"))
    # a mirrored tree: /raw/session/a/b/movie and /metadata/session/a/b/movie.xml
    for folder in above[1:]:
        inside = parent.relative_to(folder)
        tail = Path(*inside.parts[1:])
        for sibling in _few_folders(folder):
            if sibling.name != inside.parts[0]:
                yield sibling / tail


def _few_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none where it holds too many entries to look into."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_SIBLINGS:
                    return []
                if entry.is_dir():
                    found.append(Path(entry.path))
    except OSError:  # a folder above the session that may not be listed holds no mirror for us
        return []
    return sorted(found)


def _info(movie_path: Path) -> MovieInfo | None:
    try:
        with open_movie(movie_path) as movie:
            return movie.info
    except BadInputError:
        return None


def _attempt(read: Callable[[], Facts], problems: list[str]) -> Facts:
    try:
        return read()
    except BadInputError as error:
        problems.append(str(error))
        return Facts()


def _fei_header(path: Path) -> Facts:
    """The extended header, or nothing where the file has none of that kind."""
    with open(path, "rb") as stream:
        stream.seek(104)
        kind = stream.read(4)
    return read_fei_header(path) if kind in (b"FEI1", b"FEI2") else Facts()


def _fitted(facts: Facts, info: MovieInfo, problems: list[str]) -> Facts:
    """Facts brought to the sampling of the movie: pixel size by the field of view (the same for
    image and movie), dose by the number of frames.

    An mdoc does not tell the size of its image. Where its pixel size is half or twice that of the
    movie's own header, it is of the binned (or unbinned) image, and the header's is taken.
    """
    if facts.pixel_size_angst is not None and not facts.image_width_px and info.pixel_size_angst:
        ratio = facts.pixel_size_angst / info.pixel_size_angst
        if any(abs(ratio / factor - 1) < 0.01 for factor in (0.5, 2.0)):
            facts = replace(facts, pixel_size_angst=None)
    if facts.pixel_size_angst is not None and facts.image_width_px and facts.image_height_px:
        image = max(facts.image_width_px, facts.image_height_px)
        ratio = image / max(info.shape)
        simple = min(_SIMPLE_RATIOS, key=lambda r: abs(ratio / r - 1))
        if abs(ratio / simple - 1) < 0.05:
            facts = replace(facts, pixel_size_angst=facts.pixel_size_angst * simple)
        else:
            problems.append(
                f"{facts.source['pixel_size_angst']}: its pixel size is of an image of "
                f"{facts.image_width_px} x {facts.image_height_px} pixels, which is no simple "
                f"binning of the movie's {info.width_px} x {info.height_px}"
            )
    if facts.total_dose_e_per_angst2 is not None and info.format == "eer":
        per_frame = facts.total_dose_e_per_angst2 * info.raw_frames_per_fraction / info.raw_frames
        source = {**facts.source, "dose_e_per_angst2_per_frame": next(iter(facts.source.values()))}
        # the metadata may count other fractions than those rendered here
        facts = replace(facts, dose_e_per_angst2_per_frame=per_frame, frames=None, source=source)
    return facts
