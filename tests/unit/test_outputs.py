import json
from pathlib import Path

import pytest

from pyad.errors import PyadError, UsageError
from pyad.outputs import Outputs, prepare_folder
from pyad.pipeline import Pipeline
from tests.fakes import fake_detector, row, rows_of


def run(out, fmt="json", verdicts="decided", rows=None):
    outputs = Outputs(out, fmt, verdicts, "fake-1")
    Pipeline(fake_detector(), explain_all=verdicts == "all").run(
        [rows or rows_of(row(1.0), row(2.0, "recon"))], outputs
    )
    outputs.close()
    return outputs


def lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_notice_has_zeeks_columns(tmp_path):
    run(tmp_path)
    new, closed = lines(tmp_path / "notice.log")
    assert new["note"] == "PyAD::Recon" and new["n"] == 1 and new["ts"] == 2.0
    assert (new["src"], new["dst"], new["p"]) == (new["id.orig_h"], new["id.resp_h"], new["id.resp_p"])
    assert new["actions"] == ["Notice::ACTION_LOG"] and new["proto"] == "tcp"
    assert "state=closed" in closed["sub"]


def test_verdicts_decided_or_all(tmp_path):
    run(tmp_path)
    assert [v["decision"] for v in lines(tmp_path / "pyad.log")] == ["recon"]
    run(tmp_path, verdicts="all")
    benign, recon = lines(tmp_path / "pyad.log")
    assert benign["decision"] == "benign" and benign["top"]
    wanted = {"ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "class", "probs", "score",
              "novelty_p", "decision", "top", "source", "model"}  # fmt: skip
    assert wanted <= set(recon)
    assert recon["source"] == "test.log" and recon["model"] == "fake-1"


def test_text_from_outside_stays_on_its_line(tmp_path):
    evil = rows_of(row(1.0, "recon", orig="a\nb\tc\x1b[31m", uid="x\ny"), source="s\nt.log")
    run(tmp_path, "tsv", rows=evil)
    for name in ("notice.log", "pyad.log"):
        text = (tmp_path / name).read_text()
        assert all(line.startswith("#") or "\t" in line for line in text.splitlines())
        assert "\x1b" not in text


def test_a_summary_of_an_earlier_run_does_not_survive(tmp_path):
    outputs = run(tmp_path)
    outputs.write_summary({"a": 1})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}
    run(tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_inputs_are_never_in_the_folder(tmp_path):
    held = tmp_path / "x.log"
    held.write_text("")
    with pytest.raises(UsageError, match=r"x\.log"):
        prepare_folder(tmp_path, [held])
    with pytest.raises(UsageError):
        prepare_folder(tmp_path / "sub" / "..", [held])
    hard = tmp_path / "out"
    hard.mkdir()
    (hard / "pyad.log").hardlink_to(held)
    with pytest.raises(UsageError):
        prepare_folder(hard, [held])
    prepare_folder(tmp_path / "new" / "deep", [held, Path("-")])
    for name in ("conn.log", "1-a/conn.log"):
        own = tmp_path / "run" / "zeek" / name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("")
        with pytest.raises(UsageError, match=r"conn\.log"):
            prepare_folder(tmp_path / "run", [own])
    with pytest.raises(UsageError):
        prepare_folder(tmp_path / "run", [tmp_path / "run" / "zeek"])
    own.unlink()
    own.symlink_to(held)
    with pytest.raises(UsageError):
        prepare_folder(tmp_path / "run", [held])
    prepare_folder(tmp_path / "run", [tmp_path])
    assert (tmp_path / "new" / "deep").is_dir()


def test_both_logs_are_closed_when_one_cannot_be_made(tmp_path):
    (tmp_path / "pyad.log").mkdir()
    with pytest.raises(PyadError, match=r"pyad\.log"):
        Outputs(tmp_path, "tsv", "decided", "m")
    assert (tmp_path / "notice.log").read_text().splitlines()[-1].startswith("#close")


def test_a_notice_can_be_read_at_once(tmp_path):
    outputs = Outputs(tmp_path, "json", "decided", "fake-1")
    seen = []

    def sink(batch):
        outputs(batch)
        seen.append(len(lines(tmp_path / "notice.log")))

    Pipeline(fake_detector(), batch_rows=2).run([rows_of(row(1.0, "recon"), row(2.0), row(3.0), row(4.0))], sink)
    outputs.close()
    assert seen == [1, 1, 2]
