"""What capture files have in common: their first bytes, and the times a packet may have."""

from __future__ import annotations

# First four bytes → (byte order, timestamp units per second, record header length)
PCAP_MAGICS: dict[bytes, tuple[str, float, int]] = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e6, 16),
    b"\xa1\xb2\xc3\xd4": (">", 1e6, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1e9, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1e9, 16),
    b"\x34\xcd\xb2\xa1": ("<", 1e6, 24),  # Kuznetzov's patched libpcap
    b"\xa1\xb2\xcd\x34": (">", 1e6, 24),
}
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"

# s since the epoch; the last second (of 2106) that a pcap can say. pcapng can say anything.
MAX_TIME_S = 2.0**32 - 1
ABSURD_TIME = "absurd packet time"  # why a packet beyond it, or before the epoch, is left out
