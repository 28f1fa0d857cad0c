"""The hospital's servers: real daemons where Debian has them, small honest ones otherwise."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import subprocess
import time
from typing import TYPE_CHECKING, Any

from .plan import PASSWORD, USER, ZONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context


def _daemon(ctx: Context, args: list[str]) -> None:
    subprocess.Popen(args, cwd=ctx.work)
    ctx.pause(1e9, 0)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Peers that reset are part of the network's life."""


def serve(ctx: Context, port: int, talk: Callable[[socket.socket], None]) -> None:
    """Serve TCP on a port, one thread per connection, until the recording ends."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(120)
            talk(self.request)

    with _Server(("", port), Handler) as server:
        server.timeout = 1.0
        while time.time() < ctx.end:
            server.handle_request()


def sshd(ctx: Context) -> None:
    """OpenSSH with password logins for the lab's one user."""
    _daemon(ctx, ["/usr/sbin/sshd", "-D", "-e", "-f", str(ctx.work / "sshd_config")])


def snmpd(ctx: Context) -> None:
    """Net-SNMP answering the community `public`."""
    config = ctx.work / "snmpd.conf"
    _daemon(ctx, ["snmpd", "-f", "-Lo", "-C", "-c", str(config), "udp:161"])


def mqtt_server(ctx: Context) -> None:
    """Mosquitto, plain on 1883 and over TLS on 8883; every client must log in."""
    config = ctx.work / f"mosquitto.{ctx.host.name}.conf"
    tls = f"listener 8883\ncertfile {ctx.work}/cert.pem\nkeyfile {ctx.work}/key.pem\n"
    config.write_text((ctx.work / "mosquitto.conf").read_text() + tls)
    _daemon(ctx, ["mosquitto", "-c", str(config)])


def dns_server(ctx: Context) -> None:
    """dnsmasq: the hospital's zone and the lab's internet names; everything else NXDOMAIN."""
    plan = ctx.plan
    hosts = ctx.work / f"hosts.{ctx.host.name}"
    names = {f"{h.name}.{ZONE}": h.ip for h in plan.hosts} | plan.sites
    hosts.write_text("".join(f"{ip} {name}\n" for name, ip in names.items()))
    args = [
        "dnsmasq",
        "-k",
        "--no-resolv",
        "--no-hosts",
        f"--addn-hosts={hosts}",
        "--user=root",
        "--pid-file=",
        "--local-ttl=30",
        "--log-facility=/dev/null",
        "--txt-record=txt.big.example," + ",".join(["x" * 200] * 6),
        *(f"--local=/{zone}/" for zone in (ZONE, "com", "org", "net", "example", "lan", "local", "test", "arpa")),
    ]
    _daemon(ctx, args)


def dhcp_server(ctx: Context) -> None:
    """dnsmasq as the router's DHCP server for every segment: each machine has its fixed lease."""
    plan = ctx.plan
    args = ["dnsmasq", "-k", "--port=0", "--user=root", "--pid-file=", "--log-facility=/dev/null", "--no-ping",
            "--dhcp-authoritative", f"--dhcp-leasefile={ctx.work}/leases",
            f"--dhcp-option=option:dns-server,{plan.one('dns').ip}"]  # fmt: skip
    args += [f"--dhcp-range={net.split('/')[0]},static,255.255.255.0,10m" for net in plan.subnets.values()]
    args += [f"--dhcp-host={h.mac},{h.ip}" for h in plan.hosts if h.role not in ("gateway", "internet")]
    _daemon(ctx, args)


def ntp_server(ctx: Context) -> None:
    """Answer NTP client packets with this machine's time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", 123))
        s.settimeout(1.0)
        while time.time() < ctx.end:
            try:
                data, peer = s.recvfrom(1024)
            except OSError:
                continue
            if len(data) < 48:
                continue
            now = time.time() + 2208988800
            stamp = struct.pack(">II", int(now), int((now % 1) * 2**32))
            head = struct.pack(">BBbbII4s", 0x24, 2, 6, -20, 900, 1200, b"GPS\0")
            with contextlib.suppress(OSError):  # the interface may be down just now
                s.sendto(head + stamp + data[40:48] + stamp + stamp, peer)


def syslog_server(ctx: Context) -> None:
    """Take syslog datagrams and say nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", 514))
        s.settimeout(1.0)
        while time.time() < ctx.end:
            try:
                s.recv(4096)
            except OSError:
                continue


def sink_server(ctx: Context, port: int) -> None:
    """Read all a client sends (printer, backup agent), then acknowledge."""

    def talk(s: socket.socket) -> None:
        while s.recv(65536):
            pass
        s.sendall(b"OK\n")

    serve(ctx, port, talk)


def mllp_server(ctx: Context) -> None:
    """HL7 over MLLP: acknowledge every message; one without MSH is refused (AR)."""

    def talk(s: socket.socket) -> None:
        data = b""
        while chunk := s.recv(65536):
            data += chunk
            while b"\x1c\r" in data:
                message, data = data.split(b"\x1c\r", 1)
                code = b"AA" if b"MSH|" in message else b"AR"
                control = (message.split(b"|") + [b""] * 10)[9]
                s.sendall(b"\x0bMSH|^~\\&|RIS|STM|||20260101||ACK|1|P|2.5\rMSA|" + code + b"|" + control + b"\r\x1c\r")

    serve(ctx, 2575, talk)


def modbus_server(ctx: Context) -> None:
    """Modbus/TCP: read registers and coils, write one register; other functions give an exception."""
    registers = [ctx.rng.randrange(1000) for _ in range(128)]

    def talk(s: socket.socket) -> None:
        while len(head := s.recv(8, socket.MSG_WAITALL)) == 8:
            transaction, _, length, unit, function = struct.unpack(">HHHBB", head)
            body = s.recv(length - 2, socket.MSG_WAITALL)
            first, value = struct.unpack(">HH", body[:4]) if len(body) >= 4 else (0, 0)
            if function in (3, 4) and first + value <= 128:
                answer = bytes([function, 2 * value]) + struct.pack(f">{value}H", *registers[first : first + value])
            elif function == 6 and first < 128:
                registers[first] = value
                answer = bytes([function]) + body[:4]
            else:
                answer = bytes([function | 0x80, 2 if function in (3, 4, 6) else 1])
            s.sendall(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)

    serve(ctx, 502, talk)


def telnet_server(ctx: Context) -> None:
    """A console that asks for a login a few times, and a prompt for who knows the password."""

    def talk(s: socket.socket) -> None:
        s.sendall(b"\xff\xfb\x01\xff\xfb\x03stm-console\r\n")
        lines = s.makefile("rb")

        def line() -> str:
            raw = lines.readline(200)
            return raw.lstrip(b"\xff\xfb\xfc\xfd\xfe\x01\x03\x18\x1f").decode("latin-1").strip("\r\n\0")

        for _ in range(ctx.plan.login_tries):
            s.sendall(b"login: ")
            user = line()
            s.sendall(b"Password: ")
            if (user, line()) == (USER, PASSWORD):
                s.sendall(b"\r\nLast login: Mon\r\n$ ")
                while command := line():
                    s.sendall(command.encode() + b": ok\r\n$ ")
                return
            time.sleep(0.3)
            s.sendall(b"\r\nLogin incorrect\r\n")

    serve(ctx, 23, talk)


def ftp_server(ctx: Context) -> None:
    """pyftpdlib with one account; a few wrong passwords end the session."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    folder = ctx.work / f"ftp.{ctx.host.name}"
    folder.mkdir()
    (folder / "readme.txt").write_text("scans go to /in\n")
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(folder), perm="elradfmwMT")

    class Handler(FTPHandler):  # type: ignore[misc]
        auth_failed_timeout = 1
        max_login_attempts = ctx.plan.login_tries

    Handler.authorizer = authorizer
    Handler.banner = "stm file service"
    ThreadedFTPServer(("", 21), Handler).serve_forever(timeout=1)


def dicom_server(ctx: Context) -> None:
    """A PACS: C-ECHO, C-STORE and modality worklist C-FIND on port 104."""
    from pydicom.dataset import Dataset
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification  # type: ignore[attr-defined]

    def find(event: Any) -> Any:
        for _ in range(ctx.rng.randint(0, 8)):
            item = Dataset()
            item.PatientName = f"TEST^{ctx.rng.randrange(1000)}"
            item.PatientID = f"T{ctx.rng.randrange(10**6)}"
            yield 0xFF00, item

    ae = AE(ae_title="STMPACS")
    ae.maximum_associations = 200
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.add_supported_context(ModalityWorklistInformationFind)
    ae.start_server(("", 104), evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_C_FIND, find)])


def tls_context(ctx: Context) -> ssl.SSLContext:
    """The lab's self-signed server certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(ctx.work / "cert.pem", ctx.work / "key.pem")
    return made
