# Set-up: run this cell first.  It installs only what is missing and prints one line.
LESSON = "NN_name"
NEEDS = []
POINTS = {}
MINIMUM = "unit24>=0.1.0"
SOURCE = ""  # where pip gets the course's package: a wheel, or git+https://...; UNIT24_SOURCE goes first
NEAR = "", "../../", "/content/", "/content/drive/MyDrive/", "/content/drive/MyDrive/*/", "/kaggle/input/**/"


def course_is_here():
    from importlib import metadata
    from packaging.requirements import Requirement

    return any(Requirement(MINIMUM).specifier.contains(d.version) for d in metadata.distributions(name="unit24"))


def get_course():  # from SOURCE, from a wheel that lies near, or from pip's index: what was tried, and what pip said last
    import glob, importlib, os, subprocess, sys

    wheels = [wheel for place in NEAR for wheel in sorted(glob.glob(f"{place}unit24-*.whl", recursive=True), reverse=True)]
    tried, said = [], ""
    for source in [os.environ.get("UNIT24_SOURCE", SOURCE), *wheels[:1], MINIMUM]:
        if source and not course_is_here():
            pip = [sys.executable, "-m", "pip", "install", "-q", "--retries", "1", source]
            said = subprocess.run(pip, capture_output=True, text=True).stderr
            importlib.invalidate_caches()
            tried.append(source)
    no_network = any(sign in said for sign in ("name resolution", "NewConnectionError", "unreachable", "timed out"))
    errors = [line for line in said.splitlines() if line.startswith("ERROR") or "No module named pip" in line]
    return tried, "there is no network" if no_network else errors[-1] if errors else said.strip()[-200:]


tried, said = ([], "") if course_is_here() else get_course()
if course_is_here():
    import unit24
    env = unit24.start(LESSON, NEEDS, POINTS)
else:
    print(f"Set-up: the course's package is not here. Tried: {', '.join(tried)} ({said}). Put unit24-….whl beside this notebook, "
          "into your Drive or into Kaggle's inputs, or say in UNIT24_SOURCE where it is; then run this cell again.")
