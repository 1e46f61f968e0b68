"""`cryosnake simulate`: the simulator on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from cryosnake.errors import CryosnakeError
from cryosnake.simulate.config import SCENARIOS, SimulationConfig
from cryosnake.simulate.session import simulate


def _pairs(entries: list[str] | None, option: str) -> dict[str, Any]:
    """KEY=VALUE texts as a dictionary, values read as YAML."""
    found = {}
    for entry in entries or []:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{entry!r} is not KEY=VALUE", param_hint=option)
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"{entry!r}: {error}", param_hint=option) from error
    return found


def _scenarios(entries: list[str] | None) -> dict[str, dict[str, float]]:
    """Scenario=number texts: whole numbers are counts, fractions are probabilities."""
    chosen: dict[str, dict] = {"counts": {}, "probabilities": {}}
    for name, value in _pairs(entries, "--scenario").items():
        if name not in SCENARIOS:
            raise typer.BadParameter(
                f"{name!r} is not one of {', '.join(SCENARIOS)}", param_hint="--scenario"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise typer.BadParameter(
                f"{name}={value!r} is neither a count nor a probability", param_hint="--scenario"
            )
        chosen["counts" if isinstance(value, int) else "probabilities"][name] = value
    return {key: values for key, values in chosen.items() if values}


def build_config(
    file: Path | None, scenarios: list[str] | None, settings: list[str] | None, **given: Any
) -> SimulationConfig:
    """The configuration from a YAML file, then the options that were given, then `--set`.

    Raises
    ------
    typer.BadParameter : in one line, with the key, the value and what is allowed.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise typer.BadParameter(f"{file}: {error}", param_hint="--config") from error
        if not isinstance(values, dict):
            raise typer.BadParameter(f"{file}: is not a mapping", param_hint="--config")
    values |= {key: value for key, value in given.items() if value is not None}
    values |= _scenarios(scenarios)
    values |= _pairs(settings, "--set")
    try:
        return SimulationConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'config'} = {e['input']!r}: {e['msg']}"
            if e["loc"]
            else e["msg"]
            for e in error.errors()
        )
        raise typer.BadParameter(problems) from error


def simulate_command(
    out_dir: Annotated[Path, typer.Argument(help="Folder that the movies appear in.")],
    truth: Annotated[
        Path | None,
        typer.Option(help="Folder of the truth; by default OUT_DIR with `_truth` added."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    movies: Annotated[int | None, typer.Option(help="Movies to acquire.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same bytes.")] = None,
    height_px: Annotated[int | None, typer.Option(help="Rows of a movie.")] = None,
    width_px: Annotated[int | None, typer.Option(help="Columns of a movie.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a movie.")] = None,
    pixel_size_angst: Annotated[float | None, typer.Option(help="Pixel size.")] = None,
    dose_e_per_angst2_per_frame: Annotated[
        float | None, typer.Option(help="Exposure of one frame.")
    ] = None,
    format: Annotated[str | None, typer.Option(help="tiff, mrc or eer.")] = None,
    metadata: Annotated[str | None, typer.Option(help="epu, serialem or none.")] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=COUNT (exactly so many movies) or NAME=0.1 (a chance); repeatable. Names: "
            + ", ".join(SCENARIOS)
        ),
    ] = None,
    pace_s: Annotated[
        float | None, typer.Option(help="Seconds from movie to movie; 0: as fast as it can.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes.")] = None,
    append: Annotated[
        bool, typer.Option("--append", help="A second acquisition into the same folders.")
    ] = False,
    end_marker: Annotated[
        bool, typer.Option("--end-marker", help="Leave a file END at the end.")
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, any setting of docs/simulator.md; repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Acquire a simulated session: movies, metadata, gain reference, and the truth elsewhere."""
    settings = build_config(
        config,
        scenario,
        setting,
        movies=movies,
        seed=seed,
        height_px=height_px,
        width_px=width_px,
        frames=frames,
        pixel_size_angst=pixel_size_angst,
        dose_e_per_angst2_per_frame=dose_e_per_angst2_per_frame,
        format=format,
        metadata=metadata,
        pace_s=pace_s,
        workers=workers,
        end_marker=True if end_marker else None,
    )
    truth_dir = truth if truth is not None else out_dir.with_name(f"{out_dir.name}_truth")

    def show(done: int, total: int, name: str) -> None:
        typer.echo(f"{done}/{total} {name}")

    try:
        simulate(settings, out_dir, truth_dir, append=append, progress=None if quiet else show)
    except CryosnakeError as error:
        typer.echo(f"cryosnake simulate: {error}", err=True)
        raise typer.Exit(2) from error
