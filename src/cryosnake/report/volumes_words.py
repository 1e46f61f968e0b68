"""What a refinement and a forecast came to, in words."""

from cryosnake.report.json_values import length, number, objects, rows_of, whole_number
from cryosnake.report.status import count
from cryosnake.validation.forecast import in_words

_ORIENTATIONS = {
    "preferred": "the particles prefer an orientation",
    "none": "no preferred orientation",
    "unsure": "not sure whether the particles prefer an orientation",
}


def refined_words(result: dict) -> str:
    """What the refinement came to, as a sentence."""
    angst = length(result.get("resolution_angst"))
    particles = whole_number(result.get("particles"))
    words = f"{angst:.2f} Å" if angst else "No resolution is claimed"
    if particles is not None:
        words += f" from {count(particles, 'particle')}"
    symmetry = str(result.get("symmetry") or "C1")
    return f"{words}, with {symmetry} applied." if symmetry != "C1" else f"{words}, in C1."


def refined_facts(result: dict) -> list[tuple[str, str]]:
    """The numbers of a refinement, with their names."""
    parts = objects(result)
    facts = [
        ("Resolution (FSC 0.143)", _angst(result.get("resolution_angst"), 2)),
        (
            "Without mask, under the mask",
            _joined(
                _angst(result.get("resolution_unmasked_angst"), 2),
                _angst(result.get("resolution_masked_angst"), 2),
            ),
        ),
        ("B-factor", _b_factor(result)),
        ("Local resolution", _local(parts.get("local_resolution_angst", {}))),
        ("By direction", _directional(parts.get("directional", {}))),
        ("Orientations", _orientation(parts.get("orientation", {}))),
        ("Box", _box(result, parts.get("box", {}))),
        ("Mask", str(parts.get("mask", {}).get("verdict") or "")),
        ("Symmetry found", _symmetry(result)),
        ("Against the known map", _known_map(parts.get("known_map", {}))),
        ("Log evidence of a particle", _plain(result.get("mean_log_evidence"), ".1f")),
        ("Engine", str(result.get("engine") or "")),
    ]
    return [(name, value) for name, value in facts if value]


def forecast_points(forecast: dict | None) -> list[tuple[float, float]]:
    """(particles, resolution in angstrom) that a forecast rests on, the fewest first."""
    listed = (forecast or {}).get("points")
    pairs = [
        (length(pair[0]), length(pair[1]))
        for pair in (listed if isinstance(listed, list) else [])
        if isinstance(pair, list) and len(pair) == 2
    ]
    return sorted((n, angst) for n, angst in pairs if n and angst)


def forecast_words(forecast: dict | None) -> str:
    """Pace, and what the target would take, as one line; empty where nothing is known."""
    if not forecast:
        return ""
    pace = length(forecast.get("particles_per_hour"))
    words = [f"{pace:,.0f} particles per hour"] if pace else []
    target = length(forecast.get("target_angst"))
    verdict = forecast.get("verdict")
    if target:
        if verdict == "reached":
            words.append(f"{target:g} Å is reached")
        elif verdict == "out of reach":
            words.append(f"{target:g} Å is out of reach of this pixel size")
        elif need := _span(forecast, ("low", "high"), "particles", in_words):
            more = _span(forecast, ("hours_low", "hours_high"), "hours", _hours)
            words.append(
                f"{target:g} Å {'needs' if verdict == 'forecast' else 'may need'} {need} particles"
                + (f", {more} h more" if more else "")
                + ("" if verdict == "forecast" else " (not sure)")
            )
        elif verdict:
            words.append(f"no forecast for {target:g} Å yet")
    return "; ".join(words)


def _span(forecast: dict, ends: tuple[str, str], middle: str, words) -> str:
    """`low-high`, or the middle alone; empty where neither is known."""
    low, high = (number(forecast.get(end)) for end in ends)
    if low is not None and high is not None and high > 0:
        low_words, high_words = words(low), words(high)
        return low_words if low_words == high_words else f"{low_words} to {high_words}"
    value = number(forecast.get(middle))
    return f"about {words(value)}" if value else ""


def _hours(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 3 else f"{value:,.0f}"


def _b_factor(result: dict) -> str:
    b, error = number(result.get("b_factor_angst2")), number(result.get("b_factor_error_angst2"))
    if b is None:
        return ""
    return f"{b:.0f} Å²" if error is None else f"{b:.0f} ± {error:.0f} Å²"


def _local(local: dict) -> str:
    median, low, high = (length(local.get(name)) for name in ("median", "p5", "p95"))
    if median is None:
        return ""
    words = f"median {median:.1f} Å"
    return f"{words}; 90 % of the map from {low:.1f} to {high:.1f} Å" if low and high else words


def _directional(found: dict) -> str:
    best, worst = (length(found.get(name)) for name in ("best_angst", "worst_angst"))
    if best is None:
        return ""
    words = [f"best {best:.1f} Å", f"worst {worst:.1f} Å" if worst else "worst: none"]
    for name, text in (("mean_angst", "mean {:.1f} Å"), ("deviation_angst", "deviation {:.1f} Å")):
        if (value := number(found.get(name))) is not None:
            words.append(text.format(value))
    if (ratio := number(found.get("area_ratio"))) is not None:
        words.append(f"area ratio {ratio:.2f} (1: even)")
    return ", ".join(words)


def _orientation(found: dict) -> str:
    words = _ORIENTATIONS.get(str(found.get("verdict")), "")
    if not words:
        return ""
    if (score := number(found.get("score"))) is not None:
        words += f"; sampling score {score:.2f}"
    if (empty := number(found.get("empty_fraction"))) is not None:
        words += f", {100 * empty:.0f} % of the directions hardly seen"
    if (tilt := number(found.get("tilt_deg"))) is not None and tilt > 0:
        words += f"; a stage tilt of {tilt:.0f}° would help"
    return words


def _box(result: dict, box: dict) -> str:
    side, pixel = whole_number(result.get("box_px")), length(result.get("pixel_size_angst"))
    words = [f"{side} px of {pixel:.3g} Å"] if side and pixel else []
    words += [str(box["verdict"])] if box.get("verdict") else []
    needed = whole_number(box.get("needed_box_px"))
    if needed and needed > (side or 0):
        words.append(f"{needed} px are needed")
    if mask := length(box.get("needed_mask_angst")):
        words.append(f"a mask of {mask:.0f} Å is needed")
    return ", ".join(words)


def _symmetry(result: dict) -> str:
    found = [row for row in rows_of(result.get("symmetry_found")) if row.get("group")]
    words = []
    for row in found[:6]:
        correlation = number(row.get("correlation"))
        more = f" (correlation {correlation:.2f})" if correlation is not None else ""
        words.append(f"{row['group']}{more}")
    return ", ".join(words)


def _known_map(found: dict) -> str:
    angst = length(found.get("resolution_angst"))
    if not found or (angst is None and not found.get("hand")):
        return ""
    words = [f"{angst:.2f} Å (FSC 0.5)" if angst else "no agreement"]
    words += [f"hand: {found['hand']}"] if found.get("hand") else []
    if (correlation := number(found.get("correlation"))) is not None:
        words.append(f"correlation {correlation:.2f}")
    return ", ".join(words)


def _joined(*words: str) -> str:
    return ", ".join(word or "none" for word in words) if any(words) else ""


def _angst(value: object, digits: int) -> str:
    angst = length(value)
    return f"{angst:.{digits}f} Å" if angst else ""


def _plain(value: object, form: str) -> str:
    found = number(value)
    return "" if found is None else f"{found:{form}}"
