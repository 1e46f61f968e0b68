"""Reading movies: every format gives the pixels that were written, in MRC row order."""

import shutil
import subprocess
import threading
import tracemalloc

import mrcfile
import numpy as np
import pytest
import tifffile
from movies_writing import patch_mrc, random_events, write_eer, write_mrc_movie

from cryosnake.errors import BadInputError
from cryosnake.movies import open_movie, read_gain

SHAPE = (40, 56)


def counts(frames=3, shape=SHAPE, dtype=np.uint8, mean=3.0, seed=1):
    return np.random.default_rng(seed).poisson(mean, (frames, *shape)).astype(dtype)


def read(path, **options):
    with open_movie(path, **options) as movie:
        return movie.info, np.stack(list(movie.frames()))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
@pytest.mark.parametrize("suffix", [".mrc", ".mrcs", ".MRC"])
def test_mrc_modes(tmp_path, dtype, suffix):
    data = counts(dtype=dtype)
    info, frames = read(write_mrc_movie(tmp_path / f"movie{suffix}", data, 0.885))
    assert (info.format, info.frames, info.shape) == ("mrc", 3, SHAPE)
    assert info.dtype == frames.dtype == np.dtype(dtype)
    assert info.pixel_size_angst == pytest.approx(0.885, rel=1e-6)
    assert np.array_equal(frames, data)


def test_mrc_single_image_and_unknown_pixel_size(tmp_path):
    data = counts(1, dtype="int16")
    with mrcfile.new(tmp_path / "one.mrc") as mrc:
        mrc.set_data(data[0])
        mrc.voxel_size = 1.0
    info, frames = read(tmp_path / "one.mrc")
    assert info.frames == 1
    assert info.pixel_size_angst is None, "1.0 is what programs write that do not know"
    assert np.array_equal(frames, data)


def test_mrc_unsigned_bytes_by_imods_flags(tmp_path):
    data = np.full((2, *SHAPE), 200, np.uint8)
    data[:, 3, 5] = 7
    path = write_mrc_movie(tmp_path / "m.mrc", data.view(np.int8))
    assert read(path)[1].min() == -56, "bytes are signed where nothing says otherwise"
    patch_mrc(path, 152, "<2i", 1146047817, 0)
    info, frames = read(path)
    assert info.dtype == np.uint8
    assert np.array_equal(frames, data)
    patch_mrc(path, 152, "<2i", 1146047817, 1)
    assert read(path)[0].dtype == np.int8


@pytest.mark.parametrize("width", [56, 57])
def test_mrc_packed_4_bit(tmp_path, width):
    data = counts(2, (40, width)).clip(0, 15)
    padded = np.pad(data, ((0, 0), (0, 0), (0, width % 2)))
    packed = padded[:, :, 0::2] | padded[:, :, 1::2] << 4
    path = write_mrc_movie(tmp_path / "m.mrc", packed.view(np.int8))
    patch_mrc(path, 0, "<i", width)
    patch_mrc(path, 12, "<i", 101)
    assert np.array_equal(read(path)[1], data)
    if width % 2 == 0:
        patch_mrc(path, 0, "<i", width // 2)
        patch_mrc(path, 12, "<i", 0)
        patch_mrc(path, 152, "<2i", 1146047817, 16)
        assert np.array_equal(read(path)[1], data)


def test_mrc_big_endian(tmp_path):
    data = counts(2, dtype="int16")
    path = write_mrc_movie(tmp_path / "m.mrc", data.astype(">i2"))
    info, frames = read(path)
    assert frames.dtype.isnative
    assert info.dtype.isnative
    assert np.array_equal(frames, data)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_tiff_rows_are_turned(tmp_path, compression, dtype):
    data = counts(dtype=dtype)
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, data, photometric="minisblack", compression=compression)
    info, frames = read(path)
    assert (info.format, info.frames, info.shape) == ("tiff", 3, SHAPE)
    assert info.dtype == frames.dtype == np.dtype(dtype)
    assert np.array_equal(frames, data[:, ::-1])
    assert info.pixel_size_angst is None


@pytest.mark.parametrize(
    "options",
    [
        {"bigtiff": True},
        {"byteorder": ">"},
        {"rowsperstrip": 1, "compression": "lzw"},
        {"rowsperstrip": 40, "compression": "lzw"},
        {"tile": (16, 16)},
        {"predictor": True, "compression": "zlib"},
    ],
)
def test_tiff_layouts(tmp_path, options):
    data = counts(5, dtype="uint16")
    path = tmp_path / "movie.tiff"
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    assert np.array_equal(read(path)[1], data[:, ::-1])


def test_tiff_pixel_size_from_resolution_in_pixels_per_cm(tmp_path):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(
        path,
        counts(),
        photometric="minisblack",
        resolution=(1e8 / 0.64, 1e8 / 0.64),
        resolutionunit="CENTIMETER",
    )
    assert read(path)[0].pixel_size_angst == pytest.approx(0.64, rel=1e-6)


@pytest.mark.parametrize("upsampling", [1, 2])
def test_eer_against_the_events_written(tmp_path, upsampling):
    rng = np.random.default_rng(3)
    raw = [random_events(rng, 300, SHAPE) for _ in range(11)]
    path = write_eer(tmp_path / "movie.eer", raw, SHAPE, pixel_size_angst=0.7)
    info, fractions = read(path, eer_fractions=3, eer_upsampling=upsampling)
    assert (info.frames, info.raw_frames, info.raw_frames_per_fraction) == (3, 11, 3)
    assert info.pixel_size_angst == pytest.approx(0.7 / upsampling)
    truth = np.zeros((3, SHAPE[0] * upsampling, SHAPE[1] * upsampling), int)
    for number, events in enumerate(raw[:9]):  # two camera frames are left over
        y, x, quarter_y, quarter_x = events.T
        half = 2 // upsampling
        sub_y, sub_x = quarter_y // (2 * half), quarter_x // (2 * half)
        np.add.at(truth[number // 3], (y * upsampling + sub_y, x * upsampling + sub_x), 1)
    assert np.array_equal(fractions, truth)


def test_eer_number_of_fractions_from_the_dose(tmp_path):
    rng = np.random.default_rng(3)
    raw = [random_events(rng, 30, SHAPE) for _ in range(24)]
    path = write_eer(
        tmp_path / "m.eer", raw, SHAPE, pixel_size_angst=0.5, dose_e_per_px=2.0
    )  # 8 e/A^2
    with open_movie(path) as movie:
        assert movie.info.total_dose_e_per_angst2 == pytest.approx(8.0)
        assert (movie.info.frames, movie.info.raw_frames_per_fraction) == (8, 3)
    with open_movie(path, eer_fraction_dose_e_per_angst2=2.0) as movie:
        assert movie.info.frames == 4
    with open_movie(path, eer_total_dose_e_per_angst2=12.0) as movie:
        assert movie.info.frames == 12
    with pytest.raises(BadInputError, match=r"24 camera frames.*at least 25"):
        open_movie(path, eer_fractions=25)


def test_names_with_spaces_and_unicode(tmp_path):
    data = counts(dtype="int16")
    folder = tmp_path / "grille é 1"
    folder.mkdir()
    path = write_mrc_movie(folder / "trou número 7 (β).mrc", data)
    assert np.array_equal(read(path)[1], data)
    path = folder / "電子 1.tif"
    tifffile.imwrite(path, data, photometric="minisblack")
    assert np.array_equal(read(path)[1], data[:, ::-1])


def test_at_most_threads_plus_one_frames_are_read_ahead(tmp_path):
    path = write_mrc_movie(tmp_path / "m.mrc", counts(12, dtype="int16"))
    with open_movie(path, threads=2) as movie:
        started, lock = [], threading.Lock()
        original = movie._read_frame

        def counting(index):
            with lock:
                started.append(index)
            return original(index)

        movie._read_frame = counting
        for given, _ in enumerate(movie.frames(), start=1):
            assert len(started) <= given + 2
        assert sorted(started) == list(range(12)), "each frame is read once"


@pytest.mark.parametrize("name", ["movie.mrc", "movie.tif"])
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, name):
    data = counts(40, (256, 512), dtype="int16")
    path = tmp_path / name
    if name.endswith("tif"):
        tifffile.imwrite(path, data, photometric="minisblack", compression="zlib")
    else:
        write_mrc_movie(path, data)
    frame_bytes, frames = data[0].nbytes, len(data)
    del data
    tracemalloc.start()
    with open_movie(path, threads=2) as movie:
        seen = sum(1 for _ in movie.frames())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == frames
    assert peak < 10 * frame_bytes, "three frames ahead, each decoded and turned, and one given"


def test_leaving_early_closes_cleanly(tmp_path):
    path = write_mrc_movie(tmp_path / "m.mrc", counts(12, dtype="int16"))
    before = threading.active_count()
    with open_movie(path) as movie:
        frames = movie.frames()
        next(frames)
        frames.close()
    assert threading.active_count() == before


# --- RELION as the referee of row order ---

STAR = """data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 1.0 300 2.7 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
"""


def relion_sum(folder, name, *options):
    if shutil.which("relion_run_motioncorr") is None:
        pytest.skip("relion_run_motioncorr is not installed")
    (folder / "movies.star").write_text(f"{STAR}{name} 1\n")
    command = "relion_run_motioncorr --i movies.star --o out/ --use_own --j 2 --skip_defect"
    subprocess.run([*command.split(), *options], cwd=folder, check=True, capture_output=True)
    return mrcfile.read(folder / "out" / f"{name.rpartition('.')[0]}.mrc")


def asymmetric_movie():
    rate = np.full((256, 320), 20.0)
    rate[20:80, 30:60] = 60
    rate[200:220, 240:300] = 100
    return np.random.default_rng(0).poisson(rate, (5, *rate.shape)).astype(np.int16)


@pytest.mark.relion
@pytest.mark.parametrize("name", ["movie.tif", "movie.mrc"])
def test_rows_as_relion_reads_them(tmp_path, name):
    data = asymmetric_movie()
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, data, photometric="minisblack")
    else:
        write_mrc_movie(tmp_path / name, data, 1.0)
    ours = read(tmp_path / name)[1].sum(axis=0)
    theirs = relion_sum(tmp_path, name)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
    assert np.corrcoef(ours[::-1].ravel(), theirs.ravel())[0, 1] < 0.5


def write_gain(path, gain):
    if path.suffix == ".mrc":
        with mrcfile.new(path) as mrc:
            mrc.set_data(gain)
    else:
        with tifffile.TiffWriter(path) as writer:
            writer.write(gain, photometric="minisblack")
    return path


@pytest.mark.relion
@pytest.mark.parametrize("name", ["movie.tif", "movie.mrc"])
@pytest.mark.parametrize("gain_name", ["gain.tif", "gain.mrc"])
def test_gain_as_relion_applies_it(tmp_path, name, gain_name):
    data = asymmetric_movie()
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, data, photometric="minisblack")
    else:
        write_mrc_movie(tmp_path / name, data, 1.0)
    stored = np.ones(data.shape[1:], np.float32)
    stored[30:90, 100:300] = 1.5
    gain = read_gain(write_gain(tmp_path / gain_name, stored))
    ours = read(tmp_path / name)[1].sum(axis=0) * gain
    theirs = relion_sum(tmp_path, name, "--gainref", gain_name)
    assert np.abs(ours - theirs).mean() < 0.03 * ours.mean(), "RELION also aligned the frames"


def eer_with_a_mark(path):
    rng = np.random.default_rng(5)
    shape = (4096, 4096)  # RELION reads no other
    rows, columns = np.mgrid[300:500:3, 700:760:2].reshape(2, -1)
    mark = np.stack([rows, columns, *rng.integers(0, 4, (2, rows.size))], axis=1)
    raw = []
    for _ in range(9):  # a mark that does not move, for RELION to align on, and random events
        events = random_events(rng, 4000, shape)
        events = events[~((events[:, 0] // 300 == 1) & (events[:, 1] // 100 == 7))]
        raw.append(np.concatenate([events, mark]))
    return write_eer(path, raw, shape)


def cells(image):
    return image.reshape(64, 64, 64, 64).sum(axis=(1, 3), dtype=np.float64).ravel()


@pytest.mark.relion
@pytest.mark.parametrize("gain_name", ["falcon.gain", "gain.mrc"])
def test_eer_events_rows_and_gain_as_in_relion(tmp_path, gain_name):
    path = eer_with_a_mark(tmp_path / "movie.eer")
    stored = np.ones((4096, 4096), np.float32)
    stored[:1000, :2000] = 4
    gain = read_gain(write_gain(tmp_path / gain_name, stored), movie_format="eer")
    ours = read(path, eer_fractions=3)[1].sum(axis=0, dtype=np.float32) * gain
    theirs = relion_sum(tmp_path, "movie.eer", "--eer_grouping", "3", "--gainref", gain_name)
    assert np.corrcoef(cells(ours), cells(theirs))[0, 1] > 0.99
    assert abs(np.corrcoef(cells(ours[::-1]), cells(theirs))[0, 1]) < 0.1
    assert theirs.sum() == pytest.approx(ours.sum(), rel=0.01)
