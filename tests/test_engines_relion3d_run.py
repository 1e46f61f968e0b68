"""Volumes by the real RELION (3.1.3 of Debian), of objects and poses that are known."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from volumes3d_synthetic import (
    BOX,
    DIAMETER,
    PIXEL,
    apart_deg,
    blobs,
    correlations,
    particles,
    volume,
)

from cryosnake.engines.command import EngineError
from cryosnake.engines.relion_command3d import SgdSchedule
from cryosnake.engines.relion_postprocess import CURVES, postprocess
from cryosnake.engines.relion_refine3d import auto_refine
from cryosnake.engines.relion_volumes import classify3d, initial_model
from cryosnake.images import read_mrc, write_mrc, write_volume
from cryosnake.particles import read_particles, write_particles

PROGRAMS = ("relion_refine", "relion_refine_mpi", "relion_postprocess", "mpirun")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing"),
]

NUMBER, UNUSABLE = 120, (3, 57)
OPTIONS = {"diameter_angst": DIAMETER, "seed": 1, "threads": 1}
POSES = [
    "rlnClassNumber",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnMaxValueProbDistribution",
]


@pytest.fixture(scope="module")
def kinds():
    return [blobs(0), blobs(1)]


@pytest.fixture(scope="module")
def session(tmp_path_factory, kinds):
    """A session's folder with a table as a 2D round leaves it, and the truth."""
    folder = tmp_path_factory.mktemp("relion3d")
    images, optics, kind, angles, origin = particles(NUMBER, kinds, snr=3.0)
    images[UNUSABLE[0], 5, 5] = np.nan
    images[UNUSABLE[1]] = 0.0
    write_mrc(folder / "stack.mrcs", images, PIXEL)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{n + 1:06d}@stack.mrcs" for n in range(NUMBER)],
            "rlnMicrographName": [f"grid 1/m{n % 3}.mrc" for n in range(NUMBER)],
            "rlnOpticsGroup": 1,
            "rlnDefocusU": optics.defocus_u_angst,
            "rlnDefocusV": optics.defocus_v_angst,
            "rlnDefocusAngle": optics.defocus_angle_deg,
            "rlnClassNumber": 37,
            "rlnAnglePsi": 12.0,
            "csnParticleFlags": "-",
        }
    )
    group = pd.DataFrame(
        {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": 1,
            "rlnVoltage": optics.voltage_kv,
            "rlnSphericalAberration": optics.cs_mm,
            "rlnAmplitudeContrast": optics.amplitude_contrast,
            "rlnImagePixelSize": PIXEL,
            "rlnImageSize": BOX,
            "rlnImageDimensionality": 2,
        }
    )
    write_particles(folder / "particles.star", group, table)
    return folder, kind, angles, origin


@pytest.fixture(scope="module")
def classified(session, kinds):
    folder, *_ = session
    write_volume(folder / "second.mrc", volume(kinds[1]), PIXEL)
    return classify3d(
        folder / "particles.star",
        folder / "class3d",
        work_dir=folder,
        references=[volume(kinds[0]), folder / "second.mrc"],
        low_pass_angst=40.0,
        iterations=3,
        **OPTIONS,
    )


@pytest.fixture(scope="module")
def refined(session, kinds):
    """Of the particles of the first kind."""
    folder, kind, *_ = session
    optics, table = read_particles(folder / "particles.star")
    write_particles(folder / "first.star", optics, table[kind == 0])
    return auto_refine(
        folder / "first.star",
        folder / "refine",
        work_dir=folder,
        reference=volume(kinds[0]),
        low_pass_angst=40.0,
        **OPTIONS,
    )


@pytest.fixture(scope="module")
def made(session):
    """Two volumes from nothing, of few images."""
    folder, *_ = session
    return initial_model(
        folder / "particles.star",
        folder / "initial",
        work_dir=folder,
        volumes=2,
        schedule=SgdSchedule(3, 3, 3, 60.0, 40.0, 20, 20),
        **OPTIONS,
    )


def alike(one: np.ndarray, two: np.ndarray) -> float:
    """Mean correlation of the shells to 25 A."""
    return float(correlations(one, two)[1 : int(BOX * PIXEL / 25.0)].mean())


def test_volumes_from_nothing(session, made):
    folder, *_ = session
    assert made.volumes.shape == (2, BOX, BOX, BOX)
    assert made.volumes.dtype == np.float32
    number = made.particles["rlnClassNumber"]
    assert list(made.particles) == POSES
    assert number[list(UNUSABLE)].tolist() == [0, 0]
    seen = number > 0
    assert 0.5 < seen.mean() < 0.95  # 180 images drawn of 118: not each was
    assert (made.particles.loc[~seen] == 0).all(axis=None)
    assert (made.particles.loc[seen, "rlnMaxValueProbDistribution"] > 0).all()
    counts = [(number == 1).sum(), (number == 2).sum()]
    assert made.table["csnVolumePopulation"].tolist() == counts
    assert made.table["rlnClassDistribution"].sum() == pytest.approx(1.0, abs=1e-3)
    assert sorted(path.name for path in (folder / "initial").glob("run_it*_class*")) == [
        "run_it009_class001.mrc",
        "run_it009_class002.mrc",
    ]


def test_volumes_from_nothing_are_densities_of_the_particles_size(made, kinds):
    """Few small batches give no more than the shape, in any orientation."""
    axis = np.arange(BOX) - BOX // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    truth = gaussian_filter(volume(kinds[0]), 3)
    for one in made.volumes[made.table["csnVolumePopulation"] > 20]:
        shells = [
            np.bincount(radius.astype(int).ravel(), cube.ravel())[:15] for cube in (one, truth)
        ]
        assert np.corrcoef(*shells)[0, 1] > 0.7


def test_particles_are_sorted_among_references(session, classified):
    folder, kind, *_ = session
    number = classified.particles["rlnClassNumber"].to_numpy()
    assert np.flatnonzero(number == 0).tolist() == list(UNUSABLE)
    used = number > 0
    assert (number[used] == kind[used] + 1).mean() > 0.9
    assert classified.table["csnVolumePopulation"].sum() == used.sum()
    assert list(classified.table)[:4] == [
        "rlnReferenceImage",
        "rlnClassDistribution",
        "csnVolumePopulation",
        "rlnEstimatedResolution",
    ]
    assert "--ref class3d/references.star" in classified.command
    read, pixel_size_angst = read_mrc(folder / classified.table["rlnReferenceImage"].iloc[1])
    assert np.array_equal(read, classified.volumes[1])
    assert pixel_size_angst == pytest.approx(PIXEL)


def test_classes_keep_the_order_of_the_references(classified, kinds):
    for one, kind, other in zip(classified.volumes, kinds, kinds[::-1], strict=True):
        assert alike(one, volume(kind)) > 0.8
        assert alike(one, volume(kind)) > alike(one, volume(other)) + 0.2


def test_a_refinement_gives_independent_halves_of_the_object(session, refined, kinds):
    folder, kind, *_ = session
    truth = volume(kinds[0])
    assert refined.halves.shape == (2, BOX, BOX, BOX)
    assert alike(refined.volume, truth) > 0.85
    assert min(alike(half, truth) for half in refined.halves) > 0.7
    assert not np.array_equal(*refined.halves)
    subset = refined.particles["rlnRandomSubset"]
    assert set(subset.unique()) == {0, 1, 2}
    assert len(subset) == (kind == 0).sum()
    assert 2.0 * PIXEL <= refined.resolution_angst < 40.0
    assert [file.name for file in (folder / "refine").glob("run_it*")] == []
    assert all(file.is_file() for file in refined.half_files)


def test_poses_are_in_the_conventions_of_the_tables(session, refined):
    _, kind, angles, origin = session
    rows = (kind == 0) & ~np.isin(np.arange(NUMBER), UNUSABLE)
    found = refined.particles.loc[rows[kind == 0]]
    names = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    assert np.median(apart_deg(found[names].to_numpy(), angles[rows])) < 12.0
    off = found[["rlnOriginYAngst", "rlnOriginXAngst"]].to_numpy() - origin[rows]
    assert np.median(np.hypot(*off.T)) < PIXEL


def test_postprocessing_of_the_halves(session, refined, kinds):
    folder, *_ = session
    axis = np.arange(BOX) - BOX // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    write_volume(folder / "mask.mrc", np.clip((17.0 - radius) / 4.0, 0.0, 1.0), PIXEL)
    options = {"pixel_size_angst": PIXEL}
    found = postprocess(refined.half_files[0], folder / "mask.mrc", folder / "post", **options)
    assert len(found.fsc) == BOX // 2 + 1
    assert set(CURVES) <= set(found.fsc)
    masked = correlations(*(half * read_mrc(folder / "mask.mrc")[0] for half in refined.halves))
    assert found.fsc["rlnFourierShellCorrelationMaskedMaps"].to_numpy()[2:12] == pytest.approx(
        masked[2:12], abs=0.05
    )
    corrected = found.fsc["rlnFourierShellCorrelationCorrected"].to_numpy()
    last = np.flatnonzero(corrected < 0.143)[0] - 1
    assert found.resolution_angst == pytest.approx(BOX * PIXEL / last, rel=1e-4)
    assert 2.0 * PIXEL <= found.resolution_angst < 40.0
    assert found.b_factor_angst2 is None  # nothing beyond 10 A to be fitted
    assert alike(found.volume, volume(kinds[0])) > 0.8
    sharp = postprocess(
        *(refined.half_files[0], folder / "mask.mrc", folder / "post"),
        half2=refined.half_files[1],
        b_factor_angst2=800.0,
        **options,
    )
    assert sharp.b_factor_angst2 == pytest.approx(800.0)

    def fine(cube):
        return np.abs(cube - gaussian_filter(cube, 1)).mean() / np.abs(cube).mean()

    assert fine(sharp.volume) > 1.1 * fine(found.volume)


def test_its_own_complaint_is_passed_on(session, kinds):
    folder, *_ = session
    with pytest.raises(EngineError, match="ERROR") as caught:
        auto_refine(
            folder / "particles.star",
            folder / "two",
            work_dir=folder,
            reference=volume(kinds[0]),
            low_pass_angst=40.0,
            mpi="mpirun --oversubscribe -n 2",
            **OPTIONS,
        )
    assert caught.value.exit_code != 0
    assert "mpirun --oversubscribe -n 2" in caught.value.command
