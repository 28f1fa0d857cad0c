"""`pyad calibrate` and what uses its file, through the command and with the real model."""

import json
import re

import pytest
import yaml

from pyad import cli
from pyad.bundle import load_bundle
from pyad.paths import find_bundle
from pyad.site import load_site
from pyad.verdict import ATTACK_CLASSES
from tests.site import changed, quiet_log
from tests.traffic import FLOODER, SCANNER, connections, write_log


def run(capsys, *argv) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    log, out = quiet_log(folder / "quiet.log"), folder / "site.yaml"
    assert cli.main(["calibrate", str(log), "--out", str(out)]) == 0
    return out


def test_quiet_logs_give_a_file_that_replay_uses(site, tmp_path, capsys):
    calibration = load_site(site, load_bundle(find_bundle("default")))
    assert set(calibration.thresholds) == set(ATTACK_CLASSES) and 2900 < calibration.reference.rows <= 3000
    assert len(calibration.by_group) == 1  # the other groups have too few rows
    log = write_log(tmp_path / "conn.log", connections())
    code, out, _ = run(capsys, "replay", log, "--calibration", site, "--out", tmp_path / "out")
    assert code == 0 and re.search(r"Model .*, calibrated by", out)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["bundle"]["calibration"] == str(site)
    assert {SCANNER, FLOODER} <= {i["subject"] for i in summary["incidents"]}


def test_attacks_in_the_logs_must_be_spoken_for(tmp_path, capsys):
    log, out = write_log(tmp_path / "conn.log", connections(background=3000)), tmp_path / "site.yaml"
    code, said, err = run(capsys, "calibrate", log, "--out", out)
    assert code == 1 and not out.exists()
    assert "--exclude-host" in err and "--keep-incidents" in err and err.count("\n") == 1
    assert SCANNER in said and FLOODER in said and "because" not in err
    code, said, _ = run(capsys, "calibrate", log, "--out", out, "--exclude-host", SCANNER, "--exclude-host", FLOODER)
    assert code == 0 and "Left out 1,800 connections" in said
    made = yaml.safe_load(out.read_text())
    assert made["logs"]["excluded_hosts"] == [f"{SCANNER}/32", f"{FLOODER}/32"]
    assert made["logs"]["connections"] == 3000 and made["logs"]["incidents_kept"] == 0
    code, said, _ = run(capsys, "calibrate", log, "--out", out, "--keep-incidents", "--alerts-per-day", "0.5")
    assert code == 0 and "taken for ordinary" in said
    # The budget would silence these, but then the sample's scan and flood would be missed, too.
    assert "sample that comes with pyad" in said and "stays" in said and "the budget is not met" in said


def test_what_is_said(site, tmp_path, capsys):
    log = quiet_log(tmp_path / "quiet.log")
    code, said, _ = run(capsys, "calibrate", log, "--out", tmp_path / "s.yaml", "--alerts-per-day", "2")
    assert code == 0 and "per 100 devices" in said and "pyad run --calibration" in said
    assert ("are still found" in said and "not known: this bundle does not say" in said) or "nothing" in said
    assert "no row has application counters, MAC addresses" in " ".join(said.split())
    assert all(len(line) <= 100 for line in said.splitlines() if "Use it" not in line and "Written" not in line)


def test_drift_is_in_the_summary_of_a_replay(site, tmp_path, capsys):
    # A window of nearly all the hour that was calibrated on: hosts are new at its beginning, which counts as a move.
    rules = ["--set", "drift.window_h=0.9", "--set", "drift.min_rows=1000"]
    same, other = connections(1, 3000, 0, 0), changed(connections(1, 3000, 0, 0))
    for name, rows, drifting in (("same", same, False), ("other", other, True)):
        log = write_log(tmp_path / f"{name}.log", rows)
        code, out, _ = run(capsys, "replay", log, "--calibration", site, "--out", tmp_path / name, *rules)
        drift = json.loads((tmp_path / name / "summary.json").read_text())["drift"]
        assert code == 0 and drift["drifting"] == drifting, drift
        assert ("have moved" in out) == drifting and ("Drift    none" in out) == (not drifting)
    assert drift["moves"][0]["before"] != drift["moves"][0]["now"]


def changed_file(site, path, **fields):
    path.write_text(yaml.safe_dump(yaml.safe_load(site.read_text()) | fields))
    return path


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"format": 9}, "field 'format'"),
        ({"feature_hash": "0"}, "another feature set"),
        ({"bundle": {"name": "hospital", "version": "9", "sha256": {}}}, "made for bundle hospital-9"),
        ({"bundle": None}, "field 'bundle' is missing"),
        ({"thresholds": {"flood": "high"}}, "thresholds.flood"),
        ({"thresholds": {"plague": 0.5}}, "thresholds.plague"),
        ({"novelty": {"groups": {}}}, "novelty.level"),
        ({"novelty": {"level": 0.1, "groups": {"cellar": {}}}}, "cellar"),
        ({"novelty": {"level": 0.1, "groups": {"inside": {"quantiles": 3}}}}, "novelty.groups.inside"),
        ({"reference": {"rows": 1}}, "field 'reference'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(site, tmp_path, capsys, fields, what):
    bad = changed_file(site, tmp_path / "bad.yaml", **fields)
    log = write_log(tmp_path / "conn.log", connections(background=10, scanned=0, flooded=0))
    code, _, err = run(capsys, "replay", log, "--calibration", bad, "--out", tmp_path / "out")
    assert code == 1 and what in err and "bad.yaml" in err and err.count("\n") == 1


def test_bad_input(site, tmp_path, capsys):
    log = write_log(tmp_path / "conn.log", connections(background=10, scanned=0, flooded=0))
    for argv, code, what in (
        (["calibrate", tmp_path / "nope"], 1, "nope"),
        (["calibrate", log, "--exclude-host", "10.0.0.300"], 2, "--exclude-host"),
        (["calibrate", log, "--alerts-per-day", "none"], 2, "--alerts-per-day"),
        (["calibrate", log, "--out", log], 2, "one of the inputs"),
        (["calibrate", log, "--exclude-host", "10.0.0.0/8"], 1, "no connection to calibrate on"),
        (["calibrate", log, "--out", tmp_path / "no" / "where.yaml"], 2, "where.yaml"),
        (["replay", log, "--calibration", tmp_path / "none.yaml", "--out", tmp_path / "o"], 1, "none.yaml"),
        (["replay", log, "--calibration", log, "--out", tmp_path / "o"], 1, "conn.log"),
    ):
        if "--out" not in argv:
            argv += ["--out", tmp_path / "site.yaml"]
        got, _, err = run(capsys, *argv)
        assert got == code and what in err and "Traceback" not in err, err
