"""STAR tables survive a round trip and refuse what STAR cannot hold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake.decisions import Decision, as_table
from cryosnake.errors import BadInputError
from cryosnake.quick_star import read_tables
from cryosnake.tables import read_star, read_table, star_text, write_star


def test_round_trip_of_a_loop_with_one_row_spaces_and_missing_values(tmp_path):
    path = tmp_path / "micrographs.star"
    frame = pd.DataFrame(
        {
            "rlnMicrographMovieName": ["movies/grid square/é 1.tif"],
            "rlnMicrographName": ["0012"],
            "rlnDefocusU": [12345.5],
            "rlnCtfMaxResolution": [np.nan],
            "csnReason": ["-"],
        }
    )
    write_star(path, {"micrographs": frame})
    back = read_table(path, "micrographs")
    assert back["rlnMicrographMovieName"][0] == "movies/grid square/é 1.tif"
    assert back["rlnMicrographName"][0] == "0012"  # a name of digits stays a name
    assert back["rlnDefocusU"][0] == pytest.approx(12345.5)
    assert np.isnan(back["rlnCtfMaxResolution"][0])
    assert back["csnReason"][0] == "-"


def test_undescribed_own_columns_are_refused(tmp_path):
    with pytest.raises(KeyError, match="csnNobodyKnows"):
        write_star(tmp_path / "x.star", {"a": pd.DataFrame({"csnNobodyKnows": [1]})})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["it's.tif", 'a"b.tif', "a#b.tif", "a\nb.tif", ""])
def test_values_that_star_cannot_hold_are_refused(tmp_path, value):
    frame = pd.DataFrame({"rlnMicrographMovieName": ["good.tif", value]})
    with pytest.raises(ValueError, match="STAR cannot hold"):
        write_star(tmp_path / "x.star", {"movies": frame})


@pytest.mark.parametrize("content", [b"", b"nothing", b"\xff\xfe\x00\x01", b"data_a\n\nloop_\n"])
def test_files_that_are_not_star_are_clear_errors(tmp_path, content):
    path = tmp_path / "broken.star"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"broken\.star"):
        read_table(path, "micrographs")


def test_a_missing_file_and_a_missing_block_name_themselves(tmp_path):
    with pytest.raises(BadInputError, match=r"none\.star: no such file"):
        read_star(tmp_path / "none.star")
    write_star(tmp_path / "a.star", {"one": pd.DataFrame({"rlnOpticsGroup": [1]})})
    with pytest.raises(BadInputError, match="no block data_two"):
        read_table(tmp_path / "a.star", "two")


@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_made_storable(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("star") / "d.star"
    table = as_table([Decision(text, "input", "fail", text, "-", evidence=text)])
    write_star(path, {"decisions": table})
    back = read_table(path, "decisions")
    assert len(back) == 1
    assert back["csnVerdict"][0] == "fail"


def test_star_text_is_one_line():
    assert star_text("a\n 'b'  #1") == "a `b` no.1"
    assert star_text("") == "-"


def test_decisions_refuse_what_they_cannot_mean():
    with pytest.raises(ValueError, match="verdict = 'maybe'"):
        Decision("movie", "ctf", "maybe", "7 A", "6 A")
    with pytest.raises(ValueError, match="confidence"):
        Decision("movie", "ctf", "pass", "7 A", "6 A", confidence=2.0)


@pytest.mark.parametrize("place", ["first", "last", "alone"])
def test_a_loop_without_rows_keeps_its_columns(tmp_path, place):
    empty = pd.DataFrame({"rlnMicrographName": [], "rlnCoordinateX": []})
    blocks = {"coordinates": empty}
    if place != "alone":
        blocks["optics"] = pd.DataFrame({"rlnVoltage": [300.0]})
    if place == "last":
        blocks = dict(reversed(blocks.items()))
    path = tmp_path / "empty.star"
    write_star(path, blocks)
    for table in (read_table(path, "coordinates"), read_tables([path], "coordinates")):
        assert list(table.columns) == ["rlnMicrographName", "rlnCoordinateX"]
        assert len(table) == 0
    with pytest.raises(ValueError, match="no columns"):
        write_star(path, {"coordinates": pd.DataFrame()})
