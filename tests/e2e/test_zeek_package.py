"""The Zeek package under a real Zeek: its btests, and captures through Zeek and the pipeline in lock-step."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pyad import cli, row
from pyad.sources.zeek_process import runs_package

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT / "tests" / "data" / "hospital.pcap"
needs_zeek = pytest.mark.skipif(
    shutil.which("zeek") is None, reason="zeek is not on PATH; binary packages: https://docs.zeek.org (Installing Zeek)"
)
needs_btest = pytest.mark.skipif(
    shutil.which("btest") is None, reason="btest is not on PATH; it comes with Zeek, or: pip install btest"
)


def lines(log: Path) -> list[list[str]]:
    return [line.split("\t") for line in log.read_text().splitlines() if not line.startswith("#")]


def header(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith(("#fields", "#types", "#separator"))]


def test_package_and_bridge_have_one_row_schema():
    main = (ROOT / "zeek-scripts" / "main.zeek").read_text()
    assert f'const row_schema = "{row.SCHEMA_HASH}";' in main


def test_the_counters_have_the_positions_of_the_schema():
    script = (ROOT / "zeek-scripts" / "counters" / "main.zeek").read_text()
    names = [counter.name for counter in row.COUNTERS]
    declared = script.split("type Counters: record {")[1].split("}")[0]
    assert re.findall(r"(\w+): int", declared) == names
    for file in ("counters/main.zeek", "rows.zeek"):
        packed = (ROOT / "zeek-scripts" / file).read_text().rpartition("cat_sep(")[2].split(");")[0]
        assert re.findall(r"k\$(\w+)", packed) == names


@needs_zeek
@needs_btest
def test_btests_pass():
    ran = subprocess.run(
        ["btest", "-c", "btest.cfg", "-d"],
        check=False,
        cwd=ROOT / "tests" / "btest",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def replayed(tmp_path_factory) -> list[Path]:
    """Two replays of the sample capture through Zeek."""
    if shutil.which("zeek") is None or not runs_package():
        pytest.skip("zeek (8.0 or newer) is not on PATH; binary packages: https://docs.zeek.org (Installing Zeek)")
    folders = [tmp_path_factory.mktemp("zeek") / "out" for _ in range(2)]
    for out in folders:
        assert cli.main(["replay", str(CAPTURE), "--engine", "zeek", "--verdicts", "all", "--out", str(out)]) == 0
    return folders


def test_every_connection_of_conn_log_has_its_verdict(replayed):
    for out in replayed:
        theirs = sorted(f[1] for f in lines(out / "zeek" / "conn.log"))
        ours = sorted(f[1] for f in lines(out / "pyad.log") if f[7] == "-" and f[6] != "arp")
        assert ours == theirs and len(ours) == 10_271


def test_two_replays_give_the_same_notices_and_they_are_zeeks(replayed, tmp_path):
    one, two = (sorted(lines(out / "notice.log")) for out in replayed)
    assert one == two and len(one) == 12
    # Zeek's Notice framework fills in what pyad itself never does: when a repeat would be held back.
    assert {f[20] for f in one} == {"3600.000000"}
    assert not (replayed[0] / "zeek" / "notice.log").exists()
    dpkt = tmp_path / "dpkt"
    assert cli.main(["replay", str(CAPTURE), "--engine", "dpkt", "--out", str(dpkt)]) == 0
    assert header(dpkt / "notice.log") == header(replayed[0] / "notice.log")
    found = [json.loads((out / "summary.json").read_text())["incidents"] for out in (dpkt, replayed[0])]
    subjects = [sorted((i["class"], i["subject"]) for i in incidents) for incidents in found]
    assert subjects[0] == subjects[1] and len(subjects[0]) == 3


def test_rows_of_the_package_carry_what_conn_log_does_not(replayed, capsys):
    assert cli.main(["rows", str(CAPTURE), "--engine", "zeek", "--all"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    services = {service for r in rows for service in (r.get("service") or "").split(",")}
    assert {"hl7", "dicom", "mqtt", "modbus"} <= services
    assert sum(r.get("auth_failures", 0) for r in rows) > 50
    assert any(r.get("partial") for r in rows)
    assert "hl7" not in {f[7] for f in lines(replayed[0] / "zeek" / "conn.log")}
