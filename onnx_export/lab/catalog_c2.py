"""Command-and-control variants, and campaigns: stages of one infection that start together, labelled each by itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from .timed import lasting
from .variant import Variant

_train = partial(lasting, "c2", "train")
_validation = partial(lasting, "c2", "validation")
_test = partial(lasting, "c2", "test")


def _port(number: int, proto: str = "tcp") -> dict[str, object]:
    return {"resp_port": number, "proto": proto}


C2: tuple[Variant, ...] = (
    _train("https beacon, 5 s, little jitter", "web_beacon", ("internet:-1",), 180, "workstation", 3, _port(443),
           port=443, period=5, jitter=0.1),
    _train("https beacon, 45 s, from desktops", "web_beacon", ("internet:-2",), 195, "workstation", 4, _port(8443),
           port=8443,
           period=45, jitter=0.2),
    _train("http beacon, 3 s, much jitter", "web_beacon", ("internet:-2",), 150, "workstation", 2, _port(80),
           period=3, jitter=0.6, path="/api/poll"),
    _train("http posts, 10 s, from pumps", "web_beacon", ("internet:-3",), 190, "pump", 2, _port(5000), port=5000,
           period=10,
           jitter=0.3, method="POST", size=300),
    _train("http beacon to a pivot inside, 8 s", "web_beacon", ("admin",), 160, "printer", 2, _port(8089), port=8089,
           period=8),
    _train("beacon to a server that is off, 4 s", "web_beacon", ("internet:-5",), 150, "modality", 2, _port(1433),
           port=1433, period=4, jitter=0.15),
    _train("dns beacon through the resolver, 4 s", "dns_check", ("dns",), 170, sources=2, period=4),
    _train("dns beacon to a server outside, 15 s", "dns_check", ("internet:-4",), 190, "workstation", 3,
           _port(53, "udp"), period=15, jitter=0.1, burst=2),
    _train("mqtt beacon, 7 s", "mqtt_beacon", ("internet:-1",), 170, "bedside", 2, _port(1883), period=7),
    _train("irc bots, short sessions", "irc_bot", ("internet:-3",), 180, "workstation", 3, _port(6667), session=15,
           reconnect=3, bots=2),
    _train("irc bots, long sessions, port 7000", "irc_bot", ("internet:-4",), 190, "printer", 2, _port(7000), port=7000,
           session=70, bots=3),
    _train("remote session, port 9001", "remote_session", ("internet:-2",), 180, "workstation", 4, _port(9001),
           port=9001, session=25, reconnect=4),
    _train("generated names, bursts of 20", "dga", ("dns",), 170, sources=2, period=20, burst=20),
    _train("quickly changing servers, 5 s", "fast_flux", ("internet:-1", "internet:-2", "internet:-3"), 160,
           "workstation", 2, _port(8080), period=5),
    _train("peer to peer, one datagram every 1.5 s", "udp_peers", ("internet:-1", "internet:-2"), 160, "workstation",
           2, _port(16464, "udp"), period=1.5),
    _train("long polls, one a connection", "long_poll", ("internet:-5",), 180, "workstation", 3, _port(8000),
           port=8000),
    _train("websocket, beat 3 s, renewed every 20 s", "web_socket", ("internet:-4",), 170, "workstation", 4,
           _port(8888), port=8888,
           session=20),
    _train("icmp beacon, 5 s", "icmp_beacon", ("internet:-1", "internet:-2", "internet:-3"), 160, "workstation", 2,
           {"proto": "icmp"}, period=5),
    _train("bots' keep-alive over raw tcp, 10 s", "keep_alive", ("internet:-5",), 180, "camera", 3, _port(5555),
           port=5555),
    _validation("https beacon, 9 s, half jitter", "web_beacon", ("internet:-3",), 180, "workstation", 3, _port(443),
                port=443, period=9, jitter=0.5, missed=0.1),
    _validation("http posts, 6 s, 2 kB", "web_beacon", ("internet:-1",), 170, "nurse", 2, _port(80), period=6,
                method="POST", size=2000, path="/api/sync"),
    _validation("https beacon, 35 s, no jitter", "web_beacon", ("internet:-5",), 195, "modality", 3, _port(443),
                port=443, period=35, jitter=0.02, path="/api/v2"),
    _validation("dns beacon through the resolver, a records, 2.5 s", "dns_check", ("dns",), 170, sources=2, period=2.5,
                kind=1, digits=12, zone="c.relay.example"),
    _validation("irc bots, port 6697", "irc_bot", ("internet:-2",), 170, "workstation", 3, _port(6697), port=6697,
                session=22, reconnect=6, bots=2),
    _validation("remote sessions, port 9001, chatty", "remote_session", ("internet:-4",), 170, "workstation", 3,
                _port(9001), port=9001, session=14, reconnect=2, answer=3000, at_once=2),
    _validation("generated names, digits and letters, bursts of 8", "dga", ("dns",), 180, sources=2, period=11, burst=8,
                letters="abcdef0123456789", length=18, gap=0.8),
    _validation("long polls, five a connection", "long_poll", ("internet:-1",), 170, "workstation", 3, _port(8000),
                port=8000, per_connection=5, gap=1),
    _validation("peer to peer, port 34567", "udp_peers", ("internet:-3", "internet:-4"), 160, "camera", 3,
                _port(34567, "udp"), port=34567, period=3, size=140),
    _validation("mqtt beacon, 12 s, port 1884", "mqtt_beacon", ("internet:-5",), 190, "pump", 3, _port(1884), port=1884,
                period=12, hold=4, size=90),
    _test("https beacon, 7 s, some missed", "web_beacon", ("internet:-4",), 180, "workstation", 4, _port(443), port=443,
          period=7, jitter=0.35, missed=0.25, task=0.2),
    _test("http beacon, 2 s", "web_beacon", ("internet:-5",), 150, "workstation", 2, _port(8080), port=8080, period=2,
          jitter=0.05,
          path="/api/t"),
    _test("http posts, 50 s, from a modality", "web_beacon", ("internet:-1",), 195, "modality", 2, _port(9443),
          port=9443, period=50,
          method="POST", size=800, path="/api/r"),
    _test("dns beacon to a server outside, 3 s, null records", "dns_check", ("internet:-2",), 180, "nurse", 2,
          _port(53, "udp"), period=3, kind=10, digits=16, zone="n.relay.example"),
    _test("irc bots, port 6667, slow", "irc_bot", ("internet:-1",), 190, "printer", 2, _port(6667), port=6667,
          session=30, reconnect=8, bots=3),
    _test("remote sessions, port 4444, quiet", "remote_session", ("internet:-3",), 190, "workstation", 3, _port(4444),
          port=4444, session=35, reconnect=7, answer=200),
    _test("generated words, one every second", "dga", ("dns",), 170, sources=3, period=1, burst=1,
          letters="aeioulnrst", length=10, tops=("com", "lan")),
    _test("quickly changing servers, 3 s, port 8888", "fast_flux", ("internet:-2", "internet:-4", "internet:-5"), 160,
          "workstation", 3, _port(8888), port=8888, period=3, every=1),
    _test("websocket, beat 8 s, port 8080", "web_socket", ("internet:-5",), 190, "workstation", 4, _port(8080),
          port=8080,
          session=45, beat=8),
    _test("peer to peer, one port, 49001", "udp_peers", ("internet:-1", "internet:-3", "internet:-5"), 170, "bedside",
          3, _port(49001, "udp"), port=49001, period=1, size=300, one_port=True),
    _test("icmp beacon, 11 s", "icmp_beacon", ("internet:-4", "internet:-5"), 190, "modality", 3, {"proto": "icmp"},
          period=11, jitter=0.4),
    _test("mqtt beacon, 4 s, port 1883", "mqtt_beacon", ("internet:-2",), 150, "camera", 3, _port(1883), port=1883,
          period=4, hold=0.5, size=15),
)  # fmt: skip


def _campaign(
    group: str, name: str, by: str, nets: tuple[str, ...], victims: tuple[str, ...], home: str, drop: int, port: int,
    rate: float, guess: float, beat: float, kilobytes: int, tool: str, probed: tuple[int, ...],
) -> tuple[Variant, ...]:  # fmt: skip
    """Probes, guesses, a download and command traffic of one device; probed nets are not those of the victims.

    So the rules of probing and guessing cannot take each other's connections. Bots look for telnet, web pages, debug
    bridges and SSH; which ports differs from campaign to campaign.
    """

    def make(label: str, stage: str, run: str, to: tuple[str, ...], seconds: float, **with_: Any) -> Variant:
        where = with_.pop("match")
        return lasting(label, group, f"{name}: {stage}", run, to, seconds, by, match=where, **with_)

    return (
        make("c2", "download", "fetch_file", (f"internet:{home}",), 20, match=_port(drop), port=drop,
             kilobytes=kilobytes, period=4, tool=tool),
        make("c2", "command traffic", "keep_alive", (f"internet:{home}",), 170, match=_port(port), port=port,
             period=beat, delay=15),
        make("recon", f"probes of ports {', '.join(map(str, probed))}", "probe_nets", nets, 70, ports=probed,
             match={"resp_port": list(probed), "proto": "tcp"}, rate=rate, delay=25),
        make("brute_force", "factory passwords", "telnet_guess", victims, 70, match=_port(23), period=guess, delay=80),
    )  # fmt: skip


CAMPAIGNS: tuple[tuple[Variant, ...], ...] = (
    _campaign("train", "camera botnet", "camera", ("subnet:office", "subnet:guest", "far:3"), ("plc",), "-1", 8080,
              4444, 12, 0.8, 8, 90, "wget", (23, 2323)),
    _campaign("train", "printer botnet", "printer", ("subnet:clinical", "far:4", "far:6"), ("plc",), "-2", 80, 4444, 5,
              1.5, 15, 40, "python", (80, 8080, 23)),
    _campaign("train", "pump botnet", "pump", ("subnet:clinical", "subnet:guest"), ("files",), "-5", 8080, 4444, 25,
              0.4, 5, 150, "curl", (22, 5555, 23)),
    _campaign("validation", "camera botnet, slow", "camera", ("subnet:guest", "far:7"), ("files",), "-3", 8000, 9001,
              3, 2.2, 20, 60, "curl", (23, 8443)),
    _campaign("validation", "sensor botnet", "sensor", ("subnet:clinical", "subnet:office"), ("plc",), "-4", 8000, 9001,
              18, 0.6, 11, 200, "wget", (2222, 22)),
    _campaign("test", "monitor botnet", "bedside", ("subnet:guest", "subnet:clinical", "far:8"), ("plc",), "-5", 8888,
              5555, 8, 1.1, 12, 120, "wget", (5555, 80, 2323)),
    _campaign("test", "camera botnet, fast", "camera", ("subnet:clinical", "far:9"), ("files",), "-2", 8888, 5555, 35,
              0.3, 4, 30, "python", (8080, 80, 5000)),
)  # fmt: skip
