"""What is told of a refinement: the figures of its result, and the decisions in words."""

import math

import numpy as np

from cryosnake import layout
from cryosnake.decisions import Decision
from cryosnake.picking.size_model import good_box_px
from cryosnake.stages.postprocess import MOST_RANDOMISED, Postprocessed
from cryosnake.validation.known_map import KnownMapMatch
from cryosnake.validation.preferred import MIN_AREA_RATIO, MIN_SCORE

#: A known map agrees to this many times the resolution of the map, or better.
KNOWN_WITHIN = 1.5
_ORIENTATION = {"preferred": "warn", "none": "pass", "unsure": "unsure"}
_MASK = {"fits": "pass", "too tight": "warn", "sphere": "unsure"}
_BOX = {"large enough": "pass", "too small": "warn"}


def empty_result(problem: str, engine: str) -> dict:
    """`result.json` where there is no refinement."""
    return {"problem": problem, "engine": engine, "particles": 0, "resolution_angst": None}


def figures(found: Postprocessed, pixel_size_angst: float) -> dict:
    """What postprocessing adds to `result.json`."""
    fit, cones, box, views = found.guinier, found.directional, found.box, found.orientation
    local = None
    if found.local_angst is not None:
        values = np.percentile(found.local_angst[found.mask > 0.5], (50, 5, 95))
        local = dict(zip(("median", "p5", "p95"), values.tolist(), strict=True))
    needed_angst = box.needed_box_angst if box else None
    return {
        "resolution_angst": found.resolution_angst,
        "resolution_unmasked_angst": found.unmasked_angst,
        "resolution_masked_angst": found.masked_angst,
        "b_factor_angst2": fit.b_factor_angst2 if fit else None,
        "b_factor_error_angst2": fit.uncertainty_angst2 if fit else None,
        "local_resolution_angst": local,
        "directional": {
            "best_angst": cones.best_angst,
            "worst_angst": cones.worst_angst,
            "mean_angst": cones.mean_angst,
            "deviation_angst": cones.deviation_angst,
            "area_ratio": cones.area_ratio,
        },
        "orientation": {
            "verdict": views.verdict,
            "score": views.score,
            "empty_fraction": views.empty_fraction,
            "gap_ratio": views.gap_ratio,
            "confidence": views.confidence,
            "tilt_deg": views.tilt_deg,
            "score_at_tilt": views.score_at_tilt,
            "evidence": views.evidence,
        },
        "box": {
            "verdict": box.verdict if box else "unsure",
            "edge_density_ratio": box.edge_density_ratio if box else None,
            "extent_angst": box.extent_angst if box else None,
            "needed_box_px": good_box_px(needed_angst / pixel_size_angst) if needed_angst else None,
            "needed_mask_angst": box.needed_mask_angst if box else None,
        },
        "mask": {
            "verdict": found.mask_check.verdict,
            "randomised": found.mask_check.randomised,
            "widened_angst": found.mask_check.widened_angst,
        },
    }


def failure(subject: str, result: dict) -> list[Decision]:
    """Told where there is no refinement."""
    return [
        Decision(
            subject=subject,
            rule="refine",
            verdict="fail",
            value=result["problem"],
            threshold="a refined map",
            evidence=f"the log of rule refine; engine {result['engine']}",
        )
    ]


def decisions(subject: str, particles: int, result: dict, found: Postprocessed) -> list[Decision]:
    """What is told of a refinement.

    Parameters
    ----------
    particles : number of the round.
    result : content of `result.json`.
    """
    told = [
        _resolution(subject, particles, result, found),
        _noise(subject, result, found),
        _mask(subject, particles, found),
        _orientation(subject, particles, found),
    ]
    if found.box:
        told.append(_box(subject, particles, result, found))
    return told


def _resolution(subject: str, particles: int, result: dict, found: Postprocessed) -> Decision:
    known = math.isfinite(found.resolution_angst)
    text = f"unmasked {_angst(found.unmasked_angst)}, masked {_angst(found.masked_angst)}"
    if found.guinier:
        fit = found.guinier
        text += f"; B = {fit.b_factor_angst2:.0f} +- {fit.uncertainty_angst2:.0f} A^2"
    local = result["local_resolution_angst"]
    if local:
        text += f"; local {local['p5']:.1f} to {local['p95']:.1f} A"
    return Decision(
        subject=subject,
        rule="refine",
        verdict="info" if known else "unsure",
        value=f"{_angst(found.resolution_angst)} from {result['particles']} particles",
        threshold="where the corrected correlation of the half maps falls below 0.143",
        evidence=f"{layout.refine_file(particles, 'fsc.star')}: {text}",
    )


def _noise(subject: str, result: dict, found: Postprocessed) -> Decision:
    evidence = result["mean_log_evidence"]
    if math.isfinite(found.resolution_angst):
        verdict, text = "pass", "the particles show the map"
    elif evidence is not None and evidence <= 0:
        verdict = "warn"
        text = "the particles are more probable as empty images: noise was aligned to the start"
    else:
        verdict, text = "warn", "the half maps agree nowhere"
    return Decision(
        subject=subject,
        rule="refine_noise",
        verdict=verdict,
        value="mean log evidence " + ("not known" if evidence is None else f"{evidence:.2f}"),
        threshold="above 0, and half maps that agree",
        evidence=text,
    )


def _mask(subject: str, particles: int, found: Postprocessed) -> Decision:
    check = found.mask_check
    text = f"resolution under the mask {_angst(found.masked_angst)}, corrected for it "
    text += f"{_angst(found.resolution_angst)}; {100 * float(found.mask.mean()):.0f} % of the box"
    if check.widened_angst:
        text += f"; made wider by {check.widened_angst:.1f} A"
    if check.verdict == "sphere":
        text += "; no density stands out of the noise, so that a sphere is used"
    return Decision(
        subject=subject,
        rule="refine_mask",
        verdict=_MASK[check.verdict],
        value=f"the mask alone correlates halves by {check.randomised:.2f} at the resolution",
        threshold=f"at most {MOST_RANDOMISED:g}",
        evidence=f"{layout.refine_file(particles, 'mask.mrc')}: {text}",
    )


def _orientation(subject: str, particles: int, found: Postprocessed) -> Decision:
    views = found.orientation
    value = f"sampling score {views.score:.2f}, area ratio {views.area_ratio:.2f}"
    if views.tilt_deg is not None:
        value += f"; a tilt of {views.tilt_deg} degrees would help"
    return Decision(
        subject=subject,
        rule="refine_orientation",
        verdict=_ORIENTATION[views.verdict],
        value=value,
        threshold=f"score {MIN_SCORE:g} and area ratio {MIN_AREA_RATIO:g}",
        confidence=views.confidence,
        evidence=f"{layout.refine_file(particles, 'orientations.png')}: {views.evidence}",
    )


def _box(subject: str, particles: int, result: dict, found: Postprocessed) -> Decision:
    needed_px = result["box"]["needed_box_px"]
    value = f"density at the edge of the mask {found.box.edge_density_ratio:.2f} of that within"
    if needed_px:
        value = f"the molecule is cut by its mask; {found.box.needed_mask_angst:.0f} A are needed"
    if needed_px and needed_px > result["box_px"]:
        value += f", and a box of {needed_px} px of {result['pixel_size_angst']:.2f} A"
    return Decision(
        subject=subject,
        rule="refine_box",
        verdict=_BOX[found.box.verdict],
        value=value,
        threshold="no molecule at the edge of the mask, and room around it",
        evidence=f"{layout.refine_file(particles, 'map.mrc')}: {found.box.evidence}",
    )


def known_figures(path: str, match: KnownMapMatch) -> dict:
    """How the result compares with the map that it should be, for `result.json`."""
    return {
        "path": path,
        "resolution_angst": match.resolution_angst,
        "hand": match.hand,
        "correlation": match.correlation,
    }


def known_map(subject: str, path: str, found: Postprocessed, match: KnownMapMatch) -> Decision:
    """How the result compares with the map that it should be."""
    limit_angst = KNOWN_WITHIN * found.resolution_angst
    agrees = match.resolution_angst <= limit_angst and match.hand != "different"
    return Decision(
        subject=subject,
        rule="refine_known_map",
        verdict="pass" if agrees else "warn",
        value=f"agrees to {_angst(match.resolution_angst)} (correlation 0.5), hand {match.hand}",
        threshold=f"{_angst(limit_angst)} or better",
        evidence=f"{path}: correlation {match.correlation:.2f} over the shells",
    )


def no_known_map(subject: str, problem: str) -> Decision:
    """Told where the known map cannot be used."""
    return Decision(
        subject=subject,
        rule="refine_known_map",
        verdict="fail",
        value=problem,
        threshold="an MRC file of the known map",
        evidence="validation.known_map",
    )


def _angst(value: float) -> str:
    return f"{value:.2f} A" if math.isfinite(value) else "no resolution"
