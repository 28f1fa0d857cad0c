"""The hospital lab records a capture in namespaces of its own, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from onnx_export.lab import sandbox

ROOT = Path(__file__).parents[2]


def _why_not() -> str:
    faults = sandbox.missing()
    if not faults:
        probe = subprocess.run(
            ["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
        )
        faults = ["namespaces cannot be made here"] if probe.returncode else []
    return "; ".join(faults)


def test_a_ten_second_recording(tmp_path: Path) -> None:
    if why := _why_not():
        pytest.skip(why)
    before = sorted(Path("/sys/class/net").iterdir())
    command = ["-m", "onnx_export.lab", "record", "--seed", "3", "--scenario", "smoke", "--out", str(tmp_path)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, timeout=90)
    capture = (tmp_path / "smoke.pcap").read_bytes()
    assert capture[:4] == b"\xd4\xc3\xb2\xa1"
    assert len(capture) > 2_000
    assert "default: benign" in (tmp_path / "smoke.labels.yaml").read_text()
    assert len((tmp_path / "smoke.hosts.tsv").read_text().splitlines()) > 20
    assert sorted(Path("/sys/class/net").iterdir()) == before


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "TOOLS", {"no-such-tool": "some-package"})
    assert "some-package" in " ".join(sandbox.missing())


def test_the_recorder_refuses_to_run_outside(tmp_path: Path) -> None:
    command = ["-m", "onnx_export.lab", "inside", "--seed", "3", "--scenario", "smoke", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "lab:" in done.stderr
