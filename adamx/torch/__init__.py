"""Every rule of adamx as a torch.optim.Optimizer: `adamx.torch.Optimizer(model.parameters(), "adopt", lr=1e-3)`."""

from adamx.torch.checkpoint import Checkpoint
from adamx.torch.optimizer import Optimizer

__all__ = ["Checkpoint", "Optimizer"]
