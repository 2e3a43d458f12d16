"""Tables of runs that are written down here: what is compared with what, and what is marked."""

import pytest

from harness.tables import accuracy_table, grouped, report, site_table


def run(row, scores, seed=0):
    cases = [
        {"site": site, "case": f"{site}-a", "group": site, "class": "c"}
        | dict.fromkeys(("dice", "dice_flips", "iou", "hd95", "asd"), value)
        for site, value in scores.items()
    ]
    return {
        "key": {"dataset": "d", "row": row, "seed": seed, "sites": 2, "settings": "a"},
        "settings": {"image_size": [64, 64]},
        "stages": [],
        "budget_cpu_seconds": 1.0,
        "commit": "",
        "dirty": False,
        "cases": cases,
        "cpu_seconds": 1.0,
        "parameters": {},
        "bytes": {},
    }


def table_of(make, runs):
    return make(next(iter(grouped(runs).values())))


def test_a_site_that_is_worse_off_is_marked():
    runs = [
        run("site-unet", {"north": 0.5, "south": 0.5}),
        run("fused-blind", {"north": 0.6, "south": 0.4}),
    ]
    table = table_of(site_table, runs)
    assert "| fused-blind | 0.600 | 0.400 ⚠ |" in table
    assert table.count("⚠") == 1


def difference(runs):
    table = table_of(accuracy_table, runs).splitlines()
    heads, row = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in (table[0], table[-1])
    )
    return row[heads.index("Dice to central U-Net")], row[heads.index("seeds")]


@pytest.mark.parametrize(
    ("sites", "told"),
    [
        (("north", "south", "west"), "-0.100 [-0.100, -0.100]"),
        (("north", "south"), "-0.100"),  # a patient each: too few for an interval
    ],
)
def test_rows_are_compared_over_the_seeds_that_both_have(sites, told):
    runs = [
        run("central-unet", dict.fromkeys(sites, 0.9), seed=1),
        run("fused-escrow", dict.fromkeys(sites, 0.1), seed=0),
        run("fused-escrow", dict.fromkeys(sites, 0.8), seed=1),
    ]
    assert difference(runs) == (told, "0, 1")


@pytest.mark.parametrize("make", [accuracy_table, site_table])
def test_rows_without_a_common_seed_are_not_compared(make):
    runs = [
        run("site-unet", {"north": 0.9, "south": 0.9}, seed=1),
        run("fused-escrow", {"north": 0.1, "south": 0.1}, seed=0),
    ]
    table = table_of(make, runs)
    assert "⚠" not in table
    assert "[" not in table


def test_a_case_that_one_seed_left_out_does_not_stop_the_table():
    three = ("north", "south", "west")
    runs = [
        run(row, dict.fromkeys(sites, value), seed)
        for row, value in (("central-unet", 0.9), ("fused-escrow", 0.8))
        for seed, sites in ((0, three), (1, (*three, "east")))
    ]
    assert difference(runs) == ("-0.100 [-0.100, -0.100]", "0, 1")


def test_sizes_with_equal_rows_are_two_tables():
    runs = [run("fused-escrow", {"north": value}) for value in (0.2, 0.6)]
    for one, columns in zip(runs, (64, 32), strict=True):
        one["settings"] = {"image_size": [64, columns]}
    text = report(runs)
    assert "## d, 64 x 64, 2 sites" in text
    assert "## d, 64 x 32, 2 sites" in text
    assert text.count("| fused-escrow | 0.200 | ") == text.count("| fused-escrow | 0.600 | ") == 1


def test_seeds_of_an_earlier_plan_are_not_in_the_mean():
    runs = [run("fused-escrow", {"north": 0.5}, seed) for seed in (0, 1, 2)]
    changed = run("fused-escrow", {"north": 0.9}, 0)
    changed["key"]["settings"] = "b"
    text = report([*runs, changed])
    assert "| fused-escrow | 0.900 | " in text
    assert "Of an earlier plan, and not shown: fused-escrow (seeds 1, 2)." in text
    assert "not shown" not in report(runs)
