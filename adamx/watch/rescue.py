"""Rescue: that of `adamx.torch.rescue`; its table and picture go to MLflow's active run, where there is one."""

from __future__ import annotations

import importlib
import sys
from functools import wraps
from typing import Any

from adamx.torch import rescue as computed
from adamx.torch.rescue import Rescue


@wraps(computed.rescue)
def rescue(*args: Any, **options: Any) -> Rescue:
    found = computed.rescue(*args, **options)
    if "mlflow" in sys.modules and (active := sys.modules["mlflow"].active_run()):
        importlib.import_module("adamx.watch.recording").rescued(found, active.info.run_id)
    return found
