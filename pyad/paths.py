"""Where the files that come with pyad are: inside the installed package, or in the checkout it runs from."""

from __future__ import annotations

from pathlib import Path

from pyad.errors import PyadError

_PACKAGE = Path(__file__).resolve().parent
_BUNDLE_MARK = "bundle.yaml"
_SAMPLE = "hospital.conn.log.gz"
DEFAULT_BUNDLE = "default"


def shared_folder(name: str) -> Path:
    """The folder `name` ("models", "zeek-scripts") of the installed wheel, else of the checkout.

    Raises PyadError where neither has it (a broken installation).
    """
    for folder in (_PACKAGE / "_share" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise PyadError(f"{name}: this installation of pyad is incomplete; install it again with: pip install zeek-pyad")


def sample_log() -> Path | None:
    """A conn.log with a scan, guessing and a flood in it that comes with pyad; None where it was left out."""
    for file in (_PACKAGE / "_share" / "sample" / _SAMPLE, _PACKAGE.parent / "tests" / "data" / _SAMPLE):
        if file.is_file():
            return file
    return None


def bundle_names() -> list[str]:
    """Names of the bundles that come with pyad."""
    return sorted(p.parent.name for p in shared_folder("models").glob(f"*/{_BUNDLE_MARK}"))


def find_bundle(name: str) -> Path:
    """The folder of a bundle given by its name, by its folder, or by the bundle.yaml in it.

    "default" is the bundle of that name, else the only one, else the last by name. Raises PyadError where there is
    no such bundle; what is inside is not looked at (pyad.model verifies it).
    """
    as_path = Path(name)
    if as_path.name == _BUNDLE_MARK and as_path.is_file():
        return as_path.parent
    if as_path.is_dir() and (as_path / _BUNDLE_MARK).is_file():
        return as_path
    names = bundle_names()
    if name in names:
        return shared_folder("models") / name
    if name == DEFAULT_BUNDLE and names:
        return shared_folder("models") / names[-1]
    known = ", ".join(names) if names else "none"
    raise PyadError(f"{name}: no such bundle; give a folder with a {_BUNDLE_MARK} in it, or one of: {known}")
