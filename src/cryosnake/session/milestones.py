"""Thresholds: when enough micrographs are accepted for the next stage, and which ones it gets.

The subset of a milestone is the smallest prefix of batches, in ledger order, that reaches the
threshold, judged from those batches alone. It depends on the data, not on timing, on how often is
counted, or on what came later.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.curation import apply_dose_filter
from cryosnake.files import write_text
from cryosnake.session.tables import micrograph_blocks, read_movies
from cryosnake.session.tallies import read_tally
from cryosnake.tables import write_star


def accepted(table: pd.DataFrame, config: Config) -> pd.Series:
    """Micrographs that go on to picking."""
    return table["csnAccepted"] == 1


def stringent(table: pd.DataFrame, config: Config) -> pd.Series:
    """Accepted micrographs good enough to measure the particles on: fine CTF fit, usual defocus.

    Where images are taken as they are, they have no CTF to judge them by; one that was given may
    not say how far it fits.
    """
    if not config.ctf.fit:
        return accepted(table, config)
    limits = config.milestones
    defocus = (table["rlnDefocusU"] + table["rlnDefocusV"]) / 2
    return (
        accepted(table, config)
        & ~(table["rlnCtfMaxResolution"] >= limits.stringent_ctf_angst)
        & defocus.between(limits.stringent_defocus_min_angst, limits.stringent_defocus_max_angst)
    )


#: Which micrographs count for a milestone, and how many it takes.
MILESTONES: dict[str, tuple[Callable, Callable[[Config], int]]] = {
    "size": (stringent, lambda config: config.milestones.size_micrographs),
    "training": (accepted, lambda config: config.milestones.training_micrographs),
}


def judged(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """A prefix of the ledger with the dose filter applied, one row a movie: its latest attempt."""
    table = table.drop_duplicates("rlnMicrographMovieName", keep="last")
    return apply_dose_filter(table, config.curation)[0]


def count(session: Path, config: Config, covered: int, before: int) -> dict:
    """Count the first `covered` batches; milestones not reached in the first `before` are sought.

    Returns
    -------
    dict with `batches`, `movies`, `accepted`, and for each milestone its `threshold`, the `count`
    so far, and the number of `batches` of its prefix (None: not reached).
    """
    reached = {}
    if before:
        reached = read_tally(session, layout.tally_file(before))["milestones"]
    batches = [layout.batch_name(i) for i in range(covered)]
    movies = read_movies(session, batches)
    whole = judged(movies, config)
    result = {
        "batches": covered,
        "movies": len(whole),
        "accepted": int(accepted(whole, config).sum()),
        "milestones": {},
    }
    for name, (counts, wanted) in MILESTONES.items():
        threshold = wanted(config)
        prefix = reached.get(name, {}).get("batches")
        number = int(counts(whole, config).sum())
        # a retried movie may leave an earlier prefix with more than the whole: look at each
        for length in range(before + 1, covered + 1) if prefix is None else ():
            part = movies[movies["csnBatch"].isin(batches[:length])]
            if counts(judged(part, config), config).sum() >= threshold:
                prefix = length
                break
        result["milestones"][name] = {"threshold": threshold, "count": number, "batches": prefix}
    return result


def write_tally(session: Path, config: Config, covered: int, before: int) -> dict:
    """Count, and put the tally on disk."""
    result = count(session, config, covered, before)
    write_text(session / layout.tally_file(covered), json.dumps(result, indent=1) + "\n")
    return result


def freeze(session: Path, config: Config, milestone: str, batches: list[str]) -> pd.DataFrame:
    """Write the subset of a milestone: its micrographs from the batches of its prefix."""
    counts, _ = MILESTONES[milestone]
    table = judged(read_movies(session, batches), config)
    table = table[counts(table, config)]
    write_star(session / layout.subset_star(milestone), micrograph_blocks(table, config))
    return table
