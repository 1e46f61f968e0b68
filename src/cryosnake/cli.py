"""The command line, for what is not a DAG: start a session, run it, simulate one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import typer.core
import typer.main

from cryosnake.errors import CryosnakeError


class _Commands(typer.core.TyperGroup):
    """`simulate` is imported when it is called: it needs PyTorch, the others start at once."""

    def list_commands(self, ctx) -> list[str]:
        return [*super().list_commands(ctx), "simulate"]

    def get_command(self, ctx, name: str):
        if name != "simulate":
            return super().get_command(ctx, name)
        from cryosnake.simulate.command import simulate_command

        alone = typer.Typer(add_completion=False)
        alone.command("simulate")(simulate_command)
        return typer.main.get_command(alone)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Unattended, on-the-fly cryo-EM single-particle analysis.",
)


class Kind(StrEnum):
    """What a session may start from."""

    movies = "movies"
    micrographs = "micrographs"
    particles = "particles"


class Stage(StrEnum):
    """Where a run may stop."""

    curation = "curation"
    picking = "picking"
    particles = "particles"
    class2d = "class2d"
    class3d = "class3d"
    refine = "refine"


def _fail(error: CryosnakeError) -> typer.Exit:
    typer.echo(f"cryosnake: {error}", err=True)
    return typer.Exit(1)


@app.command()
def init(
    input: Annotated[
        str,
        typer.Argument(
            help="Folder or glob of movies (or micrographs), or a STAR file of micrographs or "
            "particles."
        ),
    ],
    session: Annotated[Path, typer.Option(help="Folder of the session; made if need be.")],
    pixel_size_angst: Annotated[
        float | None, typer.Option(help="Pixel size of the movies as stored, in angstrom.")
    ] = None,
    voltage_kv: Annotated[float | None, typer.Option(help="Acceleration voltage in kV.")] = None,
    cs_mm: Annotated[float | None, typer.Option(help="Spherical aberration in mm.")] = None,
    amplitude_contrast: Annotated[float | None, typer.Option(help="Amplitude contrast.")] = None,
    dose_e_per_angst2_per_frame: Annotated[
        float | None, typer.Option(help="Exposure of one frame in electrons per square angstrom.")
    ] = None,
    gain: Annotated[Path | None, typer.Option(help="Gain reference (MRC, TIFF, .gain).")] = None,
    template: Annotated[str, typer.Option(help="What is to be done: a template's name.")] = "3d",
    kind: Annotated[
        Kind | None, typer.Option(help="What a folder or glob holds; by default movies.")
    ] = None,
    no_ctf: Annotated[
        bool,
        typer.Option("--no-ctf", help="Take images as they are, without a CTF (denoised ones)."),
    ] = False,
    known_map: Annotated[
        Path | None,
        typer.Option(help="Map of a control sample; the result is compared with it, no more."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a config.yaml.")] = False,
) -> None:
    """Write a session's config.yaml; what can be read from the movies is not asked."""
    from cryosnake.config.init import init_session

    try:
        init_session(
            input,
            session,
            pixel_size_angst=pixel_size_angst,
            voltage_kv=voltage_kv,
            cs_mm=cs_mm,
            amplitude_contrast=amplitude_contrast,
            dose_e_per_angst2_per_frame=dose_e_per_angst2_per_frame,
            gain=gain,
            template=template,
            kind=kind.value if kind else None,
            ctf=not no_ctf,
            known_map=known_map,
            force=force,
            say=typer.echo,
        )
    except CryosnakeError as error:
        raise _fail(error) from None


@app.command()
def run(
    session: Annotated[Path, typer.Argument(help="Folder of the session, with its config.yaml.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for new movies until the session ends.")
    ] = False,
    cores: Annotated[
        int | None, typer.Option(min=1, help="CPU cores to use; by default all of them.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Name or folder of a Snakemake profile.")] = "local",
    until: Annotated[Stage | None, typer.Option(help="Stop after this stage.")] = None,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="No more comes: a last round with the particles there are."),
    ] = False,
) -> None:
    """Process a session: what is there, or, with --watch, as it arrives."""
    from cryosnake.session.starter import Order, run_session

    order = Order(session, watch, cores, profile, until.value if until else None, finish)
    try:
        code = run_session(order, say=typer.echo)
    except CryosnakeError as error:
        raise _fail(error) from None
    if code == 0:
        typer.echo(f"report: {(session / 'results/report.html').resolve()}")
    raise typer.Exit(code)


@app.command()
def status(
    session: Annotated[Path, typer.Argument(help="Folder of the session, with its config.yaml.")],
    json: Annotated[bool, typer.Option("--json", help="All of it, for programs.")] = False,
) -> None:
    """Say how a session is: what runs, what waits for what, what failed and why, what to do.

    Exit code: 0 all is well, 3 something asks for a person, 1 there is no session.
    """
    from cryosnake.session.status import session_status
    from cryosnake.session.status_text import status_text

    try:
        found = session_status(session)
    except CryosnakeError as error:
        raise _fail(error) from None
    typer.echo(found.as_json() if json else status_text(found))
    raise typer.Exit(0 if found.well else 3)


@app.command()
def stop(
    session: Annotated[Path, typer.Argument(help="Folder of the session, with its config.yaml.")],
    now: Annotated[bool, typer.Option("--now", help="Kill it; do not ask it to end.")] = False,
) -> None:
    """End a session's run and all its jobs, here and on the cluster; what is finished is kept."""
    from cryosnake.session.stop import stop_session

    try:
        stop_session(session, typer.echo, at_once=now)
    except CryosnakeError as error:
        raise _fail(error) from None


@app.command("install-profile")
def install_profile(
    profile: Annotated[str, typer.Argument(help="Name or folder of a profile.")] = "slurm",
    name: Annotated[
        str | None, typer.Option(help="What Snakemake is to call it; by default as its folder.")
    ] = None,
) -> None:
    """Link a profile into Snakemake's own folder, for `snakemake --profile slurm`."""
    from cryosnake.session import profiles
    from cryosnake.session.starter import ROOT, find_profile

    try:
        folder = find_profile(profile)
        typer.echo(profiles.install_profile(folder, name))
    except CryosnakeError as error:
        raise _fail(error) from None
    typer.echo(
        f"in {ROOT}: snakemake --profile {name or folder.name} --configfile SESSION/config.yaml "
        "--directory SESSION"
    )


@app.command()
def plan(
    session: Annotated[str, typer.Argument(help="Folder of a session, or name of a template.")],
    seconds_per_movie: Annotated[float, typer.Option(min=0.1, help="One comes so often.")] = 6.0,
    particles_per_micrograph: Annotated[int, typer.Option(min=1)] = 200,
    movies: Annotated[int, typer.Option(min=1, help="How many will come.")] = 5000,
    cores: Annotated[
        int | None, typer.Option(min=1, help="CPU cores of all nodes; by default this machine's.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of all nodes.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of a job; by default compute.threads.")
    ] = None,
    accepted: Annotated[
        float, typer.Option(min=0.01, max=1, help="Part of the movies that is accepted.")
    ] = 0.85,
    measured: Annotated[
        Path | None, typer.Option(help="A session that ran on the same machines: its costs.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Name or folder of a Snakemake profile.")] = "local",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Before a session: does it keep up, and when come classes, volume and map."""
    import os

    from cryosnake.plan.command import Question, ask
    from cryosnake.plan.terms import Pace
    from cryosnake.session.starter import find_profile, uses_slurm

    try:
        question = Question(
            session,
            Pace(movies, seconds_per_movie, particles_per_micrograph, accepted),
            cores or os.cpu_count() or 1,
            gpus,
            threads,
            measured,
            scheduler=uses_slurm(find_profile(profile)),
        )
        typer.echo(ask(question, as_json=as_json))
    except CryosnakeError as error:
        raise _fail(error) from None


if __name__ == "__main__":
    app()
