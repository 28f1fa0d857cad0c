import os
import time

import pytest

from pyad.desk import Desk, LiveLog
from pyad.drift import Drift, Move
from pyad.errors import PyadError
from pyad.streams import Work
from tests.stub_pipeline import StubPipeline, text

KEY = ("zeek", "e1", "all")


class Told(list):
    def __call__(self, level, event, /, **fields):
        self.append((level, event, fields))


def work(seq, *uids, flush=False):
    return Work(KEY, seq, [text(u) for u in uids], 0.0, flush)


def test_all_that_waits_goes_through_at_once_and_each_batch_gets_its_own_notices():
    pipeline, batches = StubPipeline(), []
    desk = Desk(pipeline, Told(), batches.append)
    got = desk.handle([work(1, "C1", "N1"), work(2), work(3, "C2"), work(4, "N2", "N3")])
    assert [[t.split("\t")[1] for t in texts] for texts in got] == [["N1"], [], [], ["N2", "N3"]]
    assert pipeline.pushes == [[2, 1, 2]] and pipeline.uids == ["C1", "N1", "C2", "N2", "N3"]
    assert (desk.rows, desk.notices, desk.bad_rows, desk.failed) == (5, 3, 0, 0)
    assert [len(b.rows) for b in batches] == [2, 1, 2]
    assert batches[0].rows.source.tolist() == ["zeek", "zeek"]


def test_a_flush_closes_what_came_before_it_only():
    pipeline = StubPipeline()
    got = Desk(pipeline, Told()).handle([work(1, "N1"), work(2, flush=True), work(3, "C1")])
    assert [len(texts) for texts in got] == [1, 1, 0] and "closed" in got[1][0]
    assert pipeline.pushes == [[1], [1]]


def test_bad_rows_are_left_out_and_told():
    told = Told()
    desk = Desk(StubPipeline(), told)
    got = desk.handle([Work(KEY, 1, ["junk", text("N1"), "more junk"], 0.0), Work(KEY, 2, ["junk"], 0.0)])
    assert [len(texts) for texts in got] == [1, 0] and desk.bad_rows == 3 and desk.rows == 1
    [(level, event, fields)] = told
    assert (level, event, fields["new"], fields["node"]) == ("warn", "bad_rows", 2, "zeek")


def test_a_batch_that_breaks_the_model_does_not_end_the_service():
    told = Told()
    desk = Desk(StubPipeline(), told)
    assert desk.handle([work(1, "N1"), work(2, "BREAK")]) == [[], []]
    assert desk.failed == 2 and told[0][:2] == ("error", "scoring_failed") and "\n" not in told[0][2]["error"]
    assert len(desk.handle([work(3, "N1")])[0]) == 1


def test_what_the_pipeline_warns_of_is_told_once():
    pipeline, told = StubPipeline(), Told()
    pipeline.warnings.append("old")
    desk = Desk(pipeline, told)
    pipeline.warnings.append("new")
    for seq in (1, 2):
        desk.handle([work(seq, "C1")])
    assert told == [("warn", "pipeline", {"text": "new"})]


def logged(path):
    return [line.split("\t")[1] for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("verdicts", "uids"), [("decided", ["N1"]), ("all", ["C1", "N1", "C2"])])
def test_the_log_has_each_batch_at_once(tmp_path, verdicts, uids):
    log = LiveLog(tmp_path / "out", "tsv", verdicts, "m-1", Told())
    Desk(StubPipeline(), Told(), log).handle([work(1, "C1", "N1"), work(2, "C2")])
    assert logged(tmp_path / "out" / "pyad.log") == uids
    log.close()


def test_an_earlier_log_is_renamed_with_its_time(tmp_path):
    path = tmp_path / "pyad.log"
    for content in ("first", "second"):
        path.write_text(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        LiveLog(tmp_path, "tsv", "all", "m-1", Told()).close()
    when = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(1_700_000_000))
    kept = [tmp_path / f"pyad.{when}.log", tmp_path / f"pyad.{when}-1.log"]
    assert [p.read_text() for p in kept] == ["first", "second"]


def test_reopening_after_a_rotation(tmp_path):
    log = LiveLog(tmp_path, "tsv", "all", "m-1", Told())
    desk = Desk(StubPipeline(), Told(), log)
    desk.handle([work(1, "C1")])
    (tmp_path / "pyad.log").rename(tmp_path / "pyad.log.1")
    desk.handle([work(2, "C2")])
    log.reopen()
    desk.handle([work(3, "C3")])
    assert logged(tmp_path / "pyad.log.1") == ["C1", "C2"] and logged(tmp_path / "pyad.log") == ["C3"]
    assert (tmp_path / "pyad.log.1").read_text().splitlines()[-1].startswith("#close")


def test_a_full_disk_costs_the_log_and_not_the_service(tmp_path):
    told = Told()
    log = LiveLog(tmp_path, "tsv", "all", "m-1", told)
    log._writer._out._file.close()
    log._writer._out._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123
    desk = Desk(StubPipeline(), told, log)
    for seq in (1, 2):
        assert len(desk.handle([work(seq, "N1")])[0]) == 1
    assert [event for _, event, _ in told] == ["pyad_log_given_up"]
    log.reopen()
    desk.handle([work(3, "C3")])
    assert logged(tmp_path / "pyad.log") == ["C3"]


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PyadError, match=r"file/x.*--out"):
        LiveLog(tmp_path / "file" / "x", "tsv", "all", "m-1", Told())


class Watch:
    """A drift watch of which a test says what it saw."""

    last, windows = None, 0

    def ends(self, drifting):
        moves = (Move("novelty", 0.61, 0.589, 1.4),) if drifting else ()
        self.last, self.windows = Drift(drifting, 0.0, 86_400.0, 31_000, 0.61, 0, 100, moves), self.windows + 1


def test_each_window_of_drift_is_told_once():
    told, watch = Told(), Watch()
    desk = Desk(StubPipeline(), told, None, watch)
    desk.handle([work(1, "C1")])
    assert desk.drift is None and not told
    for drifting in (True, False):
        watch.ends(drifting)
        for seq in (2, 3):
            desk.handle([work(seq, "C1")])
    assert [(level, event) for level, event, _ in told] == [("warn", "model_drift"), ("info", "no_drift")]
    assert told[0][2]["moves"] == "novelty 0.589 -> 1.4 (PSI 0.61)" and desk.drift is watch.last
