"""Seconds that stock nbgrader takes for each of the first N students, called in one process.

python tools/stock.py CLASS_FOLDER LESSON N: prints a JSON list as its last line.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path

from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config, PyFileConfigLoader


def main(root, lesson, count):
    os.chdir(root)
    config = Config(PyFileConfigLoader("nbgrader_config.py", path=root).load_config())
    config.CourseDirectory.root = root
    config.CourseDirectory.db_url = f"sqlite:///{Path(root) / 'stock.db'}"
    config.CourseDirectory.autograded_directory = "stock_autograded"
    config.ExecutePreprocessor.timeout = 60  # bounds what an endless loop costs nbgrader, to its advantage
    logging.disable(logging.ERROR)
    api = NbGraderAPI(CourseDirectory(config=config), config=config)
    api.generate_assignment(lesson, force=True)
    times = []
    for student in sorted(os.listdir("submitted"))[: int(count) + 1]:
        start = time.perf_counter()
        result = api.autograde(lesson, student, create=True, force=True)
        times.append(time.perf_counter() - start)
        if not result["success"]:
            sys.exit(result["error"] or result["log"])
    print(json.dumps(times[1:]))  # the first one pays for imports


if __name__ == "__main__":
    main(*sys.argv[1:])
