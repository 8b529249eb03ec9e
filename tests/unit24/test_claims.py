"""Claims: kept, shown, replaced, and never a reason for a lesson to stop."""

import json

import pytest

from unit24 import claims
from unit24 import env as environment
from unit24.cli import main


@pytest.fixture(autouse=True)
def storage(tmp_path, monkeypatch):
    """A started lesson with an empty storage folder."""
    monkeypatch.setenv("UNIT24_HOME", str(tmp_path))
    monkeypatch.setenv("UNIT24_DEVICE", "cpu")
    started = environment.Environment(
        lesson="04_x",
        platform="local",
        device="cpu",
        tier="tiny",
        seed_number=24,
        cache=tmp_path / "cache",
        storage=tmp_path,
        python="3",
        torch=None,
    )
    monkeypatch.setattr(environment, "current", started)
    return tmp_path


def unit24_claims(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main(["claims", *args])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_a_claim_is_kept_and_shown_with_the_others(capsys):
    assert claims.record("int8 is smaller", claimed="4x", measured="3.9x", holds=True) is None
    claims.record("int8 is faster", claimed="2-4x", measured="0.9x", holds=False, how="one thread, <tiny> model")
    out = capsys.readouterr().out.splitlines()
    assert "claimed" in out[0] and "measured here" in out[0]
    assert out[-2].split() == ["int8", "is", "smaller", "4x", "3.9x", "✓", "holds"]
    assert out[-1].split()[-3:] == ["✗", "fails", "here"]
    first, second = claims.load()
    expected = {"lesson": "04_x", "claim": "int8 is smaller", "claimed": "4x", "measured": "3.9x", "holds": True}
    assert first == {**expected, "device": "cpu", "how": ""}
    assert second["holds"] is False


def test_recording_again_replaces(capsys):
    for measured in ("1 s", "2 s"):
        claims.record("it is fast", claimed="1 s", measured=measured, holds=measured == "1 s")
    (claim,) = claims.load()
    assert claim["measured"] == "2 s" and claim["holds"] is False


def test_values_of_other_types_are_kept_as_text_and_truth():
    numpy = pytest.importorskip("numpy")
    claims.record("a number", claimed=4, measured=numpy.float32(3.5), holds=numpy.bool_(True))
    (claim,) = claims.load()
    assert (claim["claimed"], claim["measured"]) == ("4", "3.5") and claim["holds"] is True


def test_what_cannot_be_measured_says_why(capsys):
    with pytest.raises(ValueError, match="'fp8 is faster': say in `how` why it could not be measured here"):
        claims.record("fp8 is faster", claimed="2x", measured="", holds=None)
    claims.record("fp8 is faster", claimed="2x", measured="", holds=None, how="needs a GPU")
    assert "needs a GPU" in capsys.readouterr().out and claims.load()[0]["holds"] is None


def test_without_a_lesson_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(environment, "current", None)
    with pytest.raises(ValueError, match="run the setup cell first"):
        claims.record("x", claimed=1, measured=1, holds=True)
    claims.record("x", claimed=1, measured=1, holds=True, lesson="05_y")
    assert claims.load()[0]["lesson"] == "05_y"


@pytest.mark.parametrize("damage", ["", "{", "[1]", '[{"claim": "x", "holds": true}]', '[{"claim": "x"}]', '{"claim": "x"}'])
def test_a_damaged_file_is_put_aside_with_one_line(storage, capsys, damage):
    path = storage / "claims" / "04_x.json"
    path.parent.mkdir()
    path.write_text(damage)
    claims.record("it works", claimed="yes", measured="yes", holds=True)
    captured = capsys.readouterr()
    said = [line for line in captured.out.splitlines() if "could not be read" in line]
    assert len(said) == 1 and "04_x.damaged" in said[0] and captured.err == ""
    assert [c["claim"] for c in json.loads(path.read_text())] == ["it works"]
    assert path.with_suffix(".damaged").read_text() == damage


def test_a_disk_that_refuses_does_not_stop_the_lesson(storage, capsys):
    (storage / "claims").write_text("a file where the folder should be")
    claims.record("it works", claimed="yes", measured="yes", holds=True)
    out = capsys.readouterr().out
    assert "shown but not kept" in out and "it works" in out


def test_the_html_table_is_escaped(monkeypatch):
    IPython = pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    claims.record("a < b", claimed="<i>", measured="1 & 2", holds=False, how="<script>")
    html = shown[0]["text/html"]
    assert "a &lt; b" in html and "&lt;i&gt;" in html and "1 &amp; 2" in html and "<script>" not in html
    assert "fails here" in html and "fails here" in shown[0]["text/plain"]


def test_the_command_lists_all_lessons(capsys):
    assert "No claim has been measured" in unit24_claims(capsys)
    assert json.loads(unit24_claims(capsys, "--json")) == []
    claims.record("int8 is [faster]", claimed="2x", measured="0.9x", holds=False)
    claims.record("needs more", claimed="2x", measured="", holds=None, how="no GPU", lesson="05_y")
    capsys.readouterr()
    listed = json.loads(unit24_claims(capsys, "--json"))
    assert [(c["lesson"], c["holds"]) for c in listed] == [("04_x", False), ("05_y", None)]
    assert all(set(claims.FIELDS) <= set(c) for c in listed)
    table = unit24_claims(capsys)
    assert "[faster]" in table and "fails here" in table and "no GPU" in table
