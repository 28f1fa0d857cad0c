"""The secret that Zeek and the bridge share: read from its file with care, made where it is not there yet."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from pyad.errors import PyadError, printable

MODE = 0o640  # its owner writes, a group that Zeek's user is in reads
MIN_LENGTH = 16  # characters
_RANDOM_BYTES = 32
_MAX_BYTES = 4096
_OTHERS = 0o007


def read_or_create(path: Path) -> tuple[str, bool]:
    """The secret in the file, and whether it was made just now. Whoever comes first, Zeek's side or ours, makes it.

    Raises PyadError where the file cannot be used or made, with what to do.
    """
    try:
        path.stat()
    except FileNotFoundError:
        with suppress(FileExistsError):  # someone else was faster: theirs it is
            _create(path)
            return read(path), True
    except OSError:
        pass  # reading tells what is wrong
    return read(path), False


def read(path: Path) -> str:
    """The secret in the file, without the blanks around it. Raises PyadError where it is none or others can read it."""
    shown = printable(str(path))
    try:
        # Not to wait for ever should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PyadError(f"{shown}: the secret cannot be read ({error.strerror}); {_readable(path)}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PyadError(f"{shown}: the secret must be in a regular file; set bridge.secret_file to another one")
        if status.st_mode & _OTHERS:
            raise PyadError(
                f"{shown}: every user of this machine can read or change the secret; "
                f"make a new one: rm {shown}, start again, then chgrp it to a group that Zeek's user is in"
            )
        raw = os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        text = raw.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if len(raw) > _MAX_BYTES or len(text) < MIN_LENGTH or not text.isprintable() or " " in text:
        raise PyadError(
            f"{shown}: a secret is one line of at least {MIN_LENGTH} ASCII characters without blanks; "
            f"remove the file and start again, or: openssl rand -hex {_RANDOM_BYTES} > {shown}"
        )
    return text


def _create(path: Path) -> None:
    """Make the file with a new secret in it. FileExistsError where there is one by now."""
    shown = printable(str(path))
    # Linked to its name when it is whole: no reader ever sees half a secret.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, MODE)  # whatever the umask
                file.write(os.urandom(_RANDOM_BYTES).hex().encode() + b"\n")
                file.flush()
                os.fsync(descriptor)
            os.link(unfinished, path)
        finally:
            unfinished.unlink()
    except FileExistsError:
        raise
    except OSError as error:
        raise PyadError(
            f"{shown}: there is no secret and it cannot be made ({error.strerror}); make it as root: "
            f"openssl rand -hex {_RANDOM_BYTES} > {shown}; chmod 640 {shown}; or set bridge.secret_file"
        ) from None


def _readable(path: Path) -> str:
    shown = printable(str(path))
    return f"let the group of this user read it (chgrp GROUP {shown}; chmod 640 {shown}) or set bridge.secret_file"
