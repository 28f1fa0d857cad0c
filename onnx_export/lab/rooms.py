"""Where behaviours and attacks are found by their names."""

from __future__ import annotations

from collections.abc import Callable

from . import (
    attacks,
    bacnet,
    clients,
    coap,
    floods,
    guessing,
    implants,
    impostor,
    leaks,
    mail,
    management,
    manipulation,
    medical,
    neighbours,
    nuisance,
    outside,
    partners,
    phones,
    printing,
    recon,
    remote,
    rest,
    servers,
    shares,
    spoofing,
    standins,
    updates,
    video,
    web,
    web_attacks,
)

EVERYDAY = (servers, web, clients, medical, management, rest, coap, bacnet, video, printing, shares, remote, updates,
            mail, nuisance, neighbours, partners, phones, outside)  # fmt: skip
ATTACKS = (attacks, standins, recon, guessing, floods, web_attacks, spoofing, impostor, implants,
           leaks, manipulation)  # fmt: skip


def find(name: str) -> Callable[..., None]:
    """The behaviour or attack of this name. Raises KeyError for another."""
    for room in (*EVERYDAY, *ATTACKS):
        if (found := getattr(room, name, None)) is not None and found.__module__ == room.__name__:
            return found  # type: ignore[no-any-return]
    raise KeyError(f"lab: no behaviour named {name}")
