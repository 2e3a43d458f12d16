"""Open napari with the synthetic ultrasound and our workspace: the end of ``make demo``."""

from __future__ import annotations

import napari


def main() -> None:
    """Show the window until it is closed."""
    viewer = napari.Viewer(title="napari-ppcmi: press “Demo site” on the Key page")
    viewer.open_sample("napari-ppcmi", "ultrasound")
    viewer.window.add_plugin_dock_widget("napari-ppcmi", "PPCMI-SF workspace")
    napari.run()


if __name__ == "__main__":
    main()
