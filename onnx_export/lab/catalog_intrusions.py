"""Guessed passwords, beacons, web attacks, stolen data and false addresses."""

from __future__ import annotations

from .loads import mix
from .scenario import Attack, Scenario, guess

_FORM = "/login:user=^USER^&pass=^PASS^:S=302"

INTRUSIONS: dict[str, Scenario] = {
    "brute-ssh": Scenario(
        330,
        mix("jobs", "web"),
        (
            guess(40, "guest-b1", "ssh", "files", tries=400, threads=4),
            guess(60, "guest-b2", "ssh", "pacs", tries=90, threads=1, wait=2),
            guess(150, "guest-b3", "ssh", "ris", "broker", tries=240, threads=16),
        ),
        0.3,
    ),
    "brute-login": Scenario(
        330,
        mix("files", "slow_monitoring"),
        (
            guess(40, "guest-b1", "ftp", "files", tries=240, threads=8),
            guess(60, "guest-b2", "telnet", "plc1", tries=150, threads=4),
            guess(150, "guest-b3", "ftp", "files", tries=120, threads=1),
            guess(170, "guest-b4", "telnet", "files", tries=60, threads=1, wait=2),
        ),
        0.3,
    ),
    "brute-web": Scenario(
        300,
        mix("web", "dead"),
        (
            guess(40, "guest-b1", "http-get", "ris", tries=600, threads=8),
            guess(80, "guest-b2", "http-post-form", "ehr", tries=500, threads=4, form=_FORM),
            guess(140, "guest-b3", "http-get", "printer", tries=60, threads=1, wait=1),
            guess(150, "guest-b4", "http-post-form", "ris", tries=100, threads=1, wait=1, form=_FORM),
        ),
        0.3,
    ),
    "brute-mqtt": Scenario(
        270,
        mix("mqtt", "messages"),
        (
            Attack(
                "brute_force",
                "mqtt connects, wrong passwords",
                40,
                "mqtt_guess",
                ("guest-b1",),
                ("broker",),
                {"tries": 400, "threads": 4, "rate": 10},
            ),
            Attack(
                "brute_force",
                "mqtt connects, wrong passwords, slow",
                60,
                "mqtt_guess",
                ("guest-b2",),
                ("broker",),
                {"tries": 150, "threads": 1, "rate": 0.9},
            ),
            Attack(
                "brute_force",
                "mqtt connects, wrong passwords, fast",
                150,
                "mqtt_guess",
                ("guest-b3",),
                ("broker",),
                {"tries": 1200, "threads": 8, "rate": 40},
            ),
        ),
        0.4,
    ),
    "c2": Scenario(
        420,
        mix("web", "slow_monitoring"),
        (
            Attack(
                "c2",
                "https beacon",
                30,
                "beacon",
                ("workstation2",),
                ("internet:-1",),
                {"period": 8, "count": 60},
                {"resp_port": 443},
            ),
            Attack(
                "c2",
                "http beacon",
                35,
                "beacon",
                ("nurse1",),
                ("internet:-2",),
                {"port": 80, "period": 4, "jitter": 0.4, "count": 90},
                {"resp_port": 80},
            ),
            Attack(
                "c2",
                "https beacon, no jitter",
                45,
                "beacon",
                ("guest-c1",),
                ("internet:-3",),
                {"period": 15, "jitter": 0.02, "count": 30},
            ),
            Attack("c2", "dns beacon", 40, "dns_beacon", ("guest-c2",), ("dns",), {"period": 5, "count": 90}),
            Attack(
                "c2",
                "dns beacon, outside server",
                50,
                "dns_beacon",
                ("guest-c3",),
                ("internet:-4",),
                {"period": 10, "count": 40},
            ),
            Attack(
                "c2",
                "beacon to a server that is off",
                60,
                "beacon",
                ("workstation3",),
                ("internet:-5",),
                {"port": 8443, "period": 7, "count": 50},
                {"resp_port": 8443},
            ),
        ),
        0.3,
    ),
    "web-attack": Scenario(
        330,
        mix("web", "jobs"),
        (
            Attack("web_attack", "scan for pages", 40, "web_scan", ("guest-w1",), ("ris", "printer"), {"count": 800}),
            Attack(
                "web_attack",
                "scan for pages over tls, one per connection",
                80,
                "web_scan",
                ("guest-w2",),
                ("ehr",),
                {"port": 443, "count": 300, "per_connection": 1},
            ),
            Attack("web_attack", "sqlmap", 120, "sqlmap", ("guest-w3",), ("ris",), {"level": 1, "seconds": 60}),
            Attack(
                "web_attack", "sqlmap, level 2", 200, "sqlmap", ("guest-w4",), ("ehr",), {"level": 2, "seconds": 60}
            ),
        ),
        0.3,
    ),
    "exfiltration": Scenario(
        330,
        mix("backup", "resolver"),
        (
            Attack(
                "exfiltration", "dns tunnel", 40, "dns_tunnel", ("guest-e1",), ("dns",), {"count": 1500, "rate": 20}
            ),
            Attack(
                "exfiltration",
                "dns tunnel, outside server, slow",
                60,
                "dns_tunnel",
                ("guest-e2",),
                ("internet:-1",),
                {"count": 400, "rate": 2},
            ),
            Attack(
                "exfiltration",
                "bulk upload over https",
                70,
                "upload",
                ("workstation1",),
                ("internet:-2",),
                {"megabytes": 8},
                {"resp_port": 443},
            ),
            Attack(
                "exfiltration",
                "bulk upload in pieces",
                90,
                "upload",
                ("workstation4",),
                ("internet:-3",),
                {"port": 80, "megabytes": 8, "pieces": 40},
                {"resp_port": 80},
            ),
        ),
        0.3,
    ),
    "spoofing": Scenario(
        300,
        mix("web", "messages"),
        (
            Attack(
                "spoofing",
                "arp poisoning, relayed",
                45,
                "arpspoof",
                ("guest-m1",),
                ("nurse1", "ehr"),
                {"seconds": 70},
                {},
                "arp",
            ),
            Attack(
                "spoofing",
                "arp poisoning of the gateway",
                140,
                "arpspoof",
                ("guest-m2",),
                ("workstation1", "gateway"),
                {"seconds": 60},
                {},
                "arp",
            ),
            Attack(
                "spoofing", "gratuitous arp", 230, "claim_address", ("guest-m3",), ("broker",), {"count": 30}, {}, "arp"
            ),
        ),
        0.4,
    ),
}
