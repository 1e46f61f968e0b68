"""Bad movies: each kind ends in a BadInputError that names the file, the value and what was
expected; never in another exception, and never in silently fewer frames."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from movies_writing import patch_mrc, random_events, write_eer, write_mrc_movie

from cryosnake.errors import BadInputError
from cryosnake.movies import check_frame, open_movie

SHAPE = (24, 32)
FRAMES = 4
DATA = np.random.default_rng(1).poisson(3.0, (FRAMES, *SHAPE)).astype(np.int16)


def write_tiff(path, data=DATA, **options):
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    return path


def write_libtiff_like(path):
    """A TIFF with each directory after its frame's data, as libtiff and the cameras write it."""
    with tifffile.TiffWriter(path) as writer:
        for frame in DATA:
            writer.write(frame, photometric="minisblack", compression="lzw", contiguous=False)
    return path


def write_small_eer(path):
    rng = np.random.default_rng(2)
    return write_eer(path, [random_events(rng, 40, SHAPE) for _ in range(8)], SHAPE)


WRITERS = {
    "movie.mrc": lambda path: write_mrc_movie(path, DATA),
    "plain.tif": write_tiff,
    "big.tif": lambda path: write_tiff(path, bigtiff=True),
    "zip.tif": lambda path: write_tiff(path, compression="zlib"),
    "lzw.tif": write_libtiff_like,
    "movie.eer": write_small_eer,
}


def read_all(path):
    with open_movie(path) as movie:
        frames = list(movie.frames())
        assert len(frames) == movie.info.frames
        return movie.info, frames


def outcome(path):
    """(error, None) or (None, (info, frames)); any other exception fails the test."""
    try:
        return None, read_all(path)
    except BadInputError as error:
        return error, None


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: writer(folder / name) for name, writer in WRITERS.items()}


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=200, deadline=None)
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncated_anywhere(whole, name, part):
    content = whole[name].read_bytes()
    complete = read_all(whole[name])
    path = whole[name].with_name(f"cut-{name}")
    path.write_bytes(content[: int(part * len(content))])
    error, found = outcome(path)
    if error is not None:
        assert error.path == path
        assert error.problem
        assert error.expected
    else:  # nothing that matters was cut
        assert found[0].raw_frames == complete[0].raw_frames
        assert all(np.array_equal(a, b) for a, b in zip(found[1], complete[1], strict=True))


@pytest.mark.parametrize("name", WRITERS)
def test_truncated_at_every_byte_of_the_end_and_the_beginning(whole, name):
    content = whole[name].read_bytes()
    complete = read_all(whole[name])
    path = whole[name].with_name(f"cut-{name}")
    for length in [*range(0, 400, 7), *range(len(content) - 120, len(content))]:
        path.write_bytes(content[:length])
        error, found = outcome(path)
        assert error is not None or found[0].raw_frames == complete[0].raw_frames


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_rotten_bytes(whole, name, data):
    """Overwritten bytes may change pixels, but end in nothing worse than a BadInputError."""
    content = bytearray(whole[name].read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    rot = data.draw(st.binary(min_size=1, max_size=16))
    content[start : start + len(rot)] = rot
    path = whole[name].with_name(f"rotten-{name}")
    path.write_bytes(content)
    error, _ = outcome(path)
    assert error is None or error.path == path


@pytest.mark.parametrize("compression", ["lzw", "zlib"])
def test_a_hole_of_zeros_in_the_middle(tmp_path, compression):
    """What an interrupted copy leaves: the right size, blocks that never arrived."""
    data = np.random.default_rng(0).poisson(1.0, (3, 256, 256)).astype(np.uint8)
    path = write_tiff(tmp_path / "m.tif", data, compression=compression)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"frame \d of 3 cannot be read"):
        read_all(path)


@pytest.mark.parametrize("suffix", [".mrc", ".tif", ".eer"])
class TestNotAMovie:
    def error(self, path) -> BadInputError:
        with pytest.raises(BadInputError) as caught:
            read_all(path)
        assert caught.value.path == path
        assert str(path) in str(caught.value)
        return caught.value

    def test_empty(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.touch()
        assert "0 bytes" in self.error(path).problem

    def test_missing(self, tmp_path, suffix):
        assert "No such file" in self.error(tmp_path / f"a{suffix}").problem

    def test_a_folder_in_its_place(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.mkdir()
        assert "directory" in self.error(path).problem

    def test_text(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.write_text("Notes of the session: the movies are elsewhere.\n" * 100)
        assert self.error(path).expected

    def test_no_permission(self, tmp_path, suffix, monkeypatch):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"x" * 2000)

        def refuse(file, *_args, **_kwargs):
            raise PermissionError(13, os.strerror(13), str(file))

        monkeypatch.setattr("builtins.open", refuse)
        assert "Permission denied" in self.error(path).problem

    def test_half_written_zeros(self, tmp_path, suffix):
        """Space that was reserved and not yet written."""
        path = tmp_path / f"a{suffix}"
        path.write_bytes(bytes(5000))
        self.error(path)


def test_unknown_ending(tmp_path):
    with pytest.raises(BadInputError, match=r"ending '.dm4' is not of a movie"):
        open_movie(tmp_path / "movie.dm4")


def test_truncated_mrc_names_frames_and_bytes(tmp_path):
    path = write_mrc_movie(tmp_path / "m.mrc", DATA)
    content = path.read_bytes()
    path.write_bytes(content[: 1024 + 2 * DATA[0].nbytes + 5])
    with pytest.raises(BadInputError, match=r"hold 2 of 4 frames.*expected 7168 bytes"):
        open_movie(path)


def test_mrc_with_more_data_than_its_header_says(tmp_path):
    path = write_mrc_movie(tmp_path / "m.mrc", DATA)
    patch_mrc(path, 8, "<i", 2)
    with pytest.raises(BadInputError, match=r"holds 4 frames of data; expected 2"):
        open_movie(path)


@pytest.mark.parametrize(
    ("offset", "value", "match"),
    [(12, 4, "MRC mode 4"), (0, -5, "pixels"), (4, 10**6, "pixels"), (8, 0, "0 frames")],
)
def test_mrc_headers_that_cannot_be(tmp_path, offset, value, match):
    path = patch_mrc(write_mrc_movie(tmp_path / "m.mrc", DATA), offset, "<i", value)
    with pytest.raises(BadInputError, match=match):
        open_movie(path)


def test_tiff_frames_of_different_shapes(tmp_path):
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as writer:
        for shape in [(24, 32), (24, 32), (32, 24)]:
            writer.write(np.ones(shape, np.uint8), photometric="minisblack", contiguous=False)
    with pytest.raises(BadInputError, match=r"frame 2 has 24 x 32 pixels; expected 32 x 24"):
        open_movie(path)


def test_tiff_frames_of_different_types(tmp_path):
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as writer:
        for dtype in (np.uint8, np.uint16):
            writer.write(np.ones(SHAPE, dtype), photometric="minisblack", contiguous=False)
    with pytest.raises(BadInputError, match="types"):
        open_movie(path)


def test_colour_tiff(tmp_path):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.ones((24, 32, 3), np.uint8), photometric="rgb")
    with pytest.raises(BadInputError, match="3 samples a pixel"):
        open_movie(path)


def test_tiff_directories_in_a_loop(tmp_path):
    path = write_tiff(tmp_path / "m.tif")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[-1]
    first_directory = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[last.offset : last.offset + 2], "little")
    pointer = last.offset + 2 + 12 * entries
    content[pointer : pointer + 4] = first_directory.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="loop"):
        open_movie(path)


def test_a_tiff_named_eer(tmp_path):
    path = write_tiff(tmp_path / "m.eer")
    with pytest.raises(BadInputError, match=r"compression 1.*expected EER"):
        open_movie(path)


@pytest.mark.parametrize("name", ["movie.mrc", "plain.tif", "movie.eer"])
def test_another_number_of_frames_than_promised(whole, name):
    raw = 8 if name.endswith("eer") else FRAMES
    with open_movie(whole[name], expected_frames=raw) as movie:
        assert movie.info.raw_frames == raw
    with pytest.raises(BadInputError, match=rf"has {raw} frames; expected 50"):
        open_movie(whole[name], expected_frames=50)


class TestFrames:
    path = Path("movie.mrc")

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "float16", "float32"])
    def test_good_counts_pass(self, dtype):
        check_frame(DATA[0].astype(dtype), 0, self.path)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_nan(self, value):
        frame = DATA[0].astype(np.float32)
        frame[3, 4] = value
        with pytest.raises(BadInputError, match=r"frame 7 has 1 NaN or infinite pixels"):
            check_frame(frame, 7, self.path)

    def test_all_zero(self):
        with pytest.raises(BadInputError, match="frame 2 is all-zero"):
            check_frame(np.zeros(SHAPE, np.uint8), 2, self.path)

    def test_constant(self):
        with pytest.raises(BadInputError, match=r"frame 2 is constant \(7\)"):
            check_frame(np.full(SHAPE, 7, np.int16), 2, self.path)

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
    def test_saturated(self, dtype):
        frame = DATA[0].astype(dtype)
        top = np.iinfo(dtype).max
        frame.flat[:7] = top  # 0.9 %: hot pixels are not saturation
        check_frame(frame, 0, self.path)
        frame.flat[:80] = top
        with pytest.raises(BadInputError, match=rf"saturated: 10.4 % .* at {top}"):
            check_frame(frame, 0, self.path)

    def test_saturated_at_the_cameras_maximum(self):
        frame = DATA[0].clip(0, 4)
        with pytest.raises(BadInputError, match="saturated"):
            check_frame(frame, 0, self.path, maximum=4)
