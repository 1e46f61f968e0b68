"""Small pictures of micrographs, inlined so that the page needs no other file."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cryosnake.report.status import CLASS_TITLES, FILTER_TITLES

#: Pictures of a report may take this much of it.
_BYTES_FOR_PICTURES = 10_000_000
_BYTES_PER_PX = 0.22  # WebP at the quality used, of noisy micrographs: about twice what is usual
_QUALITY = 62


@dataclass(frozen=True)
class Card:
    """A micrograph in the gallery; pictures are data URIs, empty where there is none."""

    number: int
    name: str
    accepted: bool
    reason: str
    title: str
    explanation: str
    facts: str
    thumbnail: str
    ctf: str


def chosen_accepted(table: pd.DataFrame, number: int) -> pd.DataFrame:
    """Accepted movies, evenly spread over the session, the newest first."""
    accepted = table[table["csnAccepted"] == 1]
    if number == 0 or accepted.empty:
        return accepted.iloc[:0]
    places = np.unique(np.linspace(0, len(accepted) - 1, min(number, len(accepted))).round())
    return accepted.iloc[places.astype(int)[::-1]]


def chosen_rejected(table: pd.DataFrame, number: int) -> pd.DataFrame:
    """Rejected movies: the newest of each reason in turn, so that no reason hides another."""
    rejected = table[table["csnAccepted"] == 0].iloc[::-1]
    turn = rejected.groupby("csnReason", sort=False).cumcount()
    return rejected.iloc[np.argsort(turn.to_numpy(), kind="stable")[:number]]


def picture_side_px(pictures: int) -> int:
    """The side that so many pictures may have within the budget of the page."""
    budget = _BYTES_FOR_PICTURES / max(1, pictures)
    return int(np.clip(np.sqrt(budget / _BYTES_PER_PX), 96, 448))


def data_uri(path: Path, side_px: int) -> str:
    """A picture, reduced to fit a square and inlined as WebP; empty where it cannot be read."""
    try:
        with Image.open(path) as picture:
            picture = picture.convert("RGB" if picture.mode not in ("L", "1") else "L")
            picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
            stream = io.BytesIO()
            picture.save(stream, "WEBP", quality=_QUALITY, method=2)
    except (OSError, ValueError):
        # A picture that is missing or half-written is no reason to be without a report: the card
        # says that there is none.
        return ""
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def cards(rows: pd.DataFrame, results_dir: Path, side_px: int) -> list[Card]:
    """The gallery's cards of the chosen rows of the table."""
    return [_card(row, results_dir, side_px) for row in rows.to_dict("records")]


def _card(row: dict, results_dir: Path, side_px: int) -> Card:
    folder = results_dir / "preprocess" / row["csnBatch"]
    accepted = row["csnAccepted"] == 1
    reason = row["csnReason"]
    return Card(
        number=row["number"],
        name=row["name"],
        accepted=accepted,
        reason=reason,
        title="accepted" if accepted else FILTER_TITLES.get(reason, reason),
        explanation="" if accepted else row["csnExplanation"],
        facts=", ".join(_facts(row)),
        thumbnail=data_uri(folder / f"{row['stem']}_thumb.png", side_px),
        ctf=data_uri(folder / f"{row['stem']}_ctf.png", side_px),
    )


def _facts(row: dict) -> Iterable[str]:
    if np.isfinite(row["rlnCtfMaxResolution"]):
        yield f"CTF {row['rlnCtfMaxResolution']:.1f} Å"
    if np.isfinite(row["csnDefocusMean_angst"]):
        yield f"defocus {row['csnDefocusMean_angst'] * 1e-4:.2f} µm"
    if np.isfinite(row["csnDriftPath_angst"]):
        yield f"drift {row['csnDriftPath_angst']:.0f} Å"
    if row["csnMicrographClass"] != "-":
        yield CLASS_TITLES.get(row["csnMicrographClass"], row["csnMicrographClass"])
