"""What a run of the tests takes of many: by the commit, and by nothing else."""

import drawn
import pytest

ITEMS = [f"item {number}" for number in range(30)]


@pytest.fixture
def at(monkeypatch):
    return lambda commit: monkeypatch.setattr(drawn, "commit", lambda: commit)


def test_the_same_for_one_commit_and_in_order(at):
    at("a")
    chosen = drawn.pick(ITEMS, 5)
    assert chosen == drawn.pick(ITEMS, 5) == sorted(chosen, key=ITEMS.index) and len(set(chosen)) == 5


def test_all_come_round(at):
    seen = set()
    for number in range(60):
        at(f"commit {number}")
        seen |= set(drawn.pick(ITEMS, 5))
    assert seen == set(ITEMS)


def test_no_more_than_there_are(at):
    at("a")
    assert drawn.pick(ITEMS[:3], 5) == ITEMS[:3]


def test_all_of_a_sweep_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(drawn, "ALL", True)
    assert drawn.drawn(ITEMS, 5) == ITEMS and len(drawn.pick(ITEMS, 5)) == 5
    monkeypatch.setattr(drawn, "ALL", False)
    assert len(drawn.drawn(ITEMS, 5)) == 5


def test_outside_a_repository_the_draw_is_fixed(monkeypatch, tmp_path):
    monkeypatch.setattr(drawn, "__file__", str(tmp_path / "drawn.py"))
    assert drawn.commit.__wrapped__() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert drawn.commit.__wrapped__() == ""
