import pytest

from pyad import paths
from pyad.errors import PyadError


@pytest.fixture
def models(tmp_path, monkeypatch):
    def make(*names):
        for name in names:
            folder = tmp_path / "pkg" / "_share" / "models" / name
            folder.mkdir(parents=True)
            (folder / "bundle.yaml").write_text("")
        return tmp_path / "pkg" / "_share" / "models"

    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "pkg")
    return make


def test_by_name_folder_or_manifest(models, tmp_path):
    folder = models("a", "b")
    assert paths.find_bundle("a") == folder / "a"
    assert paths.find_bundle(str(folder / "b")) == folder / "b"
    assert paths.find_bundle(str(folder / "b" / "bundle.yaml")) == folder / "b"
    assert paths.bundle_names() == ["a", "b"]


def test_default_is_the_one_of_that_name_else_one_that_is_there(models):
    folder = models("hospital")
    assert paths.find_bundle("default") == folder / "hospital"
    models("default")
    assert paths.find_bundle("default") == folder / "default"


def test_unknown_names_are_told_with_those_that_exist(models):
    models("hospital")
    with pytest.raises(PyadError, match=r"nope: no such bundle.*hospital"):
        paths.find_bundle("nope")


def test_checkout_and_incomplete_installation(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "pkg")
    assert paths.shared_folder("models") == tmp_path / "models"
    with pytest.raises(PyadError, match="incomplete"):
        paths.shared_folder("zeek-scripts")
