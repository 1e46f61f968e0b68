"""The frozen particles of a round."""

import numpy as np
import pandas as pd
import pytest

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.particles import read_particles, write_particles
from cryosnake.particles.table import OPTICS_COLUMNS, empty_particles
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.session.particle_subsets import freeze_particles
from cryosnake.tables import write_star

OPTICS = dict(zip(OPTICS_COLUMNS, (300.0, 2.7, 0.1, 0.83, 0.83), strict=True))


def name(batch: str, number: int) -> str:
    return f"{layout.PREPROCESS}/{batch}/m{number}.mrc"


def write_batch(session, batch: str, *, accepted, voltage_kv=300.0, **columns) -> None:
    """A batch of micrographs with two particles each; the rejected ones have theirs, too."""
    rows = pd.DataFrame([EMPTY_ROW] * len(accepted)).assign(**OPTICS)
    rows["rlnVoltage"] = voltage_kv
    rows["rlnMicrographName"] = [name(batch, i) for i in range(len(accepted))]
    rows["rlnMicrographMovieName"] = [f"movies/{batch}_{i}.tiff" for i in range(len(accepted))]
    rows["csnBatch"], rows["csnPassCtf"] = batch, np.array(accepted, int)
    write_star(session / layout.batch_table(batch), {"micrographs": rows})
    particles = empty_particles().reindex(range(2 * len(accepted)))
    particles = particles.assign(rlnMicrographName=np.repeat(rows["rlnMicrographName"], 2).values)
    particles["rlnImageName"] = [f"{i + 1:06d}@{batch} x.mrcs" for i in particles.index]
    particles["rlnOpticsGroup"], particles["csnParticleFlags"] = 1, "-"
    particles["rlnCoordinateX"] = 0.25 + np.arange(len(particles))
    optics = pd.DataFrame([OPTICS]).assign(rlnVoltage=voltage_kv, rlnImageSize=64)
    optics.insert(0, "rlnOpticsGroup", 1)
    optics.insert(0, "rlnOpticsGroupName", "opticsGroup1")
    write_particles(session / layout.particles_star(batch), optics, particles.assign(**columns))


def test_particles_of_accepted_micrographs_are_copied_with_the_groups_of_the_whole(tmp_path):
    write_batch(tmp_path, "b00000", accepted=[1, 0, 1])
    write_batch(tmp_path, "b00001", accepted=[1], voltage_kv=200.0)
    assert freeze_particles(tmp_path, Config(), 6, ["b00000", "b00001"]) == 6
    optics, table = read_particles(tmp_path / layout.particle_subset(6))
    assert list(table["rlnMicrographName"].unique()) == [
        name("b00000", 0),
        name("b00000", 2),
        name("b00001", 0),
    ]
    assert list(table["rlnImageName"])[:2] == ["000001@b00000 x.mrcs", "000002@b00000 x.mrcs"]
    np.testing.assert_allclose(table["rlnCoordinateX"], [0.25, 1.25, 4.25, 5.25, 0.25, 1.25])
    voltage = optics.set_index("rlnOpticsGroup")["rlnVoltage"]
    assert list(table["rlnOpticsGroup"].map(voltage)) == [300.0] * 4 + [200.0] * 2
    assert set(optics["rlnImageSize"]) == {64}


def test_columns_that_some_batches_lack_are_unknown_there(tmp_path):
    write_batch(tmp_path, "b00000", accepted=[1])
    write_batch(tmp_path, "b00001", accepted=[1], rlnAnglePsi=30.0)
    freeze_particles(tmp_path, Config(), 4, ["b00000", "b00001"])
    _, table = read_particles(tmp_path / layout.particle_subset(4))
    np.testing.assert_array_equal(table["rlnAnglePsi"], [np.nan, np.nan, 30.0, 30.0])


@pytest.mark.parametrize("accepted", [[0, 0], []])
def test_no_particle_is_told_and_nothing_is_written(tmp_path, accepted):
    write_batch(tmp_path, "b00000", accepted=accepted or [1])
    if not accepted:
        path = tmp_path / layout.particles_star("b00000")
        optics, table = read_particles(path)
        write_particles(path, optics, table.iloc[:0])
    with pytest.raises(BadInputError, match="no particle in 1 batches"):
        freeze_particles(tmp_path, Config(), 4, ["b00000"])
    assert not (tmp_path / layout.particle_subset(4)).exists()


def test_a_damaged_table_is_told(tmp_path):
    write_batch(tmp_path, "b00000", accepted=[1])
    path = tmp_path / layout.particles_star("b00000")
    path.write_text(path.read_text()[:-60] + "\n")
    with pytest.raises(BadInputError, match="values"):
        freeze_particles(tmp_path, Config(), 4, ["b00000"])
