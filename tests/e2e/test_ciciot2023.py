"""The paper's task on made-up tables of CICIoT2023's form. Needs the train extra."""

import gzip

import numpy as np
import pytest

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="needs the train extra: make test-train installs it")

from onnx_export import ciciot2023  # noqa: E402

HEAD = "Header_Length,Rate,Number"


def _tables(folder, shift, rows=400):
    rng = np.random.default_rng(3)
    for number, name in enumerate(("XSS", "BenignTraffic3", "SqlInjection")):
        values = rng.normal(size=(rows, 2)) + shift * number
        with gzip.open(folder / f"{name}.pcap.csv.gz", "wt") as f:
            f.write(HEAD + "\n" + "".join(f"{a:.4f},{b:.4f},{10 * number}\n" for a, b in values))


def test_read(tmp_path):
    _tables(tmp_path, 2)
    t = ciciot2023.split(ciciot2023.read(tmp_path), 1)
    assert t.classes == ("BenignTraffic", "SqlInjection", "XSS") and t.features == ("Header_Length", "Rate")
    assert np.bincount(t.part).tolist() == [720, 240, 240]
    # Whole blocks of neighbours: a part changes at most once a block.
    assert (np.diff(t.part[:400]) != 0).sum() < 20


def test_a_large_class_is_thinned_evenly_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(ciciot2023, "_ROWS", 50)
    for part in (1, 2):  # of one class, as the official files are
        text = "".join(f"{n},0,10\n" for n in range(1000 * part, 1000 * part + 700))
        (tmp_path / f"XSS{part}.csv").write_text(HEAD + "\n" + text)
    rows = ciciot2023.read(tmp_path).classes["XSS"][:, 0]
    assert 50 < len(rows) <= 100
    assert set(np.diff(rows[rows < 2000])) == set(np.diff(rows[rows >= 2000])) == {16}
    assert len(ciciot2023.split(ciciot2023.read(tmp_path), 1).y) <= 50


def test_a_row_of_one_part_is_of_no_other(tmp_path):
    (tmp_path / "XSS.csv").write_text(HEAD + "\n" + "1,2,10\n" * 40)
    assert len(set(ciciot2023.split(ciciot2023.read(tmp_path), 1).part.tolist())) == 1


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no .*csv"),
        ({"A.csv": HEAD + "\n1,x,3\n"}, "A.csv: line 2: a value is no number"),
        ({"A.csv": HEAD + "\n1\n"}, "A.csv: line 2"),
        ({"A.csv": HEAD + "\n1,2,3\n", "B.csv": "Other\n1\n"}, "B.csv: its columns"),
    ],
)
def test_bad_tables(tmp_path, files, said):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        ciciot2023.read(tmp_path)


def test_every_model_learns_what_there_is_and_nothing_more(tmp_path):
    _tables(tmp_path, 0)
    t = ciciot2023.split(ciciot2023.read(tmp_path), 1)
    test = t.part == 2
    macro = {n: ciciot2023.judge(m(t, 1)[test], t.y[test], 3).macro_f1 for n, m in ciciot2023.MODELS.items()}
    macro.pop("hybrid, in file order (leaks)")
    assert max(macro.values()) < 0.42  # the classes are drawn alike: nothing is there to learn
    far = tmp_path / "far"
    far.mkdir()
    _tables(far, 6)
    report = ciciot2023.report(far, [1])
    assert "| XSS | 80 | 1.000 | " in report and "| 0.00 |" in report and "3 of CICIoT2023's 34 classes" in report
