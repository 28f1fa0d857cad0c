"""Who is in the hospital: every role's segment, how many of it, what it runs, what its firewall leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Task = tuple[str, dict[str, Any]]  # (behaviour, its parameters); periods are seconds of real life

SEGMENTS = ("clinical", "building", "office", "guest")
# People work by day; at night their machines are nearly idle. Nurses work all night.
STAFF_NIGHT = {"workstation": 6.0, "viewer": 6.0, "admin": 8.0, "guest": 10.0, "nurse": 1.6}
DEVICES = {"plc", "printer", "modality", "analyzer", "pump", "bedside", "hmi", "bms", "bacnet", "sensor", "camera"}


@dataclass(frozen=True)
class Role:
    """One kind of machine: `least` to `most` of it stand in `segment`."""

    segment: str
    least: int
    most: int
    tasks: tuple[Task, ...]
    ports: tuple[int, ...] = ()  # not empty: a firewall silently drops every other port


def _pages(*ports: int) -> tuple[Task, ...]:
    """Web pages on ports beside the usual ones: settings, dashboards, a device's own small server."""
    return tuple(("http_server", {"port": port}) for port in ports)


_SSH: Task = ("sshd", {})
_SNMP: Task = ("snmpd", {})
_HOUSE: tuple[Task, ...] = (
    ("boot", {}), ("ntp_client", {"period": 1024}), ("syslog_client", {"period": 500}), ("reboot", {"period": 43_200}),
)  # fmt: skip
# What attacks need on the internet: command servers and drops, see outside.py.
_OUTSIDE: tuple[Task, ...] = (
    *(("control_server", {"port": port}) for port in (8080, 8000, 8888)),
    *(("session_server", {"port": port}) for port in (4444, 9001, 5555)),
    *(("irc_server", {"port": port}) for port in (6667, 6697, 7000)),
    *(("udp_peer", {"port": port}) for port in (16464, 34567, 49001)),
    *(("mqtt_drop", {"port": port}) for port in (1883, 1884, 18830)),
    *(("mail_drop", {"port": port}) for port in (25, 587)),
    *(("foreign_ae", {"port": port}) for port in (11112, 104, 4242)),
    *(("mllp_drop", {"port": port}) for port in (6661, 2576)),
    *(("ssh_drop", {"port": port}) for port in (2222, 22022, 8022)),
    *(("sink_server", {"port": port}) for port in (4445, 5556)),
    ("ftp_server", {}),
    ("iodine_server", {"address": -1}),
)
ROLES: dict[str, Role] = {
    "gateway": Role("office", 1, 1, (
        ("dhcp_server", {}),
    )),
    "internet": Role("office", 1, 1, (
        *_pages(8443, 9443, 5000),
        ("dns_server", {}), ("http_server", {"port": 80}), ("http_server", {"port": 443}), ("ntp_server", {}), _SSH,
        ("relay_server", {}), ("relay_server", {"port": 5223}), *_OUTSIDE,
    )),
    "pacs": Role("clinical", 1, 1, (
        *_pages(8080, 8443), ("failover", {}),
        ("dicom_server", {}), ("http_server", {"port": 443}), ("rdp_server", {}), _SSH, _SNMP, *_HOUSE,
        ("rsync_client", {"at": 10_800}), ("update_client", {"at": 7200, "period": 43_200}),
        ("lost_poll", {"period": 600}),
    )),
    "ris": Role("clinical", 1, 1, (
        *_pages(8080, 8888), ("failover", {}), ("second_card", {}), ("long_names", {"period": 900}),
        ("mllp_server", {}), ("http_server", {"port": 80}), _SSH, _SNMP, *_HOUSE,
        ("hl7_client", {"to": "ehr", "period": 240}), ("hl7_client", {"to": "integration", "period": 200}),
        ("lpd_client", {"period": 600}), ("rsync_client", {"at": 12_600}),
        ("fhir_client", {"period": 300, "style": "post"}),
    )),
    "ehr": Role("clinical", 1, 1, (
        *_pages(8443, 8000),
        ("http_server", {"port": 443}), ("http_server", {"port": 80}), ("mllp_server", {}), ("rdp_server", {}), _SSH,
        *_HOUSE, ("fhir_client", {"period": 240}), ("lpd_client", {"period": 900}),
        ("mail_sender", {"period": 1800, "port": 25}), ("rsync_client", {"at": 14_400}),
        ("backup_client", {"connections": 120, "size": 20_000, "at": 9000, "gap": 20}),
    ), (22, 80, 443, 2575, 3389, 8000, 8443)),
    "fhir": Role("clinical", 1, 1, (
        *_pages(8443), ("failover", {}),
        ("fhir_server", {}), _SSH, _SNMP, *_HOUSE, ("update_client", {"period": 43_200}),
    )),
    "broker": Role("clinical", 1, 1, (
        *_pages(8888, 5000), ("second_card", {}),
        ("mqtt_server", {}), _SSH, _SNMP, *_HOUSE, ("vendor_cloud", {"period": 600}),
    )),
    "integration": Role("clinical", 1, 1, (
        *_pages(8443, 8888), ("failover", {}), ("partner", {"period": 120}),
        ("mllp_server", {}), _SSH, *_HOUSE, ("hl7_client", {"to": "ehr", "period": 150}),
        ("fhir_client", {"period": 180, "style": "post"}), ("mqtt_subscriber", {"session": 14_400}),
        ("retry_client", {"to": "monitor", "period": 600}),
    )),
    "modality": Role("clinical", 3, 4, (
        *_pages(8080, 9443), ("partner", {"period": 240}),
        *_HOUSE, ("dicom_client", {"period": 900, "images": 6}), ("vendor_cloud", {"period": 900}),
        ("remote_support", {"period": 28_800, "at": 7200}), ("smb_client", {"period": 3600}),
    ), (104, 8080, 9443)),
    "viewer": Role("clinical", 2, 2, (
        ("device_pages", {"period": 70}), ("partner", {"period": 240}), ("changing_card", {"period": 60, "macs": 2}),
        ("rdp_server", {}), *_HOUSE, ("dicom_client", {"period": 600, "images": 2}),
        ("web_client", {"period": 400, "inside": 0.9}), ("fhir_client", {"period": 400, "style": "chart"}),
        ("smb_client", {"period": 2400}), ("ipp_client", {"period": 1800}),
    )),
    "analyzer": Role("clinical", 2, 2, (
        *_pages(8000), ("partner", {"period": 180}),
        *_HOUSE, ("hl7_client", {"to": "ris", "period": 180}), ("vendor_cloud", {"period": 600}),
        ("smb_client", {"period": 1800}), ("update_client", {"period": 21_600}),
    )),
    "pump": Role("clinical", 4, 5, (
        *_pages(8000), ("partner", {"period": 400}),
        ("mqtt_client", {"period": 60, "session": 1800, "tls": True}), ("ntp_client", {"period": 2048}),
        ("reboot", {"period": 28_800}), ("flap", {"period": 14_400}), ("vendor_cloud", {"period": 1800}),
    )),
    "bedside": Role("clinical", 4, 5, (
        *_pages(8888), ("partner", {"period": 400}),
        ("mqtt_client", {"period": 30, "session": 900}), ("hl7_client", {"to": "integration", "period": 180}),
        ("ntp_client", {"period": 2048}), ("reboot", {"period": 28_800}), ("flap", {"period": 10_800}),
        ("fhir_client", {"period": 600, "style": "post"}),
    )),
    "nurse": Role("clinical", 2, 2, (
        ("device_pages", {"period": 60}), ("partner", {"period": 240}), ("changing_card", {"period": 60, "macs": 2}),
        *_HOUSE, ("web_client", {"inside": 0.9, "period": 700}), ("hl7_client", {"to": "ris", "period": 300}),
        ("mqtt_subscriber", {"session": 7200, "tls": True}), ("ipp_client", {"period": 1200}),
        ("dead_client", {"period": 900}), ("mail_reader", {"period": 900}), ("video_viewer", {"period": 7200}),
    )),
    "plc": Role("building", 2, 2, (
        *_pages(8080, 5000),
        ("modbus_server", {}), ("http_server", {"port": 80}), ("telnet_server", {}), _SNMP,
        ("ntp_client", {"period": 1024}), ("ntp_unreachable", {"period": 1024}), ("reboot", {"period": 86_400}),
    )),
    "hmi": Role("building", 1, 1, (
        ("rdp_server", {}), *_HOUSE, ("modbus_client", {"period": 20}), ("lost_poll", {"period": 240}),
    )),
    "bms": Role("building", 1, 1, (
        *_pages(8888, 9443),
        ("coap_server", {}), ("http_server", {"port": 80}), *_HOUSE,
        ("bacnet_controller", {"period": 60, "discover": 3600}),
        ("coap_collector", {"period": 300, "session": 7200}), ("mail_sender", {"period": 7200, "port": 25}),
        ("stale_password", {"kind": "http", "period": 300, "at": 14_400}),
    )),
    "bacnet": Role("building", 3, 3, (
        ("bacnet_device", {"period": 120}), ("reboot", {"period": 43_200}),
    )),
    "sensor": Role("building", 3, 4, (
        ("doubled_address", {}),
        ("coap_server", {"period": 300}), ("coap_reporter", {"period": 300}), ("flap", {"period": 10_800}),
        ("ntp_unreachable", {"period": 2048}),
    )),
    "camera": Role("building", 3, 3, (
        *_pages(8080, 8888), ("partner", {"period": 300}),
        ("camera_server", {}), ("http_server", {"port": 80}), *_HOUSE,
        ("stale_password", {"kind": "ftp", "period": 300, "at": 21_600}), ("vendor_cloud", {"period": 900}),
    )),
    "nvr": Role("building", 1, 1, (
        *_pages(8000, 9443),
        _SSH, *_HOUSE, ("nvr_client", {"period": 60, "session": 3600}),
        ("mail_sender", {"period": 3600, "port": 25}),
    )),
    "dns": Role("office", 1, 1, (
        ("dns_server", {}), ("ntp_server", {}), _SSH, _SNMP, ("ntp_client", {"period": 1024}),
        ("update_client", {"period": 43_200}),
    )),
    "files": Role("office", 1, 1, (
        *_pages(5000, 8443), ("failover", {}), ("second_card", {}), ("long_names", {"period": 900}),
        ("ftp_server", {}), ("smb_server", {}), ("rsync_server", {}), ("mail_server", {}),
        ("sink_server", {"port": 10_000}), ("telnet_server", {}), _SSH, _SNMP, *_HOUSE,
        ("dns_storm", {"period": 14_400}), ("update_client", {"period": 43_200}),
    )),
    "monitor": Role("office", 1, 1, (
        *_pages(8888, 5000), ("port_checks", {"period": 3}), ("device_pages", {"period": 50}),
        ("syslog_server", {}), ("http_server", {"port": 80}), _SSH, ("monitor", {"period": 1200}),
        ("outage_server", {"up": 7200, "down": 600}), ("mail_sender", {"period": 1800, "port": 25}),
        ("double_poll", {"period": 300}), ("ntp_client", {"period": 1024}),
    )),
    "updates": Role("office", 1, 1, (
        *_pages(8000, 8888), ("failover", {}),
        ("update_server", {}), _SSH, ("vendor_cloud", {"period": 1200}), ("rsync_client", {"at": 16_200}),
        ("ntp_client", {"period": 1024}),
    )),
    "workstation": Role("office", 6, 8, (
        ("device_pages", {"period": 90}), ("partner", {"period": 240}), ("long_names", {"period": 600}),
        ("changing_card", {"period": 80, "macs": 2}),
        ("rdp_server", {}), *_HOUSE, ("announcer", {"period": 600}),
        ("web_client", {"period": 700}), ("mail_reader", {"period": 900}),
        ("mail_sender", {"period": 3600}), ("smb_client", {"period": 1800}), ("ipp_client", {"period": 1800}),
        ("name_client", {"period": 900}),
        ("print_client", {"period": 3600}), ("file_client", {"period": 5400}),
        ("dns_noise", {"period": 900}),
        ("dns_storm", {"period": 7200}), ("update_client", {"period": 14_400}), ("vendor_cloud", {"period": 900}),
        ("picky_client", {"period": 3600}),
    )),
    "admin": Role("office", 2, 2, (
        ("port_checks", {"period": 6, "closed": 0.7}), ("device_pages", {"period": 40}), ("partner", {"period": 240}),
        ("rdp_server", {}),
        ("control_server", {"port": 8089}), ("telnet_client", {"period": 1800}),
        ("ssh_client", {"period": 1200}), ("ssh_console", {"period": 7200}), ("rdp_client", {"period": 3600}),
        ("snmp_client", {"period": 600}), ("web_client", {"period": 400}),
        ("discovery", {"at": 10_800, "period": 86_400}), ("inventory", {"period": 14_400}),
        ("mail_reader", {"period": 900}), ("double_poll", {"period": 600}), ("ntp_client", {"period": 1024}),
    )),
    "printer": Role("office", 2, 2, (
        *_pages(8000, 8443), ("doubled_address", {}), ("partner", {"period": 300}),
        ("sink_server", {"port": 9100}), ("ipp_server", {}), ("lpd_server", {}), ("http_server", {"port": 80}),
        _SNMP, ("ntp_client", {"period": 2048}), ("mail_sender", {"period": 7200, "port": 25}),
        ("reboot", {"period": 43_200}), ("stale_password", {"kind": "smb", "period": 600, "at": 18_000}),
    )),
    "guest": Role("guest", 3, 4, (
        ("changing_card", {"period": 30, "macs": 0}), ("partner", {"period": 300}),
        ("guest_phone", {"period": 300, "away": 0.7}), ("name_client", {"period": 900}), ("dns_noise", {"period": 900}),
    )),
}  # fmt: skip
