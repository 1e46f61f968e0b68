"""The CTF of the two real micrographs in the source distribution of mrcfile 1.5.4.

    python benchmarks/ctf_real.py [--threads 2] [--pictures docs/images]

CRYOSNAKE_MRCFILE_SDIST names mrcfile-1.5.4.tar.gz; without it pip fetches it. Prints Markdown rows
(the fit of the whole micrograph and of its two halves, which are independent) and writes the
pictures ctf_*.png.
"""

import argparse
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import mrcfile
import torch

from cryosnake.config.model import CtfConfig
from cryosnake.ctf_fit import draw_ctf, fit_ctf
from cryosnake.images import write_png

NAMES = ("epu2.9_example", "fei-extended")
CS_MM = 2.7  # of a Titan; the FEI header does not hold it


def source_distribution(folder):
    """The path of mrcfile-1.5.4.tar.gz, fetched where the environment does not name it."""
    named = os.environ.get("CRYOSNAKE_MRCFILE_SDIST")
    if named:
        return Path(named)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(folder), "mrcfile==1.5.4"]
    subprocess.run(command, check=True)
    return folder / "mrcfile-1.5.4.tar.gz"


def read(sdist, name):
    """The image (H, W), its pixel size in angstrom and voltage in kV, from the FEI header."""
    member = f"mrcfile-1.5.4/tests/test_data/{name}.mrc"
    with tarfile.open(sdist) as archive, archive.extractfile(member) as stream:
        mrc = mrcfile.mrcinterpreter.MrcInterpreter(stream)
        header = mrc.indexed_extended_header[0]
        return mrc.data.copy(), header["Pixel size X"] * 1e10, header["HT"] / 1e3


def describe(name, fit):
    return (
        f"| {name} | {fit.defocus_u_angst:.0f} | {fit.defocus_v_angst:.0f} "
        f"| {fit.defocus_angle_deg:.0f} | {fit.max_resolution_angst:.2f} "
        f"| {fit.figure_of_merit:.3f} | {fit.ice_ring_score:.1f} | {fit.seconds:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| micrograph | U (A) | V (A) | angle (deg) | to (A) | merit | ice | time (s) |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        sdist = source_distribution(Path(folder))
        for name in NAMES:
            image, pixel_size_angst, voltage_kv = read(sdist, name)
            middle = math.ceil(image.shape[0] / 2)
            parts = {"whole": image, "bottom half": image[:middle], "top half": image[middle:]}
            for part, pixels in parts.items():
                fit = fit_ctf(
                    pixels,
                    pixel_size_angst=pixel_size_angst,
                    voltage_kv=voltage_kv,
                    cs_mm=CS_MM,
                    amplitude_contrast=0.1,
                    config=CtfConfig(),
                    device=arguments.device,
                )
                print(describe(f"{name}, {part}", fit), flush=True)
                if part == "whole":
                    stem = name.replace(".", "_").replace("-", "_")
                    write_png(arguments.pictures / f"ctf_{stem}.png", draw_ctf(fit))


if __name__ == "__main__":
    main()
