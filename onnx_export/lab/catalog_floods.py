"""Variants of floods: packets from one host and many, false sources, connections, requests; all bounded."""

from __future__ import annotations

from typing import Any

from .variant import Variant

_COUNTED = ("mqtt_flood", "connect_flood", "amplified")  # end by their count, and take no seconds


def _packets(group: str, detail: str, to: str, flags: str, count: int, interval_us: int, port: int = 0,
             **more: Any) -> Variant:  # fmt: skip
    """hping3; `port` 0 leaves the flags' own ports."""
    with_ = {"flags": flags, "count": count, "interval_us": interval_us} | ({"port": port} if port else {})
    return Variant("flood", detail, group, "hping", (to,), with_=with_, seconds=count * interval_us / 1e6 + 15, **more)


def _calls(group: str, detail: str, run: str, to: str, with_: dict[str, Any], seconds: float = 60,
           **more: Any) -> Variant:  # fmt: skip
    """A stand-in or slowhttptest."""
    bound = {} if run in _COUNTED else {"seconds": seconds}
    return Variant("flood", detail, group, run, (to,), with_=with_ | bound, seconds=seconds, **more)


_TRAIN = (
    _packets("train", "syn flood, open port", "pacs", "-S", 3000, 900, 104),
    _packets("train", "syn flood, closed port, slow", "broker", "-S", 1200, 20_000, 8443),
    _packets("train", "ack flood", "ris", "-A", 2500, 1000, 2575),
    _packets("train", "udp flood", "monitor", "-2 --data 64", 2500, 1200, 514),
    _packets("train", "icmp flood, six hosts", "dns", "-1 --data 200", 700, 4000, sources=6),
    _packets("train", "udp flood, rising ports", "printer", "-2 --data 20 -p ++1", 1500, 10_000),
    _packets("train", "syn flood, ten hosts", "ehr", "-S", 250, 7000, 443, sources=10),
    _packets("train", "syn flood, random sources", "ehr", "-S --rand-source", 4000, 950, 443, shape="spoofed"),
    _packets("train", "udp flood, random sources, slow", "dns", "-2 --data 30 --rand-source", 1500, 9000, 123,
             shape="spoofed"),
    _calls("train", "http get flood", "page_flood", "camera", {"port": 8888, "count": 3000, "rate": 90}),
    _calls("train", "slow headers", "slow_http", "printer", {"connections": 300, "rate": 30, "port": 8000}, 55),
    _calls("train", "mqtt connects, wrong password", "mqtt_flood", "broker", {"count": 2500, "rate": 80}),
    _calls("train", "mqtt publishing, logged in", "publish_flood", "broker", {"count": 900, "rate": 30}),
    _calls("train", "tcp connects on dicom", "connect_flood", "pacs", {"port": 104, "count": 2000, "rate": 60}),
    _calls("train", "hl7 messages, one a connection", "hl7_flood", "ris", {"count": 1800, "rate": 45}),
    _calls("train", "names nobody has", "dns_flood", "dns", {"count": 4000, "rate": 120}),
    _calls("train", "large dns answers from twelve servers", "amplified", "pacs", {"count": 2500, "rate": 100},
           by="internet", shape="amplified"),
    _calls("train", "https requests from three cameras", "page_flood", "ehr",
           {"port": 443, "count": 400, "rate": 10, "threads": 4, "path": "/api/"}, by="camera", sources=3,
           match={"proto": "tcp", "resp_port": 443}),
    _calls("train", "tls handshakes", "tls_flood", "nvr", {"port": 9443, "count": 1200, "rate": 30}),
    _calls("train", "dicom associations, aborted, few", "dicom_flood", "pacs", {"count": 240, "rate": 5, "threads": 2}),
)  # fmt: skip

_VALIDATION = (
    _packets("validation", "fin flood", "pacs", "-F", 1800, 6000, 104),
    _packets("validation", "syn flood from one port", "ris", "-S -s 40123 -k", 3000, 5000, 2575),
    _packets("validation", "syn flood, dead port of a pump", "pump", "-S", 900, 9000, 8080),
    _packets("validation", "udp flood, eight hosts", "dns", "-2 --data 40", 300, 9000, 53, sources=8),
    _packets("validation", "udp flood, random sources", "printer", "-2 --data 120 --rand-source", 2500, 2500, 161,
             shape="spoofed"),
    _calls("validation", "posts over tls", "page_flood", "ehr",
           {"port": 443, "count": 1200, "rate": 30, "threads": 8, "method": "POST", "path": "/login?", "body": 900}),
    _calls("validation", "slow bodies", "slow_http", "ris",
           {"mode": "B", "connections": 180, "rate": 8, "interval": 5}, 65),
    _calls("validation", "dicom associations, aborted", "dicom_flood", "pacs", {"count": 2000, "rate": 55}),
    _calls("validation", "mqtt connects, slow", "mqtt_flood", "broker", {"count": 500, "rate": 12, "threads": 2}),
    _calls("validation", "questions, thirty from each port", "dns_flood", "dns",
           {"count": 6000, "rate": 300, "per_port": 30, "kind": 255}, 30),
    _calls("validation", "connections held on the hl7 port", "hold_flood", "ris",
           {"port": 2575, "count": 600, "rate": 25, "hold": 20}, 60),
    _calls("validation", "large dns answers from few servers", "amplified", "workstation1",
           {"count": 1200, "rate": 40, "sources": 4}, by="internet", shape="amplified"),
)  # fmt: skip

_TEST = (
    _packets("test", "syn flood, filtered port", "ehr", "-S", 2500, 1500, 445),
    _packets("test", "push flood", "broker", "-PA --data 32", 2000, 3000, 1883),
    _packets("test", "icmp flood, random sources", "monitor", "-1 --rand-source", 2500, 2200, shape="spoofed"),
    _packets("test", "udp flood of a device's settings port", "printer", "-2 --data 80", 1500, 8000, 161),
    _packets("test", "syn flood, device page", "camera", "-S", 1800, 6000, 8080),
    _packets("test", "udp flood, logs", "monitor", "-2 --data 150", 1500, 7000, 514),
    _packets("test", "syn flood, random sources, slow", "ris", "-S --rand-source", 1200, 25_000, 80, shape="spoofed"),
    _calls("test", "get flood from nine hosts", "page_flood", "pacs",
           {"port": 8443, "count": 260, "rate": 8, "threads": 3, "path": "/static/"}, 50, sources=9),
    _calls("test", "many requests on each connection", "page_flood", "files",
           {"port": 5000, "count": 400, "rate": 8, "threads": 8, "per_connection": 25, "path": "/api/"}),
    _calls("test", "answers read slowly", "slow_http", "updates", {"port": 8888, "mode": "X", "connections": 220,
           "rate": 12}, 60),
    _calls("test", "hl7 messages, twelve a connection", "hl7_flood", "ris",
           {"count": 700, "rate": 15, "threads": 4, "messages": 12, "lines": 30}, 55),
    _calls("test", "mqtt publishing from a printer", "publish_flood", "broker",
           {"count": 700, "rate": 16, "threads": 4, "per_connection": 60, "size": 60}, by="printer",
           match={"proto": "tcp", "resp_port": 1883}),
    _calls("test", "mqtt connects, anonymous", "publish_flood", "broker", {"count": 2500, "rate": 70, "login": False}),
    _calls("test", "random names of one foreign zone", "dns_flood", "dns",
           {"count": 2500, "rate": 60, "zone": "shop.example", "kind": 28}),
    _calls("test", "dicom associations, no waiting", "dicom_flood", "pacs",
           {"count": 1500, "rate": 40, "answer": False}),
    _calls("test", "large dns answers from thirty servers", "amplified", "ehr",
           {"count": 4000, "rate": 160, "sources": 30}, by="internet", shape="amplified"),
)  # fmt: skip

FLOODS = (*_TRAIN, *_VALIDATION, *_TEST)
