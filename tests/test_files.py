"""Files are written whole or not at all."""

import os

import pytest

from cryosnake.files import write_text, written_whole


def test_success_renames_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "folder" / "table.star"
    write_text(target, "α\n")
    assert target.read_text(encoding="utf-8") == "α\n"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "table.star"
    write_text(target, "old")

    def break_off():
        with written_whole(target) as temporary:
            temporary.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        break_off()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "table.star"
    write_text(target, "old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_file_gets_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
