"""Rows, statistics and consistency of recordings, on a recording of a few packets."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onnx_export.lab import check, rows, stats
from tests.packets import START, Talk, pcap

NURSE, THIEF, SERVER = "10.0.0.1", "10.0.0.66", "10.0.0.2"
ATTACK = {
    "label": "brute_force", "detail": "guesses", "start": START, "end": START + 40,
    "by": [THIEF], "targets": [SERVER], "shape": "direct",
}  # fmt: skip


def record(
    folder: Path, title: str = "guess-7", attacks: tuple[dict[str, Any], ...] = (ATTACK,), orig: str = THIEF,
    group: str = "train", port: int = 22,
) -> None:  # fmt: skip
    """A nurse's three connections and a thief's two to the same server; the rule says who is labelled: `orig`."""
    packets = []
    for number, (address, at) in enumerate([(NURSE, 0), (THIEF, 10), (NURSE, 20), (THIEF, 30), (NURSE, 43_200)]):
        talk = Talk(40_000 + number, port, src=address, dst=SERVER)
        talk.now = START + at
        packets += talk.open().o("PA", 10 + number).r("PA", 10).close().packets
    (folder / f"{title}.pcap").write_bytes(pcap(packets))
    rule = {"orig": [orig], "resp": [SERVER], "label": "brute_force", "detail": "guesses"}
    entry = {"captures": [f"{title}.pcap"], "rules": [rule], "default": "benign", "default_detail": "all else"}
    (folder / f"{title}.labels.yaml").write_text(yaml.safe_dump({"entries": [entry]}))
    scenario = {"scenario": title, "seed": 7, "group": group, "attacks": [*attacks]}
    (folder / f"{title}.scenario.yaml").write_text(yaml.safe_dump(scenario))
    hosts = [("nurse", NURSE), ("guest", THIEF), ("pacs", SERVER)]
    lines = [f"{name}\t{name}\t{ip}\t02:{title[:2].encode().hex()}::0{i}\t-" for i, (name, ip) in enumerate(hosts)]
    (folder / f"{title}.hosts.tsv").write_text("\n".join(["name\trole\taddress\tmac\tdoes", *lines]) + "\n")


def test_rows_say_what_and_why_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    record(tmp_path)
    for out in ("a", "b"):
        assert rows.build([tmp_path], tmp_path / out, "dpkt", 1) == 0
    assert (tmp_path / "a" / "guess-7.jsonl.gz").read_bytes() == (tmp_path / "b" / "guess-7.jsonl.gz").read_bytes()
    with gzip.open(tmp_path / "a" / "guess-7.jsonl.gz", "rt") as file:
        found = [json.loads(line) for line in file]
    assert [r["label"] for r in found] == ["benign", "brute_force", "benign", "brute_force", "benign"]
    assert {r["capture"] for r in found} == {"lab/guess-7.pcap"}
    assert {(r["scenario"], r["seed"], r["label_source"]) for r in found} == {("guess-7", 7, "rule")}
    assert [r["uid"] for r in found] == ["C0", "C1", "C2", "C3", "C4"]
    assert found[0]["duration"] == 0.06
    facts = yaml.safe_load((tmp_path / "a" / "recordings.yaml").read_text())["guess-7"]
    assert facts["rows"] == {"benign": 3, "brute_force": 2}
    assert facts["engine"].startswith("dpkt")
    assert (tmp_path / "a" / "SHA256SUMS").read_text().endswith("  guess-7.pcap\n")


def test_a_recording_that_cannot_be_read_costs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    record(tmp_path, "a-bad-one")
    (tmp_path / "a-bad-one.pcap").write_bytes(b"not a capture, not at all")
    assert rows.build([tmp_path], tmp_path / "out", "dpkt", 2) == 1
    assert "a-bad-one" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").glob("*.gz")] == ["guess-7.jsonl.gz"]


def test_device_days_leave_the_attacker_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    rows.build([tmp_path], tmp_path / "out", "dpkt", 1)
    capsys.readouterr()
    assert stats.run(tmp_path / "out", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 5
    assert told["benign_device_days"] == 1.0  # nurse and server, half a day each
    assert told["classes"]["brute_force"] == {"rows": 2, "scenarios": 1}
    assert stats.run(tmp_path / "out", as_json=False) == 0
    assert stats.run(tmp_path, as_json=False) == 1


def test_a_sound_recording_is_consistent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    assert check.run([tmp_path]) == 0
    assert " 2  guesses" in capsys.readouterr().out
    rows.build([tmp_path], tmp_path / "out", "dpkt", 1)
    assert check.run([tmp_path / "out"]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attacks": (ATTACK, ATTACK | {"label": "c2", "detail": "never ran"})}, "never ran) has no connection"),
        ({"orig": "10.0.0.0/24"}, "3 connections are labelled as an attack that does not explain them"),
    ],
)
def test_faults_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    record(tmp_path, **change)
    assert check.run([tmp_path]) == 1
    assert said in capsys.readouterr().out


def test_groups_may_share_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    record(tmp_path, "guess-8", group="test")
    assert check.run([tmp_path]) == 1
    said = capsys.readouterr().out
    assert "attack setting brute_force: guesses is in test and train" in said
    assert "device 02:6775::00 is in test and train" in said
    assert "5 rows in test and train are identical" in said
    assert check.run([tmp_path / "nothing"]) == 1
