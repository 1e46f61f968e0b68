"""2D classification by the real RELION (3.1.3 of Debian), on objects and poses that are known."""

import math
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from classes2d_synthetic import BOX, PIXEL, drawn, objects, particles

from cryosnake.engines.command import EngineError
from cryosnake.engines.relion_class2d import classify
from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import read_particles, write_particles
from cryosnake.tables import read_table

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_refine") is None, reason="relion_refine missing"),
]

NUMBER, UNUSABLE = 100, (3, 57)
OPTIONS = {"classes": 3, "diameter_angst": 150.0, "seed": 1, "threads": 1}


@pytest.fixture(scope="module")
def kinds():
    return objects(2)


@pytest.fixture(scope="module")
def session(tmp_path_factory, kinds):
    """A session's folder with a table as the extraction writes it, and the truth."""
    folder = tmp_path_factory.mktemp("relion")
    images, optics, truth = particles(NUMBER, kinds, contrast=8.0)
    images[UNUSABLE[0], 5, 5] = np.nan
    images[UNUSABLE[1]] = 0.0
    write_mrc(folder / "stack.mrcs", images, PIXEL)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{n + 1:06d}@stack.mrcs" for n in range(NUMBER)],
            "rlnMicrographName": [f"grid 1/m{n % 3}.mrc" for n in range(NUMBER)],
            "rlnOpticsGroup": 1,
            "rlnCoordinateX": 10.0 * np.arange(NUMBER),
            "rlnCoordinateY": 20.0,
            "rlnOriginXAngst": 0.0,
            "rlnOriginYAngst": 0.0,
            "rlnDefocusU": optics.defocus_u_angst,
            "rlnDefocusV": optics.defocus_v_angst,
            "rlnDefocusAngle": optics.defocus_angle_deg,
            "rlnCtfMaxResolution": np.nan,
            "csnNeighbourDistance_angst": np.nan,
            "csnParticleFlags": "off_centre+crowded",
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
            "csnPhaseFlipped": 0,
        }
    )
    write_particles(folder / "particles.star", group, table)
    return folder, truth


@pytest.fixture(scope="module")
def result(session):
    folder, _ = session
    return classify(
        folder / "particles.star", folder / "relion", work_dir=folder, iterations=6, **OPTIONS
    )


def likeness(average: np.ndarray, blobs: np.ndarray) -> float:
    """Correlation of an average with an object, over all rotations and shifts."""
    place = np.arange(BOX) - BOX // 2
    inside = np.hypot(place[:, None], place) < 16
    image = np.where(inside, average - average[inside].mean(), 0.0)
    best = 0.0
    for angle_deg in range(0, 360, 6):
        shown = drawn(blobs, angle_deg)
        shown = np.where(inside, shown - shown[inside].mean(), 0.0)
        product = np.fft.ifft2(np.fft.fft2(image) * np.fft.fft2(shown).conj()).real
        best = max(best, product.max() / np.linalg.norm(image) / np.linalg.norm(shown))
    return best


def test_every_particle_is_in_a_class_of_its_kind(session, result):
    _, (kind, _, _) = session
    number = result.particles["rlnClassNumber"].to_numpy()
    assert np.flatnonzero(number == 0).tolist() == list(UNUSABLE)
    counts = pd.crosstab(number[number > 0], kind[number > 0]).to_numpy()
    assert counts.max(axis=1).sum() >= 0.95 * (NUMBER - len(UNUSABLE))
    assert result.classes["csnClassPopulation"].sum() == NUMBER - len(UNUSABLE)


def test_averages_show_the_objects(session, result, kinds):
    _, (kind, _, _) = session
    assert result.averages.shape == (3, BOX, BOX)
    assert result.averages.dtype == np.float32
    number = result.particles["rlnClassNumber"].to_numpy()
    for which, blobs in enumerate(kinds):
        largest = np.bincount(number[(kind == which) & (number > 0)]).argmax()
        average = result.averages[largest - 1]
        assert likeness(average, blobs) > 0.75
        assert likeness(average, blobs) > likeness(average, kinds[1 - which]) + 0.15


def test_poses_are_in_the_conventions_of_the_tables(session, result):
    """psi and origin differ from the truth by one rotation and one shift for the whole class."""
    _, (_, psi, origin) = session
    found = result.particles
    for number in found["rlnClassNumber"].value_counts().index[:2]:
        rows = (found["rlnClassNumber"] == number).to_numpy() & (psi != 0)
        turned = np.radians(found["rlnAnglePsi"].to_numpy() - psi)[rows]
        assert abs(np.exp(1j * turned).mean()) > 0.95
        # the class's centre c, in the frame of the average: origin = truth + R(-psi) c
        angle = np.radians(found["rlnAnglePsi"].to_numpy()[rows])
        off = found[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy()[rows] - origin[rows, ::-1]
        as_complex = (off[:, 0] + 1j * off[:, 1]) * np.exp(1j * angle)
        left = np.abs(as_complex - np.median(as_complex.real) - 1j * np.median(as_complex.imag))
        assert math.sqrt(np.mean(left**2)) < 1.5 * PIXEL


def test_the_tables_fit_the_contract(session, result):
    folder, _ = session
    assert result.version.startswith("3.1")
    assert list(result.classes) == [
        "rlnReferenceImage",
        "rlnClassDistribution",
        "csnClassPopulation",
        "rlnEstimatedResolution",
        "rlnAccuracyRotations",
        "rlnAccuracyTranslationsAngst",
        "csnClassEvidence",
        "csnClassContrast",
        "csnClassProbability",
    ]
    assert result.classes["rlnClassDistribution"].sum() == pytest.approx(1.0, abs=1e-3)
    assert result.classes["csnClassProbability"].between(0, 1).all()
    assert sorted(path.name for path in (folder / "relion").glob("run_it*")) == [
        f"run_it006_{kind}" for kind in ("classes.mrcs", "data.star", "model.star")
    ] + ["run_it006_optimiser.star", "run_it006_sampling.star"]
    assert result.optimiser.is_file()
    averages, pixel_size_angst = read_mrc(folder / "relion" / "run_it006_classes.mrcs")
    assert np.array_equal(averages, result.averages)
    assert pixel_size_angst == pytest.approx(PIXEL)


def test_relion_reads_our_table_with_assignments(session, result):
    """What a round leaves goes into RELION's own programs without conversion."""
    folder, _ = session
    optics, table = read_particles(folder / "particles.star")
    write_particles(folder / "assigned.star", optics, table.assign(**result.particles))
    chosen = "--select rlnClassNumber --minval 1 --maxval 3 --o chosen.star"
    done = subprocess.run(
        f"relion_star_handler --i assigned.star {chosen}".split(),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kept = read_table(folder / "chosen.star", "particles")
    assert len(kept) == NUMBER - len(UNUSABLE)
    ours = table.assign(**result.particles).set_index("rlnImageName").loc[kept["rlnImageName"]]
    for name in ("rlnClassNumber", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"):
        assert kept[name].to_numpy() == pytest.approx(ours[name].to_numpy(), abs=1e-4)
    assert set(kept["csnParticleFlags"]) == {"off_centre+crowded"}
    assert set(kept["rlnMicrographName"]) == {f"grid 1/m{n}.mrc" for n in range(3)}


def test_it_starts_from_earlier_averages_each_for_its_class(session, result):
    folder, _ = session
    write_mrc(folder / "before.mrcs", result.averages[::-1], PIXEL)
    again = classify(
        folder / "particles.star",
        folder / "again",
        work_dir=folder,
        iterations=1,
        initial=folder / "before.mrcs",
        **OPTIONS,
    )
    before, after = result.particles["rlnClassNumber"], again.particles["rlnClassNumber"]
    used = before > 0
    assert (after[used] == 4 - before[used]).mean() > 0.8


def test_its_own_complaint_is_passed_on(session):
    folder, _ = session
    optics, table = read_particles(folder / "particles.star")
    write_particles(folder / "odd.star", optics.assign(rlnOpticsGroup=2), table)
    with pytest.raises(EngineError, match="ERROR") as caught:
        classify(folder / "odd.star", folder / "odd", work_dir=folder, iterations=1, **OPTIONS)
    assert caught.value.exit_code != 0
    assert "--i odd/input.star" in caught.value.command
