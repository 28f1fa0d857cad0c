"""What one bridge carries without its socket, and what its state weighs: python -m tests.bench.bridge"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from pyad.config import load_config
from pyad.desk import Desk
from pyad.detector import load_detector
from pyad.pipeline import Pipeline
from pyad.reading import open_rows
from pyad.row import concat
from pyad.snapshot import save_snapshot
from pyad.sources.base import ReadReport
from pyad.streams import Work
from tests.bench.__main__ import best
from tests.bench.synthetic import write_conn_log
from tests.fake_zeek import row_texts

_ROWS = 70_000
_BATCH = 100
_WAITING = (1, 7, 32)
_HOSTS = (1_000, 10_000, 50_000)


def main() -> None:
    """Rows per second by how many batches wait together; size of the state and time to write it by hosts."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "conn.log"
        write_conn_log(log, _ROWS)
        texts = _texts(log)
        for waiting in _WAITING:
            rate = best(3, lambda n=waiting: len(texts) / _carried(texts, n))
            sys.stdout.write(f"{waiting:6,} batches of {_BATCH} together {rate:10,.0f} rows/s\n")
        for hosts in _HOSTS:
            write_conn_log(log, 4 * hosts, hosts)
            size, seconds = _state(log, Path(folder) / "state")
            sys.stdout.write(
                f"{hosts:6,} hosts remembered {size / 1e6:12.1f} MB of state, written in {seconds:.2f} s\n"
            )


def _texts(log: Path) -> list[str]:
    return row_texts(concat(list(open_rows([log], load_config(environment={}).input, ReadReport()))))


def _carried(texts: list[str], waiting: int) -> float:
    """Seconds for all rows through decoder, model and decision, so many batches at a time."""
    pipeline = Pipeline(load_detector(load_config(environment={})).detector)
    desk = Desk(pipeline, lambda *_, **__: None)
    batches = [texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH)]
    works = [Work(("zeek", "e", "all"), seq, rows, 0.0) for seq, rows in enumerate(batches, start=1)]
    start = time.perf_counter()
    for at in range(0, len(works), waiting):
        desk.handle(works[at : at + waiting])
    took = time.perf_counter() - start
    assert desk.rows == len(texts)
    return took


def _state(log: Path, path: Path) -> tuple[int, float]:
    """Bytes of the snapshot after `log`, and seconds to write it."""
    config = load_config(environment={})
    loaded = load_detector(config)
    pipeline = Pipeline(loaded.detector)
    pipeline.push(list(open_rows([log], config.input, ReadReport())))
    start = time.perf_counter()
    save_snapshot(path, pipeline, loaded, {})
    return path.stat().st_size, time.perf_counter() - start


if __name__ == "__main__":
    main()
