"""Bad input and bad sites, through the command: one clear line, an exit code, what was finished before is kept."""

import gzip
import json
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pyad import cli
from pyad.paths import find_bundle
from tests.traffic import connections, packets, write_log, write_pcap


def run(capsys, *argv) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, code, *argv) -> str:
    """The one line on standard error of a command that must end with `code`."""
    got, _, err = run(capsys, *argv)
    assert got == code, err
    assert err.startswith("pyad: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def capture_bytes(tmp_path_factory):
    return write_pcap(tmp_path_factory.mktemp("pcap") / "net.pcap", packets(scanned=50, flooded=50)).read_bytes()


def test_not_a_capture(tmp_path, capsys):
    file = tmp_path / "report.pdf"
    file.write_bytes(b"%PDF-1.7\n\x00\xff")
    assert "report.pdf" in refused(capsys, 1, "replay", file, "--out", tmp_path / "out")


def test_an_input_that_does_not_exist(tmp_path, capsys):
    assert "nope.pcap" in refused(capsys, 1, "replay", tmp_path / "nope.pcap", "--out", tmp_path / "out")


def test_a_folder_without_anything_to_read(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    refused(capsys, 1, "replay", tmp_path / "in", "--out", tmp_path / "out")


@pytest.mark.parametrize("cut", ["header", "record"])
def test_truncated_captures(tmp_path, capsys, capture_bytes, cut):
    file = tmp_path / "cut.pcap"
    file.write_bytes(capture_bytes[:10] if cut == "header" else capture_bytes[:-3])
    assert "cut.pcap" in refused(capsys, 1, "replay", file, "--engine", "dpkt", "--out", tmp_path / "out")
    if cut == "record":
        assert summary(tmp_path / "out")["counts"]["rows"] == 200 + 50 + 50


def test_truncated_gzip_keeps_what_was_before(tmp_path, capsys, capture_bytes):
    file = tmp_path / "cut.pcap.gz"
    file.write_bytes(gzip.compress(capture_bytes)[:-2000])
    assert "cut.pcap.gz" in refused(capsys, 1, "replay", file, "--engine", "dpkt", "--out", tmp_path / "out")
    assert summary(tmp_path / "out")["counts"]["rows"] > 0
    assert (tmp_path / "out" / "notice.log").read_text().splitlines()[-1].startswith("#close")


def test_absurd_record_length(tmp_path, capsys, capture_bytes):
    file = tmp_path / "absurd.pcap"
    file.write_bytes(capture_bytes + struct.pack("<IIII", 1_700_000_500, 0, 2**31, 2**31) + b"x" * 100)
    assert "absurd.pcap" in refused(capsys, 1, "replay", file, "--engine", "dpkt", "--out", tmp_path / "out")
    assert summary(tmp_path / "out")["counts"]["rows"] == 300


def test_unknown_link_type(tmp_path, capsys):
    file = write_pcap(tmp_path / "odd.pcap", packets(scanned=5, flooded=5), linktype=147)
    assert "odd.pcap" in refused(capsys, 1, "replay", file, "--engine", "dpkt", "--out", tmp_path / "out")


def test_zero_packets_are_no_fault(tmp_path, capsys):
    file = write_pcap(tmp_path / "empty.pcap", [])
    code, out, _ = run(capsys, "replay", file, "--engine", "dpkt", "--out", tmp_path / "out")
    assert code == 0 and "nothing that calls for a notice" in out


def test_a_bad_input_among_good_ones(tmp_path, capsys):
    log = write_log(tmp_path / "conn.log", connections(background=50, scanned=5, flooded=5))
    bad = tmp_path / "bad.log"
    bad.write_text("#separator \\x09\n#fields\tts\tuid\n#types\ttime\tstring\n1.0\tC1\n")
    err = refused(capsys, 1, "replay", bad, log, "--out", tmp_path / "out")
    assert "bad.log" in err
    assert summary(tmp_path / "out")["counts"]["rows"] == 60
    assert len(summary(tmp_path / "out")["problems"]) == 1


def test_a_last_line_cut_short(tmp_path, capsys):
    log = write_log(tmp_path / "conn.log", connections(background=50, scanned=5, flooded=5))
    log.write_bytes(log.read_bytes()[:-20])
    code, _, _ = run(capsys, "replay", log, "--out", tmp_path / "out")
    assert code in (0, 1)
    assert summary(tmp_path / "out")["counts"]["rows"] == 59


def test_clocks_that_go_backwards_are_counted_and_not_fatal(tmp_path, capsys):
    rows = connections(background=50, scanned=0, flooded=0)
    log = write_log(tmp_path / "conn.log", rows + rows)
    code, out, _ = run(capsys, "replay", log, "--out", tmp_path / "out")
    assert code == 0 and "steps back" in out
    assert summary(tmp_path / "out")["counts"]["timelines"] == 2


def test_output_folder_that_cannot_be_made(tmp_path, capsys):
    log = write_log(tmp_path / "conn.log", connections(background=5, scanned=0, flooded=0))
    (tmp_path / "file").write_text("")
    assert "--out" in refused(capsys, 1, "replay", log, "--out", tmp_path / "file" / "out")
    assert "file" in refused(capsys, 1, "replay", log, "--out", tmp_path / "file")


def test_output_file_that_cannot_be_made(tmp_path, capsys):
    log = write_log(tmp_path / "conn.log", connections(background=5, scanned=0, flooded=0))
    (tmp_path / "out" / "notice.log").mkdir(parents=True)
    assert "notice.log" in refused(capsys, 1, "replay", log, "--out", tmp_path / "out")


@pytest.mark.parametrize("name", ["notice.log", "pyad.log", "summary.json.part"])
def test_a_full_device(tmp_path, capsys, name):
    log = write_log(tmp_path / "conn.log", connections(background=5))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to("/dev/full")
    err = refused(capsys, 1, "replay", log, "--out", tmp_path / "out")
    assert "No space left" in err and name.removesuffix(".part") in err


def test_a_disk_that_becomes_full_keeps_whole_lines(tmp_path):
    log = write_log(tmp_path / "conn.log", connections())
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "pyad", "replay", str(log), "--out", str(out), "--verdicts", "all", "--format", "json"],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("pyad: ") and done.stderr.count("\n") == 1 and "pyad.log" in done.stderr
    lines = (out / "pyad.log").read_text().splitlines()
    assert len(lines) > 100 and all(json.loads(line) for line in lines)
    assert not (out / "summary.json").exists()


def test_unknown_setting(tmp_path, capsys):
    config = tmp_path / "pyad.yaml"
    config.write_text("incidents:\n  incident_idle: 5\n")
    log = write_log(tmp_path / "conn.log", connections(background=5, scanned=0, flooded=0))
    err = refused(capsys, 2, "replay", log, "--out", tmp_path / "out", "--config", config)
    assert "pyad.yaml" in err and "incidents.incident_idle_s" in err


@pytest.fixture
def bundle(tmp_path) -> Path:
    return Path(shutil.copytree(find_bundle("default"), tmp_path / "bundle"))


def put_graph(bundle: Path, data: bytes) -> None:
    """Replace the step graph and its hash, as someone who means harm would."""
    import hashlib

    (bundle / "step.onnx").write_bytes(data)
    change(bundle, lambda y: y["graphs"]["step"].update(sha256=hashlib.sha256(data).hexdigest()))


def change(bundle: Path, edit) -> None:
    content = yaml.safe_load((bundle / "bundle.yaml").read_text())
    edit(content)
    (bundle / "bundle.yaml").write_text(yaml.safe_dump(content))


def refuse_bundle(tmp_path, capsys, bundle) -> str:
    log = write_log(tmp_path / "conn.log", connections(background=5, scanned=0, flooded=0))
    err = refused(capsys, 1, "replay", log, "--out", tmp_path / "out", "--bundle", bundle)
    assert refused(capsys, 1, "model", "verify", bundle) == err
    return err


def test_bundle_with_a_wrong_hash(tmp_path, capsys, bundle):
    data = bytearray((bundle / "step.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "step.onnx").write_bytes(data)
    err = refuse_bundle(tmp_path, capsys, bundle)
    assert "sha256" in err and str(bundle / "step.onnx") in err


def test_bundle_for_other_features(tmp_path, capsys, bundle):
    change(bundle, lambda y: y["features"].reverse())
    assert "feature" in refuse_bundle(tmp_path, capsys, bundle)


def test_bundle_for_other_classes(tmp_path, capsys, bundle):
    change(bundle, lambda y: y["classes"].reverse())
    assert "classes" in refuse_bundle(tmp_path, capsys, bundle)


def test_bundle_with_an_unusable_calibration(tmp_path, capsys, bundle):
    change(bundle, lambda y: y["novelty"].update(quantiles=[[0.0, 1.0]]))
    assert "novelty" in refuse_bundle(tmp_path, capsys, bundle)


def test_bundle_with_external_data(tmp_path, capsys, bundle):
    onnx = pytest.importorskip("onnx", reason="needs the dev extra: pip install 'zeek-pyad[dev]'")
    model = onnx.load(bundle / "step.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    put_graph(bundle, model.SerializeToString())
    assert "external" in refuse_bundle(tmp_path, capsys, bundle)


def test_bundle_with_a_loop(tmp_path, capsys, bundle):
    onnx = pytest.importorskip("onnx", reason="needs the dev extra: pip install 'zeek-pyad[dev]'")
    model = onnx.load(bundle / "step.onnx")
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["", "go"], ["never"], body=body))
    put_graph(bundle, model.SerializeToString())
    assert "Loop" in refuse_bundle(tmp_path, capsys, bundle)


@pytest.mark.parametrize("missing", ["bundle.yaml", "step.onnx"])
def test_incomplete_bundle(tmp_path, capsys, bundle, missing):
    (bundle / missing).unlink()
    err = refused(capsys, 1, "model", "verify", bundle)
    assert str(bundle) in err


def test_cuda_asked_for_and_absent(tmp_path, capsys):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine may have CUDA")
    log = write_log(tmp_path / "conn.log", connections(background=5, scanned=0, flooded=0))
    assert "cuda" in refused(capsys, 1, "replay", log, "--out", tmp_path / "out", "--provider", "cuda")
