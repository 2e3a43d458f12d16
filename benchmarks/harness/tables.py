"""Markdown tables of a results file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.statistics import mean_sd, paired_difference

ALONE = "site-unet"
# The rows that the others are compared with, case by case.
BESIDE = {
    "central-unet": "central U-Net",
    ALONE: "the site's U-Net",
    "paper": "paper",
    "fused-escrow": "escrow",
}
DIGITS = {"dice": 3, "dice_flips": 3, "iou": 3, "hd95": 2, "asd": 2}
WORSE = " ⚠"  # beside the Dice of a site that does better on its own
Run = dict[str, Any]
Size = tuple[int, int]
"""Rows and columns of the network grid."""
CaseKey = tuple[str, str, str]


class Group:
    """All seeds of one row, on one data set with one number of sites.

    ``earlier`` are seeds that there are of an earlier plan alone.
    """

    def __init__(self, runs: Sequence[Run], earlier: Sequence[int] = ()) -> None:
        self.runs, self.earlier = list(runs), list(earlier)
        self.row = self.runs[0]["key"]["row"]

    def per_seed(self, metric: str, site: str | None = None) -> list[float]:
        """Mean over sites, cases and classes, for each seed; or of one site."""
        return [
            float(np.mean(values))
            for run in self.runs
            if (values := [c[metric] for c in run["cases"] if site in (None, c["site"])])
        ]

    def by_case(self, metric: str) -> dict[CaseKey, float]:
        """Mean over the seeds by site, case and class."""
        collected: dict[CaseKey, list[float]] = defaultdict(list)
        for run in self.runs:
            for case in run["cases"]:
                collected[case["site"], case["case"], case["class"]].append(case[metric])
        return {key: float(np.mean(values)) for key, values in collected.items()}

    def seeds(self) -> list[int]:
        """Seeds that were run."""
        return sorted(run["key"]["seed"] for run in self.runs)

    def common(self, other: Group) -> tuple[Group, Group] | None:
        """Both with those seeds alone that both have; ``None`` if there are none."""
        shared = set(self.seeds()) & set(other.seeds())
        if not shared:
            return None
        mine, theirs = (
            Group([run for run in group.runs if run["key"]["seed"] in shared])
            for group in (self, other)
        )
        return mine, theirs

    def groups(self) -> dict[CaseKey, str]:
        """Patient by site, case and class, of every seed: one may have left out a case."""
        return {
            (case["site"], case["case"], case["class"]): case["group"]
            for run in self.runs
            for case in run["cases"]
        }

    def sites(self) -> list[str]:
        """Names of the sites that were scored."""
        return list(dict.fromkeys(case["site"] for case in self.runs[0]["cases"]))

    def mean(self, field: str) -> float:
        """Mean over the seeds of a field of the runs."""
        return float(np.mean([run[field] for run in self.runs]))

    def bytes(self, what: str) -> float | None:
        """Mean over the seeds of bytes exchanged; ``None`` where there are none."""
        values = [run["bytes"][what] for run in self.runs if run["bytes"].get(what)]
        return float(np.mean(values)) if values else None


def grouped(runs: Iterable[Run]) -> dict[tuple[str, Size, int], dict[str, Group]]:
    """Groups by row, for each data set, image size and number of sites, in order of the file."""
    tables: dict[tuple[str, Size, int], dict[str, list[Run]]] = {}
    for run in runs:
        rows, columns = run["settings"]["image_size"]
        key, size = run["key"], (rows, columns)
        table = tables.setdefault((key["dataset"], size, key["sites"]), {})
        same = table.setdefault(key["row"], [])
        same.append(run)
    return {
        where: {row: _newest(same) for row, same in table.items()}
        for where, table in tables.items()
    }


def _newest(runs: Sequence[Run]) -> Group:
    """The runs with the settings of the last one; seeds of two plans have no common mean."""
    settings = runs[-1]["key"]["settings"]
    own = {run["key"]["seed"]: run for run in runs if run["key"]["settings"] == settings}
    others = {run["key"]["seed"] for run in runs} - own.keys()
    return Group(list(own.values()), sorted(others))


def accuracy_table(groups: dict[str, Group]) -> str:
    """The rows side by side: scores, differences, time and bytes."""
    heads = [
        "row",
        "Dice",
        "Dice, flips",
        "IoU",
        "HD95",
        "ASD",
        *(f"Dice to {other}" for other in BESIDE.values()),
    ]
    heads += ["CPU s", "parameters, M", "training, MB", "query + reply, kB", "seeds"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for group in groups.values():
        cells = [group.row]
        cells += [
            mean_sd(group.per_seed(metric), digits)
            for metric, digits in (
                ("dice", 3),
                ("dice_flips", 3),
                ("iou", 3),
                ("hd95", 2),
                ("asd", 2),
            )
        ]
        cells += [_difference(group, groups.get(other)) for other in BESIDE]
        cells += [f"{group.mean('cpu_seconds'):.0f}", _parameters(group)]
        cells += [_amount(group.bytes("training"), 1e6, 1), _per_query(group)]
        cells += [", ".join(map(str, group.seeds()))]
        lines.append(_line(cells))
    return "\n".join(lines)


def site_table(groups: dict[str, Group]) -> str:
    """Dice of each site; marked where the site alone does better."""
    sites = list(dict.fromkeys(site for group in groups.values() for site in group.sites()))
    alone = groups.get(ALONE)
    lines = [_line(["row", *sites]), _line(["---"] * (len(sites) + 1))]
    for group in groups.values():
        cells = [group.row]
        for site in sites:
            own = group.per_seed("dice", site)
            worse = alone is not None and _worse_off(group, alone, site)
            cells.append(mean_sd(own, 3) + (WORSE if worse else "") if own else "")
        lines.append(_line(cells))
    return "\n".join(lines)


def stage_table(groups: dict[str, Group]) -> str:
    """Processor seconds and passes over the data of each kind of training, of the first seed."""
    names = list(dict.fromkeys(s["name"] for g in groups.values() for s in g.runs[0]["stages"]))
    lines = [_line(["row", *names]), _line(["---"] * (len(names) + 1))]
    for group in groups.values():
        cells = [group.row]
        for name in names:
            stages = [s for s in group.runs[0]["stages"] if s["name"] == name]
            seconds = sum(stage["cpu_seconds"] for stage in stages)
            epochs = np.mean([stage["epochs"] for stage in stages]) if stages else 0
            passes = f", {epochs:.1f} passes" if epochs else ""
            cells.append(f"{seconds:.0f} s{passes}" if stages else "")
        lines.append(_line(cells))
    return "\n".join(lines)


def report(runs: Sequence[Run]) -> str:
    """Every table of a results file."""
    parts = []
    for (dataset, size, sites), groups in grouped(runs).items():
        seeds = sorted({run["key"]["seed"] for group in groups.values() for run in group.runs})
        budgets = sorted({run["budget_cpu_seconds"] for g in groups.values() for run in g.runs})
        first = next(iter(groups.values()))
        cases = len({case[1] for case in first.groups()})
        patients = len(set(first.groups().values()))
        parts += [
            f"## {dataset}, {size[0]} x {size[1]}, {sites} site{'s' if sites > 1 else ''}",
            f"Test part: {cases} images of {patients} groups. Seeds: "
            f"{', '.join(map(str, seeds))}. Budget: "
            f"{', '.join(f'{budget:g}' for budget in budgets)} CPU s a row. "
            f"Commits: {', '.join(_commits(groups))}.{_left_out(groups)}{_earlier(groups)}",
            "Mean ± SD over the seeds of the mean over sites, images and classes. Differences: "
            "mean over the images, of the seeds that both rows have, with a 95 % interval "
            "(bootstrap over groups, widened for few of them; none for fewer than 3).",
            accuracy_table(groups),
            "Dice at each site. ⚠: below the site's own U-Net.",
            site_table(groups),
            "Where the time went, all sites together.",
            stage_table(groups),
        ]
    return "\n\n".join(parts) + "\n"


def _worse_off(group: Group, alone: Group, site: str) -> bool:
    pair = group.common(alone)
    if pair is None or group.row == alone.row:
        return False
    own, floor = (one.per_seed("dice", site) for one in pair)
    return bool(own and floor and np.mean(own) < np.mean(floor))


def _commits(groups: dict[str, Group]) -> list[str]:
    every = {
        run["commit"][:7] + (" with changes" if run["dirty"] else "")
        for group in groups.values()
        for run in group.runs
    }
    return sorted(every)


def _left_out(groups: dict[str, Group]) -> str:
    """Names of the cases that some run could not use; older runs do not say."""
    names = {name for g in groups.values() for run in g.runs for name in run.get("left_out", {})}
    return f" Left out: {', '.join(sorted(names))}." if names else ""


def _earlier(groups: dict[str, Group]) -> str:
    """Seeds that are not in the tables, since they were run with other settings."""
    told = [
        f"{row} (seeds {', '.join(map(str, group.earlier))})"
        for row, group in groups.items()
        if group.earlier
    ]
    return f" Of an earlier plan, and not shown: {', '.join(told)}." if told else ""


def _difference(own: Group, other: Group | None) -> str:
    if other is None or other.row == own.row:
        return ""
    pair = own.common(other)
    if pair is None:
        return ""
    mine, theirs = (one.by_case("dice") for one in pair)
    found = paired_difference(mine, theirs, own.groups())
    return "" if found is None else str(found)


def _parameters(group: Group) -> str:
    return " + ".join(
        f"{count / 1e6:.2f} {name}" for name, count in sorted(group.runs[0]["parameters"].items())
    )


def _per_query(group: Group) -> str:
    query, reply = group.bytes("query"), group.bytes("reply")
    return "" if query is None or reply is None else f"{query / 1e3:.0f} + {reply / 1e3:.0f}"


def _amount(value: float | None, unit: float, digits: int) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
