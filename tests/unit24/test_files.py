"""A file is written whole or not at all."""

import errno
import os

import pytest

from unit24.files import write_whole


def test_folders_are_made_and_old_text_is_replaced(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_whole(path, "first\n")
    write_whole(path, "zweite Zeile ✓\n")
    assert path.read_bytes() == "zweite Zeile ✓\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "b.txt"
    write_whole(path, "old\n")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="cannot write: No space left on device.*b.txt"):
        write_whole(path, "new\n")
    assert path.read_text() == "old\n" and [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_a_folder_that_refuses_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write.*file/b.txt"):
        write_whole(tmp_path / "file" / "b.txt", "x")
