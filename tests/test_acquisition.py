"""Facts of the acquisition: EPU, SerialEM, headers, merging, optics groups."""

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from movies_writing import random_events, write_eer, write_mrc_movie

from cryosnake.acquisition import (
    Alternative,
    Contradiction,
    Facts,
    check_frame_count,
    combined,
    find_metadata,
    merge,
    optics_groups,
    read_epu_xml,
    read_fei_header,
    read_mdoc,
)
from cryosnake.config.model import AcquisitionConfig
from cryosnake.errors import BadInputError
from cryosnake.movies import open_movie

EPU_XML = """<?xml version="1.0" encoding="utf-8"?>
<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects">
 <CustomData xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">
  <a:KeyValueOfstringanyType><a:Key>Dose</a:Key><a:Value>4.0E+21</a:Value>
  </a:KeyValueOfstringanyType>
 </CustomData>
 <SpatialScale><pixelSize><x><numericValue>{pixel}E-10</numericValue></x></pixelSize></SpatialScale>
 <microscopeData>
  <acquisition>
   <acquisitionDateTime>2024-05-01T12:30:00.1234567+02:00</acquisitionDateTime>
   <camera>
    <CameraSpecificInput xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">
     <a:KeyValueOfstringanyType><a:Key>FractionationSettings</a:Key>
      <a:Value xmlns:b="urn:b"><b:NumberOffractions>{frames}</b:NumberOffractions></a:Value>
     </a:KeyValueOfstringanyType>
    </CameraSpecificInput>
    <ReadoutArea xmlns:a="urn:a"><a:height>{height}</a:height><a:width>{width}</a:width>
    </ReadoutArea>
   </camera>
  </acquisition>
  <gun><AccelerationVoltage>200000</AccelerationVoltage></gun>
  <optics><BeamShift xmlns:a="urn:a"><a:_x>0.01</a:_x><a:_y>-0.02</a:_y></BeamShift></optics>
  <stage><Position><A>0.5235987756</A><X>1e-4</X><Y>-2e-4</Y></Position></stage>
 </microscopeData>
</MicroscopeImage>
"""
STEM = "FoilHole_11_Data_22_33_20240501_123000"


def write_xml(path, *, pixel=0.8, frames=4, width=64, height=48):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(EPU_XML.format(pixel=pixel, frames=frames, width=width, height=height))
    return path


def write_movie(path, frames=4, shape=(48, 64), pixel_size_angst=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).poisson(3.0, (frames, *shape)).astype(np.uint8)
    if path.suffix == ".mrc":
        return write_mrc_movie(path, data.astype(np.int8), pixel_size_angst)
    tifffile.imwrite(path, data, photometric="minisblack")
    return path


# --- EPU ---


@pytest.mark.data
def test_a_real_epu_xml(shared_data):
    (path,) = (shared_data / "epu_session/Images-Disc1/GridSquare_19493759/Data").glob("*.xml")
    facts = read_epu_xml(path)
    assert facts.pixel_size_angst == pytest.approx(1.05588, abs=1e-5)
    assert facts.voltage_kv == 300
    assert facts.frames == 50
    assert facts.total_dose_e_per_angst2 == pytest.approx(39.923, abs=1e-3)
    assert facts.dose_e_per_angst2_per_frame == pytest.approx(39.923 / 50, abs=1e-4)
    assert (facts.beam_shift_x, facts.beam_shift_y) == pytest.approx(
        (-0.094492, -0.011723), rel=1e-4
    )
    assert (facts.stage_x_um, facts.stage_y_um) == pytest.approx((267.987, -420.246), abs=1e-3)
    assert facts.stage_tilt_deg == pytest.approx(-0.0292, abs=1e-4), "EPU's XML has radians"
    assert facts.acquisition_time == "2023-09-19T15:41:00+01:00"
    assert (facts.grid_square, facts.foil_hole) == ("19493759", "19513699")
    assert (facts.image_width_px, facts.image_height_px) == (2880, 2046)
    assert set(facts.source.values()) == {str(path)}


@pytest.mark.data
def test_a_real_epu_image_was_binned_by_two(shared_data, tmp_path):
    """The XML is about 2880 x 2046 pixels; the K3's movie has 5760 x 4092 of half the size."""
    (path,) = (shared_data / "epu_session/Images-Disc1/GridSquare_19493759/Data").glob("*.xml")
    movie = tmp_path / f"{path.stem}_fractions.tiff"
    shutil.copy(path, tmp_path)
    with tifffile.TiffWriter(movie) as writer:
        for _ in range(2):
            writer.write(np.zeros((4092, 5760), np.uint8), compression="zlib", contiguous=False)
    facts = find_metadata(movie)
    assert facts.pixel_size_angst == pytest.approx(1.05588 / 2, abs=1e-5)
    assert facts.problems == ()


@pytest.mark.data
def test_xml_of_a_foil_hole_and_of_a_grid_square(shared_data):
    path = shared_data / "epu_session/Images-Disc1/GridSquare_19493759/FoilHoles"
    (hole,) = path.glob("*.xml")
    assert read_epu_xml(hole).foil_hole == "19507368"
    (square,) = path.parent.glob("*.xml")
    assert read_epu_xml(square).grid_square == "19493759"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "is not XML"),
        ("<MicroscopeImage><a>", "is not XML"),
        ("<EpuSession/>", "XML of a EpuSession"),
    ],
)
def test_bad_epu_xml(tmp_path, content, match):
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(BadInputError, match=match):
        read_epu_xml(path)
    with pytest.raises(BadInputError, match="No such file"):
        read_epu_xml(tmp_path / "missing.xml")


def test_fractions_listed_one_by_one(tmp_path):
    """As EPU did for the Falcon 3."""
    path = write_xml(tmp_path / "a.xml")
    fraction = "<b:DoseFractionDefinition><b:End>9</b:End></b:DoseFractionDefinition>"
    text = path.read_text().replace("<b:NumberOffractions>4</b:NumberOffractions>", 7 * fraction)
    path.write_text(text)
    assert read_epu_xml(path).frames == 7


def test_an_xml_with_little_in_it(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<MicroscopeImage><stage/></MicroscopeImage>")
    assert read_epu_xml(path) == Facts()


# --- SerialEM ---


@pytest.mark.data
def test_real_frame_sets(shared_data):
    facts = read_mdoc(shared_data / "mdoc/frame_set_single.mdoc")
    assert facts.pixel_size_angst == 1.2827
    assert facts.voltage_kv == 300
    assert facts.frames == 12
    assert facts.dose_e_per_angst2_per_frame == 0.63824
    assert facts.total_dose_e_per_angst2 == 7.65892
    assert facts.acquisition_time == "2021-10-08T07:39:08"
    assert (facts.stage_x_um, facts.stage_y_um) == (-142.82, -457.442)
    assert facts.stage_tilt_deg == 32.984
    assert (facts.beam_shift_x, facts.beam_shift_y) == (2.69654, -0.304661)
    assert Path(facts.gain).name == "SuperRef_s_mmm_00000_-15.0_Oct08_01.59.24.dm4"
    assert Path(facts.gain).parent == shared_data / "mdoc"
    several = read_mdoc(shared_data / "mdoc/frame_set_multiple.mdoc")
    assert (several.frames, several.dose_e_per_angst2_per_frame) == (243, 0.63882)


@pytest.mark.data
def test_the_section_of_a_movie_in_a_longer_mdoc(shared_data):
    path = shared_data / "mdoc/tilt_series.mdoc"
    facts = read_mdoc(path, movie="/data/TS_01_001_3.0.mrc")
    assert facts.stage_tilt_deg == 3.00113
    assert facts.frames == 8
    assert facts.dose_e_per_angst2_per_frame is None, "ExposureDose = 0 is not a measurement"
    with pytest.raises(BadInputError, match=r"no section of other\.mrc"):
        read_mdoc(path, movie="other.mrc")


def test_dose_per_frame_from_the_exposure(tmp_path):
    path = tmp_path / "a.mdoc"
    path.write_text("Voltage = 200\n\n[FrameSet = 0]\nExposureDose = 30\nNumSubFrames = 60\n")
    assert read_mdoc(path).dose_e_per_angst2_per_frame == 0.5
    path.write_text(
        "[FrameSet = 0]\nExposureDose = 30\nNumSubFrames = 60\n"
        "FrameDosesAndNumber = 0.4 30 0.6 30\n"
    )
    assert read_mdoc(path).dose_e_per_angst2_per_frame == 0.5, "their mean, where they differ"


@pytest.mark.parametrize(
    "content", ["", "nothing of the kind", "[FrameSet = 0]\nNumSubFrames = x\n"]
)
def test_bad_mdoc(tmp_path, content):
    path = tmp_path / "a.mdoc"
    path.write_text(content)
    with pytest.raises(BadInputError):
        read_mdoc(path)


# --- headers ---


@pytest.fixture(scope="module")
def fei_movies(tmp_path_factory):
    sdist = os.environ.get("CRYOSNAKE_MRCFILE_SDIST")
    if not sdist or not Path(sdist).is_file():
        pytest.skip("CRYOSNAKE_MRCFILE_SDIST does not point at mrcfile-1.5.4.tar.gz")
    folder = tmp_path_factory.mktemp("fei")
    with tarfile.open(sdist) as archive:
        for member in archive:
            name = Path(member.name).name
            if name in ("epu2.9_example.mrc", "fei-extended.mrc"):
                (folder / name).write_bytes(archive.extractfile(member).read())
    return folder


@pytest.mark.data
def test_real_extended_headers(fei_movies):
    new = find_metadata(fei_movies / "epu2.9_example.mrc")
    assert new.pixel_size_angst == pytest.approx(0.66655, abs=1e-5)
    assert new.voltage_kv == 300
    assert new.total_dose_e_per_angst2 == pytest.approx(41.171, abs=1e-3)
    assert new.acquisition_time == "2020-11-03T17:36:04"
    assert new.alternatives == ()
    old = read_fei_header(fei_movies / "fei-extended.mrc")
    assert old.pixel_size_angst == pytest.approx(0.85378, abs=1e-5)
    assert (old.image_width_px, old.image_height_px) == (3710, 3838)
    assert old.stage_tilt_deg == pytest.approx(0.00427, abs=1e-5)


def test_no_extended_header(tmp_path):
    path = write_movie(tmp_path / "a.mrc", pixel_size_angst=0.9)
    with pytest.raises(BadInputError, match="FEI1 or FEI2"):
        read_fei_header(path)
    facts = find_metadata(path)
    assert facts.pixel_size_angst == pytest.approx(0.9)
    assert facts.frames == 4
    assert facts.problems == ()


def test_eer_header(tmp_path):
    rng = np.random.default_rng(1)
    shape = (32, 32)
    path = write_eer(
        tmp_path / "a_EER.eer",
        [random_events(rng, 30, shape) for _ in range(20)],
        shape,
        pixel_size_angst=0.5,
        dose_e_per_px=2.5,
    )
    with open_movie(path, eer_fractions=5, eer_upsampling=2) as movie:
        facts = find_metadata(path, info=movie.info)
    assert facts.pixel_size_angst == pytest.approx(0.25)
    assert facts.frames == 5
    assert facts.total_dose_e_per_angst2 == pytest.approx(10.0)
    assert facts.dose_e_per_angst2_per_frame == pytest.approx(2.0)


# --- finding them ---


@pytest.mark.parametrize(
    ("movie", "xml"),
    [
        (f"m/{STEM}_Fractions.tiff", f"m/{STEM}.xml"),
        (f"m/{STEM}_fractions.tif", f"m/{STEM}.xml"),
        (f"m/{STEM}.mrc", f"m/{STEM}.xml"),
        (f"m/{STEM}_Fractions.mrc", f"m/{STEM}_Fractions.xml"),
        (
            f"s/Images-Disc1/GridSquare_7/Data/{STEM}_Fractions.tiff",
            f"s/Images-Disc1/GridSquare_7/Data/{STEM}.xml",
        ),
        (f"s/movies/{STEM}_Fractions.tiff", f"s/Images-Disc1/GridSquare_7/Data/{STEM}.xml"),
        (f"s/{STEM}_Fractions.tiff", f"s/Images-Disc1/GridSquare_7/Data/{STEM}.xml"),
        (
            f"raw/s/Images-Disc1/GridSquare_7/Data/{STEM}_Fractions.tiff",
            f"metadata/s/Images-Disc1/GridSquare_7/Data/{STEM}.xml",
        ),
        (
            f"p/raw/Images-Disc1/GridSquare_7/Data/{STEM}_Fractions.tiff",
            f"p/atlas/Images-Disc1/GridSquare_7/Data/{STEM}.xml",
        ),
    ],
)
def test_where_epu_puts_its_xml(tmp_path, movie, xml):
    movie = write_movie(tmp_path / movie)
    xml = write_xml(tmp_path / xml)
    facts = find_metadata(movie)
    assert facts.source["voltage_kv"] == str(xml)
    assert facts.voltage_kv == 200
    assert facts.pixel_size_angst == pytest.approx(0.8)
    assert facts.dose_e_per_angst2_per_frame == pytest.approx(10)
    assert facts.stage_tilt_deg == pytest.approx(30)
    assert facts.acquisition_time == "2024-05-01T12:30:00+02:00"
    assert facts.foil_hole == "11"
    assert facts.grid_square == ("7" if "GridSquare_7" in str(xml) else None)


@pytest.mark.parametrize("name", ["movie.tif.mdoc", "movie.mdoc"])
def test_where_serialem_puts_its_mdoc(tmp_path, name):
    movie = write_movie(tmp_path / "movie.tif")
    (tmp_path / name).write_text(
        "Voltage = 200\n\n[FrameSet = 0]\nPixelSpacing = 1.1\nNumSubFrames = 4\n"
        "FrameDosesAndNumber = 0.9 4\nSubFramePath = D:\\data\\movie.tif\n"
    )
    facts = find_metadata(movie)
    assert (facts.pixel_size_angst, facts.voltage_kv) == (1.1, 200)
    assert facts.dose_e_per_angst2_per_frame == 0.9
    assert facts.alternatives == ()


@pytest.mark.parametrize(("spacing", "expected"), [(1.8, 0.9), (0.45, 0.9), (0.9, 0.9), (1.1, 1.1)])
def test_an_mdoc_about_the_binned_image(tmp_path, spacing, expected):
    """Super-resolution frames of a binned image: the header of the frames knows better."""
    movie = write_movie(tmp_path / "movie.mrc", pixel_size_angst=0.9)
    (tmp_path / "movie.mrc.mdoc").write_text(f"[FrameSet = 0]\nPixelSpacing = {spacing}\n")
    facts = find_metadata(movie)
    assert facts.pixel_size_angst == pytest.approx(expected)
    assert bool(facts.alternatives) == (spacing == 1.1)


def test_nothing_but_the_movie(tmp_path):
    facts = find_metadata(write_movie(tmp_path / "GridSquare_5" / "FoilHole_6_a.tif"))
    assert (facts.grid_square, facts.foil_hole, facts.frames) == ("5", "6", 4)
    assert facts.pixel_size_angst is None


def test_a_half_written_xml_is_a_problem_not_an_error(tmp_path):
    movie = write_movie(tmp_path / f"{STEM}_Fractions.tiff")
    (tmp_path / f"{STEM}.xml").write_text(EPU_XML[:500])
    facts = find_metadata(movie)
    assert facts.voltage_kv is None
    assert "is not XML" in facts.problems[0]
    with pytest.raises(BadInputError, match=r"acquisition\.pixel_size_angst.*is not XML"):
        merge(AcquisitionConfig(), facts)


def test_a_bad_movie_still_has_its_metadata(tmp_path):
    write_xml(tmp_path / f"{STEM}.xml")
    movie = tmp_path / f"{STEM}_Fractions.tiff"
    movie.write_bytes(b"II*\0")
    facts = find_metadata(movie)
    assert facts.acquisition_time == "2024-05-01T12:30:00+02:00"
    assert facts.voltage_kv == 200


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(64, 48, 0.8), (32, 24, 0.4), (128, 96, 1.6), (48, 64, 0.8)]
)
def test_pixel_size_is_brought_to_the_movies_sampling(tmp_path, width, height, expected):
    movie = write_movie(tmp_path / f"{STEM}_Fractions.tiff")
    write_xml(tmp_path / f"{STEM}.xml", width=width, height=height)
    assert find_metadata(movie).pixel_size_angst == pytest.approx(expected)


def test_an_image_of_another_format_is_reported(tmp_path):
    movie = write_movie(tmp_path / f"{STEM}_Fractions.tiff")
    write_xml(tmp_path / f"{STEM}.xml", width=43, height=43)
    facts = find_metadata(movie)
    assert facts.pixel_size_angst == pytest.approx(0.8)
    assert "43 x 43 pixels, which is no simple binning" in facts.problems[0]


def test_a_movie_with_fewer_frames_than_its_xml_says(tmp_path):
    movie = write_movie(tmp_path / f"{STEM}_Fractions.tiff")
    xml = write_xml(tmp_path / f"{STEM}.xml", frames=50)
    with open_movie(movie) as opened:
        facts = find_metadata(movie, info=opened.info)
        assert facts.frames == 4
        assert facts.alternatives == (Alternative("frames", 50, str(xml)),)
        with pytest.raises(BadInputError, match=r"has 4 frames; expected 50, as .*xml says"):
            check_frame_count(facts, opened.info)
        check_frame_count(Facts(frames=4), opened.info)


def test_looking_is_cheap_in_a_large_folder(tmp_path, monkeypatch):
    """The movie's own folder is never listed, and no more than some hundred names are looked up."""
    movie = write_movie(tmp_path / "movies" / f"{STEM}_Fractions.tiff")
    for number in range(200):
        (tmp_path / "movies" / f"other_{number}.tiff").touch()
    listed, looked_up = [], []
    scandir, is_file = os.scandir, Path.is_file
    monkeypatch.setattr(os, "scandir", lambda p=".": listed.append(str(p)) or scandir(p))
    monkeypatch.setattr(Path, "is_file", lambda self: looked_up.append(self) or is_file(self))
    find_metadata(movie)
    assert str(tmp_path / "movies") not in listed
    assert len(looked_up) < 500


# --- merging ---

FOUND = Facts(
    pixel_size_angst=0.8,
    voltage_kv=300,
    dose_e_per_angst2_per_frame=1.0,
    frames=40,
    gain="/data/gain.mrc",
    source={
        "pixel_size_angst": "a.xml",
        "voltage_kv": "a.xml",
        "dose_e_per_angst2_per_frame": "a.xml",
        "gain": "a.mdoc",
    },
)


def test_the_configuration_wins_and_contradictions_are_told():
    config = AcquisitionConfig(
        pixel_size_angst=0.85, voltage_kv=300, cs_mm=2.7, gain="elsewhere/gain_new.mrc"
    )
    facts, contradictions = merge(config, FOUND)
    assert facts.pixel_size_angst == 0.85
    assert facts.source["pixel_size_angst"] == "config"
    assert facts.source["dose_e_per_angst2_per_frame"] == "a.xml"
    assert facts.amplitude_contrast == 0.1
    assert contradictions == [
        Contradiction("pixel_size_angst", 0.85, 0.8, "a.xml"),
        Contradiction("gain", "elsewhere/gain_new.mrc", "/data/gain.mrc", "a.mdoc"),
    ]
    assert str(contradictions[0]) == "pixel_size_angst: 0.85 is used, a.xml says 0.8"


def test_one_percent_is_no_contradiction():
    config = AcquisitionConfig(pixel_size_angst=0.806, cs_mm=2.7, gain="converted/gain.tif")
    assert merge(config, FOUND)[1] == []


@pytest.mark.parametrize(
    "missing", ["pixel_size_angst", "voltage_kv", "cs_mm", "dose_e_per_angst2_per_frame"]
)
def test_a_missing_fact_names_the_key(missing):
    values = {
        "pixel_size_angst": 0.8,
        "voltage_kv": 300,
        "cs_mm": 2.7,
        "dose_e_per_angst2_per_frame": 1,
    }
    del values[missing]
    with pytest.raises(BadInputError, match=rf"acquisition\.{missing} is not set"):
        merge(AcquisitionConfig(**values), Facts())
    assert merge(AcquisitionConfig(**values), Facts(**{missing: 1.0}))[1] == []


def test_sources_that_disagree():
    first = Facts(pixel_size_angst=0.8, cs_mm=2.7, source={"pixel_size_angst": "a.xml"})
    second = Facts(pixel_size_angst=0.4, voltage_kv=200, source={"pixel_size_angst": "header"})
    facts = combined(first, second)
    assert (facts.pixel_size_angst, facts.voltage_kv) == (0.8, 200)
    assert facts.alternatives == (Alternative("pixel_size_angst", 0.4, "header"),)
    config = AcquisitionConfig(dose_e_per_angst2_per_frame=1)
    assert merge(config, facts)[1] == [Contradiction("pixel_size_angst", 0.8, 0.4, "header")]


# --- optics groups ---


def afis(rng, side=3, repeats=20, jitter=0.05):
    positions = np.stack(np.meshgrid(*2 * [np.arange(side) - 1.0]), -1).reshape(-1, 2)
    truth = np.tile(np.arange(len(positions)), repeats)
    return positions[truth] * 0.07 + rng.normal(0, jitter * 0.07, (truth.size, 2)), truth


def same_partition(labels, truth):
    pairs = set(zip(labels.tolist(), truth.tolist(), strict=True))
    return len(pairs) == len(set(labels.tolist())) == len(set(truth.tolist()))


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("jitter", [0.0, 0.02, 0.08])
def test_image_shift_grids(side, jitter):
    shifts, truth = afis(np.random.default_rng(side), side, jitter=jitter)
    labels = optics_groups(shifts)
    assert same_partition(labels, truth)
    assert labels[: side**2].tolist() == list(range(1, side**2 + 1)), "in order of occurrence"


def test_labels_stay_when_the_session_grows():
    shifts, _ = afis(np.random.default_rng(1), repeats=60)
    final = optics_groups(shifts)
    for count in (20, 45, 100, 300):
        assert np.array_equal(optics_groups(shifts[:count]), final[:count])


def test_many_exposures():
    shifts, truth = afis(np.random.default_rng(2), side=5, repeats=800, jitter=0.03)
    assert same_partition(optics_groups(shifts), truth)


@pytest.mark.parametrize(
    "shifts",
    [
        np.zeros((0, 2)),
        np.zeros((1, 2)),
        np.zeros((30, 2)),
        np.full((5, 2), np.nan),
        np.random.default_rng(0).normal(0, 1, (200, 2)),
        np.random.default_rng(0).random((200, 2)),
        np.arange(24.0).reshape(12, 2),
    ],
)
def test_one_group_where_there_are_no_clusters(shifts):
    assert np.array_equal(optics_groups(shifts), np.ones(len(shifts), int))


def test_unknown_shifts_are_in_the_first_group():
    shifts, truth = afis(np.random.default_rng(3))
    shifts[7] = np.nan
    labels = optics_groups(shifts)
    assert labels[7] == 1
    known = np.arange(len(shifts)) != 7
    assert same_partition(labels[known], truth[known])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.floats(-3.1, 3.1))
def test_units_and_rotation_do_not_matter(seed, unit, angle):
    shifts, _ = afis(np.random.default_rng(seed), repeats=6, jitter=0.03)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.array_equal(optics_groups(shifts @ turn.T * unit), optics_groups(shifts))
