"""``unit24 collect``: what platforms let an instructor download, as it comes."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from grader.collect import collect, matched, read_roster
from grader.commands import collect as command
from unit24.errors import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures"
ROSTER = "id,first_name,last_name,email,lms_user_id\nada,Ada,Löwe,ada@uni.example,1234\nbob,Bob,Marsh,bob@uni.example,77\n"


def notebook(words="", lesson="61_small"):
    return json.dumps({"cells": [], "metadata": {"unit24": {"lesson": lesson}, "words": words}, "nbformat": 4, "nbformat_minor": 5}).encode()


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, data) in enumerate(files.items()):
            archive.writestr(zipfile.ZipInfo(name, (2026, 3, 1, 12, number, 0)), data)
    return path


def words_of(root, student):
    return json.loads((root / "submitted" / student / "61_small" / "61_small.ipynb").read_bytes())["metadata"]["words"]


@pytest.fixture
def roster(tmp_path):
    path = tmp_path / "students.csv"
    path.write_text(ROSTER)
    return read_roster(path)


PLATFORMS = {
    "canvas": {"loweada_1234_900_61_small.ipynb": notebook("ada"), "marshbob_LATE_77_901_61_small-2.ipynb": notebook("bob")},
    "moodle": {"Ada Löwe_555_assignsubmission_file/Copy of 61_small.ipynb": notebook("ada"), "Bob Marsh_556_assignsubmission_file_/x.ipynb": notebook("bob")},
    "gradescope": {
        "assignment_1_export/submission_metadata.yml": b"submission_11:\n  :submitters:\n  - :name: Ada L\xc3\xb6we\n    :sid: '1234'\n    :email: ada@uni.example\nsubmission_12:\n  :submitters:\n  - :name: Bob Marsh\n    :email: bob@uni.example\n",
        "assignment_1_export/submission_11/61_small.ipynb": notebook("ada"),
        "assignment_1_export/submission_12/solution.ipynb": notebook("bob"),
    },
    "classroom": {"Week 1/Ada Löwe - 61_small.ipynb": notebook("ada"), "Week 1/Bob Marsh - Copy of 61_small.ipynb": notebook("bob")},
    "nbgrader": {"submitted/ada/61_small/61_small.ipynb": notebook("ada"), "submitted/bob/61_small/61_small.ipynb": notebook("bob")},
    "mac": {"class/ada/61_small.ipynb": notebook("ada"), "__MACOSX/class/ada/._61_small.ipynb": b"\0", "class/bob/61_small.ipynb": notebook("bob")},
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_download_is_read_as_it_comes(tmp_path, roster, platform):
    done = collect([zipped(tmp_path / "a.zip", PLATFORMS[platform])], tmp_path, ["61_small"], roster)
    assert done.left == [] and {student for _, student, _ in done.taken} == {"ada", "bob"}
    assert words_of(tmp_path, "ada") == "ada" and words_of(tmp_path, "bob") == "bob"
    assert (tmp_path / "submitted" / "ada" / "61_small" / "timestamp.txt").read_text().startswith("2026-03-01 12:0")


def test_the_latest_version_counts_and_the_others_are_named(tmp_path, roster):
    files = {"loweada_1234_900_61_small.ipynb": notebook("first"), "loweada_1234_950_61_small-1.ipynb": notebook("second")}
    done = collect([zipped(tmp_path / "a.zip", files)], tmp_path, ["61_small"], roster)
    assert words_of(tmp_path, "ada") == "second"
    assert done.left == [("loweada_1234_900_61_small.ipynb", "an earlier version of loweada_1234_950_61_small-1.ipynb")]


def test_again_with_a_later_archive(tmp_path, roster):
    """What lay there is kept; what has not changed is not touched."""
    collect([zipped(tmp_path / "a.zip", PLATFORMS["canvas"])], tmp_path, ["61_small"], roster)
    later = {**PLATFORMS["canvas"], "loweada_1234_900_61_small.ipynb": notebook("ada again")}
    done = collect([zipped(tmp_path / "b.zip", later)], tmp_path, ["61_small"], roster)
    assert words_of(tmp_path, "ada") == "ada again" and done.same == ["marshbob_LATE_77_901_61_small-2.ipynb"]
    kept = tmp_path / ".unit24" / "collected" / "ada" / "61_small" / "1.ipynb"
    assert json.loads(kept.read_bytes())["metadata"]["words"] == "ada"


def test_what_is_not_taken_is_named(tmp_path, roster):
    files = {
        "strangerx_99_1_61_small.ipynb": notebook(),
        "loweada_1234_2_other.ipynb": notebook(lesson="99_other"),
        "loweada_1234_3_photo.png": b"",
        "broken_1234_4_61_small.ipynb": b"{",
    }
    done = collect([zipped(tmp_path / "a.zip", files)], tmp_path, ["61_small"], roster)
    reasons = dict(done.left)
    assert "not in the roster" in reasons["strangerx_99_1_61_small.ipynb"]
    assert "no notebook of a lesson" in reasons["loweada_1234_2_other.ipynb"] and reasons["loweada_1234_3_photo.png"] == "not a notebook"
    # It cannot be read, but its name says what it is: the grader's finding, not ours.
    assert [path for path, *_ in done.taken] == ["broken_1234_4_61_small.ipynb"]


def test_an_archive_cannot_write_elsewhere(tmp_path):
    files = {"../../evil/61_small.ipynb": notebook(), "/etc/61_small.ipynb": notebook(), "..\\x - 61_small.ipynb": notebook()}
    collect([zipped(tmp_path / "a.zip", files)], tmp_path / "class", ["61_small"])
    inside = {path.parent.parent.name for path in (tmp_path / "class" / "submitted").rglob("*.ipynb")}
    assert inside <= {"evil", "etc", "x"} and not (tmp_path.parent / "evil").exists()


def test_tar_and_folder_and_single_file(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("ada/61_small.ipynb")
        entry.size = len(notebook("tar"))
        archive.addfile(entry, io.BytesIO(notebook("tar")))
    (tmp_path / "folder" / "bob").mkdir(parents=True)
    (tmp_path / "folder" / "bob" / "61_small.ipynb").write_bytes(notebook("folder"))
    (tmp_path / "Cem Kaya - 61_small.ipynb").write_bytes(notebook("file"))
    collect([tmp_path / "a.tar.gz", tmp_path / "folder", tmp_path / "Cem Kaya - 61_small.ipynb"], tmp_path, ["61_small"])
    assert [words_of(tmp_path, student) for student in ("ada", "bob", "Cem_Kaya")] == ["tar", "folder", "file"]


def test_names_of_the_same_letters_are_two_people(tmp_path):
    """Names that a platform runs together were compared by their letters: an anagram would have got another's work."""
    (tmp_path / "students.csv").write_text("id,first_name,last_name\nx1,Ada,Bo\n")
    roster = read_roster(tmp_path / "students.csv")
    assert matched(("boada",), roster) == matched(("adabo",), roster) == "x1" and matched(("abdoa",), roster) == ""


def test_what_is_too_large_is_named_and_a_broken_archive_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("grader.collect.MAX_BYTES", 1 << 20)
    done = collect([zipped(tmp_path / "a.zip", {"ada/61_small.ipynb": b" " * (2 << 20)})], tmp_path, ["61_small"])
    assert done.left == [("ada/61_small.ipynb", "more than 1 MB")]
    whole = zipped(tmp_path / "b.zip", PLATFORMS["nbgrader"]).read_bytes()
    (tmp_path / "c.zip").write_bytes(whole[:60] + b"xxxxxxxx" + whole[68:])
    with pytest.raises(UserError, match="the archive cannot be read"):
        collect([tmp_path / "c.zip"], tmp_path, ["61_small"])


def test_a_source_that_is_none(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    for path, words in ((tmp_path / "x.bin", "neither"), (tmp_path / "nowhere.zip", "no such file")):
        with pytest.raises(UserError, match=words):
            collect([path], tmp_path, ["61_small"])
    (tmp_path / "twice.csv").write_text("id\nada\nada\n")
    with pytest.raises(UserError, match="ada stands in more than one line"):
        read_roster(tmp_path / "twice.csv")


def test_the_command(tmp_path):
    archive = zipped(tmp_path / "a.zip", {**PLATFORMS["canvas"], "strangerx_99_1_61_small.ipynb": notebook()})
    (tmp_path / "students.csv").write_text(ROSTER)
    call = [str(archive), "--root", str(tmp_path), "--roster", str(tmp_path / "students.csv"), "--lessons", str(FIXTURES)]
    result = CliRunner().invoke(command, call)
    assert result.exit_code == 1 and "2 notebooks of 2 students, 0 unchanged, 1 not taken." in result.output
    assert "not taken: strangerx_99_1_61_small.ipynb" in result.output
