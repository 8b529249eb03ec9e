# Set-up: run this cell first.  It installs only what is missing and prints one line.
LESSON = "NN_name"
NEEDS = []
MINIMUM = "unit24>=0.1.0"
SOURCE = MINIMUM  # where pip gets the course's package: a name, a wheel, or git+https://...; UNIT24_SOURCE goes first
KEPT = r"(torch|torchvision|torchaudio|triton|numpy|pillow|tensorflow|jax|jaxlib|(nvidia|cuda)[-_].*)$"


def missing(needs):  # those that are not installed, or too old; a full build also counts as its -cpu build
    from importlib import metadata
    from packaging.requirements import Requirement

    def there(need):
        versions = [d.version for n in {need.name, need.name.removesuffix("-cpu")} for d in metadata.distributions(name=n)]
        return any(need.specifier.contains(version, prereleases=True) for version in versions)

    return [str(n) for n in map(Requirement, needs) if (not n.marker or n.marker.evaluate()) and not there(n)]


def install(needs):  # with pip, which must leave the platform's own torch, NumPy and CUDA as they are
    import importlib.metadata, os, pathlib, re, subprocess, sys, tempfile

    there = [d for d in importlib.metadata.distributions() if d.name and re.match(KEPT, d.name.lower())]
    pins = pathlib.Path(tempfile.mkdtemp(), "kept.txt")
    pins.write_text("".join(f"{d.name}=={d.version}\n" for d in there))
    what = [os.environ.get("UNIT24_SOURCE", SOURCE) if need.startswith("unit24>") else need for need in needs]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--retries", "1", "-c", str(pins), *what]
    done = subprocess.run(pip, capture_output=True, text=True)
    importlib.invalidate_caches()
    return (["pip failed"] + [line for line in done.stderr.splitlines() if line.startswith("ERROR")])[-1]


todo = missing([MINIMUM, *NEEDS])
said = todo and install(todo)
if todo := missing(todo):
    print(f"Set-up: {', '.join(todo)} is not here. Switch the internet on, then run this cell again. ({said})")
else:
    import unit24
    env = unit24.start(LESSON)
