"""A plan's answer as people read it."""

from cryosnake.plan.answer import KEEPS_UP_S, Answer
from cryosnake.plan.costs import Costs
from cryosnake.plan.terms import Pace, Site
from cryosnake.waits import in_words

#: What an operator may expect at 6 s a movie and 200 particles a micrograph.
REFERENCE = {"classes": "0:30-0:40", "volume": "1:30", "map": "3:00"}
_STEPS_SHOWN = 8


def answer_in_words(
    answer: Answer, costs: Costs, pace: Pace, site: Site, threads: int, *, measured: bool
) -> str:
    """The answer as a page of text.

    Parameters
    ----------
    threads : of a job. measured : the costs are those of a site's own session.
    """
    gpus = f", {site.gpus} GPU{'s' if site.gpus > 1 else ''}" if site.gpus else ", no GPU"
    lines = [
        f"{pace.movies:,} movies, one every {pace.every_s:g} s ({_clock(answer.acquisition_s)} h);"
        f" {pace.particles:g} particles on an accepted micrograph, {100 * pace.accepted:.0f} %"
        " accepted",
        f"{site.cores} cores{gpus}, {threads} threads a job; costs: {costs.origin}",
    ]
    if site.gpus and answer.unmeasured:
        lines.append(
            f"Never timed on a GPU, and planned on CPUs: {', '.join(answer.unmeasured)}."
            " Name a session that ran on your GPUs with --measured."
        )
    lines += ["", *_verdict(answer, site, threads), "", *_times(answer), "", *_work(answer, costs)]
    if threads > 2 and not measured:
        lines += ["", "Times with more than two threads a job are computed, not measured."]
    return "\n".join(lines)


def _verdict(answer: Answer, site: Site, threads: int) -> list[str]:
    if answer.keeps_up:
        lines = [f"It keeps up: no movie waits longer than {in_words(answer.longest_wait_s)}"]
    else:
        lines = [
            f"It does NOT keep up: a movie waits up to {in_words(answer.longest_wait_s)}, and the"
            f" last are done {in_words(answer.drained_s)} after the acquisition"
        ]
    lines[0] += (
        f" (median {in_words(answer.median_wait_s)}; at most {answer.most_waiting:,} wait at once)."
    )
    use = f"Cores are {100 * answer.core_use:.0f} % used while movies come"
    if answer.gpu_use is not None:
        use += f", GPUs {100 * answer.gpu_use:.0f} %"
    if answer.bottleneck:
        cores = answer.bottleneck == "cores"
        named = "CPU cores" if cores else "GPUs"
        most = max(answer.steps, key=lambda step: step.core_s if cores else step.gpu_s)
        use += f": {named} are the bottleneck, most of all for {most.rule}"
    lines.append(use + ".")
    lines.append(_enough(answer, site))
    longest = max(answer.steps, key=lambda step: step.longest_s)
    if longest.longest_s > 3600 and threads < site.cores:
        lines.append(
            f"The longest job is one of {longest.rule}, {in_words(longest.longest_s)} with"
            f" {threads} threads: more shorten it (compute.threads; --threads to try here)."
        )
    return lines


def _enough(answer: Answer, site: Site) -> str:
    within = f"no movie waiting beyond {KEEPS_UP_S / 60:.0f} min"
    if answer.cores_needed is None:
        cores = "no number of cores is"
    else:
        cores = f"{answer.cores_needed} cores are"
    words = f"To keep up ({within}), {cores} enough"
    if answer.gpu_use is not None:
        words += f" with {site.gpus} GPU{'s' if site.gpus > 1 else ''}"
    if answer.gpus_needed is not None:
        words += f", or {answer.gpus_needed} GPUs with {site.cores} cores"
    return words + "."


def _times(answer: Answer) -> list[str]:
    lines = [f"{'after':>8}  {'what':<28} reference*"]
    named = set()
    for what, time_s in sorted(answer.reached.items(), key=lambda item: item[1]):
        kind = next((k for k in REFERENCE if k in what.split(" of ")[0]), None)
        expected = REFERENCE[kind] if kind and kind not in named else ""
        named.add(kind)
        lines.append(f"{_clock(time_s):>8}  {what:<28} {expected}".rstrip())
    lines += [
        f"{_clock(answer.end_s):>8}  everything done",
        "* usual at 6 s a movie and 200 particles a micrograph",
    ]
    return lines


def _work(answer: Answer, costs: Costs) -> list[str]:
    total_s = sum(step.core_s for step in answer.steps)
    gpu = any(step.gpu_s for step in answer.steps)
    head = f"{'step':<16} {'jobs':>6} {'core h':>8} {'share':>6}"
    lines = [head + (f" {'GPU h':>8}" if gpu else "") + f" {'longest':>8}  costs from"]
    for step in answer.steps[:_STEPS_SHOWN]:
        line = f"{step.rule:<16} {step.jobs:>6,} {step.core_s / 3600:>8.1f}"
        line += f" {step.core_s / max(total_s, 1e-9):>6.0%}"
        if gpu:
            line += f" {step.gpu_s / 3600:>8.1f}"
        lines.append(line + f" {in_words(step.longest_s):>8}  {costs.source(step.rule)}")
    return lines


def _clock(seconds: float) -> str:
    """Hours and minutes, `1:05`."""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}"
