"""The stages in 3D of a replay, and the branches that check them."""

import json

import pandas as pd

from cryosnake import layout
from cryosnake.tables import read_table
from replay import particle_tables
from replay.pace import take_time
from replay.samples import copies_below, copy_of
from replay.telling import tell


class _Volumes:
    """What scripts say of volumes."""

    problem = None
    volumes = (0, 1)
    evidence = "mean correlation with 8 averages"


def reconstruct(session, particles, config, device, threads) -> type[_Volumes]:
    """Ab initio volumes."""
    take_time("abinitio", particles)
    copies_below(session, layout.abinitio_folder(particles), particles)
    return _Volumes


def classify3d(session, particles, config, device, threads) -> type[_Volumes]:
    """Particles sorted among them."""
    take_time("class3d", particles)
    folder, source = (
        layout.class3d_folder(particles),
        layout.class2d_file(particles, "selected.star"),
    )
    copies_below(session, folder, particles)
    particle_tables.write_part(session / folder / "particles.star", session / source, 1, 200_000)
    particle_tables.write_part(
        session / folder / "selected.star", session / folder / "particles.star", 0.78, 200_000
    )
    return _Volumes


def classify_again(session, particles, number, config, device, threads) -> pd.DataFrame:
    """A round of the branch in 2D."""
    take_time("branch2d", particles)
    folder = layout.branch2d_folder(particles, number)
    before = (
        layout.class3d_folder(particles)
        if number == 1
        else layout.branch2d_folder(particles, number - 1)
    )
    copies_below(session, folder, particles)
    particle_tables.write_part(
        session / folder / "selected.star", session / before / "selected.star", 0.8, 200_000
    )
    return read_table(session / folder / "classes.star", "classes")


def reconstruct_again(session, particles, config, device, threads) -> type[_Volumes]:
    """The branch in 3D."""
    take_time("branch3d", particles)
    folder = layout.branch3d_folder(particles)
    copies_below(session, folder, particles)
    tell(session, f"{folder}/decisions.star", "branch3d", f"branch3d {particles}")
    source = session / layout.class3d_file(particles, "selected.star")
    particle_tables.write_part(session / folder / "particles.star", source, 1, 200_000)
    return _Volumes


def crossvalidate(session, particles, config) -> type[_Volumes]:
    """The volume that the class averages speak for."""
    take_time("crossvalidate")
    folder = layout.validation_file(particles, "x").removesuffix("/x")
    source = session / layout.branch3d_folder(particles) / "particles.star"
    (session / folder).mkdir(parents=True, exist_ok=True)
    particle_tables.write_part(session / folder / "particles.star", source, 0.83, 200_000)
    copies_below(session, folder, particles)
    return _Volumes


def reextract(session, particles, config, device) -> range:
    """Its particles, cut out anew."""
    take_time("reextract", particles)
    source = session / layout.validation_file(particles, "particles.star")
    place = session / layout.refine_file(particles, "stack/particles.star")
    copies_below(session, layout.refine_file(particles, "stack"), particles)
    return range(particle_tables.write_part(place, source, 1, 200_000))


def refine_volume(session, particles, config, device, threads) -> dict:
    """The refinement."""
    take_time("refine", particles)
    source = session / layout.refine_file(particles, "stack/particles.star")
    place = session / layout.refine_file(particles, "particles.star")
    particle_tables.write_part(place, source, 1, 200_000)
    folder = layout.refine_file(particles, "x").removesuffix("/x")
    copies_below(session, folder, particles)
    (session / layout.refine_file(particles, "forecast.json")).unlink()
    return json.loads((session / layout.refine_file(particles, "result.json")).read_text())


def write_forecast(session, particles, config, device, threads) -> dict:
    """What more particles would bring."""
    take_time("forecast", particles)
    copy_of(session, layout.refine_file(particles, "forecast.json"), particles)
    return {"evidence": "4 points"}
