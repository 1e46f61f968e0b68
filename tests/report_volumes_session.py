"""The 3D results of a fabricated session: volumes, branches, cross-validation, refinement, verdict.

Maps, curves and pictures are made by the library from a small molecule; the session's numbers are
made up around them.
"""

import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from report_class2d_session import montage_of, round_classes
from scipy.ndimage import gaussian_filter
from validation_synthetic import molecule

from cryosnake import layout
from cryosnake.decisions import Decision, as_table
from cryosnake.images import write_png
from cryosnake.report.picking_files import below
from cryosnake.tables import write_star
from cryosnake.validation.class_match import Matches
from cryosnake.validation.crossvalidate import CrossValidation, Judged
from cryosnake.validation.directional import DirectionalFsc, directional_fsc
from cryosnake.validation.forecast import fit_resolution
from cryosnake.validation.forecast import forecast as forecast_of
from cryosnake.validation.fsc import FscCurves, corrected_fsc, fsc_blocks, shell_correlation
from cryosnake.validation.mask import spherical_mask
from cryosnake.validation.match_picture import draw_matches
from cryosnake.validation.orientation_picture import draw_orientations
from cryosnake.validation.orientations import view_angles, views
from cryosnake.validation.volume_picture import draw_map, draw_volumes

BOX_PX, PIXEL_ANGST, DIAMETER_ANGST = 48, 4.0, 150.0
#: Particles of the 2D rounds, and noise of their half maps.
ROUNDS = ((25_000, 4.0), (100_000, 1.5))
#: Resolutions of those rounds with the parts of their particles that were refined, too.
POINTS = [[6_000, 14.6], [12_000, 12.9], [24_000, 11.4], [75_000, 9.7]]


@lru_cache(maxsize=1)
def truth() -> np.ndarray:
    """(n, n, n) the molecule."""
    return molecule(BOX_PX, seed=3)


def volume(resolution_angst: float, noise: float, *, seed: int = 0) -> np.ndarray:
    """The molecule, blurred to a resolution, with noise of that resolution."""
    random = np.random.default_rng(seed)
    blur_px = 0.22 * resolution_angst / PIXEL_ANGST
    grain = gaussian_filter(random.normal(0, 1, truth().shape), blur_px)
    found = gaussian_filter(truth(), blur_px)
    return (found / found.std() + noise * grain / grain.std()).astype(np.float32)


def blob(*, seed: int = 5) -> np.ndarray:
    """Noise in a round outline."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices((BOX_PX,) * 3) - BOX_PX // 2
    grain = gaussian_filter(random.normal(0, 1, (BOX_PX,) * 3), 2.5)
    return (grain * np.exp(-(x**2 + y**2 + z**2) / 200.0)).astype(np.float32)


def write_volumes(
    results_dir: Path,
    folder: str,
    particles: int,
    volumes: list[np.ndarray],
    shares: list[float],
    resolutions_angst: list[float],
    *,
    chosen: int | None,
    empty: float = 0.0,
    evidence: list[float] | None = None,
) -> None:
    """The table and the picture of volumes, as the stages leave them."""
    population = [round(share * particles) for share in shares]
    table = pd.DataFrame(
        {
            "rlnReferenceImage": [f"{folder}/volume_{k + 1}.mrc" for k in range(len(volumes))],
            "rlnClassDistribution": shares,
            "csnVolumePopulation": population,
            "rlnEstimatedResolution": resolutions_angst,
            "csnVolumeEvidence": evidence or [np.nan] * len(volumes),
            "csnVolumeChosen": [int(k == chosen) for k in range(len(volumes))],
        }
    )
    general = {
        "csnVolumeEngine": "native",
        "rlnPixelSize": PIXEL_ANGST,
        "rlnImageSize": BOX_PX,
        "csnMaskDiameter_angst": DIAMETER_ANGST,
        "csnRoundParticles": particles,
        "csnProblem": "-",
        "csnEmptyShare": empty,
    }
    titles = [f"volume {k + 1}: {n:,} particles" for k, n in enumerate(population)]
    picture = draw_volumes(
        volumes, titles, PIXEL_ANGST, DIAMETER_ANGST, table["csnVolumeChosen"].to_numpy() == 1
    )
    write_png(below(results_dir, f"{folder}/volumes.png"), picture)
    path = below(results_dir, f"{folder}/volumes.star")
    write_star(path, {"general": general, "volumes": table})


def write_failure(results_dir: Path, path: str, problem: str) -> None:
    """A table of a step that came to nothing."""
    nothing = pd.DataFrame({"rlnReferenceImage": []})
    general = {"csnVolumeEngine": "native", "csnProblem": problem}
    write_star(below(results_dir, path), {"general": general, "volumes": nothing})


def tell(results_dir: Path, path: str, *decisions: Decision) -> None:
    """Decisions of a step."""
    write_star(below(results_dir, path), {"decisions": as_table(decisions)})


def cross_validated(averages: int = 8) -> CrossValidation:
    """Three volumes: the chosen one, its mirror image, and a blob."""
    random = np.random.default_rng(2)
    judged = []
    for name, score, confidence, hand, chosen in (
        ("class3d 1", 0.862, 0.0, "mirrored", False),
        ("branch3d 1", 0.884, 1.0, "undetermined", True),
        ("branch3d 2", 0.571, 0.0, "different", False),
    ):
        correlation = np.clip(score + random.normal(0, 0.02, averages), 0, 1)
        matches = Matches(correlation, np.zeros((averages, 3)), np.zeros((averages, 2)))
        error = float(correlation.std(ddof=1) / np.sqrt(averages))
        spread = float(correlation.std(ddof=1))
        judged.append(
            Judged(
                name, float(correlation.mean()), spread, error, confidence, hand, chosen, matches
            )
        )
    return CrossValidation(judged, "pass", 0.62, 1.0, "mean correlation with 8 averages")


def write_crossvalidation(results_dir: Path, particles: int) -> None:
    """Scores and picture; the projections are slices of volumes, which is enough to look at."""
    found = cross_validated()
    images = {
        "class3d 1": volume(16, 0.5)[BOX_PX // 2 - 4 : BOX_PX // 2 + 4, ::-1],
        "branch3d 1": volume(12, 0.3)[BOX_PX // 2 - 4 : BOX_PX // 2 + 4],
        "branch3d 2": blob()[BOX_PX // 2 - 4 : BOX_PX // 2 + 4],
    }
    picture = draw_matches(
        volume(10, 0.4, seed=9)[BOX_PX // 2 - 4 : BOX_PX // 2 + 4],
        images,
        {one.name: one.matches.correlation for one in found.volumes},
        PIXEL_ANGST,
        diameter_angst=DIAMETER_ANGST,
        hands={one.name: one.hand for one in found.volumes},
        chosen=found.winner.name,
    )
    file = layout.validation_file
    write_png(below(results_dir, file(particles, "crossvalidation.png")), picture)
    general = {
        "csnProblem": "-",
        "csnVolumeVerdict": found.verdict,
        "csnVolumeFeatureless": found.featureless,
        "csnVolumeConfidence": found.confidence,
    }
    names = [f"{layout.class3d_folder(particles)}/volume_1.mrc"] * len(found.volumes)
    table = found.table().assign(rlnReferenceImage=names)
    path = below(results_dir, file(particles, "crossvalidation.star"))
    write_star(path, {"general": general, "volumes": table})
    told = Decision(
        f"crossvalidation {particles}",
        "crossvalidation",
        found.verdict,
        "branch3d 1: score 0.884",
        "the best of all volumes and better than a featureless ball, both sure to 95 %",
        1.0,
        found.evidence,
    )
    tell(results_dir, file(particles, "decisions.star"), told)


def write_branch2d(results_dir: Path, particles: int, number: int, classes: int) -> None:
    """A 2D classification of the branch."""
    folder = below(results_dir, layout.branch2d_folder(particles, number))
    table = round_classes(particles, classes, 9.0, (0.1, 0.1, 0.1))
    general = {"csnClassEngine": "native", "csnProblem": "-"}
    write_star(folder / "averages.star", {"general": general, "classes": table.iloc[:, :9]})
    slices = volume(10, 0.5)[np.arange(classes) % 16 + BOX_PX // 2 - 8]
    write_png(folder / "montage.png", montage_of(slices, table, f"{classes} classes"))
    write_star(folder / "classes.star", {"classes": table})
    subject = f"branch2d {particles} round {number}"
    told = Decision(subject, "class2d", "info", f"{classes} classes", "-")
    tell(results_dir, f"{layout.branch2d_folder(particles, number)}/decisions.star", told)


def write_class3d(results_dir: Path, particles: int, *, close: bool = False) -> None:
    """Ab initio volumes, and the particles sorted among them."""
    kept = round(0.8 * particles)
    pair = [volume(16, 0.5), blob()]
    folder = layout.abinitio_folder(particles)
    write_volumes(results_dir, folder, kept, pair, [0.7, 0.3], [17.2, 999.0], chosen=None)
    write_volumes(
        results_dir,
        layout.class3d_folder(particles),
        kept,
        [volume(13, 0.4), blob()],
        [0.78, 0.16],
        [13.1, 24.0],
        chosen=0,
        empty=0.06,
        evidence=[48.3, 11.9],
    )
    subject = f"class3d {particles}"
    decisions = [
        Decision(
            subject,
            "class3d",
            "unsure" if close else "pass",
            f"volume 1: {round(0.78 * kept)} particles",
            "the most populated volume that looks like a particle",
            evidence="volume 1: 13.1 A, log evidence 48.3; volume 2: 24.0 A (not like a particle)",
        ),
        Decision(subject, "class3d_junk", "info", "6 % of the particles show none", "-"),
    ]
    tell(results_dir, layout.class3d_file(particles, "decisions.star"), *decisions)


def write_branch3d(results_dir: Path, particles: int) -> None:
    """The volumes of the 3D branch."""
    write_volumes(
        results_dir,
        layout.branch3d_folder(particles),
        round(0.62 * particles),
        [volume(12, 0.3), blob(), blob(seed=6)],
        [0.83, 0.1, 0.07],
        [11.8, 22.0, 999.0],
        chosen=0,
        evidence=[51.0, 8.2, 2.0],
    )


def halves(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Half maps of the molecule."""
    random = np.random.default_rng(7)
    one, two = (truth() + noise * random.normal(0, 1, truth().shape) for _ in range(2))
    return one.astype(np.float32), two.astype(np.float32)


def result_of(particles: int, curves: FscCurves, cones: DirectionalFsc) -> dict:
    """`result.json` of a refinement."""
    return {
        "problem": None,
        "engine": "native",
        "particles": round(0.75 * particles),
        "box_px": BOX_PX,
        "pixel_size_angst": PIXEL_ANGST,
        "diameter_angst": DIAMETER_ANGST,
        "symmetry": "C1",
        "resolution_angst": curves.resolution_angst,
        "resolution_unmasked_angst": 1.1 * curves.resolution_angst,
        "resolution_masked_angst": 0.97 * curves.resolution_angst,
        "b_factor_angst2": 142.0,
        "b_factor_error_angst2": 21.0,
        "mean_log_evidence": 63.2,
        "local_resolution_angst": {"median": 9.9, "p5": 9.0, "p95": 14.2},
        "directional": {
            "best_angst": cones.best_angst,
            "worst_angst": cones.worst_angst,
            "mean_angst": cones.mean_angst,
            "deviation_angst": cones.deviation_angst,
            "area_ratio": cones.area_ratio,
        },
        "orientation": {
            "verdict": "preferred",
            "score": 0.41,
            "empty_fraction": 0.12,
            "gap_ratio": 0.52,
            "confidence": 0.8,
            "tilt_deg": 30,
            "score_at_tilt": {"0": 0.41, "30": 0.63},
            "evidence": "resolution by direction 9.1 to 14.3 A",
        },
        "box": {"edge_density_ratio": 0.04, "needed_box_px": None, "verdict": "large enough"},
        "mask": {"verdict": "fits"},
        "symmetry_found": [{"group": "C2", "correlation": 0.31, "axis": [0, 0, 1]}],
        "known_map": {
            "path": "known.mrc",
            "resolution_angst": 1.03 * curves.resolution_angst,
            "hand": "mirrored",
            "correlation": 0.88,
        },
    }


def write_refinement(results_dir: Path, particles: int, noise: float) -> None:
    """Curves, cones, pictures and result of a refinement, and what was decided of it."""

    def path(name: str) -> Path:
        return below(results_dir, layout.refine_file(particles, name))

    one, two = halves(noise)
    mask = spherical_mask(BOX_PX, 0.5 * DIAMETER_ANGST, PIXEL_ANGST)
    curves = corrected_fsc(one, two, PIXEL_ANGST, mask)
    cones = directional_fsc(one, two, PIXEL_ANGST, mask, number=100)
    blocks = fsc_blocks(curves)
    blocks["known_map"] = pd.DataFrame(
        {
            "rlnResolution": blocks["fsc"]["rlnResolution"],
            "rlnFourierShellCorrelation": shell_correlation(truth() * mask, (one + two) * mask),
        }
    )
    write_star(path("fsc.star"), blocks)
    rot_deg, tilt_deg = view_angles(cones.directions)
    cone_table = pd.DataFrame(
        {
            "rlnAngleRot": rot_deg,
            "rlnAngleTilt": tilt_deg,
            "csnConeResolution_angst": np.minimum(cones.resolution_angst, 999.0),
        }
    )
    write_star(path("cfsc.star"), {"cones": cone_table})
    random = np.random.default_rng(4)
    away = np.linalg.norm(np.indices(mask.shape) - BOX_PX // 2, axis=0)
    local = 9.0 + 0.02 * away**2 + 8 * gaussian_filter(random.normal(0, 1, mask.shape), 4)
    write_png(path("map.png"), draw_map((one + two) / 2, mask, local, PIXEL_ANGST))
    tilt = np.r_[random.normal(90, 8, 3000), np.rad2deg(np.arccos(random.uniform(-1, 1, 1500)))]
    seen = views(random.uniform(-180, 180, len(tilt)), tilt)
    write_png(path("orientations.png"), draw_orientations(seen, cones))
    subject = f"refine {particles}"
    extracted = Decision(
        subject, "reextraction", "info", "18750 of 18760 particles in boxes of 48 px", "-"
    )
    tell(results_dir, layout.refine_file(particles, "stack/decisions.star"), extracted)
    write_star(path("stack/particles.star"), {"particles": pd.DataFrame({"rlnImageName": []})})
    decisions = [
        Decision(
            subject,
            "refine_orientation",
            "warn",
            "preferred orientation; tilt the stage by 30 degrees",
            "a sampling score of at least 0.5",
            0.8,
            "resolution by direction 9.1 to 14.3 A",
        ),
        Decision(subject, "refine_box", "pass", "large enough", "room about the particle"),
    ]
    tell(results_dir, layout.refine_file(particles, "decisions.star"), *decisions)
    path("forecast.json").write_text(json.dumps(forecast()))
    path("result.json").write_text(json.dumps(result_of(particles, curves, cones)))


def forecast(**changes: object) -> dict:
    """`forecast.json`."""
    fit = fit_resolution(*zip(*POINTS, strict=True))
    found = forecast_of(fit, 9.0, pixel_size_angst=PIXEL_ANGST, particles_per_hour=1240.0)
    return {
        **asdict(found),
        "points": POINTS,
        "b_factor_angst2": fit.b_factor_angst2,
        "particles_per_hour": 1240.0,
    } | changes


def verdict(**changes: object) -> dict:
    """`verdict.json`."""
    return {
        "verdict": "change",
        "reasons": [
            {
                "rule": "refine_orientation",
                "verdict": "warn",
                "value": "preferred orientation; tilt the stage by 30 degrees",
                "threshold": "a sampling score of at least 0.5",
                "evidence": "resolution by direction 9.1 to 14.3 A",
                "advice": "Tilt the stage by 30 degrees for the rest of the session.",
            },
            {
                "rule": "crossvalidation",
                "verdict": "pass",
                "value": "branch3d 1: score 0.884",
                "threshold": "-",
                "evidence": "-",
                "advice": "-",
            },
        ],
        "resolution_angst": 9.7,
        "forecast": forecast(),
        "particles": 75_000,
        "round": 100_000,
        "time": "2026-03-02T02:31:07Z",
    } | changes


def write_verdict(results_dir: Path, **changes: object) -> None:
    """The verdict of the session."""
    path = below(results_dir, layout.VERDICT)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(verdict(**changes)))


def write_selected(results_dir: Path, particles: int) -> None:
    """The particles that a 2D round selected."""
    path = below(results_dir, layout.class2d_file(particles, "selected.star"))
    write_star(path, {"particles": pd.DataFrame({"rlnImageName": []})})


def write_volume_round(
    results_dir: Path, particles: int, noise: float, *, classes: tuple[int, int] = (12, 8)
) -> None:
    """All of a round."""
    write_selected(results_dir, particles)
    write_class3d(results_dir, particles)
    for number, many in enumerate(classes, start=1):
        write_branch2d(results_dir, particles, number, many)
    write_branch3d(results_dir, particles)
    write_crossvalidation(results_dir, particles)
    write_refinement(results_dir, particles, noise)
