"""The demo capture through the whole product: the attacks found, the right hosts, quiet where it was quiet."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from pyad.bundle import load_bundle
from pyad.cli import main
from pyad.flow.options import FlowOptions
from pyad.flow.parity import compare
from pyad.paths import find_bundle
from pyad.sources.base import ReadReport
from pyad.sources.pcap import read_captures

DATA = Path(__file__).parent.parent / "data"
CAPTURE = DATA / "hospital.pcap"
LAB_ROWS = Path(__file__).parents[2] / "onnx_export" / "data" / "lab"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    assert main(["replay", str(CAPTURE), "--engine", "dpkt", "--out", str(folder), "--format", "json"]) == 0
    return folder


def _records(path):
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def _attacks():
    """(class, attacker, after, before) of each labelled attack."""
    entry = yaml.safe_load((DATA / "hospital.labels.yaml").read_text())["entries"][0]
    return [(r["label"], r["orig"][0], r["after"], r["before"]) for r in entry["rules"] if r["label"] != "background"]


def test_rows_are_those_of_a_real_zeek():
    theirs = _records(DATA / "hospital.conn.log.gz")
    ours = [r for rows in read_captures([CAPTURE], ReadReport(), FlowOptions()) for r in rows.records()]
    report = compare(ours, theirs)
    assert report.connections > 9000
    assert report.share >= 0.999, "\n".join(report.text())


def test_every_attack_is_an_incident_of_the_right_host_and_class(out):
    incidents = json.loads((out / "summary.json").read_text())["incidents"]
    found = {(i["class"], i["subject"]) for i in incidents}
    for label, attacker, _, _ in _attacks():
        assert (label, attacker) in found


def test_nothing_else_is_raised_and_nothing_before_the_first_attack(out):
    attackers = {(label, attacker) for label, attacker, _, _ in _attacks()}
    begin = min(after for _, _, after, _ in _attacks())
    for line in (out / "notice.log").read_text().splitlines():
        notice = json.loads(line)
        label = notice["note"].removeprefix("PyAD::").lower()
        assert (label, notice["src"]) in attackers, notice
        assert notice["ts"] >= begin


def test_the_flood_is_one_incident_that_says_how_many(out):
    notices = [json.loads(line) for line in (out / "notice.log").read_text().splitlines()]
    flood = [n for n in notices if n["note"] == "PyAD::Flood"]
    assert [n["sub"].split("state=")[1].split()[0].rstrip(";") for n in flood].count("new") == 1
    assert max(n["n"] for n in flood) > 6000
    assert len(flood) <= 6


def test_the_demo_capture_and_its_hosts_trained_nothing():
    digest = hashlib.sha256(CAPTURE.read_bytes()).hexdigest()
    files = load_bundle(find_bundle("default")).yaml["training"]["files"]
    assert len(files) > 20
    assert digest not in files.values()
    hosts = {
        mac for line in (DATA / "README.md").read_text().splitlines() for mac in re.findall(r"02(?::\w\w){5}", line)
    }
    assert len(hosts) > 25
    trained = set()
    for path in LAB_ROWS.glob("*.jsonl.gz"):
        trained |= {record.get(side) for record in _records(path) for side in ("orig_l2_addr", "resp_l2_addr")}
    assert trained
    assert not hosts & trained
