"""`make bench`: speed and memory as ratios within one run, since machines differ and are shared.

Each figure is the best of a few repeats; what it is compared with runs in the same process on the same material.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pyad.bundle import load_bundle
from pyad.config import load_config
from pyad.detector import load_detector
from pyad.features import FEATURES, FeatureExtractor
from pyad.model import Model
from pyad.outputs import Outputs
from pyad.paths import find_bundle
from pyad.pipeline import STAGES, Pipeline
from pyad.row import concat
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from tests.bench import bench_flow
from tests.bench.synthetic import write_conn_log


def best(repeats: int, run: Callable[[], float]) -> float:
    """The largest rate of `repeats` runs."""
    return max(run() for _ in range(repeats))


def conn_log(path: Path, rows: int, repeats: int) -> None:
    """Rows per second from conn.log to notice.log, where the time goes, and the step graph alone as the ceiling."""
    timings: dict[str, float] = {}

    def replay() -> float:
        nonlocal timings
        config = load_config()
        loaded = load_detector(config)
        pipeline = Pipeline(loaded.detector, config.model.batch_rows)
        with tempfile.TemporaryDirectory() as folder:
            outputs = Outputs(Path(folder), "tsv", "decided", loaded.label)
            start = time.perf_counter()
            pipeline.run(read_conn_log(path, ReadReport()), outputs, 4)
            took = time.perf_counter() - start
            outputs.close()
        timings = pipeline.timings
        return rows / took

    def parse() -> float:
        start = time.perf_counter()
        count = sum(len(r) for r in read_conn_log(path, ReadReport()))
        return count / (time.perf_counter() - start)

    rate = best(repeats, replay)
    sys.stdout.write(f"conn.log to notice.log     {rate:10,.0f} rows/s (bar 60,000, aim 150,000)\n")
    whole = sum(timings.values())
    for stage in STAGES:
        sys.stdout.write(
            f"  {stage:10} {timings[stage] / rows * 1e6:6.2f} us/row  {timings[stage] / whole:6.1%} of CPU stages\n"
        )
    sys.stdout.write(f"parsing alone              {best(repeats, parse):10,.0f} rows/s\n")
    ceiling = best(repeats, lambda: _step_alone(path))
    sys.stdout.write(
        f"step graph alone           {ceiling:10,.0f} rows/s (the whole road does {rate / ceiling:.2f} of it)\n"
    )


def _step_alone(path: Path) -> float:
    rows = concat(list(read_conn_log(path, ReadReport()))[:8])
    features = FeatureExtractor().extract(rows)
    bundle = load_bundle(find_bundle("default"))
    model = Model(bundle, provider="cpu")
    n = len(features.x) // 512 * 512
    state = np.zeros((512, bundle.state_size), dtype=np.float32)
    start = time.perf_counter()
    for at in range(0, n, 512):
        model._step.run(None, {"x": features.x[at : at + 512], "state": state})
    return n / (time.perf_counter() - start)


def memory(hosts: int) -> None:
    """Peak memory of a process that tracks `hosts` hosts over that of one that tracks a handful, per host."""
    peaks = []
    for n in (16, hosts):
        out = subprocess.run(
            [sys.executable, "-m", "tests.bench", "--track", str(n)], capture_output=True, check=True, text=True
        )
        peaks.append(int(out.stdout))
    per_host = (peaks[1] - peaks[0]) * 1024 / hosts
    sys.stdout.write(
        f"memory                     {peaks[0] / 1024:10,.0f} MB at rest (bar 400), "
        f"{per_host:,.0f} bytes per host (bar 2,048)\n"
    )


def track(hosts: int) -> None:
    """Track `hosts` hosts in windows and model, then print the peak resident size in kB."""
    from tests.unit.conftest import make_rows

    extractor = FeatureExtractor(max_hosts=max(hosts, 16))
    model = Model(load_bundle(find_bundle("default")), provider="cpu", max_streams=max(hosts, 16))
    rows = make_rows(1024, hosts=200)
    for first in range(0, hosts, 1024):
        numbers = np.arange(first, first + 1024) % hosts
        rows.columns["id.orig_h"][:] = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in numbers.tolist()]
        rows.columns["id.resp_h"][:] = rows.columns["id.orig_h"][::-1]
        model.score(extractor.extract(rows))
    # Not getrusage: its peak includes what the parent had before this process was started.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(peak.split()[1])


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--track", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.track:
        track(args.track)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conn.log"
        write_conn_log(path, args.rows)
        conn_log(path, args.rows, args.repeats)
    sys.stdout.write(f"features                   {len(FEATURES)}\n")
    memory(50_000)
    bench_flow.main()


if __name__ == "__main__":
    main()
