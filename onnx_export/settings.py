"""Everything a training run depends on besides its data: settings, and the YAML files that change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

# Feature groups dropped whole, per chunk: logs lack counters, MACs and service, and ports are a shortcut.
DROP_SHARE = {
    "counters": 0.3,
    "mac": 0.2,
    "service": 0.2,
    "history": 0.05,
    "ports": 0.2,
    "sizes": 0.05,
    "short": 0.05,
    "middle": 0.05,
    "long": 0.1,
    "ages": 0.1,
}


@dataclass(frozen=True)
class Settings:
    """One training run. Rates are shares of benign rows; learning_rate is the highest of the schedule."""

    seed: int = 1
    autoencoder_epochs: int = 10
    autoencoder_rows: int = 60_000  # benign rows an epoch of the autoencoder sees, drawn anew each time
    epochs: int = 40
    patience: int = 15  # epochs without a better validation score before training ends
    chunk: int = 64  # steps of truncated backpropagation; the state is carried on, without gradient
    batch_rows: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 5e-2
    balance: float = 0.5  # classes weigh by the inverse of their frequency to this power
    average: float = 0.99  # of each step's weights this much is kept in the average that is exported
    reset_share: float = 0.1  # chunks that start from a zero state, as after a restart
    past_share: float = 0.5  # streams that begin with a benign stream's memory: who attacks has worked before
    refresh_epochs: int = 5  # every so many epochs all states are computed anew, with the weights of that moment
    feature_noise: float = 0.1  # standard deviation on scaled inputs
    drop_share: dict[str, float] = field(default_factory=lambda: dict(DROP_SHARE))
    cap: int = 3000  # rows of one class of a capture that an epoch labels; floods repeat themselves
    false_positive_rate: float = 4e-3  # of benign validation rows; the epoch is chosen by recall there and at a quarter
    shape: dict[str, Any] = field(default_factory=dict)
    lightgbm: dict[str, Any] = field(default_factory=dict)  # options of that baseline, over those of `baselines.py`


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """`settings` with `values` over them. Raises ValueError naming what it does not know."""
    known = {f.name for f in fields(Settings)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(f"no such setting: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    merged = dict(values)
    if "drop_share" in merged:
        merged["drop_share"] = {**settings.drop_share, **merged["drop_share"]}
    return replace(settings, **merged)
