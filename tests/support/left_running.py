"""What candidates left running."""

import psutil

from judge import isolation


def our_processes():
    """Processes below this one, and orphans with a user id that only candidates have.

    Candidates of other graders on this machine have such ids too, and a grader above them.
    """
    mine = {p.pid for p in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter(["uids", "ppid"]):
        uids = process.info["uids"]
        if uids and isolation.is_candidates(uids.real) and process.info["ppid"] <= 1:
            mine.add(process.pid)
    return mine
