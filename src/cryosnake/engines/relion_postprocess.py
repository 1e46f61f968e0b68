"""RELION's postprocessing as an engine: corrected FSC, B-factor, sharpened map."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.engines.command import engine_environment, split_command
from cryosnake.engines.relion_command import relion_version
from cryosnake.engines.relion_output3d import read_resolution, read_volume
from cryosnake.engines.relion_run import prepared, run_relion
from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc
from cryosnake.tables import read_star, read_table

#: The curves: unmasked, masked, phase-randomised and masked, corrected.
CURVES = (
    "rlnFourierShellCorrelationUnmaskedMaps",
    "rlnFourierShellCorrelationMaskedMaps",
    "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
    "rlnFourierShellCorrelationCorrected",
)
_SHELLS = ("rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution")


@dataclass(frozen=True)
class RelionPostprocessed:
    """A sharpened map and its Fourier shell correlation.

    Parameters
    ----------
    volume : (n, n, n) float32, sharpened, cut at the resolution, not masked.
    fsc : n // 2 + 1 rows: rlnSpectralIndex, rlnResolution (1/angstrom), rlnAngstromResolution
        (999 for the first), and `CURVES`.
    resolution_angst : last shell at which the corrected curve exceeds 0.143; inf: none.
    randomised_from_angst : where phases were randomised, to see what the mask alone does.
    b_factor_angst2 : decay of the amplitudes that was made up for: positive where the map was
        sharpened (RELION's own sign is the other one); None: the map reaches too little beyond 10 A
        for a fit, and was not sharpened.
    file : of the map.
    command : what was run.
    version : RELION's.
    """

    volume: np.ndarray
    fsc: pd.DataFrame
    resolution_angst: float
    randomised_from_angst: float
    b_factor_angst2: float | None
    file: Path
    command: str
    version: str


def postprocess(
    half1: Path,
    mask: Path,
    folder: Path,
    *,
    pixel_size_angst: float,
    half2: Path | None = None,
    b_factor_angst2: float | None = None,
    command: str = "relion_postprocess",
) -> RelionPostprocessed:
    """Postprocess two half maps.

    Parameters
    ----------
    half1 : unfiltered; half2 : None: the name of `half1` with half2 in the place of half1.
    mask : 1 in the molecule, 0 outside, soft.
    folder : for RELION's files; those of an earlier attempt are removed.
    b_factor_angst2 : to sharpen by; None: fitted from 10 A on.
    command : the program, with arguments where it needs some (a container, say).

    Raises
    ------
    BadInputError : maps of different boxes or pixel sizes, flat or not finite, or a mask that is
        empty or goes beyond 0 and 1; told before it starts.
    EngineError : RELION is missing, fails, or its output does not fit.
    """
    half1, mask, folder = Path(half1).absolute(), Path(mask).absolute(), Path(folder).absolute()
    if half2 is None:
        half2 = half1.with_name(half1.name.replace("half1", "half2"))
    half2 = Path(half2).absolute()
    program = split_command(command)
    text, _ = relion_version(program)
    box_px = _checked(half1, half2, mask, pixel_size_angst)
    prepared(folder, "post")
    line = [*program, "--i", str(half1), "--i2", str(half2), "--o", str(folder / "post")]
    line += ["--angpix", f"{pixel_size_angst:.6g}", "--mask", str(mask)]
    if b_factor_angst2 is None:
        line += ["--auto_bfac", "--autob_lowres", "10"]
    else:
        line += ["--adhoc_bfac", f"{-b_factor_angst2:g}"]
    volume, *told = run_relion(
        line,
        lambda: read_postprocess(folder / "post", box_px, pixel_size_angst),
        folder=folder,
        work_dir=folder,
        environment=engine_environment(1, hide_gpus=True),
    )
    return RelionPostprocessed(
        volume, *told, file=folder / "post.mrc", command=shlex.join(line), version=text
    )


def read_postprocess(
    root: str | os.PathLike, box_px: int, pixel_size_angst: float
) -> tuple[np.ndarray, pd.DataFrame, float, float, float | None]:
    """Volume, fsc, resolution, where phases were randomised, and B-factor (as in
    `RelionPostprocessed`) from the files `<root>.star` and `<root>.mrc`.

    Raises
    ------
    BadInputError : missing, or values that do not fit.
    """
    path = Path(f"{root}.star")
    finest_angst = 1.99 * pixel_size_angst
    resolution_angst = read_resolution(path, "general", "rlnFinalResolution", finest_angst)
    randomised_angst = read_resolution(path, "general", "rlnRandomiseFrom", finest_angst)
    table = read_table(path, "fsc")
    missing = [name for name in (*_SHELLS, *CURVES) if name not in table]
    if missing:
        raise BadInputError(path, f"no {missing[0]} among {list(table)}", "RELION's curves")
    try:
        table = table[[*_SHELLS, *CURVES]].astype(float)
    except ValueError as error:
        raise BadInputError(path, f"a curve holds {error}", "numbers") from error
    if table["rlnSpectralIndex"].tolist() != list(range(box_px // 2 + 1)):
        raise BadInputError(path, f"{len(table)} shells", f"0 to {box_px // 2}")
    for name in CURVES:
        bad = ~table[name].between(-1.001, 1.001)  # NaN too
        if bad.any():
            raise BadInputError(path, f"{name} of {table.loc[bad, name].iloc[0]:g}", "-1 to 1")
    table["rlnSpectralIndex"] = table["rlnSpectralIndex"].astype(np.int64)
    b_factor = _b_factor(path, read_star(path)["general"])
    volume = read_volume(Path(f"{root}.mrc"), box_px, pixel_size_angst)
    return volume, table, resolution_angst, randomised_angst, b_factor


def _b_factor(path: Path, general: dict) -> float | None:
    try:
        used = float(general["rlnBfactorUsedForSharpening"])
    except (KeyError, ValueError) as error:
        raise BadInputError(
            path, f"no B-factor ({error})", "rlnBfactorUsedForSharpening"
        ) from error
    if not np.isfinite(used):
        raise BadInputError(path, f"a B-factor of {used:g}", "a number")
    fitted = general.get("rlnCorrelationFitGuinierPlot")
    return None if fitted is not None and float(fitted) == 0.0 else -used


def _checked(half1: Path, half2: Path, mask: Path, pixel_size_angst: float) -> int:
    """Side of the maps in pixels."""
    side = len(read_mrc(half1)[0])
    for path in (half1, half2):
        read_volume(path, side, pixel_size_angst)
    inside = read_volume(mask, side, pixel_size_angst)
    if inside.min() < 0.0 or inside.max() > 1.0:
        found = f"values from {inside.min():g} to {inside.max():g}"
        raise BadInputError(mask, found, "a mask from 0 to 1")
    return side
