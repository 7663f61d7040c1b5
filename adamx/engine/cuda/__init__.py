"""GPUs of NVIDIA."""

SETTINGS = ("devices",)
