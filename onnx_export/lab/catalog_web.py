"""Variants of attacks on web pages, for training, validation and test."""

from __future__ import annotations

from typing import Any

from .variant import Variant


def _own(group: str, detail: str, run: str, *to: str, seconds: float = 80, by: str = "attacker", sources: int = 1,
         match: dict[str, Any] | None = None, **with_: Any) -> Variant:  # fmt: skip
    return Variant("web_attack", detail, group, run, to, by, sources, {**with_, "seconds": seconds},
                   match or {"proto": "tcp", "resp_port": with_.get("port", 80)}, seconds=seconds)  # fmt: skip


_TRAIN = (
    _own("train", "sqlmap level 3, paced", "inject_sql", "ris", port=8080,
         flags="--level 3 --risk 2 --technique BE --delay 0.1"),
    _own("train", "sqlmap level 2, four threads, tls", "inject_sql", "ehr", port=8443,
         flags="--level 2 --threads 4 --technique BE"),
    _own("train", "sqlmap on a form", "inject_sql", "monitor", port=5000,
         flags="--data name=a&host=b --level 2 --technique BT --time-sec 1 --delay 0.05", path="/form"),
    _own("train", "server scan, five a connection", "scan_pages", "printer", "pump", port=8000, count=800,
         rate=4, per_connection=5),
    _own("train", "server scan, one a connection, tls", "scan_pages", "nvr", "modality", port=9443, count=400, rate=7,
         per_connection=1, threads=3),
    _own("train", "folders by words, fast", "force_browse", "broker", port=8888, count=1500, rate=45, threads=8),
    _own("train", "folders by words, slow", "force_browse", "plc", count=160, rate=2, threads=1, agent="browser"),
    _own("train", "paths that climb", "climb_paths", "camera", "plc", port=8080, count=200, rate=6, threads=2),
    _own("train", "files sent up", "send_files", "ehr", port=443, count=130, rate=3, threads=2),
    _own("train", "commands in a form", "inject_commands", "files", port=5000, count=260, rate=4),
    _own("train", "markup in parameters", "inject_scripts", "printer", "integration", port=8443, count=140, rate=5,
         threads=2),
    _own("train", "odd parameters", "fuzz_parameters", "camera", port=8888, count=900, rate=18, threads=6),
    _own("train", "folders by words, from an analyzer, gentle", "force_browse", "plc", by="analyzer", count=130,
         rate=1.7, threads=1, method="HEAD", agent="python"),
)  # fmt: skip

_VALIDATION = (
    _own("validation", "odd parameters, two devices", "fuzz_parameters", "plc", "monitor", port=5000, count=300, rate=5,
         threads=2, agent="curl"),
    _own("validation", "sqlmap blind by time", "inject_sql", "plc",
         flags="--level 3 --risk 2 --technique T --time-sec 1 --random-agent", path="/search?q=1"),
    _own("validation", "sqlmap, headers too, paced", "inject_sql", "ris", port=8888,
         flags="--level 3 --delay 0.15 --technique B"),
    _own("validation", "server scan, quiet", "scan_pages", "bms", port=9443, count=220, rate=2.8, per_connection=1,
         agent="browser", probes=0.1),
    _own("validation", "folders by words, heads only", "force_browse", "printer", "analyzer", port=8000, count=700,
         rate=14, threads=4,
         method="HEAD", under="/app/"),
    _own("validation", "paths that climb, tls", "climb_paths", "ehr", port=443, count=260, rate=5, threads=3,
         agent="python"),
    _own("validation", "commands in a form, kept connections", "inject_commands", "pacs", "camera", port=8080,
         count=700, rate=4,
         per_connection=3, threads=2),
    _own("validation", "files sent up, larger", "send_files", "files", port=8443, count=160, rate=3, threads=2,
         size=60_000,
         ask_back=1.0, agent="curl"),
)  # fmt: skip

_TEST = (
    _own("test", "commands in a form of a controller, two a connection", "inject_commands", "plc", "broker", port=5000,
         count=240, rate=3, per_connection=2, agent="go"),
    _own("test", "server scan of plain pages, quiet", "scan_pages", "ris", "camera", count=240, rate=2.5,
         per_connection=2, agent="browser", probes=0.2),
    _own("test", "sqlmap, unions and errors", "inject_sql", "pacs", port=8080,
         flags="--level 2 --technique UE --threads 2 --union-cols 1-12", path="/search?q=1&lang=de"),
    _own("test", "sqlmap over tls, slow", "inject_sql", "fhir", port=8443,
         flags="--level 2 --delay 0.2 --technique BEU"),
    _own("test", "server scan, three hosts at once", "scan_pages", "monitor", "printer", "camera", count=900, rate=9,
         threads=6, per_connection=3, agent="go", probes=0.6),
    _own("test", "folders by words, tls, one host in a while", "force_browse", "ehr", "pacs", port=443, count=180,
         rate=3, threads=2, agent="curl"),
    _own("test", "odd parameters in posts", "fuzz_parameters", "plc", "pacs", port=8080, count=320, rate=9,
         threads=4, method="POST", longest=6000, agent="python"),
    _own("test", "markup in parameters, slow", "inject_scripts", "files", "ehr", port=8443, count=180, rate=2,
         agent="curl"),
    _own("test", "paths that climb, from a printer", "climb_paths", "ris", by="printer", count=190, rate=2.4,
         agent="go"),
)  # fmt: skip

WEB_ATTACK = (*_TRAIN, *_VALIDATION, *_TEST)
