"""The answers as a table for people, or as JSON for programs. A row is either a
ratio (*must* is the least) or an amount of ours (less is better, *must* is the most).

Beside Redis the ratio is Redis/ours: above 1 we take less. Beside a baseline, which is
another build of ours, it is ours/baseline: below 1 we have become faster. A must is a
promise about Redis, so there is none beside a baseline.
"""

import json
from dataclasses import asdict, dataclass


def ratio(kind, ours, theirs):
    return ours / theirs if kind == "baseline" else theirs / ours


@dataclass
class Row:
    name: str
    unit: str  # of `ours` and `theirs`
    beside: str  # the kind of the other server: redis or baseline
    ours: float
    theirs: float
    ratio: float
    low: float  # of the rounds' ratios, or of our amounts when `amount`
    high: float
    must: float | None
    amount: bool = False  # judged by our amount, not by the ratio
    busy: tuple | None = None  # share of the time in which each server ran
    waited: float = 0  # share in which the unluckier one waited for its core

    def __post_init__(self):
        if self.beside == "baseline":
            self.must = None

    def verdict(self):
        if self.must is None:
            return ""
        return "ok" if (self.ours <= self.must if self.amount else self.ratio >= self.must) else "MISSED"


def headings(kind):
    both = ["baseline", "ours/baseline"] if kind == "baseline" else ["Redis", "Redis/ours"]
    return ["workload", "ours", *both, "spread", "must", "", "server busy"]


def plain(value, unit):
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def cells(row):
    if row.amount:
        spread = f"{plain(row.low, '')[:-1]}–{plain(row.high, row.unit)}"
        must = "" if row.must is None else f"≤ {row.must:g} {row.unit}"
    else:
        spread = f"{row.low:.2f}–{row.high:.2f}"
        must = "" if row.must is None else f"≥ {row.must:g}"
    busy = "" if row.busy is None else f"{row.busy[0]:.0%} / {row.busy[1]:.0%}"
    return [row.name, plain(row.ours, row.unit), plain(row.theirs, row.unit), f"{row.ratio:.2f}", spread, must,
            row.verdict(), busy]


def text(rows):
    return columns([headings(rows[0].beside)] + [cells(row) for row in rows])


def columns(lines):
    """Lines of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines)]
    shown = []
    for first, *rest in lines:
        cells_of = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:]))]
        shown.append("  ".join(cells_of).rstrip())
    return "\n".join(shown)


def as_json(rows, facts):
    return json.dumps({**facts, "rows": [{**asdict(row), "verdict": row.verdict()} for row in rows]}, indent=2)
