"""From particles to a refined map, native against RELION, on the same simulated stack and cores.

    python benchmarks/volumes3d_relion.py --structure dihedral --particles 3000 --folder out
    python benchmarks/volumes3d_relion.py --structure dihedral --from-truth --folder out

The native chain makes two ab initio volumes, classifies, and refines the most populated class.
RELION's is an initial model (one: with two it does not end in reasonable time), a 3D classification
into two from it, and auto-refinement of the most populated class, run through the package's
adapters. `--from-truth` replaces it by an auto-refinement that begins from the truth cut at 40 A.

Every step is a process of its own; its times are those of the process and all it starts. Wall times
are only comparable on an idle machine, CPU times (user and system) always. The leader of RELION's
MPI processes only waits: its CPU time is told apart and not part of the ratios. The truth is
compared after alignment in both hands, under the sphere. Nothing uses symmetry. What is done is
kept in the folder: with `--steps` the rest can be done later.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from classes2d_common import SimulatedStack, simulated_stack
from classes2d_relion import write_stack
from volumes3d_common import (
    crossing_angst,
    fsc,
    named,
    optics_of,
    pixel_size_of,
    sphere,
    true_volume,
)

from cryosnake.engines.relion_command3d import SgdSchedule
from cryosnake.engines.relion_refine3d import auto_refine
from cryosnake.engines.relion_volumes import classify3d as relion_classify3d
from cryosnake.engines.relion_volumes import initial_model
from cryosnake.images import read_mrc, write_volume
from cryosnake.validation.align_maps import align_maps, moved
from cryosnake.volumes3d import ab_initio, classify3d, refine

NATIVE = ("native ab initio", "native classify3d", "native refine")
RELION = ("relion initial model", "relion class3d", "relion refine")
FROM_TRUTH = "relion refine from truth"
ALIGNED_TO_ANGST = 12.0
LOW_PASS_ANGST = 40.0
SGD = SgdSchedule(15, 50, 15, 35.0, 15.0, 100, 200)
#: RELION's program, with the CPU seconds of each MPI process in a file.
RANKED = """bash -c '"$0" "$@"; code=$?; times > rank_${OMPI_COMM_WORLD_RANK:-none}; exit $code' """


class Case:
    """A stack, what it is of, and the folder in which it is kept."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        name = {"dihedral": "betagal", "elongated": "membrane"}.get(args.structure, args.structure)
        self.structure, self.diameter_angst = named(name)
        self.pixel_size_angst = pixel_size_of(name, args.box)
        self.folder = args.folder / f"{args.structure}_{args.particles}_{args.box}_{args.seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.results = self.folder / "results.json"

    @property
    def sizes(self) -> dict[str, float]:
        return {"pixel_size_angst": self.pixel_size_angst, "diameter_angst": self.diameter_angst}

    def stack(self) -> SimulatedStack:
        """Simulated anew from its seed: equal each time."""
        return simulated_stack(
            self.args.particles,
            box_px=self.args.box,
            species=[self.structure],
            snr=(self.args.snr / 1.8, self.args.snr * 1.8),
            junk=0.0,
            seed=self.args.seed,
            **self.sizes,
        )

    def truth(self) -> torch.Tensor:
        return true_volume(self.structure, self.args.box, self.pixel_size_angst)

    def file(self, step: str) -> Path:
        """The map of a step."""
        return self.folder / f"{step.replace(' ', '_')}.mrc"

    def map_of(self, step: str) -> np.ndarray:
        return read_mrc(self.file(step))[0]

    def record(self, step: str, figures: dict) -> None:
        known = json.loads(self.results.read_text()) if self.results.is_file() else {}
        known[step] = known.get(step, {}) | figures
        self.results.write_text(json.dumps(known, indent=1, default=float))


def native_step(case: Case, step: str) -> tuple[list[np.ndarray], dict]:
    """The maps of a native step, the one that goes on first, and its figures."""
    torch.set_num_threads(case.args.threads)
    stack = case.stack()
    given = (stack.images, optics_of(stack.table))
    options = {**case.sizes, "seed": case.args.seed}
    if step == "native ab initio":
        found = ab_initio(*given, volumes=2, **options)
        return [one.volume for one in found], {"populations": [one.population for one in found]}
    if step == "native classify3d":
        references = [case.map_of("native ab initio"), case.map_of("native ab initio 2")]
        found = classify3d(*given, references, **options)
        order = sorted(found.volumes, key=lambda one: -one.population)
        told = {"populations": [one.population for one in order], "nothing": found.empty_share}
        return [one.volume for one in order], told
    final = refine(*given, case.map_of("native classify3d"), **options)
    return [final.volume], {"reported_angst": final.resolution_angst}


def relion_step(case: Case, step: str) -> tuple[list[np.ndarray], dict]:
    """The same of a step of RELION; of refinements with the CPU seconds of the leading process."""
    folder, threads = case.folder / step.replace(" ", "_"), case.args.threads
    given = (case.folder / "particles.star", folder)
    options = {
        "work_dir": case.folder,
        "diameter_angst": case.diameter_angst,
        "seed": case.args.seed,
    }
    if step == "relion initial model":
        found = initial_model(*given, volumes=1, threads=threads, schedule=SGD, **options)
        return list(found.volumes), {}
    if step == "relion class3d":
        found = relion_classify3d(
            *given,
            references=[case.file("relion initial model")],
            volumes=2,
            low_pass_angst=LOW_PASS_ANGST,
            iterations=case.args.iterations,
            threads=threads,
            **options,
        )
        order = found.table["csnVolumePopulation"].sort_values(ascending=False)
        return [found.volumes[i] for i in order.index], {"populations": order.tolist()}
    reference = case.truth().numpy() if step == FROM_TRUTH else case.file("relion class3d")
    final = auto_refine(
        *given,
        reference=reference,
        low_pass_angst=LOW_PASS_ANGST,
        threads=max(1, threads // 2),
        command=f"{RANKED} relion_refine_mpi",
        **options,
    )
    leader = seconds((case.folder / "rank_0").read_text())
    return [final.volume], {"reported_angst": final.resolution_angst, "leader_s": leader}


def seconds(times: str) -> float:
    """User and system seconds of the children, from what bash's `times` prints."""
    parts = re.findall(r"(\d+)m([\d.]+)s", times.splitlines()[1])
    return sum(60 * int(minutes) + float(rest) for minutes, rest in parts)


def do(case: Case, step: str) -> None:
    """One step, in this process; its maps go to files."""
    maps, figures = (native_step if step in NATIVE else relion_step)(case, step)
    for number, one in enumerate(maps, start=1):
        name = step if number == 1 else f"{step} {number}"
        write_volume(case.file(name), one, case.pixel_size_angst)
    case.record(step, figures)


def timed(case: Case, step: str) -> None:
    """One step, in a process of its own."""
    line = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--one", step]
    environment = {**os.environ, "OMP_NUM_THREADS": str(case.args.threads)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(line, check=True, env=environment)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    case.record(step, {"wall_s": wall_s, "cpu_s": cpu_s})


def compare(case: Case, step: str) -> None:
    """The map of a step against the truth."""
    truth, pixel_size_angst = case.truth(), case.pixel_size_angst
    found = case.map_of(step)
    mask = sphere(len(found), 0.5 * case.diameter_angst / pixel_size_angst)
    pose = align_maps(truth.numpy(), found, pixel_size_angst, ALIGNED_TO_ANGST).best
    turned = torch.as_tensor(moved(found, pose, pixel_size_angst)) * mask
    curve = fsc(turned, truth * mask)
    truth_angst = crossing_angst(curve, len(found), pixel_size_angst)
    shell = len(found) * pixel_size_angst / truth_angst
    case.record(step, {"truth_angst": truth_angst, "shell": shell, "mirrored": pose.mirrored})


def line_of(step: str, one: dict) -> str:
    """What is known of a step."""
    line = f"{step:26s} wall {one['wall_s']:7.1f} s  CPU {one['cpu_s']:7.1f} s"
    if "leader_s" in one:
        line += f" (of which the leader {one['leader_s']:.1f})"
    line += f"  FSC 0.5 with truth {one['truth_angst']:5.2f} A (shell {one['shell']:.1f})"
    if "reported_angst" in one:
        line += f"  reported {one['reported_angst']:.2f} A"
    if "populations" in one:
        line += f"  particles {one['populations']}"
    return line


def table(case: Case) -> None:
    """All figures that are known."""
    known = json.loads(case.results.read_text())
    for step in (*NATIVE, *RELION, FROM_TRUTH):
        if "shell" in known.get(step, {}):
            print(line_of(step, known[step]))
    if all("shell" in known.get(step, {}) for step in (*NATIVE, *RELION)):
        for key, name in (("wall_s", "wall"), ("cpu_s", "CPU without the leader")):
            ours = sum(known[step][key] for step in NATIVE)
            theirs = sum(known[step][key] for step in RELION)
            if key == "cpu_s":
                theirs -= known["relion refine"]["leader_s"]
            print(f"{name}: native {ours:.1f} s, RELION {theirs:.1f} s, ratio {theirs / ours:.1f}")
    for other in ("relion refine", FROM_TRUTH):
        if all("shell" in known.get(step, {}) for step in ("native refine", other)):
            shells = known["native refine"]["shell"] - known[other]["shell"]
            print(f"native refine is {shells:+.1f} Fourier shells from {other}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--structure", default="dihedral", help="asymmetric, dihedral, elongated")
    parser.add_argument("--particles", type=int, default=3000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--snr", type=float, default=0.055, help="middle of a range of 3.2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="RELION refines with two at least")
    parser.add_argument("--iterations", type=int, default=6, help="of RELION's 3D classification")
    parser.add_argument("--from-truth", action="store_true", help=f"{FROM_TRUTH}, not its chain")
    parser.add_argument("--steps", help="comma-separated, of those above; all unless given")
    parser.add_argument("--folder", type=Path, default=Path("volumes3d_relion"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    case = Case(args)
    if args.one:
        do(case, args.one)
        return
    print({key: str(value) for key, value in vars(args).items()}, flush=True)
    if not (case.folder / "particles.star").is_file():
        write_stack(case.stack(), case.folder)
    steps = [*NATIVE, *([FROM_TRUTH] if args.from_truth else RELION)]
    for step in args.steps.split(",") if args.steps else steps:
        timed(case, step)
        compare(case, step)
        print(f"{step} done", flush=True)
    table(case)


if __name__ == "__main__":
    main()
