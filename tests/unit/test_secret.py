import os
import stat

import pytest

from pyad.errors import PyadError
from pyad.secret import read, read_or_create

GOOD = "0123456789abcdef"


def write(path, content, mode=0o640):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def test_it_is_made_once(tmp_path):
    path = tmp_path / "pyad" / "secret"
    before = os.umask(0o077)
    try:
        secret, made = read_or_create(path)
    finally:
        os.umask(before)
    assert made and len(secret) == 64 and int(secret, 16)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text() == secret + "\n"
    assert read_or_create(path) == (secret, False)
    assert [p.name for p in path.parent.iterdir()] == ["secret"]


def test_two_are_never_the_same(tmp_path):
    assert read_or_create(tmp_path / "a")[0] != read_or_create(tmp_path / "b")[0]


def test_blanks_around_it_do_not_count(tmp_path):
    assert read(write(tmp_path / "s", f"  {GOOD}\r\n\n")) == GOOD


@pytest.mark.parametrize("mode", [0o644, 0o642, 0o604, 0o666])
def test_what_others_can_read_or_write_is_no_secret(tmp_path, mode):
    with pytest.raises(PyadError, match=r"every user of this machine.*rm .*secret"):
        read_or_create(write(tmp_path / "secret", GOOD, mode))


@pytest.mark.parametrize("content", ["", "\n", "short", "two lines of\ntext that is long", "ä" * 20, b"\xff" * 20])
def test_what_is_no_secret_is_refused_with_what_to_do(tmp_path, content):
    with pytest.raises(PyadError, match=r"at least 16 ASCII characters.*openssl rand"):
        read(write(tmp_path / "secret", content))


def test_a_huge_file_is_refused(tmp_path):
    with pytest.raises(PyadError, match="one line"):
        read(write(tmp_path / "secret", "x" * 5000))


def test_no_folder_no_file_no_pipe(tmp_path):
    with pytest.raises(PyadError, match="regular file"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PyadError, match="regular file"):
        read(tmp_path / "pipe")
    with pytest.raises(PyadError, match="cannot be read"):
        read(tmp_path / "missing")


def test_where_it_cannot_be_made_the_way_out_is_told(tmp_path):
    with pytest.raises(PyadError, match=r"cannot be made.*openssl rand.*bridge.secret_file"):
        read_or_create(tmp_path / "no" / "such" / "secret")


def test_a_link_to_nowhere_is_not_followed_to_make_it(tmp_path):
    (tmp_path / "secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PyadError, match="cannot be read"):
        read_or_create(tmp_path / "secret")
    assert not (tmp_path / "elsewhere").exists()
