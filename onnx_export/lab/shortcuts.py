"""Are the labels learnable for the right reason: a classifier given only addresses, only ports or only times."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export.data import make_capture, zeek_order
from pyad.row import BY_NAME, Rows, from_tuples
from pyad.verdict import CLASSES

from . import stored

Floats = NDArray[np.float64]
INPUTS = {
    "addresses": "octets and /24 of both ends",
    "ports": "both ports and the protocol",
    "time": "s since the recording began, of the day, since 1970",
    "product": "the features of pyad",
}
RATES = (0.01, 0.001)  # false alarms on benign rows at which alarm recall is told
WORKS_ALARM, WORKS_GAIN = 0.1, 0.25  # see `works`
_CALM = 10  # benign rows that set the threshold, in multiples of the cap
_DRAWS = 1000
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Part:
    """Capped rows of one recording: label (rows,), and of each kind of input an array (rows, columns).

    `calm` are the inputs of more benign rows, from which the threshold of an alarm is found.
    """

    title: str
    label: NDArray[np.int8]
    inputs: dict[str, Floats]
    calm: dict[str, Floats]


def run(folder: Path, cap: int, seed: int) -> int:
    """Train on the recordings of group train, test on those of test, print the comparison as Markdown.

    Where no recording says that it is of group test, those that the registry has for validation stand in for it.
    """
    facts = stored.read_recordings(folder)
    files = stored.row_files(folder)
    groups = {what.get("group") for what in facts.values()}
    held_out = "test" if "test" in groups else "validation"
    parts = {
        group: [
            prepare(t, list(stored.read_rows(files[t])), cap, seed) for t in facts if facts[t].get("group") == group
        ]
        for group in ("train", held_out)
    }
    if not all(parts.values()):
        sys.stderr.write(f"lab: {folder} needs recordings of the groups train and test\n")
        return 1
    matrices, caught = {}, {}
    for kind in INPUTS:
        likely, calm = judged(parts["train"], parts[held_out], kind, seed)
        matrices[kind] = confusion(parts[held_out], likely)
        caught[kind] = {rate: alarms(parts[held_out], likely, calm, rate) for rate in RATES}
    matrices["guessing"] = _guessing(parts[held_out], seed)
    sys.stdout.write(markdown(matrices, parts["train"], parts[held_out], held_out, cap, seed))
    sys.stdout.write("\n" + alarm_markdown(caught, matrices))
    return 0


def prepare(title: str, records: list[dict[str, Any]], cap: int, seed: int) -> Part:
    """Inputs of at most `cap` rows of each class, drawn at random; windows have seen all rows before.

    Rows of changed addresses are left out: they have no ports, so that ports can tell nothing of them.
    """
    capture = make_capture("lab", title, records)
    fields = [f for f in BY_NAME if any(f in r for r in records)]
    rows = from_tuples(fields, [[r.get(f) for f in fields] for r in records], title)
    rows = rows.take(zeek_order(rows))  # as make_capture has put them
    rng = np.random.default_rng([seed, *title.encode()])
    label = np.where(rows.text("proto") == "arp", -1, capture.label)
    kept = [rng.permutation(np.flatnonzero(label == c))[:cap] for c in range(len(CLASSES)) if c in label]
    at = np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)
    first = float(rows.number("ts").min())
    calm = rng.permutation(np.flatnonzero(label == CLASSES.index("benign")))[: _CALM * cap]
    return Part(title, label[at], _inputs(rows, capture.x, at, first), _inputs(rows, capture.x, calm, first))


def _inputs(rows: Rows, features: NDArray[Any], at: NDArray[Any], first: float) -> dict[str, Floats]:
    few = rows.take(at)
    ts = few.number("ts")
    return {
        "addresses": _addresses(few),
        "ports": np.stack([few.number("id.orig_p"), few.number("id.resp_p"), _protocol(few)], axis=1),
        "time": np.stack([ts - first, ts % _DAY_S, ts], axis=1),
        "product": features[at].astype(np.float64),
    }


def _addresses(rows: Rows) -> Floats:
    columns = []
    for end in ("id.orig_h", "id.resp_h"):
        texts = rows.text(end).tolist()
        values = [_octets(text) for text in texts]
        columns.append(np.array(values, dtype=np.float64).reshape(len(texts), 5))
    return np.concatenate(columns, axis=1)


def _octets(text: str) -> list[float]:
    ip = ipaddress.ip_address(text)
    if ip.version == 6:
        return [np.nan] * 5
    return [*ip.packed, int(ip) >> 8]


def _protocol(rows: Rows) -> Floats:
    codes = {"tcp": 0, "udp": 1, "icmp": 2}
    return np.array([codes.get(p, 3) for p in rows.text("proto").tolist()], dtype=np.float64)


def judged(train: list[Part], test: list[Part], kind: str, seed: int) -> tuple[list[Floats], Floats]:
    """What a classifier that was shown one kind of input says: P of each class of every tested row, by recording.

    And 1 - P(benign) of all calm rows of the tested recordings.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.2,
        max_bins=64,
        max_leaf_nodes=15,
        early_stopping=False,
        class_weight="balanced",
        random_state=seed,
    )
    x = np.concatenate([p.inputs[kind] for p in train])
    told = [column for column in range(x.shape[1]) if len(np.unique(x[~np.isnan(x[:, column]), column])) > 1]
    model.fit(x[:, told], np.concatenate([p.label for p in train]))

    def likely(inputs: Floats) -> Floats:
        found = np.zeros((len(inputs), len(CLASSES)))
        if len(inputs):
            found[:, model.classes_.astype(int)] = model.predict_proba(inputs[:, told])
        return found

    calm = np.concatenate([likely(p.calm[kind]) for p in test])
    return [likely(p.inputs[kind]) for p in test], 1 - calm[:, CLASSES.index("benign")]


def confusion(test: list[Part], likely: list[Floats]) -> NDArray[np.int64]:
    """Counts (recording, true class, likeliest class)."""
    return np.stack([_count(p.label, said.argmax(axis=1)) for p, said in zip(test, likely, strict=True)])


def threshold(calm: Floats, rate: float) -> float:
    """The score that at most this share of the calm rows exceeds."""
    return float(np.sort(calm)[::-1][min(len(calm) - 1, int(rate * len(calm)))])


def alarms(test: list[Part], likely: list[Floats], calm: Floats, rate: float) -> Floats:
    """Share of each class's rows (NaN: none) whose 1 - P(benign) exceeds the threshold of this false-alarm rate."""
    limit, benign = threshold(calm, rate), CLASSES.index("benign")
    label = np.concatenate([p.label for p in test])
    alarm = 1 - np.concatenate(likely)[:, benign] > limit
    return np.array([alarm[label == c].mean() if (label == c).any() else np.nan for c in range(len(CLASSES))])


def works(alarm_recall: float, recall: float, chance: float, best: float) -> tuple[bool, bool]:
    """Whether a shortcut works: in operation (alarm recall at one false alarm in 1000), and as a classifier.

    The first where it finds more than a tenth of the attacks, the second where its macro recall is more than a
    quarter of the way from guessing to what the product's features reach.
    """
    return alarm_recall > WORKS_ALARM, recall - chance > WORKS_GAIN * (best - chance)


def _guessing(test: list[Part], seed: int) -> NDArray[np.int64]:
    """A class drawn at random for every row, each as likely as any other that occurs."""
    rng = np.random.default_rng(seed)
    occurring = np.unique(np.concatenate([p.label for p in test]))
    return np.stack([_count(p.label, rng.choice(occurring, len(p.label))) for p in test])


def _none() -> NDArray[np.int64]:
    return np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)


def _count(true: NDArray[Any], said: NDArray[Any]) -> NDArray[np.int64]:
    counts = _none()
    np.add.at(counts, (true.astype(int), said.astype(int)), 1)
    return counts


def scores(counts: NDArray[np.int64]) -> tuple[float, float, Floats]:
    """Macro F1, macro recall and recall of each class (NaN where it does not occur) of summed counts."""
    hit = np.diag(counts).astype(np.float64)
    true, said = counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hit / true
        f1 = 2 * hit / (true + said)
    occurs = true > 0
    return float(f1[occurs].mean()), float(recall[occurs].mean()), recall


def interval(matrices: NDArray[np.int64], seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % of macro F1 and macro recall when recordings are drawn anew, with replacement."""
    rng = np.random.default_rng(seed)
    drawn = [scores(matrices[rng.integers(0, len(matrices), len(matrices))].sum(axis=0))[:2] for _ in range(_DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def markdown(
    matrices: dict[str, NDArray[np.int64]], train: list[Part], test: list[Part], held_out: str, cap: int, seed: int
) -> str:
    """The comparison: macro scores with intervals, how much of the product's gain a shortcut has, recall by class."""
    rows = {name: sum(len(p.label) for p in parts) for name, parts in (("train", train), ("test", test))}
    total = {kind: scores(m.sum(axis=0)) for kind, m in matrices.items()}
    chance, best = total["guessing"][1], total["product"][1]
    lines = [
        "| given only | macro F1 (95 %) | macro recall (95 %) | of the product's gain over guessing |",
        "|---|---|---|---:|",
    ]
    for kind, matrix in matrices.items():
        f1, recall, _ = total[kind]
        (f1_low, f1_high), (low, high) = interval(matrix, seed)
        gain = (recall - chance) / (best - chance) if best > chance else float("nan")
        what = f"{kind}: {INPUTS[kind]}" if kind in INPUTS else kind
        cells = (f"{f1:.2f} ({f1_low:.2f} to {f1_high:.2f})", f"{recall:.2f} ({low:.2f} to {high:.2f})", f"{gain:.0%}")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    occurring = [i for i in range(len(CLASSES)) if not np.isnan(total["guessing"][2][i])]
    lines += ["", "| recall | " + " | ".join(CLASSES[i] for i in occurring) + " |", "|---" * (len(occurring) + 1) + "|"]
    for kind in matrices:
        lines.append(f"| {kind} | " + " | ".join(f"{total[kind][2][i]:.2f}" for i in occurring) + " |")
    lines += [
        "",
        f"Gradient-boosted trees with balanced classes, trained on {rows['train']} rows of {len(train)} recordings "
        f"(group train), tested on {rows['test']} rows of {len(test)} others (group {held_out}); at most {cap} rows of "
        f"a recording and class; seed {seed}. Intervals: {_DRAWS} bootstrap draws over the tested recordings.",
    ]
    return "\n".join(lines) + "\n"


def alarm_markdown(caught: dict[str, dict[float, Floats]], matrices: dict[str, NDArray[np.int64]]) -> str:
    """Alarm recall of every kind of input: macro over the attacks at each rate, by class at 1 %, and what works."""
    attacks = [i for i, name in enumerate(CLASSES) if name != "benign" and not np.isnan(caught["product"][RATES[0]][i])]
    recall = {kind: scores(m.sum(axis=0))[1] for kind, m in matrices.items()}
    head = [
        "alarm recall",
        *(f"at {rate:.1%}" for rate in RATES),
        *(f"{CLASSES[i]} at {RATES[0]:.0%}" for i in attacks),
    ]
    lines = ["| " + " | ".join(head) + " | works in operation | as a classifier |", "|---" * (len(head) + 2) + "|"]
    for kind, by_rate in caught.items():
        macro = [float(by_rate[rate][attacks].mean()) for rate in RATES]
        cells = [f"{share:.2f}" for share in (*macro, *by_rate[RATES[0]][attacks])]
        verdicts = works(macro[-1], recall[kind], recall["guessing"], recall["product"])
        cells += ["-", "-"] if kind == "product" else ["yes" if v else "no" for v in verdicts]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += [
        "",
        "Alarm recall: rows of an attack whose 1 - P(benign) exceeds what so large a share of the tested recordings' "
        f"benign rows exceeds, macro over attacks. A shortcut works in operation if it is over {WORKS_ALARM:.0%} at "
        f"{RATES[-1]:.1%}, as a classifier if its macro recall is over {WORKS_GAIN:.0%} of the product's gain.",
    ]
    return "\n".join(lines) + "\n"
