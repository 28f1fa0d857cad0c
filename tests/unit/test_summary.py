from pathlib import Path

from pyad.errors import InputError
from pyad.pipeline import Pipeline
from pyad.sources.base import ReadReport
from pyad.summary import WIDTH, RunFacts, as_json, as_text
from tests.fakes import fake_detector, row, rows_of

FACTS = RunFacts([Path("x.log")], "dpkt", "fake", "1", {"step": "00"}, "CPUExecutionProvider", 1.5)


def run(*tuples, **detector):
    pipeline = Pipeline(fake_detector(**detector))
    pipeline.run([rows_of(*tuples)], lambda _: None)
    return pipeline


def text(pipeline, report=None) -> str:
    return as_text(FACTS, report or ReadReport(files=1), pipeline, [Path("out/notice.log")])


def test_the_most_severe_comes_first_then_the_most_connections():
    pipeline = run(
        *(row(float(i), "recon", orig="10.0.0.1") for i in range(50)),
        *(row(60.0 + i, "c2", orig="10.0.0.2") for i in range(2)),
        *(row(70.0 + i, "recon", orig="10.0.0.3") for i in range(60)),
    )
    shown = [line.split()[0] for line in text(pipeline).splitlines() if line.startswith("  ") and "10.0.0." in line]
    assert shown == ["CRITICAL", "MEDIUM", "MEDIUM"]
    assert text(pipeline).index("10.0.0.3") < text(pipeline).index("10.0.0.1 to")
    assert [i["subject"] for i in as_json(FACTS, ReadReport(), pipeline)["incidents"]] == [
        "10.0.0.2", "10.0.0.3", "10.0.0.1"
    ]  # fmt: skip


def test_what_was_read_skipped_and_warned():
    report = ReadReport(files=2, packets=1234)
    report.skipped["truncated packet"] = 7
    report.warnings += ["first", *("more" for _ in range(30))]
    report.problems.append(InputError("y.log", "line 3", "broken"))
    out = text(run(row(1.0)), report)
    assert "2 files, 1,234 packets, 1 connection" in out
    assert "truncated packet (7)" in out
    assert "Problem  y.log: line 3: broken" in out
    assert out.count("Note ") < 15


def test_never_wider_than_the_terminal():
    rows = [
        row(float(i), "recon", orig="2001:db8:1234:5678:9abc:def0:1234:5678", resp=f"2001:db8::{i}") for i in range(99)
    ]
    assert max(map(len, text(run(*rows)).splitlines())) <= WIDTH


def test_many_incidents_are_cut_and_counted():
    out = text(run(*(row(float(i), "recon", orig=f"10.0.0.{i}") for i in range(50))))
    assert "50 incidents" in out and "and 30 more, in notice.log and summary.json" in out


def test_suspicions_are_told():
    assert "1 suspicion with too few connections" in text(run(row(1.0, "recon"), min_conns={"recon": 5}))


def test_incidents_that_the_hour_had_no_room_for_are_told_and_counted():
    pipeline = run(*(row(float(i), orig=f"10.0.0.{i}", cls="recon") for i in range(5)), max_new_per_hour=2)
    counts = as_json(FACTS, ReadReport(), pipeline)["counts"]
    assert (counts["incidents"], counts["over_budget"], counts["below_min_conns"]) == (2, 3, 0)
    assert "3 incidents not told: more than 2 new ones of a class in an hour" in text(pipeline)


def test_nothing_read_is_valid_json():
    summary = as_json(FACTS, ReadReport(), run())
    assert summary["first_ts"] is None and summary["incidents"] == []
    assert "nothing that calls for a notice" in text(run())
