"""The CPU: all cores, or some."""

SETTINGS = ("threads", "engine")
