"""Attack windows to label rules: the first rule that matches a connection names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .network import INTERNET_NETS

if TYPE_CHECKING:
    from pathlib import Path

    from .plan import Host, Plan
    from .scenario import Attack

INTERNET = list(INTERNET_NETS)
_CLASSES = ["benign", "flood", "recon", "brute_force", "web_attack", "spoofing", "c2", "exfiltration", "exploit",
            "background"]  # fmt: skip


def rules(
    attack: Attack, plan: Plan, by: list[Host], targets: list[str], start: float, end: float
) -> list[dict[str, Any]]:
    """The rules of one attack between two times (epoch seconds).

    The window stays open 15 s for what the attack leaves behind; of a spoofed
    flood, whose victims go on answering nobody, until the end of the capture.
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
    if attack.shape == "arp":
        macs = [h.mac for h in by]
        return [{"proto": "arp", "l2": macs, **window, **what},
                {"orig": sources, "resp": targets, **window, "label": "background", "detail": "finds its victims"},
                answers,
                {"host": targets, "l2": macs, **window, **what}]  # fmt: skip
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
