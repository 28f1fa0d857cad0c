"""Spoofing variants: who pretends to be whom, with what tool, in which part of the data set."""

from __future__ import annotations

from functools import partial

from .timed import lasting
from .variant import Variant

_train = partial(lasting, "spoofing", "train")
_validation = partial(lasting, "spoofing", "validation")
_test = partial(lasting, "spoofing", "test")
_MQTT = {"resp_port": 1883, "proto": "tcp"}

SPOOFING: tuple[Variant, ...] = (
    _train("arpspoof, one workstation and the router", "mitm", ("workstation", "gateway"), 100, shape="relay"),
    _train("arpspoof, four workstations and the router", "mitm", ("workstation", "nurse"), 120, shape="relay",
           victims=4),
    _train("arpspoof, web servers of the clinic and the router", "mitm", ("ehr", "ris", "pacs"), 120, shape="relay",
           victims=2),
    _train("arpspoof between senders of messages and their servers", "mitm", ("bedside", "analyzer", "nurse"), 100,
           shape="relay", victims=3, between=("ris", "ehr", "integration")),
    _train("forged arp every 9 s, pumps and the broker", "mitm", ("pump", "bedside"), 110, shape="relay",
           victims=4, tool="raw", gap=9, between=("broker",)),
    _train("gratuitous arp, broker claimed and lost", "claims", ("broker",), 40, shape="relay", gap=1, relay=False),
    _train("gratuitous arp, several servers claimed and relayed", "claims", ("ris", "ehr", "pacs"), 80, shape="relay",
           gap=1.5),
    _train("dnsspoof, two workstations", "dns_spoof", ("workstation",), 110, shape="relay", victims=2),
    _train("dnsspoof, all names of four desktops", "dns_spoof", ("workstation", "nurse", "admin"), 130,
           shape="relay", victims=4),
    _train("rogue dhcp, dnsmasq, unasked answers", "rogue_dhcp", ("workstation", "printer", "files"), 120, shape="host",
           tool="dnsmasq", period=4, spread=5),
    _train("mqtt client ids taken over, two a second", "mqtt_takeover", ("broker",), 90, match=_MQTT, period=0.4,
           devices=6, hold=0.2),
    _train("mqtt client ids of two pumps taken over and held", "mqtt_takeover", ("broker",), 120, match=_MQTT, period=2,
           devices=2, hold=1.5, publish=3),
    _train("forged llmnr and netbios answers", "forge_names", ("workstation", "printer"), 100, shape="host",
           period=1.2, spread=4),
    _train("syslog lines in the name of pumps", "forge_sender", ("monitor",), 90, shape="relay", period=0.5, burst=1),
    _train("icmp redirects to workstations, every 1.5 s", "icmp_redirect", ("workstation",), 60, shape="redirect",
           period=1.5),
    _validation("arpspoof, desktops and files and the resolver, one way", "mitm", ("workstation", "admin"), 110,
                shape="relay", victims=6, one_way=True, between=("files", "dns")),
    _validation("forged arp every second, three desktops and the router", "mitm", ("workstation", "admin", "nurse"),
                130, shape="relay", victims=3, tool="raw", gap=1),
    _validation("gratuitous arp, resolver claimed and relayed", "claims", ("dns",), 70, shape="relay", gap=2.5),
    _validation("dns answered in the middle, half the names", "dns_spoof", ("workstation", "nurse"), 130,
                shape="relay", victims=3, tool="answer", share=0.5),
    _validation("rogue dhcp, udhcpd", "rogue_dhcp", ("workstation", "admin", "printer"), 110, shape="host",
                tool="udhcpd", period=8, spread=3),
    _validation("mqtt client ids of two devices in turn", "mqtt_takeover", ("broker",), 120, match=_MQTT, period=1.6,
                devices=2, hold=1, publish=1, keepalive=15),
    _validation("forged mdns and llmnr answers, slowly", "forge_names", ("workstation", "printer", "admin"), 120,
                shape="host", kinds=("mdns", "llmnr"), period=5, spread=4, names=("print1", "fileserv")),
    _validation("syslog alarms in the name of modalities, bursts", "forge_sender", ("monitor",), 100, shape="relay",
                period=6, burst=6, roles=("modality", "bedside")),
    _test("arpspoof, modalities and pacs", "mitm", ("modality", "viewer", "ris"), 130, shape="relay", victims=4,
          between=("pacs",)),
    _test("forged arp every 7 s, wards' desktops and the router", "mitm", ("nurse", "viewer", "analyzer"), 120,
          shape="relay", victims=3, tool="raw", gap=7),
    _test("forged arp every 8 s, office machines and the resolver", "mitm", ("workstation", "admin", "printer"), 120,
          shape="relay", victims=5, tool="raw", gap=8, between=("dns",)),
    _test("gratuitous arp, plc and its neighbours lost", "claims", ("plc", "hmi", "bms"), 70, shape="relay", gap=0.6,
          relay=False),
    _test("dns answered in the middle after forged arp, all names", "dns_spoof", ("workstation", "admin"), 130,
          shape="relay", victims=4, tool="answer", mitm_tool="raw"),
    _test("rogue dhcp without a server, acknowledgements only", "rogue_dhcp", ("workstation", "guest", "files"), 120,
          shape="host", tool="none", period=3, spread=5),
    _test("mqtt client ids of all devices swept", "mqtt_takeover", ("broker",), 100, match=_MQTT, period=0.35,
          devices=9, hold=0.1),
    _test("forged netbios and llmnr answers, wpad and servers", "forge_names", ("workstation", "files", "dns"), 100,
          shape="host",
          kinds=("nbns", "llmnr"), period=0.8, spread=3, names=("wpad", "fileserv", "proxy")),
    _test("syslog lines in the name of plcs", "forge_sender", ("monitor",), 90, shape="relay", port=514, period=0.4,
          burst=2, roles=("plc", "printer")),
)  # fmt: skip
