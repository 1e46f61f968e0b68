"""The quality filters: each a pure function of what was measured and of the thresholds.

All return a `Verdict`. The values come from the other stages (motion, CTF) or from
`cryosnake.curation.spectrum` and `cryosnake.curation.classifier`; the thresholds from the
session's configuration, where those of tilted sessions are looser.
"""

import math
from collections.abc import Sequence

from cryosnake.config.model import CurationConfig
from cryosnake.curation.labels import MicrographClass
from cryosnake.curation.verdict import Verdict, distance_confidence


def dose_counts_per_angst2(frame_means: Sequence[float], pixel_size_angst: float) -> float:
    """The dose as a monitor sees it: the mean pixel of the first, middle and last frame, divided by
    the area of a pixel.

    Parameters
    ----------
    frame_means : mean pixel of each frame as stored, in counts.
    pixel_size_angst : of the movie as stored.

    Returns
    -------
    Counts per square angstrom and frame. Three frames are enough to notice a beam that is off,
    drifting or blocked for part of the movie.
    """
    if len(frame_means) == 0:
        raise ValueError("frame_means is empty: a movie has at least one frame")
    chosen = [frame_means[0], frame_means[len(frame_means) // 2], frame_means[-1]]
    return float(sum(float(mean) for mean in chosen) / 3.0 / pixel_size_angst**2)


def dose_filter(
    dose_counts_per_angst2: float,
    reference_counts_per_angst2: float,
    config: CurationConfig,
) -> Verdict:
    """The dose is within the tolerance of the running median of the session.

    Parameters
    ----------
    dose_counts_per_angst2 : of this movie, see the function of the same name.
    reference_counts_per_angst2 : the running median, see `cryosnake.curation.dose`.
    """
    dose, reference = dose_counts_per_angst2, reference_counts_per_angst2
    tolerance = config.dose_tolerance
    passed = bool(dose_is_close(dose, reference, tolerance))
    deviation = dose / reference - 1.0
    return Verdict(
        filter="dose",
        passed=passed,
        value=f"dose {dose:.4g} counts/A^2, {100 * deviation:+.1f} % of the median {reference:.4g}",
        threshold=f"within {100 * tolerance:g} %",
        confidence=distance_confidence(abs(deviation), tolerance, tolerance),
        metrics={
            "csnDose_counts_per_angst2": dose,
            "csnDoseReference_counts_per_angst2": reference,
        },
    )


def dose_is_close(dose, reference, tolerance: float):
    """|dose - reference| <= tolerance * reference, for numbers or arrays; the bound itself passes
    whatever the rounding."""
    return abs(dose - reference) <= tolerance * reference * (1.0 + 1e-9)


def drift_filter(
    drift_max_angst: float, drift_path_angst: float, config: CurationConfig
) -> Verdict:
    """Neither one step of the whole frame nor the whole path is too long.

    Parameters
    ----------
    drift_max_angst : largest shift from a frame to the next.
    drift_path_angst : sum of the lengths of all those shifts. NaN: the alignment failed.
    """
    known = math.isfinite(drift_max_angst) and math.isfinite(drift_path_angst)
    passed = (
        known
        and drift_max_angst <= config.drift_max_angst
        and drift_path_angst <= config.drift_path_angst
    )
    value = f"largest step {drift_max_angst:.1f} A, path {drift_path_angst:.1f} A"
    # the movie is as good as the worse of the two, in units of its threshold
    worst = max(
        drift_max_angst / config.drift_max_angst, drift_path_angst / config.drift_path_angst
    )
    return Verdict(
        filter="drift",
        passed=passed,
        value=value if known else "no trustworthy shifts (alignment failed)",
        threshold=f"step to {config.drift_max_angst:g} A, path to {config.drift_path_angst:g} A",
        confidence=distance_confidence(worst, 1.0, 0.5) if known else 1.0,
        metrics={"csnDriftMax_angst": drift_max_angst, "csnDriftPath_angst": drift_path_angst},
    )


def class_filter(micrograph_class: MicrographClass, config: CurationConfig) -> Verdict:
    """The label of the micrograph is one of those that are kept."""
    return Verdict(
        filter="class",
        passed=micrograph_class.label in config.classes_kept,
        value=f"class {micrograph_class.label}",
        threshold=f"one of {', '.join(config.classes_kept)}",
        confidence=micrograph_class.confidence,
        metrics={
            "csnMicrographClass": micrograph_class.label,
            "csnMicrographClassConfidence": micrograph_class.confidence,
        },
        evidence="; ".join(micrograph_class.reasons) or "-",
    )


def ctf_filter(
    defocus_u_angst: float,
    defocus_v_angst: float,
    max_resolution_angst: float,
    config: CurationConfig,
) -> Verdict:
    """The CTF was fitted far enough, at a usable defocus, with little astigmatism.

    Parameters
    ----------
    defocus_u_angst, defocus_v_angst : positive for underfocus. NaN: the fit failed.
    max_resolution_angst : the finest resolution at which model and data still agree.
    """
    mean = 0.5 * (defocus_u_angst + defocus_v_angst)
    ratio = abs(defocus_u_angst - defocus_v_angst) / mean if mean > 0 else math.inf
    known = math.isfinite(mean) and math.isfinite(max_resolution_angst)
    failures, distances = [], []
    for name, value, limit, is_bad in (
        ("fit resolution", max_resolution_angst, config.ctf_max_resolution_angst, 1),
        ("defocus", mean, config.defocus_min_angst, -1),
        ("defocus", mean, config.defocus_max_angst, 1),
        ("astigmatism", ratio, config.astigmatism_max_ratio, 1),
    ):
        if not known or is_bad * (value - limit) > 0:
            failures.append(name)
        distances.append(is_bad * (value - limit) / limit if known else 1.0)
    worst = min(max(distances), 1e6)
    return Verdict(
        filter="ctf",
        passed=not failures,
        value=(
            f"fit to {max_resolution_angst:.2f} A, defocus {mean:.0f} A, astigmatism "
            f"{100 * ratio:.1f} %"
            if known
            else "no CTF could be fitted"
        ),
        threshold=(
            f"{config.ctf_max_resolution_angst:g} A or better, "
            f"{config.defocus_min_angst:g}-{config.defocus_max_angst:g} A, "
            f"to {100 * config.astigmatism_max_ratio:g} %"
        ),
        confidence=distance_confidence(worst, 0.0, 0.25) if known else 1.0,
        metrics={
            "rlnCtfMaxResolution": max_resolution_angst,
            "csnDefocusMean_angst": mean,
            "csnAstigmatism_ratio": ratio if math.isfinite(ratio) else math.nan,
        },
        evidence=", ".join(dict.fromkeys(failures)) if failures and known else "-",
    )
