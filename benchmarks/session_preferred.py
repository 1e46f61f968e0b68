"""Does a session say so when its particles prefer an orientation, and only then?

    python benchmarks/session_preferred.py [--preferred 0,0.85] [--particles 1200] [--folder out]

Whole sessions from a table of simulated particles (three of the four chains of beta-galactosidase)
to a verdict, run as a user runs them; in one, most particles are seen within 8 degrees of one
direction. Prints what each claims: resolution, its spread over directions, views, advice.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from classes2d_common import simulated_stack
from classes2d_relion import write_stack
from volumes3d_common import named, pixel_size_of

from cryosnake import layout

BOX_PX = 64
#: Of the template 3d, less work: there is one structure, of few particles.
SETTINGS = {
    "abinitio": {"volumes": 1, "restarts": 2},
    "validation": {
        "volumes": 1,
        "rounds2d": [
            {"classes": 12, "most_populated": 10},
            {"classes": 10, "most_populated": 8},
        ],
    },
    "compute": {"device": "cpu"},
}


def cryosnake(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "cryosnake.cli", *words], check=True)


def run(folder: Path, preferred: float, particles: int, cores: int) -> None:
    """One session; prints what it says."""
    structure, diameter_angst = named("asymmetric")
    stack = simulated_stack(
        particles,
        box_px=BOX_PX,
        pixel_size_angst=pixel_size_of("asymmetric", BOX_PX),
        diameter_angst=diameter_angst,
        species=[structure],
        snr=(0.05, 0.15),
        junk=0.0,
        preferred=preferred,
        seed=1,
    )
    folder.mkdir(parents=True)
    write_stack(stack, folder)
    session = folder / "session"
    cryosnake("init", str(folder / "particles.star"), "--session", str(session))
    path = session / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for section, values in SETTINGS.items():
        config[section] = config.get(section, {}) | values
    path.write_text(yaml.safe_dump(config))
    cryosnake("run", str(session), "--cores", str(cores))
    (number,) = (int(p.name) for p in (session / layout.REFINE).iterdir() if p.name.isdigit())
    found = json.loads((session / layout.refine_file(number, "result.json")).read_text())
    verdict = json.loads((session / layout.VERDICT).read_text())
    print(f"{100 * preferred:.0f} % of the particles along one direction:")
    for key in ("particles", "resolution_angst", "directional", "orientation"):
        print(f"  {key}: {found[key]}")
    print(f"  verdict: {verdict['verdict']}")
    for reason in verdict["reasons"]:
        print(f"    {reason['rule']}: {reason['verdict']}: {reason['value']}. {reason['advice']}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preferred", default="0,0.85", help="fractions, a session each")
    parser.add_argument("--particles", type=int, default=1200)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="kept; a temporary one unless given")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = args.folder or Path(temporary)
        for preferred in map(float, args.preferred.split(",")):
            run(base / f"preferred_{preferred:g}", preferred, args.particles, args.cores)


if __name__ == "__main__":
    main()
