"""Record one scenario: build the network, let everybody work, attack on time, write the capture."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labels, network, rooms, sandbox, wan
from .catalog import scenario
from .context import Context
from .plan import PASSWORD, USER, Host, Plan, make_plan

if TYPE_CHECKING:
    from .scenario import Attack, Scenario

Hook = Callable[..., None]  # live.Timeline, told what happens
_EVERYDAY = "day"


@dataclass
class _Running:
    attack: Attack
    by: list[Host]
    targets: list[str]
    pids: set[int]
    start: float
    end: float | None = None


def _nothing(_: str, /, **__: Any) -> None:
    """Nobody watches."""


def _configure(plan: Plan) -> None:
    """Account, keys and configuration files, all in the lab's private work folder."""
    work = sandbox.WORK
    secret = sandbox.sh(f"openssl passwd -6 {PASSWORD}").strip()
    for name, line in (
        ("passwd", f"{USER}:x:4242:4242::/run/lab:/bin/sh"),
        ("shadow", f"{USER}:{secret}:19000:0:99999:7:::"),
    ):
        (work / name).write_text(Path(f"/etc/{name}").read_text() + line + "\n")
        sandbox.sh(f"mount --bind {work / name} /etc/{name}")
    sandbox.sh(
        f"cd {work} && ssh-keygen -q -t ed25519 -N '' -f hostkey && mosquitto_passwd -b -c mqtt {USER} {PASSWORD}"
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        " -nodes -days 30 -subj /CN=stmary.example -keyout key.pem -out cert.pem"
    )
    (work / "sshd_config").write_text(
        f"HostKey {work}/hostkey\nPasswordAuthentication yes\nUsePAM no\n"
        f"MaxAuthTries {plan.login_tries}\nPidFile none\nUseDNS no\n"
        "MaxStartups 60:30:100\n"
    )
    (work / "mosquitto.conf").write_text(
        f"listener 1883\npassword_file {work}/mqtt\nallow_anonymous false\nuser root\n"
    )
    (work / "snmpd.conf").write_text("rocommunity public\nsysName lab\nsysDescr Network device\n")


def _start(
    host: Host, plan: Plan, times: tuple[float, float], work: list[tuple[str, dict[str, Any]]], salt: str
) -> int:
    """Fork a process in the host's namespace, one thread for each thing it does; its id. Attacks know no haste."""
    haste = plan.haste if salt == _EVERYDAY else 1.0

    def live() -> None:
        sandbox.join(host.name)
        os.chdir(sandbox.WORK)
        log = os.open(sandbox.WORK / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        threads = []
        for number, (name, parameters) in enumerate(work):
            rng = random.Random(f"{plan.seed}/{host.name}/{name}/{number}/{salt}")
            ctx = Context(host, plan, rng, *times, sandbox.WORK, haste)
            threads.append(threading.Thread(target=rooms.find(name), args=(ctx,), kwargs=parameters, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return _fork(live)


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(0)


def _sources(plan: Plan, attack: Attack) -> list[Host]:
    found: list[Host] = []
    for word in attack.by:
        kind, _, value = word.partition(":")
        if kind == "role":
            role, _, count = value.partition(":")
            found += plan.role(role)[: int(count)]
        else:
            found += [h for h in plan.hosts if h.name == word]
    return found


def _targets(plan: Plan, attack: Attack, by: list[Host]) -> list[str]:
    found: list[str] = []
    for word in attack.to:
        kind, _, value = word.partition(":")
        if kind == "subnet":
            found.append(plan.subnets[value])
        elif kind == "far":  # another site behind the router, where nobody answers
            found.append(f"10.251.{value}.0/24")
        elif kind == "internet":
            found.append(plan.internet[int(value)])
        elif kind == "gateway":  # as the first target, or else the attacker, sees it
            near = next((h for h in plan.hosts if found and h.ip == found[0]), by[0])
            found.append(plan.leg(near.segment))
        else:
            found += [h.ip for h in plan.hosts if word in (h.name, h.role) and h not in by]
    return found


def record(
    name: str, group: str, seed: int, out: Path, title: str, *, snaplen: int = 0, keep_log: bool = False,
    haste: float = 0.0, duration_s: float = 0.0, on_event: Hook = _nothing,
) -> None:  # fmt: skip
    """Record a scenario into out/title.pcap with .labels.yaml, .hosts.tsv, .scenario.yaml (only inside the sandbox)."""
    sandbox.check_inside()
    sandbox.prepare()
    planned = scenario(name, group, seed, haste, duration_s)
    plan = make_plan(seed, planned.extra, planned.attackers, planned.volume, planned.haste, planned.begins_at)
    _configure(plan)
    _warm_up()
    network.build(plan)
    capture = network.Capture(out / f"{title}.pcap", snaplen)
    on_event("ready", plan=plan)
    begin = time.time()
    end = begin + planned.duration_s
    on_event("start", at=begin, end=end)
    _fork(lambda: wan.run(plan, end))
    for host in plan.hosts:
        _start(host, plan, (begin, end), list(host.tasks), _EVERYDAY)
    running = _attack(plan, planned.attacks, (begin, end), on_event)
    on_event("over", at=time.time())
    said = capture.stop()
    # the first rule that matches a connection names it: those that leave the port open come last
    open_ = [r.attack.shape == "direct" and bool(r.attack.match) and "resp_port" not in r.attack.match for r in running]
    exact_first = [r for _, r in sorted(zip(open_, running, strict=True), key=lambda pair: pair[0])]
    found = [rule for r in exact_first
             for rule in labels.rules(r.attack, plan, r.by, r.targets, r.start, r.end or time.time())]  # fmt: skip
    labels.write(out / f"{title}.labels.yaml", f"{title}.pcap", found, clean=not running)
    _write_hosts(out / f"{title}.hosts.tsv", plan, running)
    _write_scenario(out / f"{title}.scenario.yaml", name, group, plan, planned, running)
    if keep_log:
        (out / f"{title}.log").write_bytes((sandbox.WORK / "log").read_bytes())
    sys.stdout.write(f"{title}: {capture.path.stat().st_size / 1e6:.1f} MB; {said}\n")
    sys.stdout.flush()
    os._exit(0)  # and with this process, every other one of the lab ends


def _warm_up() -> None:
    """Import the heavy libraries once, before the hosts fork."""
    import paho.mqtt.client
    import pydicom
    import pyftpdlib.servers
    import pynetdicom

    for module in (paho.mqtt.client, pydicom, pyftpdlib.servers, pynetdicom):
        logging.getLogger(module.__name__.split(".")[0]).setLevel(logging.CRITICAL)


def _reap() -> set[int]:
    """Collect every child that has ended, adopted ones too (this is process 1 here)."""
    gone: set[int] = set()
    while True:
        try:
            pid = os.waitpid(-1, os.WNOHANG)[0]
        except ChildProcessError:
            return gone
        if pid == 0:
            return gone
        gone.add(pid)


def _attack(plan: Plan, planned: tuple[Attack, ...], times: tuple[float, float], on_event: Hook) -> list[_Running]:
    """Start each attack on time and note when it is over; returns at the end of the recording."""
    begin, end = times
    waiting = sorted(planned, key=lambda a: a.at)
    running: list[_Running] = []
    while (now := time.time()) < end:
        while waiting and now >= begin + waiting[0].at:
            attack = waiting.pop(0)
            by = _sources(plan, attack)
            targets = _targets(plan, attack, by)
            work = [(attack.run, {"targets": targets, **attack.with_})]
            pids = {_start(h, plan, times, work, f"{attack.at}") for h in by}
            running.append(_Running(attack, by, targets, pids, now))
            on_event("attack", attack=attack, by=by, targets=targets, at=now)
        gone = _reap()
        for r in running:
            r.pids -= gone
            if not r.pids and r.end is None:
                r.end = now
                on_event("ended", attack=r.attack, at=now)
        on_event("tick")
        time.sleep(0.2)
    return running


def _write_scenario(
    path: Path, name: str, group: str, plan: Plan, planned: Scenario, running: list[_Running]
) -> None:  # fmt: skip
    import yaml

    said = {
        "scenario": name, "group": group, "seed": plan.seed, "recorded_s": planned.duration_s,
        "haste": round(plan.haste, 3), "compress": plan.haste if planned.stretched else 1,
        "begins_at": round(plan.begins_at, 2), "hosts": sum(h.role not in ("attacker", "internet") for h in plan.hosts),
        "attacks": [
            {"label": r.attack.label, "detail": r.attack.detail, "shape": r.attack.shape, "start": round(r.start, 3),
             "end": round(r.end or time.time(), 3), "by": [h.ip for h in r.by], "targets": r.targets}
            for r in running
        ],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(said, sort_keys=False, width=110, default_flow_style=None))


def _write_hosts(path: Path, plan: Plan, running: list[_Running]) -> None:
    lines = ["host\trole\taddress\tmac\tdoes"]
    for host in plan.hosts:
        does = ", ".join(name for name, _ in host.tasks)
        for r in running:
            if host in r.by:
                when = f"[{r.start:.1f} .. {r.end or time.time():.1f}]"
                does += f" | {r.attack.label}: {r.attack.detail} -> {' '.join(r.targets)} {when}"
        lines.append(f"{host.name}\t{host.role}\t{host.ip}\t{host.mac}\t{does}")
    path.write_text("\n".join(lines) + "\n")
