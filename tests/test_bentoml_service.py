"""Lesson 21's BentoML service with the real library, which needs an environment of its own.

``UNIT24_BENTOML`` names a Python that has ``bentoml`` (``python -m venv`` and ``pip install bentoml``); without it
these tests are skipped.
"""

import ast
import json
import os
import subprocess

import pytest

from course.lesson import LESSONS, read

PYTHON = os.environ.get("UNIT24_BENTOML")
pytestmark = pytest.mark.skipif(not PYTHON, reason="UNIT24_BENTOML names no Python that has bentoml")

LESSON = LESSONS / "21_model_export_production.py"


def definitions(source, *names):
    """The source of the functions and classes of that name."""
    return "\n\n\n".join(
        ast.get_source_segment(source, node) for node in ast.parse(source).body if getattr(node, "name", "") in names
    )


def run(folder, script):
    """The JSON that `script` prints, run by the Python that has bentoml."""
    path = folder / "check.py"
    path.write_text(script, encoding="utf-8")
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
    done = subprocess.run([PYTHON, path], cwd=folder, env=os.environ | quiet, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_reference_service_is_what_the_task_asks_for(tmp_path):
    make = definitions(read(LESSON).exercise("deploy_files").cell.source, "make_bento")
    found = run(
        tmp_path,
        f"""
import json
import bentoml
import numpy as np

{make}

service = make_bento(bentoml, lambda images: images + 1)
api = service.apis["predict"]
answer = service.inner().predict(images=np.zeros((2, 3))).tolist()
print(json.dumps([service.name, service.config, api.batchable, api.max_batch_size, api.max_latency_ms, answer]))
""",
    )
    config = {"resources": {"cpu": 1}, "traffic": {"timeout": 2, "max_concurrency": 64}}
    assert found[0] == "digits" and found[1].items() >= config.items()
    assert found[2:] == [True, 32, 1000, [[1.0] * 3] * 2]


def test_the_lesson_s_copy_of_the_schema_holds_only_what_the_library_s_has(tmp_path):
    cells = [cell.source for cell in read(LESSON).cells if "class BentoConfig" in cell.source]
    ours = {node.name: [line.target.id for line in node.body] for node in ast.parse(cells[0]).body if isinstance(node, ast.ClassDef)
            and any(getattr(base, "id", "") == "TypedDict" for base in node.bases)}  # fmt: skip
    theirs = run(
        tmp_path,
        """
import json
from _bentoml_sdk.service import config
names = {"Traffic": config.TrafficSchema, "Resources": config.ResourceSchema, "BentoConfig": config.ServiceConfig}
print(json.dumps({name: sorted(schema.__annotations__) for name, schema in names.items()}))
""",
    )
    assert set(ours) == set(theirs)
    assert all(set(ours[name]) <= set(theirs[name]) for name in ours)
