"""Run the lab in namespaces of its own (network, mounts, processes), and only there.

The recorder replaces itself with `unshare`: when that process ends, however it
ends, the kernel kills everything started inside and drops every interface. So
there is nothing to clean up after a crash, and no interface leads out.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

TOOLS = {
    "unshare": "util-linux", "ip": "iproute2", "tcpdump": "tcpdump", "ethtool": "ethtool",
    "nft": "nftables", "nmap": "nmap", "hydra": "hydra", "hping3": "hping3",
    "mosquitto": "mosquitto", "sshd": "openssh-server", "ssh": "openssh-client",
    "sshpass": "sshpass", "snmpd": "snmpd", "dnsmasq": "dnsmasq", "arpspoof": "dsniff",
    "arping": "arping", "slowhttptest": "slowhttptest", "sqlmap": "sqlmap",
    "busybox": "busybox", "openssl": "openssl", "smbd": "samba", "smbpasswd": "samba", "smbclient": "smbclient",
    "rsync": "rsync", "curl": "curl", "dnsspoof": "dsniff", "iodine": "iodine", "iodined": "iodine",
    "ping": "iputils-ping",
    "snmpset": "snmp", "medusa": "medusa", "ncrack": "ncrack", "onesixtyone": "onesixtyone",
    "nmblookup": "samba-common-bin",
}  # fmt: skip
MODULES = {
    "pynetdicom": "pynetdicom",
    "paho.mqtt": "paho-mqtt",
    "pyftpdlib": "pyftpdlib",
    "yaml": "PyYAML",
    "impacket": "impacket",
}
WORK = Path("/run/lab")
_OUTER = "PYAD_LAB_OUTER_NET"
_CLONE_NEWNET = 0x40000000
_NEIGHBOURS = 16_384
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> list[str]:
    """What this machine lacks to record, as sentences; empty when all is there."""
    path = f"{os.environ.get('PATH', '')}:{_SBIN}"
    faults = [] if os.geteuid() == 0 else ["root is needed to make network namespaces"]
    tools = sorted(pkg for tool, pkg in TOOLS.items() if not shutil.which(tool, path=path))
    if tools:
        faults.append(f"missing tools, Debian packages: {' '.join(tools)}")
    modules = sorted(pypi for mod, pypi in MODULES.items() if not _has_module(mod))
    if modules:
        faults.append(f"missing Python packages: {' '.join(modules)}")
    return faults


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def warnings() -> list[str]:
    """What will work but may spoil the recording."""
    limit = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
    if limit.exists() and int(limit.read_text()) < _NEIGHBOURS:
        return [
            f"the neighbour table, which all namespaces share, holds {limit.read_text().strip()} entries: enough"
            f" for one recording without sweeps; for more: `sysctl -w net.ipv4.neigh.default.gc_thresh3={_NEIGHBOURS}`"
        ]
    return []


def enter(args: list[str]) -> NoReturn:
    """Replace this process by the recorder running inside new namespaces."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{_SBIN}"
    os.environ[_OUTER] = str(_net_inode())
    os.execvp(
        "unshare",
        ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
         "--mount-proc", sys.executable, "-m", __package__ or "lab", "inside", *args],
    )  # fmt: skip


def check_inside() -> None:
    """Refuse to go on unless this process sits in fresh namespaces with no way out."""
    interfaces = [name for _, name in socket.if_nameindex()]
    outer = os.environ.get(_OUTER, "")
    if os.getpid() != 1 or not outer or outer == str(_net_inode()) or interfaces != ["lo"]:
        raise SystemExit("lab: not inside namespaces of its own; start it with the `record` command")


def prepare() -> None:
    """Private /run (with the lab's work folder) and private account files for sshd."""
    sh("mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/lab /run/netns /run/sshd")
    sh("mount -t tmpfs tmpfs /var/lib/snmp 2>/dev/null || true")


def join(namespace: str) -> None:
    """Move the calling thread into a named network namespace of the lab."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{namespace}").open() as f:
        if libc.setns(f.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {namespace}")
    if str(_net_inode()) == os.environ.get(_OUTER):
        raise SystemExit("lab: refusing to run on the machine's own network")


def sh(command: str, *, check: bool = True) -> str:
    """Run a shell line; its output. The error says which line and what it printed."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"lab: `{command[:200]}` failed: {done.stderr.strip()[:400]}")
    return done.stdout


def _net_inode() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino
