import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyad import cli, doctor, replay
from pyad.detector import LoadedDetector
from pyad.errors import PyadError
from tests.fakes import code, fake_detector


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    def load(config):
        detector = fake_detector(min_conns=config.incidents.min_conns)
        return LoadedDetector(detector, "fake", "1", {}, "CPUExecutionProvider", 8, [])

    monkeypatch.setattr(replay, "load_detector", load)


def conn_log(path: Path, n=200, cls="recon", start=1000.0, orig="10.0.0.66") -> Path:
    lines = []
    for i in range(n):
        attack = i % 2
        lines.append(json.dumps({
            "ts": start + i, "uid": f"C{start:.0f}{i}",
            "id.orig_h": orig if attack else "10.0.0.1", "id.orig_p": 40000 + i,
            "id.resp_h": "10.0.0.2", "id.resp_p": 80, "proto": "tcp", "conn_state": "SF", "duration": 0.5,
            "orig_bytes": int(code(cls)) if attack else 0, "resp_bytes": 0,
        }))  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*argv) -> int:
    return cli.main([str(a) for a in argv])


def test_replay_writes_logs_and_summary(tmp_path, capsys):
    log, out = conn_log(tmp_path / "conn.log"), tmp_path / "out"
    assert run("replay", log, "--out", out) == 0
    notices = (out / "notice.log").read_text().splitlines()
    assert notices[0] == "#separator \\x09" and notices[-1].startswith("#close")
    assert [line.split("\t")[10] for line in notices if line[0] != "#"] == ["PyAD::Recon"] * 4
    assert len([1 for line in (out / "pyad.log").read_text().splitlines() if line[0] != "#"]) == 100
    summary = json.loads((out / "summary.json").read_text())
    assert summary["counts"]["decisions"]["recon"] == 100
    assert summary["counts"]["incidents"] == 1
    assert summary["incidents"][0]["subject"] == "10.0.0.66"
    assert summary["bundle"]["name"] == "fake" and summary["provider"] == "CPUExecutionProvider"
    text = capsys.readouterr().out
    assert "Scan from 10.0.0.66 to 10.0.0.2, port 80/tcp" in text
    assert "1970-01-01T00:16:41 to 1970-01-01T00:19:59 UTC, 100 connections" in text
    assert str(out / "notice.log") in text
    assert max(map(len, text.splitlines())) <= 100


def test_formats_and_verdicts(tmp_path):
    log, out = conn_log(tmp_path / "conn.log"), tmp_path / "out"
    assert run("replay", log, "--out", out, "--format", "json", "--verdicts", "all") == 0
    verdicts = [json.loads(line) for line in (out / "pyad.log").read_text().splitlines()]
    assert len(verdicts) == 200
    assert verdicts[1]["decision"] == "recon" and verdicts[1]["top"] and verdicts[1]["model"] == "fake-1"
    assert verdicts[3]["suppressed_by"] and "suppressed_by" not in verdicts[1]
    assert [json.loads(line)["n"] for line in (out / "notice.log").read_text().splitlines()] == [1, 10, 100, 100]


def test_the_same_input_gives_the_same_bytes_in_pieces_and_in_other_batches(tmp_path):
    whole = conn_log(tmp_path / "conn.log", 400)
    lines = whole.read_text().splitlines(keepends=True)
    pieces = []
    for i in range(4):
        piece = tmp_path / f"conn.{i}.log"
        piece.write_text("".join(lines[i * 100 : (i + 1) * 100]))
        pieces.append(piece)
    results = []
    for i, (files, more) in enumerate([([whole], []), (pieces, []), ([whole], ["--set", "model.batch_rows=7"])]):
        out = tmp_path / f"out{i}"
        assert run("replay", *files, "--out", out, "--format", "json", *more) == 0
        results.append(sorted((out / "notice.log").read_text().splitlines()))
    assert results[0] == results[1] == results[2] and results[0]


def test_a_folder_of_rotated_logs(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    conn_log(logs / "conn.b.log", start=1000.0)
    conn_log(logs / "conn.a.log", start=1200.0)
    out = tmp_path / "out"
    assert run("replay", logs, "--out", out) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["counts"]["timelines"] == 1 and summary["counts"]["rows"] == 400


def test_fail_on_notice_only_with_notices(tmp_path):
    out = tmp_path / "out"
    assert run("replay", conn_log(tmp_path / "a.log"), "--out", out, "--fail-on-notice") == 1
    assert run("replay", conn_log(tmp_path / "a.log", cls="benign"), "--out", out, "--fail-on-notice") == 0


def test_quiet_input_says_so(tmp_path, capsys):
    assert run("replay", conn_log(tmp_path / "a.log", cls="benign"), "--out", tmp_path / "out") == 0
    assert "nothing that calls for a notice" in capsys.readouterr().out


def test_settings_reach_the_run(tmp_path, capsys):
    config = tmp_path / "pyad.yaml"
    config.write_text("incidents: {min_conns: {recon: 1000}}\n")
    assert run("replay", conn_log(tmp_path / "a.log"), "--out", tmp_path / "out", "--config", config) == 0
    assert "1 suspicion with too few connections" in capsys.readouterr().out


@pytest.mark.parametrize(("place", "told"), [(".", "holds the input"), ("in", "holds the input")])
def test_an_output_folder_with_inputs_is_refused(tmp_path, capsys, place, told):
    folder = tmp_path / "in"
    folder.mkdir()
    log = conn_log(folder / "conn.log")
    before = log.read_bytes()
    files = folder if place == "." else log
    assert run("replay", files, "--out", folder) == 2
    assert told in capsys.readouterr().err
    assert log.read_bytes() == before and list(folder.iterdir()) == [log]


def test_an_output_that_is_a_link_to_an_input_is_refused(tmp_path, capsys):
    log = conn_log(tmp_path / "conn.log")
    out = tmp_path / "out"
    out.mkdir()
    (out / "notice.log").symlink_to(log)
    assert run("replay", log, "--out", out) == 2
    assert log.stat().st_size > 0


def test_rows_prints_finished_connections(tmp_path, capsys):
    log = conn_log(tmp_path / "conn.log", 3)
    assert run("rows", log) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["id.orig_h"] == "10.0.0.1" and first["ts"] == 1000.0
    assert run("rows", log, "--format", "tsv") == 0
    assert "#fields\tts\tuid" in capsys.readouterr().out


def test_errors_are_one_line_with_their_exit_code(tmp_path, capsys, monkeypatch):
    cases = [
        (["rows", tmp_path / "nope"], 1, "nope: no such file"),
        (["replay", conn_log(tmp_path / "a.log"), "--set", "model.batchrows=1"], 2, "did you mean model.batch_rows?"),
        (["replay", tmp_path / "a.log", "--config", tmp_path / "none.yaml"], 2, "none.yaml: cannot be read"),
        (["model", "verify", tmp_path / "none"], 1, "no such bundle"),
    ]
    for argv, expected, told in cases:
        assert run(*argv) == expected
        err = capsys.readouterr().err
        assert err.startswith("pyad: ") and err.count("\n") == 1 and told in err


def test_unexpected_errors_are_one_line_too(tmp_path, capsys, monkeypatch):
    def broken(_):
        raise RuntimeError("something\nwith \x1b lines")

    monkeypatch.setattr(replay, "load_detector", broken)
    assert run("replay", conn_log(tmp_path / "a.log"), "--out", tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "RuntimeError" in err and "--debug" in err and "\x1b" not in err
    run("replay", tmp_path / "a.log", "--out", tmp_path / "out", "--debug")
    assert "Traceback" in capsys.readouterr().err


def test_interrupted_outputs_are_finished(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        yield from original(*_, **__)
        raise KeyboardInterrupt

    original = replay.open_rows
    monkeypatch.setattr(replay, "open_rows", interrupted)
    out = tmp_path / "out"
    assert run("replay", conn_log(tmp_path / "a.log"), "--out", out) == 130
    lines = (out / "notice.log").read_text().splitlines()
    assert lines[-1].startswith("#close") and "state=closed" in lines[-2]


@pytest.mark.parametrize("argv", [[], ["replay"], ["nope"], ["replay", "x", "--engine", "nope"], ["model"]])
def test_usage_errors_exit_2(argv):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2


def test_version(capsys):
    assert run("version") == 0
    assert capsys.readouterr().out.startswith("pyad ")


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    log = conn_log(tmp_path / "conn.log", 20_000)
    command = f"{sys.executable} -m pyad rows {log} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == "" and done.returncode == 0 and done.stdout.count("\n") == 1


@pytest.mark.parametrize("summary", ["short", "long " * 100_000])
def test_a_reader_that_has_gone_changes_no_exit_code(tmp_path, monkeypatch, summary):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(b"\xd4\xc3\xb2\xa1")
    monkeypatch.setattr(replay, "as_text", lambda *_: summary)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert run("replay", conn_log(tmp_path / "a.log"), cut, "--out", tmp_path / "out") == 1


def test_doctor_reports_every_check_and_fails_on_a_failure(tmp_path, capsys, monkeypatch):
    from pyad.config import Config

    def no_bundle(_):
        raise PyadError("default: no such bundle")

    import pyad.detector

    monkeypatch.setattr(pyad.detector, "load_detector", no_bundle)
    assert doctor.run(Config(), tmp_path / "out") == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("FAIL  model") and "no such bundle" in line for line in lines)
    assert any(line.startswith("ok    dpkt") for line in lines)
    assert not (tmp_path / "out").exists()


def test_doctor_on_an_unwritable_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert doctor._folder(file / "out").level == "FAIL"
