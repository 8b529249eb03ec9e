"""Lesson 20's kernels compile for real GPUs. Triton's compiler needs no GPU, only a process without its interpreter."""

import ast
import importlib.util
import json
import linecache
import os
import subprocess
import sys

import pytest

from course.lesson import LESSONS, ROOT, read

LESSON = LESSONS / "20_triton_gpu_kernels.py"
# Types of the parameters in their order; a plain value is a compile-time constant.
FLOATS, HALVES = "*fp32", "*fp16"
SIGNATURES = {
    "add_kernel": [FLOATS, FLOATS, FLOATS, "i32", 256],
    "softmax_kernel": [FLOATS, FLOATS, "i32", "i32", "i32", 64],
    "add_rms_norm_kernel": [*["*bf16"] * 5, "i32", "fp32", 64],
    "layer_norm_kernel": [*[FLOATS] * 6, "i32", "fp32", 64],
    "layer_norm_dx_kernel": [*[FLOATS] * 6, "i32", 64],
    "layer_norm_dw_db_kernel": [*[FLOATS] * 6, "i32", "i32", 16],
    "matmul_kernel": [*[HALVES] * 3, *["i32"] * 9, 32, 32, 32],
    "attention_kernel": [*[HALVES] * 4, FLOATS, *["i32"] * 3, "fp32", True, 32, 32, 32],
}


@pytest.mark.skipif(not importlib.util.find_spec("triton") or not LESSON.exists(), reason="needs Triton and the lesson")
@pytest.mark.parametrize("capability", [75, 80, 90])
def test_kernels_compile(capability, tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-W", "ignore", __file__, str(capability)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {name: size > 0 for name, size in json.loads(done.stdout).items()} == dict.fromkeys(SIGNATURES, True)


def compile_kernels(capability: int) -> dict[str, int]:
    """Bytes of machine code by kernel, for every kernel of the lesson's exercises."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    space = {"__name__": "__main__", "triton": triton, "tl": tl, "WIDEN": tl.constexpr(False)}  # as in a notebook on a GPU
    sizes = {}
    for cell in read(LESSON).cells:
        if "@triton.jit" not in cell.source or not (cell.role == "exercise" or "def for_dot" in cell.source):
            continue
        file = f"<cell at line {cell.line}>"
        linecache.cache[file] = (len(cell.source), None, cell.source.splitlines(keepends=True), file)
        tree = ast.parse(cell.source)
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
        exec(compile(tree, file, "exec"), space)
        for name in (node.name for node in tree.body if node.name in SIGNATURES):
            kernel = space[name]
            types = dict(zip(kernel.arg_names, SIGNATURES[name], strict=True))
            constants = {parameter: value for parameter, value in types.items() if not isinstance(value, str)}
            signature = {parameter: "constexpr" if parameter in constants else value for parameter, value in types.items()}
            source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
            sizes[name] = len(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"])
    return sizes


if __name__ == "__main__":
    print(json.dumps(compile_kernels(int(sys.argv[1]))))
