"""The whole road with the default bundle: inputs of each kind to notices, the same however they are delivered."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pyad import cli
from pyad.config import load_config
from pyad.detector import load_detector
from pyad.pipeline import Pipeline
from pyad.row import concat
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from tests.traffic import FLOODER, SCANNER, connections, packets, write_log, write_pcap


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log") / "conn.log", connections())


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_pcap(tmp_path_factory.mktemp("pcap") / "net.pcap", packets())


def replay(files, out, *more) -> dict:
    assert cli.main(["replay", *map(str, files), "--out", str(out), "--engine", "dpkt", *map(str, more)]) == 0
    return json.loads((out / "summary.json").read_text())


def sorted_notices(out) -> list[str]:
    return sorted(line for line in (out / "notice.log").read_text().splitlines() if line[0] != "#")


@pytest.mark.parametrize("kind", ["log", "capture"])
def test_scan_and_flood_are_found_and_named(kind, log, capture, tmp_path, capsys):
    summary = replay([log if kind == "log" else capture], tmp_path / "out")
    found = {i["subject"]: i for i in summary["incidents"]}
    assert set(found) == {SCANNER, FLOODER}
    assert found[SCANNER]["class"] == "recon" and found[SCANNER]["conns"] > 250
    # one source alone, one packet each: a fast scan of one port and a flood are the same rows
    assert found[FLOODER]["class"] in ("flood", "recon") and found[FLOODER]["conns"] > 1300
    text = capsys.readouterr().out
    assert SCANNER in text and str(tmp_path / "out" / "notice.log") in text
    assert max(map(len, text.splitlines())) <= 100


def test_notice_log_is_what_zeek_tools_read(log, tmp_path):
    replay([log], tmp_path / "out")
    lines = (tmp_path / "out" / "notice.log").read_text().splitlines()
    assert lines[0] == "#separator \\x09"
    assert lines[4] == "#path\tnotice"
    fields = lines[6].split("\t")[1:]
    for line in lines[8:-1]:
        record = dict(zip(fields, line.split("\t"), strict=True))
        assert record["note"].startswith("PyAD::")
        sub = dict(pair.split("=", 1) for pair in record["sub"].split(" "))
        assert record["n"] == sub["conns"]
        assert sub["state"] in ("new", "update", "closed")
    assert lines[-1].startswith("#close\t")


def scores(rows_in, batch_rows):
    seen = []
    pipeline = Pipeline(load_detector(load_config(None, {})).detector, batch_rows)
    pipeline.run(rows_in, lambda b: seen.append((b.verdicts, b.notices)))
    probs = np.concatenate([v.probs for v, _ in seen if len(v)])
    decisions = np.concatenate([v.decision for v, _ in seen])
    p = np.concatenate([v.novelty_p for v, _ in seen])
    return probs, decisions, p, [n for _, notices in seen for n in notices]


def test_delivery_and_batch_size_change_no_decision_no_notice_and_no_score(log):
    rows = concat(list(read_conn_log(log, ReadReport())))
    probs, decisions, p, notices = scores([rows], 1024)
    assert notices
    r = random.Random(5)
    cuts = sorted(r.sample(range(1, len(rows)), 40))
    pieces = [rows.take(slice(a, b)) for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    for chunks, batch_rows in ((pieces, 1024), ([rows], 100), (pieces, 4096)):
        other = scores(chunks, batch_rows)
        np.testing.assert_allclose(other[0], probs, rtol=0, atol=2e-6)  # sums in another order
        np.testing.assert_allclose(other[2], p, rtol=1e-4, atol=1e-6)
        assert (other[1] == decisions).all()
        assert other[3] == notices


def test_a_log_in_rotated_pieces_gives_the_same_notices(log, tmp_path):
    replay([log], tmp_path / "whole", "--format", "json")
    lines = log.read_text().splitlines(keepends=True)
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    for i in range(5):
        (pieces / f"conn.{i}.log").write_text("".join(lines[i * 600 : (i + 1) * 600]))
    replay([pieces], tmp_path / "rotated", "--format", "json", "--set", "model.batch_rows=333")
    assert sorted_notices(tmp_path / "whole") == sorted_notices(tmp_path / "rotated") != []


needs_zeek = pytest.mark.skipif(shutil.which("zeek") is None, reason="no zeek on PATH (see https://docs.zeek.org)")


@pytest.mark.parametrize("engine", ["dpkt", pytest.param("zeek", marks=needs_zeek)])
def test_a_capture_in_rotated_pieces_gives_the_same_notices(capture, tmp_path, engine):
    frames = packets()
    replay([capture], tmp_path / "whole", "--engine", engine)
    pieces = [
        write_pcap(tmp_path / f"net{i}.pcap", frames[i * 1000 : (i + 1) * 1000]) for i in range(-(-len(frames) // 1000))
    ]
    replay(pieces, tmp_path / "rotated", "--engine", engine)
    assert sorted_notices(tmp_path / "whole") == sorted_notices(tmp_path / "rotated") != []


def test_twice_the_same_bytes(capture, tmp_path):
    for name in ("a", "b"):
        replay([capture], tmp_path / name, "--format", "json", "--verdicts", "all")
    for file in ("notice.log", "pyad.log"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_allowed_hosts_raise_no_notice_and_are_counted(log, tmp_path):
    config = tmp_path / "pyad.yaml"
    config.write_text(f"verdict:\n  allow_list:\n  - {{name: our-scanner, orig: {SCANNER}, note: monthly audit}}\n")
    summary = replay([log], tmp_path / "out", "--config", config, "--format", "json")
    assert SCANNER not in {i["subject"] for i in summary["incidents"]}
    assert summary["counts"]["allowed"]["our-scanner"] > 100
    verdicts = [json.loads(line) for line in (tmp_path / "out" / "pyad.log").read_text().splitlines()]
    theirs = [v for v in verdicts if v["id.orig_h"] == SCANNER]
    assert theirs and {v["suppressed_by"] for v in theirs} == {"allow-list:our-scanner"}
    assert "benign" not in {v["decision"] for v in theirs}


def test_from_another_folder_in_a_process_of_its_own(log, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pyad", "replay", str(log)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(p.name for p in (tmp_path / "pyad-out").iterdir()) == ["notice.log", "pyad.log", "summary.json"]


def test_rows_of_a_capture_agree_with_themselves(capture, tmp_path, capsys):
    assert cli.main(["rows", str(capture), "--engine", "dpkt"]) == 0
    log = tmp_path / "conn.log"
    log.write_text(capsys.readouterr().out)
    assert len(log.read_text().splitlines()) == 200 + 300 + 1500
    assert cli.main(["rows", str(capture), "--engine", "dpkt", "--against", str(log)]) == 0
    assert "2000 of 2000 connections agree" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["dpkt", pytest.param("zeek", marks=needs_zeek)])
def test_a_second_run_over_the_folder_counts_nothing_double(capture, tmp_path, monkeypatch, engine):
    shutil.copy(capture, tmp_path / "net.pcap")
    monkeypatch.chdir(tmp_path)
    counts = [replay(["."], Path("pyad-out"), "--engine", engine)["counts"] for _ in range(2)]
    assert counts[0] == counts[1]
    assert counts[0]["files"] == 1


@pytest.fixture
def _interruptible():
    # A shell's background jobs inherit that SIGINT is ignored, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_ended_while_its_input_is_idle_everything_so_far_is_written(log, tmp_path, how, code):
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-m", "pyad", "replay", "-", "--out", str(out), "--set", "model.batch_rows=100"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdin.write(log.read_bytes())
        process.stdin.flush()
        for _ in range(600):
            if (out / "notice.log").exists() and "\tPyAD::" in (out / "notice.log").read_text():
                break
            time.sleep(0.1)
        began = time.monotonic()
        os.kill(process.pid, how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.monotonic() - began < 30
    assert err.startswith(b"pyad: ") and err.count(b"\n") == 1
    lines = (out / "notice.log").read_text().splitlines()
    assert lines[-1].startswith("#close") and any("state=closed" in line for line in lines)
    assert (out / "pyad.log").read_text().splitlines()[-1].startswith("#close")


def test_names_of_files_are_safe_on_the_terminal(tmp_path, capsys):
    evil = write_pcap(tmp_path / "e\x1b[31mvil.log", [])
    assert cli.main(["rows", str(evil), "--engine", "dpkt"]) == 0
    assert "e\\x1b[31mvil.log" in capsys.readouterr().err
    odd = tmp_path / "o\x1b[31mdd.log"
    odd.write_bytes(b"\xff" + write_log(tmp_path / "conn.log", connections(background=5)).read_bytes())
    cli.main(["rows", str(odd)])
    assert "\x1b" not in capsys.readouterr().err
