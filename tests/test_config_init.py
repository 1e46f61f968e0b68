"""Starting a session: what can be read is not asked, what is missing is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from movies_writing import write_mrc_movie

from cryosnake.config import load_config, template_names
from cryosnake.config.init import init_session
from cryosnake.errors import BadInputError

MDOC = """T = SerialEM: test

[FrameSet = 0]
PixelSpacing = 0.83
Voltage = 300
ExposureDose = 40
NumSubFrames = 8
FrameDosesAndNumber = 1.25 8
GainReference = gain_reference.mrc
"""


class Session:
    """A folder of movies, a session's folder, and what `init_session` said."""

    def __init__(self, folder: Path):
        self.movies = folder / "movies"
        self.movies.mkdir()
        self.folder = folder / "session"
        self.said: list[str] = []

    def movie(self, name: str, pixel_size_angst: float = 0.83) -> Path:
        frames = np.random.default_rng(0).poisson(3, (8, 64, 64)).astype(np.int16)
        path = self.movies / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_mrc_movie(path, frames, pixel_size_angst)

    def init(self, input=None, **given):
        return init_session(input or self.movies, self.folder, say=self.said.append, **given)

    @property
    def text(self) -> str:
        return (self.folder / "config.yaml").read_text()

    @property
    def config(self):
        return load_config(self.folder / "config.yaml")


@pytest.fixture
def session(tmp_path) -> Session:
    return Session(tmp_path)


def test_empty_folder_can_start(session):
    made = session.init()
    assert made.missing == [
        "acquisition.pixel_size_angst",
        "acquisition.voltage_kv",
        "acquisition.cs_mm",
        "acquisition.dose_e_per_angst2_per_frame",
    ]
    assert session.config.input.path == str(session.movies)
    assert session.config.report.title == "session"
    assert "pixel_size_angst: null  # MISSING." in session.text
    assert session.said[0].startswith("no movies yet in")
    for name in made.missing:
        assert any(name in line and "is missing" in line for line in session.said)


def test_facts_of_mdoc_and_gain_need_no_asking(session):
    session.movie("a.mrc")
    (session.movies / "a.mrc.mdoc").write_text(MDOC)
    gain = session.movies / "gain_reference.mrc"
    shutil.copy(session.movies / "a.mrc", gain)
    made = session.init(cs_mm=2.7)
    facts = session.config.acquisition
    assert (facts.pixel_size_angst, facts.voltage_kv, facts.cs_mm) == (0.83, 300, 2.7)
    assert facts.dose_e_per_angst2_per_frame == pytest.approx(1.25)
    assert facts.gain == str(gain)
    assert made.missing == []
    assert made.sources["cs_mm"] == "given"
    assert made.sources["voltage_kv"] == "a.mrc.mdoc"
    assert made.sources["gain"] == "named by the metadata"
    assert session.said[0].startswith("1 movie in")
    assert any("voltage_kv = 300   (a.mrc.mdoc)" in line for line in session.said)


def test_what_is_given_wins(session):
    session.movie("a.mrc", 0.83)
    session.init(pixel_size_angst=1.66, voltage_kv=200, amplitude_contrast=0.07)
    facts = session.config.acquisition
    assert (facts.pixel_size_angst, facts.voltage_kv) == (1.66, 200)
    assert facts.amplitude_contrast == 0.07


def test_real_epu_session(session, shared_data):
    shutil.copytree(shared_data / "epu_session", session.movies, dirs_exist_ok=True)
    (xml,) = session.movies.rglob("FoilHole_*_Data_*.xml")
    movie = xml.with_name(xml.stem + "_Fractions.tiff")
    tifffile.imwrite(movie, np.ones((3, 64, 64), np.uint8), photometric="minisblack")
    made = session.init(dose_e_per_angst2_per_frame=1)
    assert made.facts["voltage_kv"] == 300
    assert made.sources["voltage_kv"].endswith(xml.name)


def test_single_gain_is_found_and_several_are_listed(session):
    session.movie("data/a.mrc")
    first = session.movie("Gain_x1.mrc")
    assert session.init().sources["gain"] == "the only candidate by the movies"
    assert session.config.acquisition.gain == str(first)
    session.movie("data/20260301_gain.mrc")
    session.init(force=True)
    assert session.config.acquisition.gain is None
    assert any("because there are 2" in line for line in session.said)


def test_a_movie_is_not_a_gain_by_a_part_of_a_word(session):
    session.movie("again_1.mrc")
    assert session.init().sources.get("gain") is None
    assert session.said[0].startswith("1 movie in")


def test_a_bad_first_movie_is_passed_over(session):
    (session.movies / "a.mrc").write_bytes(b"")
    session.movie("b.mrc", 1.1)
    assert session.init().facts["pixel_size_angst"] == pytest.approx(1.1)
    assert any("a.mrc" in line and "passed over" in line for line in session.said)


def test_only_what_matters_is_written(session):
    session.init()
    content = yaml.safe_load(session.text)
    assert "curation" not in content
    assert content["ctf"] == {"phase_plate": False, "tilted": False}
    session.init(template="simple-tilted", force=True)
    assert yaml.safe_load(session.text)["curation"]["drift_path_angst"] == 120
    assert session.config.ctf.tilted is True


@pytest.mark.parametrize("name", template_names())
def test_every_template_can_be_initialised(session, name):
    session.init(template=name)
    assert session.config.input.path


def test_a_glob_is_kept_and_made_absolute(session, monkeypatch):
    session.movie("x/a.mrc", 0.9)
    session.movie("y/b.mrc", 1.8)
    monkeypatch.chdir(session.movies)
    session.init("*/b.mrc")
    assert session.config.input.path == str(session.movies / "*/b.mrc")
    assert session.config.acquisition.pixel_size_angst == pytest.approx(1.8)


def test_an_existing_config_is_not_overwritten(session):
    session.init()
    before = session.text
    with pytest.raises(BadInputError, match=r"config\.yaml: exists already; expected .* --force"):
        session.init(voltage_kv=200)
    assert session.text == before


@pytest.mark.parametrize(
    ("input", "words"),
    [
        ("particles.star", "no such file; expected a STAR file"),
        ("nowhere", "no such folder"),
        ("nowhere/*.tif", "no such folder"),
    ],
)
def test_inputs_that_cannot_be(session, input, words):
    with pytest.raises(BadInputError, match=words):
        session.init(session.movies / input)
    assert not session.folder.exists()


def test_values_are_checked_before_anything_is_written(session):
    with pytest.raises(BadInputError, match=r"acquisition\.voltage_kv = 3; expected"):
        session.init(voltage_kv=3)
    with pytest.raises(BadInputError, match=r"template = complicated; expected one of .*simple"):
        session.init(template="complicated")
    with pytest.raises(BadInputError, match="no such file; expected a gain reference"):
        session.init(gain="none.mrc")
    assert not session.folder.exists()


def test_odd_folder_names_survive(tmp_path):
    folder = tmp_path / 'räw data: "x" # {1}'
    folder.mkdir()
    odd = Session(folder)
    odd.movie("a b.mrc", 1.2)
    odd.init()
    assert odd.config.input.path == str(odd.movies)
    assert odd.config.acquisition.pixel_size_angst == pytest.approx(1.2)


def test_the_command_lines_stages_are_those_of_the_configuration():
    from cryosnake.cli import Stage
    from cryosnake.session.dag import STAGES

    assert tuple(stage.value for stage in Stage) == STAGES


def test_a_known_map_is_compared_with(tmp_path):
    folder = tmp_path / "movies"
    folder.mkdir()
    known = tmp_path / "control.mrc"
    with pytest.raises(BadInputError, match=r"control\.mrc: no such file; expected a map"):
        init_session(folder, tmp_path / "session", known_map=known)
    known.touch()
    init_session(folder, tmp_path / "session", known_map=known, say=lambda line: None)
    config = load_config(tmp_path / "session" / "config.yaml")
    assert config.validation.known_map == str(known)
