"""Tables and plots of a results file of accuracy.py; nothing else is read.

python benchmarks/accuracy_table.py work/cardiac.jsonl --plots work/plots
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.plots import bar_plot, line_plot
from harness.results import ResultsFile, setting_name, size_name
from harness.tables import Group, grouped, report
from ppcmi_sf.files import write_text


def plots(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Every plot that a results file has runs for, by file name."""
    drawn, over_sites = {}, {}
    for (dataset, size, sites), groups in grouped(runs).items():
        name = setting_name(dataset, size, sites)
        title = f"{dataset}, {size[0]} x {size[1]}, {sites} sites"
        bars = {row: _mean_sd(group.per_seed("dice")) for row, group in groups.items()}
        drawn[f"{name}-dice"] = bar_plot(title, bars, "Dice")
        drawn |= {f"{name}-{stage}-curves": plot for stage, plot in _curves(title, groups).items()}
        joining = _joining(groups)
        if joining:
            drawn[f"{name}-new-site"] = line_plot(title, "pairs of the new site", "Dice", joining)
        for row, group in groups.items():
            lines = over_sites.setdefault((dataset, size), {})
            lines.setdefault(row, []).append((sites, float(np.mean(group.per_seed("dice")))))
    for (dataset, size), lines in over_sites.items():
        several = {row: sorted(points) for row, points in lines.items() if len(points) > 1}
        if several:
            title = f"{dataset}, {size[0]} x {size[1]}: all images divided over so many sites"
            drawn[f"{dataset}-{size_name(size)}-over-sites"] = line_plot(
                title, "sites", "Dice", several
            )
    return drawn


def _mean_sd(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _joining(groups: dict[str, Group]) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row, group in groups.items():
        if group.runs[0]["kind"] == "new-site":
            pairs = group.runs[0]["notes"]["pairs"]
            point = (float(pairs), float(np.mean(group.per_seed("dice"))))
            lines.setdefault(row.removesuffix(f"-{pairs}"), []).append(point)
    return {row: sorted(points) for row, points in lines.items()}


def _curves(title: str, groups: dict[str, Group]) -> dict[str, str]:
    """Validation losses over passes through the data, of the first seed and each row's first site.

    Rows with different losses are not comparable; each stage has a plot of its own.
    """
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row, group in groups.items():
        for stage in group.runs[0]["stages"]:
            losses = stage["losses"].get("validation")
            known = lines.setdefault(stage["name"], {})
            if losses and row not in known:
                each = stage["epochs"] / len(losses)
                known[row] = [((at + 1) * each, loss) for at, loss in enumerate(losses)]
    return {
        stage: line_plot(f"{title}: {stage}", "passes over the data", "validation loss", found)
        for stage, found in lines.items()
        if found
    }


def main() -> None:
    """Print the tables; write the plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--plots", type=Path, help="Folder for SVG files.")
    arguments = parser.parse_args()
    runs = ResultsFile(arguments.results).read()
    print(report(runs), end="")
    if arguments.plots is not None:
        for name, text in plots(runs).items():
            write_text(arguments.plots / (re.sub(r"[^\w.-]+", "_", name) + ".svg"), text)


if __name__ == "__main__":
    main()
