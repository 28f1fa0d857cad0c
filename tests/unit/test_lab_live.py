"""The live timeline: what it says of attacks and notices, and the table at the end."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnx_export.lab import live
from onnx_export.lab.scenario import Attack

NMAP = Attack("recon", "nmap -sS", 5, "nmap", ("guest-1",), ("pacs",))
FLOOD = Attack("flood", "syn flood, random sources", 5, "hping", ("guest-2",), ("ehr",), shape="spoofed")


def host(name: str, ip: str) -> Any:
    return SimpleNamespace(name=name, ip=ip)


def notice(path: Path, note: str, src: str, dst: str) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"note": note, "src": src, "dst": dst, "msg": "so it is"}) + "\n")


def test_a_timeline_and_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_AFTER_S", 0.0)
    said = io.StringIO()
    timeline = live.Timeline(tmp_path, said)
    start = live.time.time()
    timeline("start", at=start, end=start + 65)
    timeline("attack", attack=NMAP, by=[host("guest-1", "10.9.9.9")], targets=["10.0.0.2"], at=start + 2)
    timeline("attack", attack=FLOOD, by=[host("guest-2", "10.9.9.8")], targets=["10.0.0.3"], at=start + 3)
    timeline("tick")
    notice(tmp_path / "notice.log", "PyAD::Recon", "10.9.9.9", "10.0.0.2")
    notice(tmp_path / "notice.log", "PyAD::Recon", "8.8.8.8", "10.0.0.3")
    notice(tmp_path / "notice.log", "CaptureLoss::Too_Much_Loss", "10.9.9.9", "10.0.0.2")
    (tmp_path / "notice.log").open("a").write('{"note": "half a l')
    timeline("tick")
    timeline("ended", attack=NMAP, at=start + 60)
    timeline("over", at=start + 65)
    text = said.getvalue()
    assert "00:02  attack  guest-1 10.9.9.9 > 10.0.0.2: nmap -sS  [expect recon]" in text
    assert text.count("notice  PyAD::Recon  so it is") == 2
    assert "01:00  ended   recon: nmap -sS" in text
    assert "\033" not in text
    found = text.splitlines()[-2:]
    assert "nmap -sS" in found[0] and "recon         after " in found[0]
    assert "not found as such; Recon after" in found[1]
