"""Whether a replayed session ended as it should."""

from pathlib import Path

from cryosnake import layout
from cryosnake.tables import read_table
from replay.microscope import Microscope


def complete(session: Path, scope: Microscope) -> list[str]:
    """What is wrong with the end state of a session, in words; nothing where all is well."""
    session, found = Path(session), []
    table = read_table(session / layout.MICROGRAPHS, "micrographs")
    movies = table["rlnMicrographMovieName"]
    # one that was taken away may have been seen before, or not
    expected = set(scope.names) - set(scope.vanished)
    _told(found, expected - set(movies), "movies are missing")
    _told(found, set(movies) - set(scope.names), "movies were never there")
    _told(found, movies[movies.duplicated()], "movies are there twice")
    rejected = set(movies[table["csnReason"] == "input"])
    _told(found, set(scope.repaired) & rejected, "repaired movies are rejected")
    decisions = read_table(session / layout.DECISIONS, "decisions")
    subjects = " ".join(decisions.loc[decisions["csnRule"] == "input", "csnSubject"])
    _told(
        found,
        [name for name in scope.odd if name.replace("'", "`") not in subjects],
        "files are left out without a word",
    )
    for batch in layout.closed_batches(session):
        done = (layout.batch_table, layout.coordinates_star, layout.particles_star)
        _told(
            found,
            [path(batch) for path in done if not (session / path(batch)).exists()],
            "files are not made",
        )
    return found


def _told(found: list[str], wrong, what: str) -> None:
    wrong = list(wrong)
    if wrong:
        found.append(f"{len(wrong)} {what}, as {wrong[0]}")
