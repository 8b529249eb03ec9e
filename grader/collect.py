"""Bring what a platform lets an instructor download into the class folder: ``submitted/STUDENT/LESSON/LESSON.ipynb``.

Read are archives (zip, tar) and folders as they come:

==================  ========================================================================================================
Canvas              files ``lastnamefirst_LATE_1234_5678_file.ipynb``: name, user id, submission id
Moodle              folders (or files) that begin with ``First Last_1234567_assignsubmission_file``
Gradescope          folders ``submission_1234`` and ``submission_metadata.yml``, which says whose they are
Google Classroom    files ``First Last - file.ipynb``
anything else       a folder for each student (also nbgrader's own ``submitted/``), or the student's name before the file's
==================  ========================================================================================================

Whose a file is becomes a student's id by the roster where there is one; which lesson it is, the notebook itself says.
Nothing is lost: what is not taken is named, and a file of the class folder that is replaced is kept in
``.unit24/collected/``.
"""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import json
import re
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from grader.submission import submission_path
from unit24.errors import UserError
from unit24.files import write_whole

NOTEBOOKS = (".ipynb", ".json", ".txt")
MAX_BYTES = 200 << 20  # of one file
JUNK = ("__MACOSX", ".ipynb_checkpoints", ".DS_Store")
CANVAS = re.compile(r"^(?P<who>[^_/]+)_(?:LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)$")
MOODLE = re.compile(r"^(?P<who>[^/]+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<file>[^/]*)(?:/.*)?$")
GRADESCOPE = re.compile(r"(?:^|/)(?P<id>submission_\d+)(?:/|$)")
CLASSROOM = re.compile(r"^(?P<who>[^/]+?) - (?P<file>[^/]+)$")


@dataclass(frozen=True)
class File:
    """A file of an archive: its path there, content (None: more than `MAX_BYTES`), and when it was handed in."""

    path: str
    data: bytes | None
    time: datetime.datetime | None


@dataclass(frozen=True)
class Student:
    """A line of a roster (nbgrader's ``students.csv``, or an export of the platform)."""

    id: str
    names: tuple[str, ...]  # whatever else the line holds: names, e-mail, ids of the platform


@dataclass
class Collected:
    """What came of it: each entry a path in the archive and words."""

    taken: list[tuple[str, str, str]] = field(default_factory=list)  # (path, student, lesson)
    same: list[str] = field(default_factory=list)  # lay there already
    left: list[tuple[str, str]] = field(default_factory=list)  # (path, why it was not taken)


def collect(sources: list[Path], root: Path, lessons: list[str], roster: list[Student] | None = None) -> Collected:
    """Copy the notebooks in `sources` into the class folder `root`. It can be called again with the same or later archives.

    Args:
        lessons: names of the course's lessons.
        roster: whom to expect; None takes the names that the platform gives.

    Raises:
        UserError: a source is not there or is no archive.
    """
    done, chosen = Collected(), {}
    for source in sources:
        files = [file for file in _files(source) if not any(part in JUNK or part.startswith("._") for part in PurePosixPath(file.path).parts)]
        owners = _gradescope_owners(files)
        for file in files:
            if file.data is None:
                done.left.append((file.path, f"more than {MAX_BYTES >> 20} MB"))
                continue
            if PurePosixPath(file.path).suffix.lower() not in NOTEBOOKS or PurePosixPath(file.path).name == "timestamp.txt":
                if not file.path.endswith((".yml", ".yaml", "timestamp.txt", "students.csv")):
                    done.left.append((file.path, "not a notebook"))
                continue
            who, lesson = whose(file.path, owners), lesson_of(file, lessons)
            if not lesson:
                done.left.append((file.path, "no notebook of a lesson of this course"))
                continue
            student = matched(who, roster) if roster is not None else _as_folder(who[0] if who else "")
            if not student:
                named = f"{' / '.join(who)} is not in the roster, or fits several of its lines" if who else "no name of a student"
                done.left.append((file.path, named))
                continue
            earlier = chosen.get((student, lesson))
            if earlier and _order(earlier) > _order(file):
                file, earlier = earlier, file
            if earlier:
                done.left.append((earlier.path, f"an earlier version of {file.path}"))
            chosen[student, lesson] = file
    for (student, lesson), file in chosen.items():
        _put(root, student, lesson, file, done)
    return done


def whose(path: str, owners: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What a platform says in a path about the student, the best name first; empty if nothing.

    Args:
        owners: folder of a Gradescope export -> names of its student.
    """
    parts = PurePosixPath(path).parts
    if (match := GRADESCOPE.search(path)) and match["id"] in owners:
        return owners[match["id"]]
    for part in parts:
        if match := MOODLE.match(part):
            return match["who"], match["id"]
    if match := CANVAS.match(parts[-1]):
        return match["id"], match["who"]
    if match := CLASSROOM.match(parts[-1]):
        return (match["who"],)
    folders = list(parts[:-1])
    if "submitted" in folders:  # a class folder of nbgrader
        return tuple(folders[folders.index("submitted") + 1 :][:1])
    return tuple(folders[-1:])


def lesson_of(file: File, lessons: list[str]) -> str:
    """The lesson that a notebook says it is; where it does not, the one in whose name its file is; else empty."""
    try:
        text = file.data.decode("utf-16" if file.data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        notebook = json.loads(text)
        named = notebook["metadata"].get("unit24", {}).get("lesson")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        named = None
    if named in lessons:
        return named
    in_path = [lesson for lesson in lessons if lesson in file.path]
    return in_path[0] if len(in_path) == 1 else ""


def read_roster(path: Path) -> list[Student]:
    """A roster: CSV whose first column, or the one called ``id``, is the student's id in the class.

    Raises:
        UserError: it cannot be read, or an id stands twice.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: the roster cannot be read: {error}") from None
    students = []
    for row in rows:
        values = {key or "": (value or "").strip() for key, value in row.items() if not isinstance(value, list)}
        name = values.get("id") or next(iter(values.values()), "")
        full = [" ".join(filter(None, (values.get("first_name"), values.get("last_name"))))]
        students.append(Student(name, tuple(filter(None, {*values.values(), *full}))))
    ids = [student.id for student in students]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise UserError(f"{path}: {', '.join(twice)} stands in more than one line of the roster.")
    return students


def matched(who: tuple[str, ...], roster: list[Student]) -> str:
    """The id of the one student in the roster to whom one of these names belongs; empty if none or several."""
    for name in who:
        found = {s.id for s in roster if _folded(name) in {_folded(word) for word in (s.id, *s.names)}}
        if not found:  # Canvas runs the names together: lastnamefirst
            found = {s.id for s in roster for word in s.names if _folded(name) in _run_together(word)}
        if len(found) == 1:
            return found.pop()
    return ""


def _run_together(name: str) -> set[str]:
    """The words of a name in every order, without spaces: two to four of them."""
    words = [_folded(word) for word in name.split()]
    return {"".join(order) for order in itertools.permutations(words)} if 2 <= len(words) <= 4 else set()


def _folded(text: str) -> str:
    """Letters and digits alone, without case and accents."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in plain if c.isalnum())


def _as_folder(name: str) -> str:
    """A student's name as the name of a folder."""
    return re.sub(r"[^\w.@-]+", "_", unicodedata.normalize("NFC", name)).strip("._")


def _order(file: File) -> tuple:
    """Later versions of one student's file sort last: by time, then by the number that platforms add (``-2``, ``(1)``)."""
    numbers = re.findall(r"(?:-|\(|attempt_)(\d+)\)?(?=\.|$)", PurePosixPath(file.path).stem)
    return (file.time or datetime.datetime.min, int(numbers[-1]) if numbers else 0, file.path)


def _gradescope_owners(files: list[File]) -> dict[str, tuple[str, ...]]:
    import yaml

    owners: dict[str, tuple[str, ...]] = {}
    for file in files:
        if file.data is None or not file.path.endswith("submission_metadata.yml"):
            continue
        try:
            told = yaml.safe_load(file.data)
        except yaml.YAMLError:
            continue
        for folder, about in told.items() if isinstance(told, dict) else ():
            for person in about.get(":submitters", []) if isinstance(about, dict) else ():
                owners.setdefault(str(folder), tuple(str(person[key]) for key in (":sid", ":email", ":name") if person.get(key)))
    return owners


def _files(source: Path) -> list[File]:
    """The files of an archive, or of a folder.

    Raises:
        UserError: it is neither, or is damaged or locked with a password.
    """
    try:
        return list(_read_files(source))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise UserError(f"{source}: the archive cannot be read ({error}); nothing was taken from it.") from None


def _read_files(source: Path) -> Iterator[File]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink():
                found = path.stat()
                data = path.read_bytes() if found.st_size <= MAX_BYTES else None
                yield File(path.relative_to(source).as_posix(), data, datetime.datetime.fromtimestamp(found.st_mtime))
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    data = archive.read(entry) if entry.file_size <= MAX_BYTES else None
                    yield File(entry.filename, data, datetime.datetime(*entry.date_time))
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            for entry in archive:
                if entry.isfile():
                    data = archive.extractfile(entry).read() if entry.size <= MAX_BYTES else None
                    yield File(entry.name, data, datetime.datetime.fromtimestamp(entry.mtime))
    elif source.is_file() and source.suffix.lower() in NOTEBOOKS:
        yield File(source.name, source.read_bytes(), datetime.datetime.fromtimestamp(source.stat().st_mtime))
    elif source.exists():
        raise UserError(f"{source}: neither a folder, a zip or tar archive, nor a notebook.")
    else:
        raise UserError(f"{source}: no such file or folder.")


def _put(root: Path, student: str, lesson: str, file: File, done: Collected) -> None:
    """Write one notebook to its place; what lay there is kept."""
    target = submission_path(root, student, lesson)
    if target.exists():
        there = target.read_bytes()
        if there == file.data:
            done.same.append(file.path)
            return
        kept = root / ".unit24" / "collected" / student / lesson
        kept.mkdir(parents=True, exist_ok=True)
        number = 1 + sum(1 for _ in kept.iterdir())
        (kept / f"{number}.ipynb").write_bytes(there)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(file.data)
    part.replace(target)
    if file.time:
        write_whole(target.parent / "timestamp.txt", f"{file.time:%Y-%m-%d %H:%M:%S} UTC\n")
    done.taken.append((file.path, student, lesson))
