"""The one place that states the version of engine and plugin."""

__version__ = "0.1.0"
