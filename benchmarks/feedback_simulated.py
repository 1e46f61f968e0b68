"""The early feedback on simulated sessions: no alarm on clean ones, the right alarm on the others.

    python benchmarks/feedback_simulated.py --seeds 1 2 3 --snr 0.1

Each session is simulated, classified by the native engine and labelled from the truth. A row shows
the verdict of each rule: `.` pass, `i` info (cannot tell), `?` unsure, `WARN` an alarm.
"""

import argparse
import resource
from collections import Counter
from pathlib import Path

import torch
from feedback_common import PIXEL_ANGST, Session, Views, available, classified

from cryosnake.feedback import RULES, structural_feedback

PROTEASOME, HALF, BETAGAL, FERRITIN = "proteasome", "half_proteasome", "5a1a.pdb", "6z6u.pdb"
TOP, SIDE, OBLIQUE = Views(0.0, 0.0), Views(0.0, 90.0), Views(40.0, 60.0)

CLEAN = [
    Session("proteasome", {PROTEASOME: 1.0}),
    Session("half proteasome", {HALF: 1.0}),
    Session("beta-galactosidase", {BETAGAL: 1.0}),
    Session("apoferritin", {FERRITIN: 1.0}),
    Session("rod", {"rod": 1.0}),
    Session("ellipsoid", {"ellipsoid": 1.0}),
    Session("globule", {"globule": 1.0}),
]
ALARMS = [
    Session("proteasome top", {PROTEASOME: 1.0}, views=TOP, raised=("views",)),
    Session("proteasome side", {PROTEASOME: 1.0}, views=SIDE, raised=("views",)),
    Session("beta-gal one view", {BETAGAL: 1.0}, views=OBLIQUE, raised=("views",)),
    Session("size x 0.6", {PROTEASOME: 1.0}, believed=0.6, raised=("mask_edge",)),
    Session("size x 0.6 beta-gal", {BETAGAL: 1.0}, believed=0.6, raised=("mask_edge",)),
    Session("size x 1.5", {PROTEASOME: 1.0}, believed=1.5, raised=("size_contradiction",)),
    Session("box too small", {PROTEASOME: 1.0}, box_px=36, raised=("mask_edge",)),
    Session("proteasome and half", {PROTEASOME: 0.6, HALF: 0.4}, raised=("species",)),
    Session("dimer and monomer", {"dimer": 0.5, "monomer": 0.5}, raised=("species",)),
    Session("discs and beta-gal", {BETAGAL: 0.5, "nanodisc": 0.5}, raised=("featureless",)),
    Session("discs and proteasome", {PROTEASOME: 0.5, "nanodisc": 0.5}, raised=("featureless",)),
    Session("discs alone", {"nanodisc": 1.0}, raised=("featureless",)),
    Session("fragments", {PROTEASOME: 0.55, "fragment": 0.45}, raised=("fragments",)),
    Session("clumped", {PROTEASOME: 1.0}, pairs=0.45, raised=("fragments",)),
]
_SIGNS = {"pass": ".", "info": "i", "unsure": "?", "warn": "WARN"}


def main() -> None:
    """Run the sessions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--snr", type=float, default=0.1, help="of the first species")
    parser.add_argument("--particles", type=int, default=1500)
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--session", default="", help="only those whose name holds this")
    parser.add_argument("--keep", type=Path, help="keep class averages in this folder")
    parser.add_argument("--sentences", action="store_true", help="print each alarm's evidence")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'session':22s} seed  " + " ".join(f"{rule:>18s}" for rule in RULES))
    clean, wanted, others = Counter(), Counter(), Counter()
    for session in CLEAN + ALARMS:
        if options.session not in session.name or not all(map(available, session.mixture)):
            continue
        for seed in options.seeds:
            found = classified(
                session,
                number=options.particles,
                classes=options.classes,
                snr=options.snr,
                seed=seed,
                keep=options.keep,
            )
            decisions = structural_feedback(
                found.averages, found.classes, pixel_size_angst=PIXEL_ANGST, **found.sizes
            )
            verdicts = {d.rule: d.verdict for d in decisions}
            print(
                f"{session.name:22s} {seed:4d}  "
                + " ".join(f"{_SIGNS[verdicts[rule]]:>18s}" for rule in RULES),
                flush=True,
            )
            if options.sentences:
                for d in decisions:
                    if d.verdict in ("warn", "unsure"):
                        print(f"      {d.rule}: {d.value} ({d.confidence}); {d.evidence}")
            kind = "clean" if not session.raised else "alarm"
            for rule in RULES:
                if kind == "clean":
                    clean[rule, verdicts[rule]] += 1
                elif rule in session.raised:
                    wanted[rule, verdicts[rule]] += 1
                else:
                    others[rule, verdicts[rule]] += 1
    print()
    heads = ("clean: warn, unsure", "wanted: warn, unsure", "other: warn")
    print(f"{'rule':20s} {heads[0]:>22s} {heads[1]:>22s} {heads[2]:>14s}")
    for rule in RULES:
        print(
            f"{rule:20s} "
            + _of(clean, rule, "warn", "unsure").rjust(22)
            + _of(wanted, rule, "warn", "unsure").rjust(23)
            + _of(others, rule, "warn").rjust(15)
        )
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"\nCPU {used.ru_utime + used.ru_stime:.0f} s")


def _of(counts: Counter, rule: str, *verdicts: str) -> str:
    total = sum(number for (name, _), number in counts.items() if name == rule)
    return ", ".join(str(counts[rule, verdict]) for verdict in verdicts) + f" of {total}"


if __name__ == "__main__":
    main()
