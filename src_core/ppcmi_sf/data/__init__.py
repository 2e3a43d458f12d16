"""Cases on disk: layouts of public data sets, splits by group, synthetic phantoms."""

from ppcmi_sf.data.cases import Case, load_case_mask
from ppcmi_sf.data.layouts import LAYOUTS, find_cases, find_cases_with_problems
from ppcmi_sf.data.phantom import (
    DEMO_SITES,
    SiteStyle,
    phantom_2d,
    write_phantom_folder,
    write_phantom_volume,
)
from ppcmi_sf.data.splits import split_by_group

__all__ = [
    "DEMO_SITES",
    "LAYOUTS",
    "Case",
    "SiteStyle",
    "find_cases",
    "find_cases_with_problems",
    "load_case_mask",
    "phantom_2d",
    "split_by_group",
    "write_phantom_folder",
    "write_phantom_volume",
]
