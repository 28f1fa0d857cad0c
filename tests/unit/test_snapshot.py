"""A detector restored from a snapshot goes on as if it had never stopped; a file that does not fit changes nothing."""

import itertools
import json
import stat
from pathlib import Path

import numpy as np
import pytest

from pyad.config import load_config
from pyad.detector import load_detector
from pyad.errors import PyadError
from pyad.pipeline import Pipeline
from pyad.reading import open_rows
from pyad.row import Rows, concat
from pyad.snapshot import load_snapshot, save_snapshot
from pyad.sources.base import ReadReport

CAPTURE = Path(__file__).parents[1] / "data" / "hospital.pcap"
SETTINGS = ["hosts.max_hosts=2000", "input.engine=dpkt", "model.provider=cpu"]
PART = 100


def fresh(*sets: str):
    loaded = load_detector(load_config(environment={}, sets=[*SETTINGS, *sets]))
    return loaded, Pipeline(loaded.detector)


def told(batches):
    return [(b.verdicts.decision.tolist(), b.verdicts.score, b.suppressed_by, b.notices) for b in batches]


def same(ours, theirs) -> bool:
    """Equal in everything, the scores to 1e-5: how rows are cut moves the last digits."""
    return len(ours) == len(theirs) and all(
        a[0] == b[0] and a[2:] == b[2:] and np.allclose(a[1], b[1], atol=1e-5) for a, b in zip(ours, theirs)
    )


@pytest.fixture(scope="module")
def parts() -> list[Rows]:
    rows = concat(list(open_rows([CAPTURE], load_config(environment={}, sets=SETTINGS).input, ReadReport())))
    return [rows.take(slice(i, i + PART)) for i in range(0, len(rows), PART)]


@pytest.fixture(scope="module")
def uninterrupted(parts):
    _, pipeline = fresh()
    return told(pipeline.push(parts)), pipeline.finish(), pipeline.counts


@pytest.mark.parametrize("cut", [0, 1, 7, 33, 60, 100])
def test_a_restored_detector_goes_on_as_if_never_stopped(parts, uninterrupted, tmp_path, cut):
    loaded, pipeline = fresh()
    before = told(pipeline.push(parts[:cut]))
    save_snapshot(tmp_path / "state", pipeline, loaded, {"counter": 7})
    loaded, pipeline = fresh()
    assert load_snapshot(tmp_path / "state", pipeline, loaded) == {"counter": 7}
    after = told(pipeline.push(parts[cut:]))
    assert same([*before, *after], uninterrupted[0])
    assert (pipeline.finish(), pipeline.counts) == uninterrupted[1:]


def test_push_gives_what_run_gives_however_it_is_cut(parts, uninterrupted):
    _, pipeline = fresh()
    batches = []
    pipeline.run(iter(parts), batches.append)
    assert [n for b in batches for n in b.notices] == [
        *itertools.chain.from_iterable(notices for *_, notices in uninterrupted[0]),
        *uninterrupted[1],
    ]
    assert [s for b in batches for s in b.suppressed_by] == [s for t in uninterrupted[0] for s in t[2]]


def test_empty_parts_give_empty_batches_and_late_rows_reset_nothing(parts):
    _, pipeline = fresh()
    empty, one, nothing = pipeline.push([Rows({}), parts[50], Rows({})])
    assert (len(empty.rows), len(one.rows), len(nothing.rows)) == (0, PART, 0)
    pipeline.push([parts[0]])  # long before
    assert pipeline.counts.timelines == 1 and pipeline.counts.rows == 2 * PART


def test_the_file_is_for_its_owner_alone_and_replaced_whole(parts, tmp_path):
    loaded, pipeline = fresh()
    (tmp_path / "state").write_text("an older one")
    pipeline.push(parts[:2])
    save_snapshot(tmp_path / "state", pipeline, loaded, {})
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    with pytest.raises(TypeError):
        save_snapshot(tmp_path / "state", pipeline, loaded, {"not": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    load_snapshot(tmp_path / "state", pipeline, loaded)


def test_another_size_or_model_is_refused(parts, tmp_path, monkeypatch):
    loaded, pipeline = fresh()
    save_snapshot(tmp_path / "state", pipeline, loaded, {})
    loaded, pipeline = fresh("hosts.max_hosts=3000")
    with pytest.raises(PyadError, match=r"another hosts\.max hosts"):
        load_snapshot(tmp_path / "state", pipeline, loaded)
    loaded, pipeline = fresh()
    monkeypatch.setattr("pyad.snapshot.SCHEMA_HASH", "other")
    with pytest.raises(PyadError, match="another row schema"):
        load_snapshot(tmp_path / "state", pipeline, loaded)


def damaged(raw: bytes, how: str) -> bytes:
    if how == "cut":
        return raw[: len(raw) // 2]
    if how == "flipped":
        middle = len(raw) // 2
        return raw[:middle] + bytes(b ^ 0xFF for b in raw[middle : middle + 64]) + raw[middle + 64 :]
    return {"empty": b"", "text": b"not an archive", "pickle": b"\x80\x04."}[how]


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "text", "pickle"])
def test_a_damaged_file_changes_nothing(parts, uninterrupted, tmp_path, how):
    loaded, pipeline = fresh()
    pipeline.push(parts[:20])
    save_snapshot(tmp_path / "state", pipeline, loaded, {})
    (tmp_path / "state").write_bytes(damaged((tmp_path / "state").read_bytes(), how))
    loaded, pipeline = fresh()
    with pytest.raises(PyadError, match="damaged"):
        load_snapshot(tmp_path / "state", pipeline, loaded)
    assert same(told(pipeline.push(parts[:30])), uninterrupted[0][:30])


def rewritten(path: Path, change) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


HOSTILE = {
    "a class that is none of ours": lambda h, a: h["state"]["incidents"]["object"].update(_told={"system": ["ls"]}),
    "an attribute too few": lambda h, a: h["state"]["extractor"]["object"].pop("_long"),
    "an attribute too many": lambda h, a: h["state"]["scorer"]["object"].update(bundle=1),
    "another type": lambda h, a: h["state"]["incidents"]["object"].update(_open=3),
    "an array that is missing": lambda h, a: a.pop("a0"),
    "another dtype": lambda h, a: a.update(a0=a["a0"].astype(np.complex128)),
    "another shape": lambda h, a: a.update(a0=a["a0"].reshape(1, -1)),
    "no numbers": lambda h, a: a.update({k: v * np.nan for k, v in a.items() if v.dtype == np.float32}),
    "no state": lambda h, a: h.pop("state"),
    "no extra": lambda h, a: h.update(extra=[]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_forged_file_changes_nothing(parts, uninterrupted, tmp_path, what):
    loaded, pipeline = fresh()
    pipeline.push(parts[:20])
    save_snapshot(tmp_path / "state", pipeline, loaded, {})
    rewritten(tmp_path / "state", HOSTILE[what])
    loaded, pipeline = fresh()
    with pytest.raises(PyadError, match="cannot be taken over"):
        load_snapshot(tmp_path / "state", pipeline, loaded)
    assert same(told(pipeline.push(parts[:30])), uninterrupted[0][:30])
