import random

import numpy as np
import pytest

from pyad.allow_list import AllowEntry
from pyad.errors import InputError
from pyad.incidents import MIN_CONNS
from pyad.pipeline import Pipeline
from pyad.row import Rows
from tests.fakes import fake_detector, row, rows_of


def some_rows(n=3000, seed=1):
    r = random.Random(seed)
    out, t = [], 1000.0
    for i in range(n):
        t += r.expovariate(0.2)
        cls = r.choice(["benign"] * 5 + ["flood", "flood", "recon", "c2", "spoofing"])
        out.append(
            row(t, cls, orig=f"10.0.0.{r.randrange(30)}", resp=f"10.1.0.{r.randrange(3)}", orig_p=i, uid=f"C{i}",
                novelty=r.choice([0.0, 0.0, 0.0, 30.0]), duration=r.choice([0.0, 5.0, 300.0]),
                prob=r.choice([0.4, 0.9]))
        )  # fmt: skip
    return out


class Collect:
    def __init__(self):
        self.notices, self.uids, self.decisions, self.suppressed, self.sizes, self.reasons = [], [], [], [], [], []

    def __call__(self, batch):
        self.notices += batch.notices
        self.uids += batch.rows.text("uid").tolist()
        self.decisions += batch.verdicts.decision.tolist()
        self.suppressed += batch.suppressed_by
        self.reasons += batch.reasons
        if len(batch.rows):
            self.sizes.append(len(batch.rows))


def run(chunks, batch_rows=256, read_ahead=0, explain_all=False, **detector):
    pipeline = Pipeline(fake_detector(**detector), batch_rows, explain_all=explain_all)
    seen = Collect()
    pipeline.run(chunks, seen, read_ahead)
    return pipeline, seen


def chunked(tuples, sizes):
    start = 0
    while start < len(tuples):
        size = next(sizes)
        yield rows_of(*tuples[start : start + size])
        start += size


def random_sizes(seed):
    r = random.Random(seed)
    while True:
        yield r.choice([1, 7, 100, 900])


@pytest.mark.parametrize("batch_rows", [1, 13, 256, 5000])
@pytest.mark.parametrize("read_ahead", [0, 4])
def test_neither_delivery_nor_batch_size_changes_anything(batch_rows, read_ahead):
    tuples = some_rows(1000 if batch_rows == 1 else 3000)
    rules = {"min_conns": MIN_CONNS, "max_new_per_hour": 9}
    _, whole = run([rows_of(*tuples)], **rules)
    _, other = run(chunked(tuples, random_sizes(batch_rows)), batch_rows, read_ahead, **rules)
    assert len(whole.notices) > 50 and "budget" in whole.suppressed
    assert other.notices == whole.notices
    assert (other.uids, other.decisions, other.suppressed) == (whole.uids, whole.decisions, whole.suppressed)
    assert other.reasons == whole.reasons


def test_batches_have_one_size():
    _, seen = run(chunked(some_rows(1000), random_sizes(3)), 256)
    assert seen.sizes == [256, 256, 256, 232]


def test_a_large_step_back_begins_a_new_timeline():
    tuples = [row(1000.0 + i, "recon") for i in range(5)] + [row(100.0 + i, "recon") for i in range(5)]
    pipeline, seen = run([rows_of(*tuples, *tuples)])
    assert pipeline.counts.timelines == 3
    assert len(pipeline.warnings) == 1 and "steps back" in pipeline.warnings[0]
    # four, since the step forward ends an incident as well, by idle time
    assert [n.state for n in seen.notices].count("closed") == pipeline.incidents.opened == 4
    # each timeline starts the features anew
    orders = [r[0].observed for r in seen.reasons]
    assert orders[:10] == [1.0, 2.0, 3.0, 4.0, 5.0] * 2


def test_a_step_back_within_the_tolerated_lateness_is_none():
    tuples = [row(1000.0), row(1700.0), row(1100.0), row(1701.0)]
    pipeline, _ = run([rows_of(*tuples)])
    assert pipeline.counts.timelines == 1 and not pipeline.warnings


def test_end_time_decides_about_a_step_back():
    # a long connection that ends now began long ago; that is no step back
    pipeline, _ = run([rows_of(row(10_000.0), row(1000.0, duration=9000.5), row(10_001.0))])
    assert pipeline.counts.timelines == 1


def test_a_silent_ssh_connection_is_told_of_late_and_is_no_step_back():
    quiet = [row(10_000.0), row(6500.0, port=22), row(6600.0, port=2222, service="ssh"), row(10_001.0)]
    assert run([rows_of(*quiet)])[0].counts.timelines == 1
    assert run([rows_of(row(10_000.0), row(5000.0, port=22))])[0].counts.timelines == 2


def test_timelines_do_not_depend_on_delivery():
    tuples = [row(t) for t in (1.0, 5000.0, 2.0, 3.0, 9000.0, 8500.0, 1.0)]
    results = [run(chunks)[0].counts.timelines for chunks in (
        [rows_of(*tuples)], [rows_of(t) for t in tuples], [rows_of(*tuples[:3]), rows_of(*tuples[3:])]
    )]  # fmt: skip
    assert results == [3, 3, 3]


def test_allowed_rows_are_decided_but_give_no_notice():
    allow = [AllowEntry.from_mapping({"name": "scanner", "orig": "10.0.0.1"})]
    pipeline, seen = run([rows_of(row(1.0, "recon"), row(2.0, "recon", orig="10.0.0.5"))], allow=allow)
    assert seen.decisions == [2, 2]
    assert seen.suppressed == ["allow-list:scanner", None]
    assert {n.orig_h for n in seen.notices} == {"10.0.0.5"}
    assert pipeline.counts.allowed == {"scanner": 1}


def test_only_last_rows_are_counted_as_connections():
    pipeline, _ = run([rows_of(row(1.0, "c2", partial=1), row(1.0, "c2", partial=0))])
    assert (pipeline.counts.rows, pipeline.counts.partial_rows) == (2, 1)
    assert pipeline.counts.decisions == {"c2": 1}


def test_reasons_for_decided_rows_or_all():
    rows = rows_of(row(1.0), row(2.0, "recon"))
    assert [bool(r) for r in run([rows])[1].reasons] == [False, True]
    assert [bool(r) for r in run([rows], explain_all=True)[1].reasons] == [True, True]


@pytest.mark.parametrize("read_ahead", [0, 4])
def test_rows_before_an_error_are_finished_and_the_error_passes(read_ahead):
    def source():
        yield rows_of(*(row(float(i), "recon") for i in range(300)))
        raise InputError("x.log", "line 7", "broken")

    seen = Collect()
    with pytest.raises(InputError, match="line 7"):
        Pipeline(fake_detector(), 256).run(source(), seen, read_ahead)
    assert len(seen.uids) == 300
    assert [n.state for n in seen.notices] == ["new", "update", "update", "closed"]


def test_a_failing_sink_ends_the_source():
    closed = []

    def source():
        try:
            while True:
                yield rows_of(row(1.0))
        finally:
            closed.append(True)

    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        Pipeline(fake_detector(), 2).run(source(), full, 4)
    assert closed == [True]


def test_numbers_the_model_cannot_give_are_counted_and_told_once():
    detector = fake_detector()
    score = detector.scorer.score

    def broken(features):
        scores = score(features)
        scores.probs[0] = np.nan
        return scores

    detector.scorer.score = broken
    pipeline = Pipeline(detector, 2)
    pipeline.run([rows_of(*(row(float(i)) for i in range(6)))], Collect())
    assert pipeline.counts.unscored == 3
    assert len(pipeline.warnings) == 1


def test_nothing_to_read():
    pipeline, seen = run([])
    assert pipeline.counts.rows == 0 and seen.notices == []
    pipeline, _ = run([rows_of()])
    assert pipeline.counts.rows == 0


def test_timings_cover_the_stages():
    pipeline, _ = run([rows_of(*some_rows(500))])
    assert set(pipeline.timings) == {"parse", "features", "model", "decide", "output"}
    assert all(t > 0 for t in pipeline.timings.values())


def test_a_clock_that_jumps_at_every_row_is_looked_at_once(monkeypatch):
    looked_at = []
    end_time = Rows.end_time
    monkeypatch.setattr(Rows, "end_time", lambda rows: (looked_at.append(len(rows)), end_time(rows))[1])
    tuples = [row(float(i) + 5000 * (i % 2)) for i in range(2000)]
    assert run([rows_of(*tuples)])[0].counts.timelines == 1000
    assert sum(looked_at) == 2 * 2000  # where time steps back, and the batches' own clock


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_batch_still_closes_its_incidents(stop):
    detector, seen = fake_detector(), Collect()
    score = detector.scorer.score

    def interrupted(features):
        if features.cls[0] == 0:
            raise stop
        return score(features)

    detector.scorer.score = interrupted
    with pytest.raises(stop):
        Pipeline(detector, 1).run([rows_of(row(1.0, "recon"), row(2.0))], seen)
    assert [n.state for n in seen.notices] == ["new", "closed"]


def test_columns_that_no_row_has_are_named_once():
    rows = rows_of(*[row(1000.0 + i) for i in range(5)])
    for name in ("orig_pkts", "resp_ip_bytes"):
        del rows.columns[name]
    pipeline, _ = run([rows.take(slice(0, 3)), rows.take(slice(3, None))])
    assert [w for w in pipeline.warnings if "orig_pkts, resp_ip_bytes" in w] == pipeline.warnings != []
