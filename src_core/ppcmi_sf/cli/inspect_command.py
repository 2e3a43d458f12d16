"""``ppcmi inspect``: say what a file is, without its secrets or latents."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.options import JsonOption
from ppcmi_sf.errors import BundleError, InputFileError, KeyFileError
from ppcmi_sf.keys import ClientKey, TransformShare
from ppcmi_sf.study import StudySpec

EXAMPLE = "Example: ppcmi inspect outbox/north/query-2f….safetensors"


@command
def inspect(
    file: Annotated[Path, typer.Argument(help="A study, key, share, bundle, model or image.")],
    json_output: JsonOption = False,
) -> None:
    """Say what a file is: study, key, transform share, latent bundle, model or image."""
    fields = _describe(file)
    show_result(fields, _lines(fields), as_json=json_output)


def _lines(fields: dict[str, Any]) -> list[str]:
    shown = {key: value for key, value in fields.items() if value is not None}
    if fields.get("spacing_mm", 1) is None:
        shown["spacing_mm"] = "not stated"
    return [f"{key}: {value}" for key, value in shown.items()]


def _describe(file: Path) -> dict[str, Any]:
    from ppcmi_sf.imaging import is_supported

    if not file.exists():
        raise InputFileError(file, "there is no such file.", hint="Check the path.")
    if file.suffix.lower() in (".yaml", ".yml"):
        study = StudySpec.load(file)
        return {"kind": "study", "fingerprint": study.fingerprint} | study.model_dump(mode="json")
    if file.suffix.lower() == ".safetensors":
        return _weights_or_bundle(file)
    if file.is_dir() or is_supported(file):
        return _image(file)
    return _key_or_share(file)


def _weights_or_bundle(file: Path) -> dict[str, Any]:
    from ppcmi_sf.bundle import read_header as read_bundle_header
    from ppcmi_sf.errors import ModelFileError
    from ppcmi_sf.models.store import read_header as read_model_header

    try:
        header = read_bundle_header(file)
    except BundleError:
        try:
            return read_model_header(file).model_dump(mode="json")
        except ModelFileError:
            raise InputFileError(
                file,
                "neither a latent bundle nor a file of weights, or damaged.",
                hint="Ask the sender for the file again.",
            ) from None
    fields = header.model_dump(mode="json", exclude={"items", "validation"})
    return fields | {
        "items": len(header.items),
        "validation_items": len(header.validation),
        "bytes": file.stat().st_size,
    }


def _key_or_share(file: Path) -> dict[str, Any]:
    for kind in (ClientKey, TransformShare):
        try:
            with warnings.catch_warnings(record=True) as told:  # it may be no key at all
                secret = kind.load(file)
        except KeyFileError:
            continue
        for warning in told:
            say(f"Warning: {warning.message}")
        return {
            "kind": secret.noun,
            "site": secret.site,
            "epoch": secret.epoch,
            "study": secret.study,
            "key_id": secret.key_id,
        }
    raise InputFileError(
        file,
        "not a file that ppcmi knows.",
        hint="It reads studies, keys, transform shares, bundles, models and images.",
    )


def _image(file: Path) -> dict[str, Any]:
    from ppcmi_sf.imaging import list_series, read_image

    if file.is_dir():
        series = list_series(file)
        if len(series) != 1:
            return {"kind": "folder", "DICOM series": [f"{s.uid} ({s.file_count})" for s in series]}
    image = read_image(file)
    geometry = image.geometry
    return {
        "kind": f"image ({geometry.family})",
        "shape": list(geometry.shape),
        "channels": image.data.shape[-1],
        "spacing_mm": list(geometry.spacing) if geometry.has_physical_size else None,
        "slice_axis": geometry.slice_axis if len(geometry.shape) == 3 else None,
        "values": [float(image.data.min()), float(image.data.max())],
    }
