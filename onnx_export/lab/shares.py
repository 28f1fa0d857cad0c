"""File shares and nightly copies: SMB by Samba, rsync by its daemon or over SSH."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import habits, sandbox
from .clients import SSH
from .plan import PASSWORD, USER, ZONE
from .servers import _daemon

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context

_SHARES = ("public", "scans", "reports")
_MEGABYTES = 4  # what one host's copy holds at most; it lies in memory


def smb_server(ctx: Context) -> None:
    """Samba with three shares for the lab's user, all its files in the lab's work folder."""
    home = ctx.work / f"samba.{ctx.host.name}"
    private = home / "private"
    for folder in (private, *(home / share for share in _SHARES)):
        folder.mkdir(parents=True)
        folder.chmod(0o700 if folder is private else 0o777)
    for share in _SHARES:
        for number in range(ctx.rng.randint(4, 30)):
            file = home / share / f"{ctx.rng.choice(['list', 'scan', 'form', 'plan'])}{number}.dat"
            file.write_bytes(os.urandom(int(ctx.rng.randint(500, 150_000) * ctx.plan.volume)))
            file.chmod(0o666)
    least = ctx.rng.choice(["SMB2_02", "SMB2_10", "SMB3_00"])
    signing = ctx.rng.choice(["auto", "mandatory"])
    config = home / "smb.conf"
    folders = "".join(
        f"{name} = {private}\n"
        for name in (
            "private dir",
            "lock directory",
            "state directory",
            "cache directory",
            "pid directory",
            "ncalrpc dir",
        )
    )
    config.write_text(
        f"[global]\nworkgroup = STMARY\nserver role = standalone server\npassdb backend = tdbsam:{private}/users.tdb\n"
        f"{folders}log file = /dev/null\nload printers = no\nprinting = bsd\nprintcap name = /dev/null\n"
        f"disable spoolss = yes\nserver min protocol = {least}\nserver signing = {signing}\nmap to guest = never\n"
        "disable netbios = yes\nsmb ports = 445\n"
        + "".join(f"[{share}]\npath = {home / share}\nread only = no\n" for share in _SHARES)
    )  # fmt: skip
    sandbox.sh(f"printf '%s\\n%s\\n' {PASSWORD} {PASSWORD} | smbpasswd -c {config} -L -s -a {USER}")
    _daemon(ctx, ["smbd", "-F", "--no-process-group", "--debug-stdout", "-s", str(config)])


def _smb(ctx: Context, dialect: list[str], lines: list[str], password: str = PASSWORD) -> None:
    """One smbclient session; its lines are typed one after the other, with pauses between."""
    files = habits.some(ctx, "files")
    if files is None:
        return
    args = [
        "smbclient",
        f"//{files.ip}/{ctx.rng.choice(_SHARES)}",
        "-s",
        "/dev/null",
        "-U",
        f"{USER}%{password}",
        *dialect,
    ]
    habits.typed(ctx, args, lines, 10, _own(ctx))


def _own(ctx: Context) -> Path:
    folder: Path = ctx.work / f"own.{ctx.host.name}"
    folder.mkdir(exist_ok=True)
    return folder


def smb_client(ctx: Context, period: float = 900, hold: float = 0.3) -> None:
    """A desktop or a device at the file share: looks, fetches, stores; one time in fifteen with a wrong password first.

    A share of `hold` of the machines keeps a session for minutes, as a mounted drive does.
    """
    period, holds = habits.around(ctx, period, 1.8), ctx.rng.random() < hold
    dialect = ctx.rng.choice([[], ["-m", "SMB2"], ["-m", "SMB3"], ["--client-protection=encrypt", "-m", "SMB3"],
                              ["--client-protection=sign"]])  # fmt: skip
    mine, size = f"{ctx.host.name}.out", ctx.rng.choice([2_000, 30_000, 300_000])
    while ctx.pause(period, 0.8):
        ctx.resolve(f"files.{ZONE}")
        (_own(ctx) / mine).write_bytes(os.urandom(max(200, int(size * ctx.rng.uniform(0.2, 1.5) * ctx.plan.volume))))
        if ctx.rng.random() < 1 / 15:
            _smb(ctx, dialect, ["ls"], "old-" + PASSWORD)
        kinds = [
            ["ls"],
            ["ls", f"put {mine}"],
            ["ls", "prompt off", "mget *1.dat"],
            [f"put {mine}", f"get {mine} back.dat"],
        ]
        lines = ctx.rng.choice(kinds)
        if holds:
            lines = lines + ["ls"] * ctx.rng.randint(4, 20)
        _smb(ctx, dialect, lines)


def rsync_server(ctx: Context) -> None:
    """The rsync daemon that takes the nightly copies (also a folder for those that come over SSH)."""
    store = ctx.work / "store"
    store.mkdir(exist_ok=True)
    store.chmod(0o777)
    config = ctx.work / "rsyncd.conf"
    config.write_text(
        f"uid = root\ngid = root\nuse chroot = no\nreverse lookup = no\npid file = {ctx.work}/rsyncd.pid\n"
        f"[night]\npath = {store}\nread only = no\n"
    )
    _daemon(ctx, ["rsync", "--daemon", "--no-detach", "--port=873", f"--config={config}"])


def rsync_client(ctx: Context, period: float = 86_400, at: float = 3600, megabytes: float = 2) -> None:
    """Copies this machine's changed files to the file server `at` seconds after the start, then every `period`.

    To the daemon or over SSH, compressed or not, in one run or one run for each folder, as drawn.
    """
    ssh, packed, folders = ctx.rng.random() < 0.5, ctx.rng.random() < 0.5, ctx.rng.choice([1, 1, 3, 6])
    total = int(min(_MEGABYTES, habits.around(ctx, megabytes)) * 1e6 * ctx.plan.volume)
    data = _own(ctx) / "night"
    files = ctx.plan.one("files").ip
    wait = habits.around(ctx, at, 1.3)
    while ctx.pause(wait, 0.05):
        wait = period
        for number in range(folders):
            folder = data / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            for file in range(ctx.rng.randint(2, 8)):
                (folder / f"{file}.db").write_bytes(os.urandom(total // folders // 5))
            args = ["rsync", "-rt", "--timeout=20", *(["-z"] if packed else []), f"{folder}/"]
            if ssh:
                shell = " ".join(["sshpass", "-p", PASSWORD, "ssh", *SSH])
                args += ["-e", shell, f"{USER}@{files}:/run/lab/store/{ctx.host.name}-{number}/"]
            else:
                args.append(f"rsync://{files}/night/{ctx.host.name}-{number}/")
            ctx.command(args, 60)
            if not ctx.pause(2, 0.9):
                return
