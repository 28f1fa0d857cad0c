"""Exfiltration variants: by what channel, how much at a time and how often."""

from __future__ import annotations

from functools import partial

from .timed import lasting
from .variant import Variant

_train = partial(lasting, "exfiltration", "train")
_validation = partial(lasting, "exfiltration", "validation")
_test = partial(lasting, "exfiltration", "test")


def _port(number: int, proto: str = "tcp") -> dict[str, object]:
    return {"resp_port": number, "proto": proto}


_TCP = {"proto": "tcp"}  # FTP's data connections have any port; honest hosts do not know these addresses

EXFILTRATION: tuple[Variant, ...] = (
    _train("bulk over https, 2 MB pieces", "drip", ("internet:-1",), 100, "workstation", 1, _port(443), kilobytes=2000,
           period=3),
    _train("https drip, 20 kB every 3 s", "drip", ("internet:-2",), 170, "workstation", 2, _port(443), kilobytes=20,
           period=3),
    _train("https drip, 4 kB every 40 s", "drip", ("internet:-3",), 195, "nurse", 2, _port(8443), port=8443,
           kilobytes=4,
           period=40),
    _train("http puts, 300 kB, three in parallel", "drip", ("internet:-4",), 120, "workstation", 1, _port(8080),
           port=8080,
           kilobytes=300, period=4, method="PUT", at_once=3),
    _train("http posts in base64 from three hosts", "drip", ("internet:-2", "internet:-5"), 150, "workstation", 3,
           _port(8000), port=8000, kilobytes=60, period=5, encode=True),
    _train("dns tunnel through the resolver, 3 a second", "name_tunnel", ("dns",), 100, rate=3, digits=55),
    _train("dns tunnel to a server outside, 2 a second", "name_tunnel", ("internet:-4",), 170, "workstation", 1,
           _port(53, "udp"), rate=2, labels=3, digits=40),
    _train("iodine, txt records", "iodine_tunnel", ("internet:-1",), 150, session=24),
    _train("icmp tunnel, 900 bytes", "icmp_tunnel", ("internet:-1", "internet:-2", "internet:-3"), 120, "workstation",
           2, {"proto": "icmp"}, period=0.5),
    _train("images to a foreign ae, two a study", "images_out", ("internet:-3",), 150, "modality", 2, _port(104),
           port=104, period=5),
    _train("ftp to outside, three files a session", "ftp_out", ("internet:-4",), 150, "workstation", 2, _TCP, period=6),
    _train("mails with attachments, 120 kB", "mail_out", ("internet:-5",), 150, "workstation", 2, _port(25), period=5),
    _train("mqtt bridge outwards, 20 messages every 4 s", "mqtt_out", ("internet:-1",), 160, "bedside", 2, _port(18830),
           port=18830, period=4),
    _train("hl7 copies, 8 messages every 3 s", "hl7_out", ("internet:-2",), 150, "analyzer", 1, _port(6661), period=3),
    _train("scp to outside, port 2222", "ssh_out", ("internet:-3",), 130, "workstation", 2, _port(2222), tool="scp"),
    _train("netcat-like, 400 kB, port 4445", "raw_push", ("internet:-5",), 120, "printer", 2, _port(4445), port=4445,
           kilobytes=400, period=3),
    _validation("bulk over https, 5 MB pieces, two hosts", "drip", ("internet:-4",), 110, "workstation", 2, _port(443),
                kilobytes=5000, period=8),
    _validation("https drip, 60 kB every 6 s", "drip", ("internet:-1", "internet:-3"), 180, "workstation", 3,
                _port(443), kilobytes=60, period=6, jitter=0.8),
    _validation("dns tunnel through the resolver, txt only, 4 a second", "name_tunnel", ("dns",), 150, rate=4, labels=3,
                digits=30, kinds=(16,), zone="x.relay.example", alphabet="abcdefghijklmnopqrstuvwxyz234567"),
    _validation("icmp tunnel, 400 bytes", "icmp_tunnel", ("internet:-4", "internet:-5"), 140, "nurse", 2,
                {"proto": "icmp"}, period=0.9, size=400),
    _validation("images to a foreign ae on port 4242", "images_out", ("internet:-2",), 150, "modality", 2, _port(4242),
                port=4242, period=7, images=1, edge=256, title="VIEW1"),
    _validation("mails with attachments, 500 kB, port 587", "mail_out", ("internet:-3",), 150, "nurse", 2, _port(587),
                port=587, kilobytes=500, period=9),
    _validation("rsync to outside, port 22022", "ssh_out", ("internet:-5",), 140, "workstation", 2, _port(22022),
                port=22022, tool="rsync", period=5, kilobytes=150),
    _validation("hl7 copies, one message every 2 s, port 2576", "hl7_out", ("internet:-1",), 150, "analyzer", 1,
                _port(2576), port=2576, period=2, messages=1),
    _validation("iodine, null records", "iodine_tunnel", ("internet:-1",), 150, session=34, kind="NULL"),
    _test("bulk over https, 1 MB, four in parallel", "drip", ("internet:-5",), 100, "workstation", 2, _port(443),
          kilobytes=1000, period=5, at_once=4),
    _test("https drip, 10 kB every 8 s", "drip", ("internet:-2",), 190, "workstation", 4, _port(9443), port=9443,
          kilobytes=10,
          period=8, jitter=0.2),
    _test("http posts, 30 kB every 25 s", "drip", ("internet:-1",), 195, "viewer", 2, _port(8888), port=8888,
          kilobytes=30,
          period=25),
    _test("dns tunnel through the resolver, bursts of 12", "name_tunnel", ("dns",), 150, rate=3, labels=2, digits=60,
          kinds=(16, 28, 1), zone="y.relay.example", burst=12),
    _test("dns tunnel to a server outside, short labels", "name_tunnel", ("internet:-3",), 170, "nurse", 2,
          _port(53, "udp"), rate=1.5, labels=1, digits=24, kinds=(1,), zone="z.relay.example"),
    _test("icmp tunnel, 1300 bytes", "icmp_tunnel", ("internet:-1", "internet:-3", "internet:-5"), 130, "modality", 2,
          {"proto": "icmp"}, period=0.3, size=1300),
    _test("ftp to outside, one large file a session", "ftp_out", ("internet:-2",), 150, "nurse", 2, _TCP,
          kilobytes=900, period=10, files=1),
    _test("images to a foreign ae, small", "images_out", ("internet:-4",), 160, "modality", 3, _port(104),
          port=104, period=3, images=4, edge=48, title="WS7"),
    _test("piped over ssh", "ssh_out", ("internet:-4",), 140, "workstation", 2, _port(22), port=22,
          kilobytes=800, period=7),
    _test("mqtt bridge outwards, port 1883, small", "mqtt_out", ("internet:-3",), 170, "pump", 3, _port(1883),
          port=1883, period=6, messages=5, size=200),
    _test("netcat-like, 60 kB, port 5556", "raw_push", ("internet:-1",), 130, "printer", 2, _port(5556), port=5556,
          kilobytes=60, period=2),
)  # fmt: skip
