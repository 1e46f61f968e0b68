"""Sessions that start from micrographs or particles of another program, without the workflow."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from volumes3d_synthetic import BOX, PIXEL, blobs, particles, projection, volume

from cryosnake import layout
from cryosnake.classes2d import Optics
from cryosnake.config import load_config
from cryosnake.config.init import init_session
from cryosnake.errors import BadInputError
from cryosnake.given import read_given_particles, read_micrographs
from cryosnake.images import read_mrc, write_mrc
from cryosnake.no_ctf import NO_CTF
from cryosnake.particles.flatten import flattened
from cryosnake.particles.optics import ParticleCtf, phase_flipped
from cryosnake.particles.size import measure_particles
from cryosnake.picking.size_model import ParticleSize, read_size
from cryosnake.preprocess.batch import preprocess_batch
from cryosnake.session.given_ledger import particles_pending
from cryosnake.session.ingest import take_in
from cryosnake.session.ledger import Ledger
from cryosnake.session.milestones import accepted, stringent
from cryosnake.session.particle_subsets import freeze_particles
from cryosnake.session.progress import Counting, progress_line
from cryosnake.session.publish import publish_report
from cryosnake.session.tables import refresh
from cryosnake.stages.extract import extraction_settings
from cryosnake.stages.given_particles import measure_given, take_particles
from cryosnake.tables import read_star, read_table, write_star

CPU = torch.device("cpu")
SIDE, MICROGRAPH_PIXEL = 512, 2.0


@pytest.fixture(autouse=True)
def one_thread():
    """Small images: threads that wait for one another cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def micrograph_table(folder, names, **columns) -> None:
    """A table of micrographs in a job's folder of a RELION project, which is `folder`."""
    optics = pd.DataFrame(
        {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": [1],
            "rlnMicrographPixelSize": [MICROGRAPH_PIXEL],
            "rlnVoltage": [200.0],
            "rlnSphericalAberration": [1.4],
            "rlnAmplitudeContrast": [0.07],
        }
    )
    table = pd.DataFrame({"rlnMicrographName": names, "rlnOpticsGroup": 1, **columns})
    write_star(folder / "CtfFind/job003/m.star", {"optics": optics, "micrographs": table})


@pytest.fixture
def project(tmp_path):
    """A RELION project of three micrographs, the last one of 8 bits."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "project"
    for number in range(3):
        image = rng.normal(100, 10, (SIDE, SIDE)).astype(np.float32)
        path = folder / f"MotionCorr/job002/m{number}.mrc"
        write_mrc(path, image.astype(np.int8) if number == 2 else image, MICROGRAPH_PIXEL)
    names = [f"MotionCorr/job002/m{number}.mrc" for number in range(3)]
    micrograph_table(
        folder,
        names,
        rlnDefocusU=[12000.0, 14000.0, np.nan],
        rlnDefocusV=[11800.0, 13900.0, np.nan],
        rlnDefocusAngle=[30.0, 31.0, np.nan],
        rlnCtfMaxResolution=[4.0, np.nan, np.nan],
    )
    return folder


def started(tmp_path, input, **given):
    """A new session of an input, and its configuration."""
    session = tmp_path / "session"
    init_session(input, session, say=lambda line: None, **given)
    return session, load_config(session / "config.yaml")


def preprocessed(session, config) -> pd.DataFrame:
    config = config.model_copy(update={"ingest": config.ingest.model_copy(update={"settle_s": 0})})
    take_in(session, config)
    return preprocess_batch(session, "b00000", config, CPU)


def test_a_table_of_micrographs_tells_its_optics_and_its_ctf(tmp_path, project):
    session, config = started(tmp_path, project / "CtfFind/job003/m.star")
    assert config.input.kind == "micrographs"
    assert config.acquisition.pixel_size_angst is None  # left to the table
    assert config.acquisition.amplitude_contrast == 0.07
    table = preprocessed(session, config)
    assert table["rlnDefocusU"].tolist()[:2] == [12000.0, 14000.0]
    assert (table["rlnVoltage"] == 200.0).all()
    assert (table["rlnMicrographPixelSize"] == MICROGRAPH_PIXEL).all()
    # the second has a CTF that cannot be judged; the third none: it is fitted, and is no good
    assert table["csnPassCtf"].tolist() == [1, -1, 0]
    assert (table["csnPassDrift"] == -1).all()
    assert (table["csnPassInput"] == 1).all()
    assert np.isfinite(table["rlnDefocusU"][2])
    good = accepted(table.assign(csnAccepted=1), config)
    assert stringent(table.assign(csnAccepted=1), config).tolist()[:2] == good.tolist()[:2]


def test_micrographs_stay_where_they_are_unless_programs_would_read_them_differently(
    tmp_path, project
):
    facts = {"voltage_kv": 300.0, "cs_mm": 2.7}
    session, config = started(tmp_path, project / "MotionCorr", kind="micrographs", **facts)
    before = os.stat(project / "MotionCorr/job002/m0.mrc")
    table = preprocessed(session, config)
    for number, name in enumerate(table["rlnMicrographName"]):
        assert (session / name).is_symlink() == (number < 2)
        image, _ = read_mrc(session / name)
        given, _ = read_mrc(project / f"MotionCorr/job002/m{number}.mrc")
        assert np.array_equal(image, given)
        assert (session / name.replace(".mrc", "_thumb.png")).is_file()
    after = os.stat(project / "MotionCorr/job002/m0.mrc")
    assert (before.st_mtime_ns, before.st_mode) == (after.st_mtime_ns, after.st_mode)
    assert table["rlnMicrographPixelSize"].tolist() == pytest.approx([MICROGRAPH_PIXEL] * 3)


def test_a_movie_among_micrographs_is_a_rejected_row(tmp_path, project):
    frames = np.random.default_rng(0).poisson(3, (4, SIDE, SIDE)).astype(np.float32)
    write_mrc(project / "MotionCorr/job002/m3.mrc", frames, MICROGRAPH_PIXEL)
    facts = {"voltage_kv": 300.0, "cs_mm": 2.7}
    session, config = started(tmp_path, project / "MotionCorr", kind="micrographs", **facts)
    table = preprocessed(session, config)
    assert table["csnPassInput"].tolist() == [1, 1, 1, 0]
    assert "input.kind = movies" in table["csnExplanation"][3]


def test_without_a_ctf_its_filter_does_not_reject_and_the_tables_say_one(tmp_path, project):
    session, config = started(tmp_path, project / "CtfFind/job003/m.star", ctf=False)
    assert not config.ctf.fit
    table = preprocessed(session, config)
    assert (table["csnPassCtf"] == -1).all()
    for column, value in NO_CTF.items():
        assert (table[column] == value).all(), column
    assert stringent(table, config).equals(accepted(table, config))


def test_new_micrographs_of_a_folder_are_seen_and_other_files_are_not(tmp_path, project):
    facts = {"voltage_kv": 300.0, "cs_mm": 2.7}
    session, config = started(tmp_path, project / "MotionCorr", kind="micrographs", **facts)
    assert not (session / "results").exists()
    (project / "MotionCorr/job002/movie.tif").touch()
    config = config.model_copy(update={"ingest": config.ingest.model_copy(update={"settle_s": 0})})
    assert take_in(session, config).movies == 3
    shutil.copy(project / "MotionCorr/job002/m0.mrc", project / "MotionCorr/job002/m9.mrc")
    assert [a.path for a in Ledger(session, config).look().settled] == [
        str(project / "MotionCorr/job002/m9.mrc")
    ]


def test_a_table_whose_files_are_gone_is_told(project):
    shutil.rmtree(project / "MotionCorr")
    with pytest.raises(BadInputError, match=r"names MotionCorr/job002/m0\.mrc, which is neither"):
        read_micrographs(project / "CtfFind/job003/m.star")


# ---- no CTF ----


def no_ctf_optics(number: int) -> Optics:
    zero = np.zeros(number)
    return Optics(
        zero,
        zero,
        zero,
        300.0,
        NO_CTF["rlnSphericalAberration"],
        NO_CTF["rlnAmplitudeContrast"],
        zero,
    )


def test_no_ctf_is_plus_one_for_white_particles_and_leaves_dark_ones_dark():
    anywhere = SimpleNamespace(k_yx=torch.rand(2, 4, 5) - 0.5, device="cpu")
    values = no_ctf_optics(3).on_rings(np.arange(3), anywhere, PIXEL)
    assert torch.allclose(values, torch.ones_like(values))
    zero = np.zeros(1)
    ctf = ParticleCtf(zero, zero, zero, zero, 300.0, 0.0, 1.0)
    image = torch.randn(1, BOX, BOX)
    assert torch.allclose(phase_flipped(image, ctf, PIXEL), image, atol=1e-5)


def test_a_denoised_micrograph_is_flattened_as_far_as_there_is_anything():
    rng = np.random.default_rng(1)
    side, pixel = 1024, 3.0
    f = np.hypot(np.fft.fftfreq(side, pixel)[:, None], np.fft.rfftfreq(side, pixel))
    low = np.exp(-0.5 * (f * 60.0) ** 2)  # power falls to 0.001 at 43 A
    smooth = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * low, s=(side, side))
    flat = flattened((100 + smooth).astype(np.float32), pixel)
    power = np.abs(np.fft.rfft2(flat)) ** 2

    def ring(angst):
        return power[np.abs(f - 1 / angst) < 1e-3].mean()

    assert ring(60) == pytest.approx(ring(150), rel=0.2)
    assert ring(8) < 1e-3 * ring(150)  # nothing is there
    assert ring(1500) < 1e-3 * ring(150)
    assert flat.std() == pytest.approx(1.0, rel=1e-3)


def test_the_lattice_of_a_compressed_image_does_not_stand_out():
    rng = np.random.default_rng(1)
    side, blocks = 1024, 32
    wave = np.cos(2 * np.pi * np.arange(side) / 16)
    strength = np.kron(rng.normal(size=(blocks, blocks)), np.ones((side // blocks,) * 2))
    image = rng.normal(size=(side, side)) + strength * wave

    def excess(pixels):
        """Power where the lattice is, over that at the same frequency along the other axis."""
        power = np.abs(np.fft.rfft2(pixels)) ** 2
        return power[:5, 60:69].mean() / power[60:69, :5].mean()

    assert excess(image) > 100
    assert excess(flattened(image.astype(np.float32), 2.0)) < 10


@pytest.mark.parametrize("fit", [True, False])
def test_images_that_are_taken_as_they_are_are_flattened_at_extraction(fit):
    size = ParticleSize(120.0, 5.0, 130.0, 110.0, False, 96)
    config = load_config({"ctf": {"fit": fit}})
    assert extraction_settings(config, size, 2.0).flatten != fit


# ---- particles ----


def write_project(folder, number=300, *, snr=0.7, ctf=True, seed=1):
    """Particles in two stacks of a RELION project; the table is in a job's folder of it."""
    images, optics, *_ = particles(number, [blobs(0)], snr=snr, seed=seed)
    half = number // 2
    names = []
    for job, part in enumerate((images[:half], images[half:])):
        path = f"Extract/job00{job}/p.mrcs"
        write_mrc(folder / path, part, PIXEL)
        names += [f"{i + 1:06d}@{path}" for i in range(len(part))]
    table = pd.DataFrame({"rlnImageName": names, "rlnOpticsGroup": 1})
    table["rlnMicrographName"] = [f"MotionCorr/job002/m{i % 7}.mrc" for i in range(number)]
    if ctf:
        table["rlnDefocusU"] = optics.defocus_u_angst
        table["rlnDefocusV"] = optics.defocus_v_angst
        table["rlnDefocusAngle"] = optics.defocus_angle_deg
    groups = pd.DataFrame(
        {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": [1],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
            "rlnImagePixelSize": [PIXEL],
            "rlnImageSize": [BOX],
            "rlnImageDimensionality": [2],
        }
    )
    path = folder / "Select/job005/particles.star"
    write_star(path, {"optics": groups, "particles": table})
    return path


@pytest.fixture
def given(tmp_path):
    return write_project(tmp_path / "project")


def with_settings(config, section, **values):
    changed = getattr(config, section).model_copy(update=values)
    return config.model_copy(update={section: changed})


def test_a_table_of_particles_becomes_batches_and_nothing_is_copied(tmp_path, given):
    session, config = started(tmp_path, given)
    assert config.input.kind == "particles"
    config = with_settings(config, "ingest", batch_particles=120)
    assert particles_pending(session, config)
    assert take_in(session, config).outcome == "end"
    assert not particles_pending(session, config)
    assert layout.closed_batches(session) == ["b00000", "b00001", "b00002"]
    size = measure_given(session, config)
    assert read_size(session / layout.SIZE)[0] == size
    assert [take_particles(session, b, config) for b in layout.closed_batches(session)] == [
        120,
        120,
        60,
    ]
    table = read_table(session / layout.particles_star("b00001"), "particles")
    number, _, stack = table["rlnImageName"][30].partition("@")
    assert (int(number), stack) == (1, str(tmp_path / "project/Extract/job001/p.mrcs"))
    assert not (session / layout.particles_stack("b00001")).exists()
    assert freeze_particles(session, config, 200, ["b00000", "b00001"]) == 240


def test_a_killed_run_goes_on_and_later_rows_are_taken_in(tmp_path, given):
    session, config = started(tmp_path, given)
    config = with_settings(config, "ingest", batch_particles=100)
    take_in(session, config)
    (session / layout.batch_star("b00002")).unlink()
    (session / layout.GIVEN_TABLE).unlink()
    take_in(session, config)
    names = [
        name
        for b in layout.closed_batches(session)
        for name in read_star(session / layout.batch_star(b))["particles"]["rlnImageName"]
    ]
    assert len(names) == len(set(names)) == 300
    blocks = read_star(given)
    more = pd.concat([blocks["particles"], blocks["particles"].iloc[:10]])
    write_star(given, blocks | {"particles": more})
    assert particles_pending(session, config)
    take_in(session, config)
    last = read_star(session / layout.batch_star("b00003"))
    assert (len(last["particles"]), last["general"]["csnTakenIn"]) == (10, 310)
    write_star(given, blocks | {"particles": more.iloc[::-1]})
    with pytest.raises(BadInputError, match="is not the table whose first 310 particles"):
        take_in(session, config)


def test_larger_images_are_rescaled_into_a_stack_of_the_batch(tmp_path, given):
    session, config = started(tmp_path, given)
    config = with_settings(config, "particles", output_px=32)
    take_in(session, config)
    measure_given(session, config)
    take_particles(session, "b00000", config)
    optics = read_table(session / layout.particles_star("b00000"), "optics")
    assert optics["rlnImageSize"][0] == 32
    assert optics["rlnImagePixelSize"][0] == pytest.approx(PIXEL * BOX / 32)
    images, pixel = read_mrc(session / layout.particles_stack("b00000"))
    assert images.shape == (300, 32, 32)
    assert pixel == pytest.approx(PIXEL * BOX / 32)
    original, _ = read_mrc(tmp_path / "project/Extract/job001/p.mrcs")
    spectrum = np.fft.fftshift(np.fft.fft2(original[0]))[4:36, 4:36]
    expected = np.fft.ifft2(np.fft.ifftshift(spectrum)).real
    assert np.corrcoef(expected.ravel(), images[150].ravel())[0, 1] > 0.98


def test_the_size_is_measured_and_a_configured_one_is_taken(tmp_path, given):
    session, config = started(tmp_path, given)
    take_in(session, config)
    measured = measure_given(session, config)
    mass = volume(blobs(0))
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt((mass * (x**2 + y**2 + z**2)).sum() / mass.sum())
    # a ball of the same radius of gyration is not far from it
    assert measured.diameter_angst == pytest.approx(2 * radius * np.sqrt(5 / 3), rel=0.25)
    assert measured.sure
    config = with_settings(config, "picking", diameter_angst=measured.diameter_angst * 2)
    assert measure_given(session, config).diameter_angst == measured.diameter_angst * 2
    told = read_table(session / layout.SIZE_DECISIONS, "decisions")
    assert "warn" in set(told["csnVerdict"])


def test_noise_has_no_size(tmp_path):
    path = write_project(tmp_path / "project", 200, snr=0.0)
    session, config = started(tmp_path, path)
    take_in(session, config)
    with pytest.raises(BadInputError, match=r"expected picking\.diameter_angst"):
        measure_given(session, config)


def test_dark_particles_are_told():
    images = np.stack([projection(blobs(0), (0, 90, a)) for a in range(0, 360, 5)])
    images = images / images.std() + np.random.default_rng(1).normal(size=images.shape)
    zero = np.zeros(len(images))
    ctf = ParticleCtf(zero, zero, zero, zero, 300.0, 0.0, 1.0)
    white = measure_particles(images, ctf, PIXEL)
    dark = measure_particles(-images, ctf, PIXEL)
    assert (white.dark, dark.dark) == (False, True)
    assert white.size == dark.size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o, p: (o, p.drop(columns="rlnDefocusU")), "no column rlnDefocusU; .* ctf.fit"),
        (lambda o, p: (o.drop(columns="rlnImageSize"), p), "data_optics has no column"),
        (lambda o, p: (o.assign(rlnCtfDataAreCtfPremultiplied=1), p), "CtfPremultiplied is not 0"),
        (lambda o, p: (o, p.assign(rlnImageName="stack.mrcs")), "expected 000001@path"),
        (lambda o, p: (o, p.assign(rlnImageName="000001@gone.mrcs")), "names gone.mrcs"),
        (lambda o, p: (o, p.iloc[:0]), "holds no particle"),
    ],
)
def test_tables_that_cannot_be_used_are_told(given, change, words):
    blocks = read_star(given)
    optics, table = change(blocks["optics"], blocks["particles"])
    write_star(given, {"optics": optics, "particles": table})
    with pytest.raises(BadInputError, match=words):
        read_given_particles(given, ctf=True)


def test_particles_without_a_ctf(tmp_path):
    path = write_project(tmp_path / "project", 40, ctf=False)
    found = read_given_particles(path, ctf=False)
    assert (found.optics["rlnAmplitudeContrast"] == 1.0).all()
    assert (found.particles["rlnDefocusU"] == 0.0).all()


def test_the_report_and_the_progress_of_particles(tmp_path, given):
    session, config = started(tmp_path, given)
    take_in(session, config)
    measure_given(session, config)
    line = progress_line(Counting(session, config).now(), "")
    assert line.startswith("particles 300 seen, 0 processed")
    take_particles(session, "b00000", config)
    assert Counting(session, config).now().processed == 300
    assert refresh(session, config).empty
    publish_report(session, config)
    page = (session / layout.REPORT).read_text(encoding="utf-8")
    assert "Started from particles" in page
    assert "Rejected movies" not in page
    told = read_table(session / layout.DECISIONS, "decisions")
    assert {"particle_size", "extraction"} <= set(told["csnRule"])


# ---- init ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "micrographs"}, "is a table of particles"),
        ({"pixel_size_angst": 1.0}, "pixel_size_angst = 1.0 is given"),
    ],
)
def test_init_refuses_what_does_not_apply(tmp_path, given, options, words):
    with pytest.raises(BadInputError, match=words):
        started(tmp_path, given, **options)


def test_init_of_micrographs_needs_no_dose(tmp_path, project):
    session = tmp_path / "session"
    made = init_session(project / "MotionCorr/*/*.mrc", session, kind="micrographs", say=str)
    assert made.missing == ["acquisition.voltage_kv", "acquisition.cs_mm"]
    assert made.facts["pixel_size_angst"] == pytest.approx(MICROGRAPH_PIXEL)
