"""Latent bundles: the files that sites and server exchange."""

from ppcmi_sf.bundle.header import MAX_ITEMS, BundleHeader, BundleKind, new_bundle_id, new_item_id
from ppcmi_sf.bundle.io import SUFFIX, LatentBundle, Precision, read_bundle, read_header

__all__ = [
    "MAX_ITEMS",
    "SUFFIX",
    "BundleHeader",
    "BundleKind",
    "LatentBundle",
    "Precision",
    "new_bundle_id",
    "new_item_id",
    "read_bundle",
    "read_header",
]
