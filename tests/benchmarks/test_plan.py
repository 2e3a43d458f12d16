"""Plans are read strictly, and every plan of the repository is one."""

from pathlib import Path

import pytest
import yaml

from harness.data import base_study
from harness.plan import Plan
from harness.rows import CATALOGUE
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.study import PercentileNormalization, WindowNormalization

PLANS = sorted((Path(__file__).resolve().parents[2] / "benchmarks" / "plans").glob("*.yaml"))
FIELDS = {
    "name": "test",
    "image_size": [64, 64],
    "budget_cpu_seconds": 5,
    "datasets": [
        {"name": "a", "path": "a", "modality": "US", "classes": ["head"]},
    ],
    "rows": ["paper", {"base": "fused-blind", "name": "quiet", "latent_noise": 0.0}],
}

ROW_OF_TOO_MANY = {"base": "paper", "site_counts": [3, 10]}


def write(tmp_path, **changes) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(FIELDS | changes))
    return path


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_plan_is_valid(path):
    assert Plan.load(path).rows


def test_rows_come_from_the_catalogue_with_changes(tmp_path):
    paper, quiet = Plan.load(write(tmp_path)).rows
    assert paper == CATALOGUE["paper"]
    assert quiet.name == "quiet"
    assert quiet.latent_noise == 0.0
    assert quiet.arrangement == "blind"
    assert quiet.mask_loss == "dice-ce"


def test_the_rows_of_the_issue_are_there():
    paper, first = CATALOGUE["paper"], CATALOGUE["privacy-sf"]
    assert (paper.mapping, paper.mapping_loss, paper.mask_loss) == ("paper", "mse", "bce-dice")
    assert paper.latent_noise == 0.0
    assert not first.use_skips
    assert not first.keyed
    assert not CATALOGUE["no-ppm"].pooling
    assert not CATALOGUE["no-klt"].keyed
    assert CATALOGUE["separate-networks"].separate
    assert CATALOGUE["fused-blind-aligned"].alignment == "fresh"


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": ["no-such-row"]},
        {"rows": ["paper", "paper"]},
        {"rows": [{"base": "paper", "no_such_field": 1}]},
        {"unknown": 1},
        {"shares": {"image": 0.5, "mask": 0.4}},
        {"datasets": [{"name": "a", "modality": "US", "classes": ["head"]}]},
        {"budget_cpu_seconds": 0},
        {"sites": [{"name": "north"}, {"name": "north"}]},
        {"rows": ["new-site"], "sites": 1},
        {"rows": [{"base": "new-site", "site_counts": [3, 1]}]},
    ],
)
def test_what_is_no_plan(changes, tmp_path):
    with pytest.raises(InputFileError, match="not a plan"):
        Plan.load(write(tmp_path, **changes))


@pytest.mark.parametrize("changes", [{"sites": 8}, {"sites": 0}, {"rows": [ROW_OF_TOO_MANY]}])
def test_more_sites_than_names_are_refused_not_cut_to_seven(changes, tmp_path):
    with pytest.raises(InputFileError, match="there are names for 1 to 7"):
        Plan.load(write(tmp_path, **changes))


def test_ct_needs_a_window_which_its_study_gets(tmp_path):
    ct = {"name": "a", "path": "a", "modality": "CT", "classes": ["clot"]}
    with pytest.raises(InputFileError, match="'a' is CT, which needs a fixed window"):
        Plan.load(write(tmp_path, datasets=[ct]))
    window = {"kind": "window", "center": 40, "width": 400}
    plan = Plan.load(write(tmp_path, datasets=[ct | {"normalization": window}]))
    assert base_study(plan, plan.datasets[0]).normalization == WindowNormalization(**window)


def test_a_data_set_without_normalization_has_the_settings_it_always_had(tmp_path):
    plan = Plan.load(write(tmp_path))
    data = plan.settings_of(plan.datasets[0], plan.rows[0])["dataset"]
    assert set(data) == {"name", "path", "phantoms", "modality", "classes"}
    assert base_study(plan, plan.datasets[0]).normalization == PercentileNormalization()
