"""Zeek's own policies as a baseline: which notice is of which attack."""

import json
import shutil
from pathlib import Path

import pytest

from onnx_export.lab import policies

DATA = Path(__file__).parents[1] / "data"
ATTACK = {"label": "brute_force", "start": 100.0, "end": 160.0, "by": ["10.0.0.9"], "targets": ["10.0.0.1"]}
NOTICE = {"note": "SSH::Password_Guessing", "ts": 120.0, "src": "10.0.0.9"}


@pytest.mark.parametrize(
    ("changed", "explained"),
    [
        ({}, True),
        ({"note": "FTP::Bruteforcing", "ts": 220.0}, True),
        ({"note": "HTTP::SQL_Injection_Attacker"}, False),
        ({"src": "10.0.0.1"}, False),
        ({"ts": 99.0}, False),
        ({"ts": 260.0}, False),
    ],
)
def test_a_notice_is_of_an_attack_if_class_attacker_and_time_fit(changed, explained):
    assert policies.explains(ATTACK, NOTICE | changed) is explained


def test_without_zeek_it_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "a-1.pcap").touch()
    (tmp_path / "a-1.labels.yaml").touch()
    (tmp_path / "a-1.scenario.yaml").write_text(json.dumps({"group": "test"}))
    monkeypatch.setenv("PATH", "")
    assert policies.run([tmp_path], "test") == 1
    assert "no zeek on PATH" in capsys.readouterr().err
    assert policies.run([tmp_path], "train") == 1
    assert "no recording of group train" in capsys.readouterr().err


@pytest.mark.skipif(
    shutil.which("zeek") is None, reason="zeek is not on PATH; binary packages: https://docs.zeek.org (Installing Zeek)"
)
def test_what_zeek_raises_is_counted_by_class(tmp_path, capsys):
    for name in ("hospital.pcap", "hospital.labels.yaml"):
        shutil.copy(DATA / name, tmp_path / name)
    guessing = {"label": "brute_force", "detail": "ftp", "by": ["10.249.241.157"], "targets": ["10.249.241.231"]}
    other = {"label": "exploit", "detail": "none", "by": ["10.249.241.1"], "targets": ["10.249.241.231"]}
    when = {"start": 1795467597.0, "end": 1795467650.0}
    facts = {"group": "test", "scenario": "x", "seed": 1, "attacks": [guessing | when, other | when]}
    (tmp_path / "hospital.scenario.yaml").write_text(json.dumps(facts))
    assert policies.run([tmp_path], "test") == 0
    said = capsys.readouterr().out
    assert "| brute_force | 1 | 1 |" in said and "| exploit | 1 | 0 |" in said
    assert "| FTP::Bruteforcing | 1 | 0 |" in said and "1 recordings of group test" in said
