"""Preprocessing a batch: file by file, resumed where a killed job was, one table at the end."""

import hashlib
import json
import logging
import shutil
import time
from functools import partial
from pathlib import Path

import pandas as pd
from filelock import FileLock

import cryosnake
from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision, as_table
from cryosnake.errors import SessionStopError
from cryosnake.given import given_micrographs
from cryosnake.preprocess.detector import Detector
from cryosnake.preprocess.journal import Journal, MovieResult
from cryosnake.preprocess.micrograph import preprocess_micrograph
from cryosnake.preprocess.movie import open_configured, preprocess_movie
from cryosnake.preprocess.outcome import disk_is_full
from cryosnake.quick_star import read_tables
from cryosnake.tables import write_star

log = logging.getLogger("cryosnake")


def preprocess_batch(session: Path, batch: str, config: Config, device) -> pd.DataFrame:
    """Process the movies of a batch and write its tables; returns the rows.

    Movies that the journal has, processed by the same version with the same settings from the same
    file, are not processed again. A lock keeps a second process off the batch (a job that outlived
    the run that started it): it waits, and then finds the work done.

    Raises
    ------
    SessionStopError : the disk is full; what is finished is kept.
    BadInputError : the STAR file that lists the micrographs cannot be read.
    """
    session = Path(session)
    folder = session / layout.PREPROCESS / batch
    folder.mkdir(parents=True, exist_ok=True)
    entries = read_tables([session / layout.batch_star(batch)], "movies").to_dict("records")
    with FileLock(folder / ".lock"):
        try:
            results = _processed(session, batch, entries, config, device)
            table = _write_tables(session, batch, results)
        except Exception as error:
            if disk_is_full(error):
                free = shutil.disk_usage(folder).free
                raise SessionStopError(
                    f"the disk is full: {folder} has {free / 1e6:.0f} MB left; free some space "
                    "and run again: what is finished is kept"
                ) from error
            raise
    return table


def _processed(
    session: Path, batch: str, entries: list[dict], config: Config, device
) -> list[MovieResult]:
    journal = Journal(session / layout.PREPROCESS / batch / "movies.jsonl")
    finished = journal.read()
    settings = settings_fingerprint(config)
    detector = Detector(
        session,
        config.acquisition,
        _first_movies(session),
        lambda path: open_configured(session / path, config.acquisition),
        str(device),
    )
    if config.input.kind == "micrographs":
        given = given_micrographs(session, config)
        process = partial(
            preprocess_micrograph, config=config, session=session, given=given, device=device
        )
    else:
        process = partial(
            preprocess_movie, config=config, session=session, detector=detector, device=device
        )
    results = []
    for number, entry in enumerate(entries):
        fingerprint = movie_fingerprint(entry, settings)
        result = finished.get(fingerprint)
        if result is None or not _is_valid(session, result):
            result = process(entry)
            result.row["csnProcessed_s"] = round(time.time(), 3)
            journal.append(fingerprint, result)
            row = result.row
            log.info(
                "%d/%d %s: %s",
                number + 1,
                len(entries),
                entry["rlnMicrographMovieName"],
                "accepted"
                if row["csnAccepted"]
                else f"{row['csnReason']}: {row['csnExplanation']}",
            )
        results.append(result)
    return results


def _is_valid(session: Path, result: MovieResult) -> bool:
    """Whether a journalled result still stands: no surprise, and its files are there."""
    return result.foreseen and all((session / f).exists() for f in result.files)


def _first_movies(session: Path) -> list[str]:
    """The first movies of the ledger, for what is found once a session."""
    movies: list[str] = []
    for batch in layout.closed_batches(session):
        path = session / layout.batch_star(batch)
        movies += read_tables([path], "movies")["rlnMicrographMovieName"].tolist()
        if len(movies) >= 100:
            break
    return movies


def settings_fingerprint(config: Config) -> str:
    """What the result of a movie depends on beside the movie: version and settings."""
    sections = ("acquisition", "motion", "ctf", "curation")
    settings = {name: getattr(config, name).model_dump(mode="json") for name in sections}
    settings |= {"version": cryosnake.__version__, "seed": config.compute.seed}
    return hashlib.sha1(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def movie_fingerprint(entry: dict, settings: str) -> str:
    """What the result of a movie depends on: its attempt in the ledger, and the settings."""
    return f"{entry['rlnMicrographName']} {entry['csnAttempt']} {settings}"


def _write_tables(session: Path, batch: str, results: list[MovieResult]) -> pd.DataFrame:
    table = pd.DataFrame([result.row for result in results])
    decisions = [d for result in results for d in result.decisions] + _common(batch, results)
    # the decisions first: the table says that the batch is finished
    write_star(session / layout.batch_decisions(batch), {"decisions": as_table(decisions)})
    write_star(session / layout.batch_table(batch), {"micrographs": table})
    return table


def _common(batch: str, results: list[MovieResult]) -> list[Decision]:
    """What movies have in common, once, with their number."""
    movies: dict = {}
    for result in results:
        for note in result.notes:
            movies.setdefault(note, []).append(result.row["rlnMicrographMovieName"])
    return [
        Decision(
            subject=batch,
            rule=note.rule,
            verdict=note.verdict,
            value=note.value,
            threshold=note.threshold,
            evidence=f"{len(names)} of {len(results)} movies, the first is {names[0]}",
        )
        for note, names in movies.items()
    ]
