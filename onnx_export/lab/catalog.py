"""Every scenario by name: the demo, busy but benign ones, scans; the rest comes from its own file."""

from __future__ import annotations

from .catalog_intrusions import INTRUSIONS
from .loads import mix
from .scenario import Attack, Scenario, scan

_SERVERS = ("files", "pacs", "ris", "ehr", "broker", "printer", "workstation", "modality")

SCENARIOS: dict[str, Scenario] = {
    "smoke": Scenario(10),
    "hospital": Scenario(
        270,
        {},
        (
            Attack(
                "recon",
                "nmap syn scan of several hosts",
                100,
                "nmap",
                ("guest-scan",),
                _SERVERS[:7],
                {"flags": "-sS -Pn --top-ports 60 --max-retries 1 --max-rate 60"},
            ),
            Attack(
                "recon",
                "nmap syn scan of many ports",
                125,
                "nmap",
                ("guest-scan",),
                ("pacs",),
                {"flags": "-sS -Pn -p1-1000 --max-retries 1 --max-rate 150"},
            ),
            Attack(
                "brute_force",
                "hydra password guessing on ftp",
                150,
                "hydra",
                ("guest-guess",),
                ("files",),
                {"service": "ftp", "tries": 240, "threads": 6},
                {"resp_port": 21},
            ),
            Attack(
                "flood",
                "hping3 syn flood on the hl7 port",
                225,
                "hping",
                ("guest-flood",),
                ("ris",),
                {"flags": "-S", "count": 7_000, "interval_us": 800, "port": 2575},
                {"resp_port": 2575},
            ),
        ),
        0.03,
    ),
    "quiet": Scenario(420),
    "backup": Scenario(420, mix("backup", "slow_monitoring", "files")),
    "monitoring": Scenario(420, mix("monitoring", "slow_monitoring", "messages")),
    "imaging": Scenario(420, mix("pacs", "slow_monitoring", "messages")),
    "office": Scenario(420, mix("web", "resolver", "files"), volume=0.3),
    "ward": Scenario(420, mix("mqtt", "dead", "messages", "jobs")),
    "broken": Scenario(420, mix("dead", "monitoring", "resolver")),
    "busy": Scenario(420, mix("backup", "monitoring", "pacs", "web", "mqtt", "jobs"), volume=0.25),
    "recon-fast": Scenario(
        270,
        mix("web", "monitoring"),
        (
            scan(45, "guest-s1", "-sS -Pn -T4 --top-ports 300 --max-rate 400", *_SERVERS),
            scan(95, "guest-s2", "-sT -Pn -T4 -p1-2000 --max-rate 300", "files"),
            scan(140, "guest-s3", "-sV -Pn -T4 --top-ports 60", "ris", "broker"),
            scan(190, "guest-s1", "-sS -Pn -T5 -p1-4000", "pacs"),
        ),
        0.3,
    ),
    "recon-slow": Scenario(
        330,
        mix("slow_monitoring", "resolver"),
        (
            scan(40, "guest-s1", "-sS -Pn -T2 --top-ports 400", "ris"),
            scan(50, "guest-s2", "-sT -Pn --scan-delay 700ms --top-ports 60", "files", "ehr"),
            scan(60, "guest-s3", "-sS -Pn --scan-delay 1500ms -p22,80,104,443,445,3389", *_SERVERS),
        ),
        0.4,
    ),
    "recon-sweep": Scenario(
        300,
        mix("dead", "files"),
        (
            scan(40, "guest-s1", "-sn -PE --disable-arp-ping --max-rate 60", "subnet:0", "subnet:1"),
            scan(
                75,
                "guest-s2",
                "-sS -Pn -p445 --disable-arp-ping --max-rate 80 --max-retries 1",
                "subnet:0",
                "subnet:1",
                "subnet:2",
            ),
            scan(130, "guest-s3", "-sT -Pn -p104,2575 --disable-arp-ping --max-rate 30 --max-retries 0", "subnet:0"),
            scan(170, "guest-s4", "-sn -PS443 -PA80 --disable-arp-ping --max-rate 40", "subnet:1", "subnet:2"),
            scan(215, "guest-s1", "-sS -Pn -p22 --disable-arp-ping --max-rate 15", "subnet:2"),
        ),
        0.4,
    ),
    "recon-far": Scenario(
        300,
        mix("web", "dead"),
        (
            scan(40, "guest-s1", "-sS -Pn -p445 --max-rate 100 --max-retries 1", "far:4", "far:5", "subnet:1"),
            scan(70, "guest-s2", "-sn -PE -PS443 --max-rate 30", "far:9"),
            scan(100, "guest-s3", "-sT -Pn -p22,104 --max-rate 40 --max-retries 0", "far:4", "subnet:0"),
            scan(150, "guest-s4", "-sS -Pn -p80 --max-rate 4 --max-retries 0", "far:7"),
            scan(200, "guest-s2", "-sS -Pn --top-ports 200 --max-rate 200 --max-retries 1", "ehr", "modality"),
        ),
        0.3,
    ),
    "recon-odd": Scenario(
        320,
        mix("jobs", "mqtt"),
        (
            scan(40, "guest-s1", "-sU -Pn --top-ports 40 --max-retries 1", "files", "plc", "modality"),
            scan(90, "guest-s2", "-O -Pn --top-ports 100 --max-rate 200", "printer", "pacs"),
            scan(130, "guest-s3", "-sF -Pn --top-ports 200 --max-rate 150", "broker", "ehr"),
            scan(170, "guest-s3", "-sX -Pn --top-ports 200 --max-rate 150", "ris"),
            scan(200, "guest-s4", "-sA -Pn --top-ports 200 --max-rate 100", "ehr", "files"),
            scan(240, "guest-s2", "-sS -Pn -f --top-ports 100 --max-rate 100", "workstation"),
        ),
        0.4,
    ),
    **INTRUSIONS,
}
