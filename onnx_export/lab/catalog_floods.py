"""Floods: from one host, from many, with sources that do not exist, and with whole connections."""

from __future__ import annotations

from .loads import mix
from .scenario import Attack, Scenario, flood, many

FLOODS: dict[str, Scenario] = {
    "flood-one": Scenario(
        300,
        mix("web", "slow_monitoring"),
        (
            flood(40, "guest-f1", "syn flood, open port", "pacs", flags="-S", count=6000, interval_us=500, port=104),
            flood(
                80, "guest-f2", "syn flood, closed port", "broker", flags="-S", count=5000, interval_us=900, port=8080
            ),
            flood(115, "guest-f3", "ack flood", "ris", flags="-A", count=4000, interval_us=700, port=80),
            flood(150, "guest-f4", "udp flood", "files", flags="-2 --data 64", count=4000, interval_us=600, port=161),
            flood(185, "guest-f5", "icmp flood", "dns", flags="-1 --data 200", count=5000, interval_us=400),
            flood(
                220, "guest-f6", "syn flood, filtered port", "ehr", flags="-S", count=4000, interval_us=1000, port=445
            ),
        ),
        0.3,
    ),
    "flood-slow": Scenario(
        300,
        mix("pacs", "monitoring"),
        (
            flood(40, "guest-f1", "syn flood, slow", "ris", flags="-S", count=3000, interval_us=15_000, port=2575),
            flood(60, "guest-f2", "fin flood", "pacs", flags="-F", count=2000, interval_us=6000, port=104),
            flood(
                130,
                "guest-f3",
                "udp flood, random ports",
                "printer",
                flags="-2 --data 20 -p ++1",
                count=3000,
                interval_us=8000,
            ),
            flood(
                180,
                "guest-f4",
                "syn flood, dead address",
                "modality1",
                flags="-S",
                count=3000,
                interval_us=9000,
                port=80,
            ),
        ),
        0.3,
    ),
    "flood-many": Scenario(
        300,
        mix("mqtt", "messages"),
        (
            many(40, 12, "syn flood, distributed", "ehr", flags="-S", count=700, interval_us=4000, port=443),
            many(110, 14, "http flood, distributed", "ris", run="http_flood", count=250, threads=4, rate=25),
            many(180, 10, "udp flood, distributed", "dns", flags="-2 --data 40", count=500, interval_us=5000, port=53),
        ),
        0.3,
    ),
    "flood-spoofed": Scenario(
        300,
        mix("backup", "jobs"),
        (
            Attack(
                "flood",
                "syn flood, random sources",
                50,
                "hping",
                ("guest-f1",),
                ("ehr",),
                {"flags": "-S --rand-source", "count": 7000, "interval_us": 700, "port": 443},
                {},
                "spoofed",
            ),
            Attack(
                "flood",
                "udp flood, random sources",
                120,
                "hping",
                ("guest-f2",),
                ("files",),
                {"flags": "-2 --data 30 --rand-source", "count": 4000, "interval_us": 1500, "port": 9},
                {},
                "spoofed",
            ),
            Attack(
                "flood",
                "icmp flood, random sources",
                180,
                "hping",
                ("guest-f3",),
                ("broker",),
                {"flags": "-1 --rand-source", "count": 3000, "interval_us": 2000},
                {},
                "spoofed",
            ),
        ),
        0.3,
    ),
    "flood-http": Scenario(
        330,
        mix("web", "resolver"),
        (
            flood(40, "guest-f1", "http get flood", "ris", "http_flood", count=4000, threads=16, rate=150),
            flood(60, "guest-f2", "slowloris", "ehr", "slowloris", connections=300, rate=30, seconds=60),
            flood(170, "guest-f3", "https get flood", "ehr", "http_flood", port=443, count=1200, threads=8, rate=40),
            flood(190, "guest-f4", "slowloris, gentle", "ris", "slowloris", connections=150, rate=5, seconds=80),
        ),
        0.2,
    ),
    "flood-service": Scenario(
        300,
        mix("mqtt", "pacs"),
        (
            flood(40, "guest-f1", "mqtt connect flood", "broker", "mqtt_flood", count=4000, rate=150),
            flood(
                90, "guest-f2", "tcp connect flood on dicom", "pacs", "connect_flood", port=104, count=2500, rate=120
            ),
            flood(150, "guest-f3", "tcp connect flood on hl7", "ris", "connect_flood", port=2575, count=2000, rate=40),
            Attack(
                "flood",
                "large dns answers from many servers",
                215,
                "amplified",
                ("gateway",),
                ("pacs",),
                {"count": 3000, "rate": 200},
                {},
                "amplified",
            ),
        ),
        0.3,
    ),
}
