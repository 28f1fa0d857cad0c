"""The small commands with the default bundle."""

import os
import subprocess
import sys

import pytest

from pyad import cli
from pyad.paths import bundle_names


def run(capsys, *argv) -> tuple[int, str]:
    code = cli.main(list(argv))
    return code, capsys.readouterr().out


def test_the_default_bundle_verifies(capsys):
    code, out = run(capsys, "model", "verify")
    assert code == 0 and out.endswith(": ok\n")


@pytest.mark.parametrize("name", [[], ["default"], bundle_names()[:1]])
def test_show_tells_of_a_bundle_what_it_is_and_what_it_was_trained_on(capsys, name):
    code, out = run(capsys, "model", "show", *name)
    assert code == 0
    for part in ("step.onnx", "brute_force", "licence", "trained", "iot-sentinel", *bundle_names()):
        assert part in out


def test_doctor_finds_this_installation_in_order(capsys, tmp_path):
    code, out = run(capsys, "doctor", "--out", str(tmp_path / "out"))
    assert code == 0, out
    assert "FAIL" not in out
    assert any(line.startswith("ok    model") and "ExecutionProvider" in line for line in out.splitlines())


def test_doctor_names_what_is_broken(capsys, tmp_path):
    (tmp_path / "bundle.yaml").write_text("format: 99\n")
    code, out = run(capsys, "doctor", "--bundle", str(tmp_path), "--out", str(tmp_path / "out"))
    assert code == 1
    assert any(line.startswith("FAIL  model") and str(tmp_path) in line for line in out.splitlines())


def test_nothing_is_reported_to_anybody(tmp_path):
    """onnxruntime's telemetry writes an identifier below the home folder before it sends anything."""
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home)}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-m", "pyad", "model", "verify"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
