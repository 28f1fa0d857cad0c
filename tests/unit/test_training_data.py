"""What trains, validates and tests: sources of labelled connections, the registry's split, overlap between groups."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from onnx_export import overlap
from onnx_export.data import load
from onnx_export.registry import load_registry
from onnx_export.sources import labelled_files, read_labelled
from pyad.features import FEATURES

DATA = Path(__file__).parents[1] / "data"
HEAD = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
NAMES = "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state".split()
TYPES = "time string addr port addr port enum string interval count count string".split()


def _set(folder, use="train", **more):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sets.yaml").write_text(json.dumps({"sets": {folder.name: {"use": use, "terms": "ours", **more}}}))


def _only(folder):
    registry = load_registry([folder])
    ((dataset, path),) = labelled_files(folder, registry)
    ((name, records),) = read_labelled(dataset, path, registry.of(dataset))
    return name, records


def test_a_log_with_label_rules_beside_it_is_a_set(tmp_path):
    site = tmp_path / "site"
    _set(site)
    for name in ("hospital.conn.log.gz", "hospital.pcap", "hospital.labels.yaml"):
        shutil.copy(DATA / name, site / name)
    name, records = _only(site)
    assert name == "site/hospital.conn.log"  # of log and capture the log
    labels = {r["label"] for r in records}
    assert {"benign", "recon", "brute_force"} <= labels


def test_a_log_with_the_authors_labels_as_the_stratosphere_laboratory_writes_it(tmp_path):
    site = tmp_path / "site"
    _set(site, labels={"PartOfAHorizontalPortScan": "recon", "Benign": "benign"})
    fields = "\t".join(["#fields", *NAMES, "tunnel_parents   label   detailed-label"])
    types = "\t".join(["#types", *TYPES, "set[string]   string   string"])
    row = "\t".join("1.5 C1 10.0.0.1 4000 10.0.0.2 23 tcp - 0.1 0 0 S0".split())
    bad = f"{row}\t-   Malicious   PartOfAHorizontalPortScan\n"
    good = f"{row.replace('C1', 'C2')}\t-   Benign   -\n"
    (site / "x.conn.log.labeled").write_text(f"{HEAD}{fields}\n{types}\n{bad}{good}")
    _, records = _only(site)
    assert [(r["uid"], r["label"], r["label_detail"]) for r in records] == [
        ("C1", "recon", "PartOfAHorizontalPortScan"), ("C2", "benign", "Benign"),
    ]  # fmt: skip
    _set(site)
    with pytest.raises(ValueError, match="label 'PartOfAHorizontalPortScan' is no class; map it under `labels`"):
        _only(site)


def test_a_set_nobody_described_is_refused(tmp_path):
    (tmp_path / "site").mkdir()
    with gzip.open(tmp_path / "site" / "new.jsonl.gz", "wt") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="no set 'new' is registered: describe it"):
        load([tmp_path / "site"])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("clean", ["train", "validation", "test", "train", "test", "test", "train"]),
        ("lab", ["train", "validation", "test", "test", "test", "test", "train"]),
        ("public", [None, None, "test", "train", "test", "test", None]),
        ("everything", ["train", "validation", "test", "train", "train", "test", "train"]),
    ],
)
def test_where_a_capture_goes_under_each_choice(choice, expected):
    registry = load_registry()
    recorded = {f"lab/{g}": g for g in ("train", "validation", "test")}
    captures = [("lab", "lab/train"), ("lab", "lab/validation"), ("lab", "lab/test"), ("iot-sentinel", "x"),
                ("iot23", "x"), ("mqttset", "x"), ("lab-1", "x")]  # fmt: skip
    assert [registry.group(d, c, recorded if d == "lab" else {}, choice) for d, c in captures] == expected


def test_no_set_with_non_commercial_terms_trains_anything():
    sets = load_registry().sets
    guarded = {n for n, s in sets.items() if "non-commercial" in s["terms"] or "NC" in s["terms"]}
    assert guarded == {"mqttset", "markofu"}
    assert all(sets[n]["use"] == "test" and not sets[n].get("research") for n in guarded)
    assert all({"use", "terms", "get"} <= s.keys() for s in sets.values())


def test_overlap_finds_devices_and_connections_on_both_sides(tmp_path):
    site = tmp_path / "site"
    _set(site, validation=["b"])
    row = {"ts": 1.0, "uid": "C1", "id.orig_h": "10.0.0.1", "id.resp_h": "10.0.0.2", "proto": "tcp", "label": "benign"}

    def write(*rows):
        with gzip.open(site / "site.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(r) + "\n" for r in rows)
        (found,) = overlap.shared(overlap.held([site], "clean"))
        return found

    same = write({**row, "capture": "a"}, {**row, "capture": "b", "ts": 9.0, "uid": "C7"})
    assert (same.devices, same.rows, same.of) == (("10.0.0.1",), 1, 1)
    assert not overlap.clean([same])
    other = write({**row, "capture": "a"}, {**row, "capture": "b", "id.orig_h": "10.0.0.9"})
    assert overlap.clean([other])


def test_rows_of_one_set_are_found_in_another(tmp_path):
    rows = {"ours": {"ts": 1.0, "capture": "a"}, "theirs": {"ts": 2.0, "capture": "b"}}
    for (name, more), use in zip(rows.items(), ("train", "test")):
        _set(tmp_path / name, use=use)
        row = {"uid": "C1", "id.orig_h": "10.0.0.1", "id.resp_h": "10.0.0.2", "proto": "tcp", "label": "benign", **more}
        with gzip.open(tmp_path / name / f"{name}.jsonl.gz", "wt") as file:
            file.write(json.dumps(row) + "\n")
    found = overlap.held([tmp_path / "ours", tmp_path / "theirs"], "clean")
    (same,) = overlap.across(found)
    assert (same.dataset, same.pair, same.rows, same.of) == ("ours, theirs", ("train", "test"), 1, 1)
    assert not overlap.shared(found)


def test_a_capture_is_seen_once_more_with_each_responder_nearer_or_farther(tmp_path):
    site = tmp_path / "site"
    _set(site)
    same = {"capture": "site/a.pcap", "proto": "udp", "label": "benign", "id.orig_h": "10.0.0.9", "id.resp_p": 53}
    rows = [
        {**same, "ts": 10.0 * i, "id.orig_p": i, "id.resp_h": f"10.0.0.{i % 2}", "duration": 0.002 if i < 28 else 9}
        for i in range(30)
    ]
    with gzip.open(site / "site.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    first, again = load([site]).train
    as_it_is, moved = (c.x[:, FEATURES.index("duration")] for c in (first, again))
    assert len(set(as_it_is[:28])) == 1
    assert len(set(moved[:28].tolist())) == 2 and as_it_is[0] not in moved[:28]
    assert as_it_is[28:].tolist() == moved[28:].tolist()  # what takes long waits for something else
