"""Attack windows to label rules: the first rule that matches a connection names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .network import INTERNET_NETS

if TYPE_CHECKING:
    from pathlib import Path

    from .plan import Host, Plan
    from .scenario import Attack

INTERNET = list(INTERNET_NETS)
RELAYING = ": poisoning and relaying"  # ends the detail of what a man in the middle passes on unchanged
_CLASSES = ["benign", "flood", "recon", "brute_force", "web_attack", "spoofing", "c2", "exfiltration", "exploit",
            "background"]  # fmt: skip


def rules(
    attack: Attack, plan: Plan, by: list[Host], targets: list[str], start: float, end: float
) -> list[dict[str, Any]]:
    """The rules of one attack between two times (epoch seconds).

    The window stays open 15 s for what the attack leaves behind; of a spoofed
    flood, whose victims go on answering nobody, until the end of the capture.

    Shapes beside "direct": "spoofed" and "amplified" floods; "arp" a man in the middle, "relay" one whose host has
    no other business; "inflight" one who changes what `match` names (the rest of what passes is spoofing); "host"
    everything of a host without honest business; "redirect" ICMP in another's name.
    """
    window = {"after": round(start - 0.5, 3), "before": round(end + 15.0, 3)}
    since = {"after": window["after"]}
    what = {"label": attack.label, "detail": attack.detail}
    background = {"label": "background", "detail": "answers the attack provoked"}
    sources = [h.ip for h in by]
    known = [*plan.subnets.values(), *INTERNET]
    if attack.shape == "spoofed":
        return [{"not_orig": [*known, "0.0.0.0"], "resp": targets, **attack.match, **since, **what},
                {"orig": targets, "not_resp": [*known, "224.0.0.0/3"], **since, **background}]  # fmt: skip
    if attack.shape == "amplified":
        return [{"host": list(plan.internet), "host2": targets, "proto": "udp", "port": 53, **window, **what},
                {"proto": "icmp", "orig": targets, "resp": list(plan.internet), **window, **background}]  # fmt: skip
    routers = [plan.leg(s) for s in plan.subnets]
    answers = {"proto": "icmp", "orig": [*targets, *routers], "resp": sources, **window, **background}
    if attack.shape in ("arp", "relay", "inflight"):
        macs = [h.mac for h in by]
        in_the_middle = [{"proto": "arp", "l2": macs, **window, **what},
                {"orig": sources, "resp": targets, **window, "label": "background", "detail": "finds its victims"},
                answers,
                {"host": targets, "l2": macs, **window, **what}]  # fmt: skip
        if attack.shape == "arp":
            return in_the_middle
        own = {"host": sources, **window, "label": "background", "detail": "the attacker's own errands"}
        if attack.shape == "relay":  # whoever believed a forged name comes even after the attack
            return [{"orig": targets, "resp": sources, "not_proto": "icmp", **since, **what}, *in_the_middle, own]
        poison = {"label": "spoofing", "detail": attack.detail + RELAYING}
        changed = {**attack.match, **window, **what}
        return [{"host": targets, "l2": macs, **changed}, {"orig": sources, **changed},
                {"proto": "arp", "l2": macs, **window, **poison}, {"host": targets, "l2": macs, **window, **poison},
                own]  # fmt: skip
    if attack.shape == "host":  # what a host does that does nothing honest, at either end
        return [answers, {"host": sources, **attack.match, **window, **what}]
    if attack.shape == "redirect":  # sent in the router's name: known by the frame's sender
        return [{"proto": "icmp", "resp": targets, "l2": [h.mac for h in by], **window, **what},
                {"host": sources, **window, "label": "background", "detail": "the attacker's own errands"}]  # fmt: skip
    return [{"orig": sources, "resp": targets, **attack.match, **window, **what}, answers]


def write(path: Path, capture: str, found: list[dict[str, Any]], clean: bool) -> None:
    """Write the one-entry label file beside the capture."""
    import yaml

    class Plain(yaml.SafeDumper):
        """Lists of addresses on one line, and no anchors."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    entry = {"captures": [capture, f"*/{capture}"], "rules": found, "default": "benign",
             "default_detail": "hospital lab, no attack" if clean else "hospital lab, benign hosts"}  # fmt: skip
    text = yaml.dump({"version": 1, "classes": _CLASSES, "entries": [entry]}, Dumper=Plain, sort_keys=False,
                     width=110, default_flow_style=None)  # fmt: skip
    path.write_text(text)
