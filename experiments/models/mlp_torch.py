"""A network of one hidden layer on the digits, in torch.

python -m adamx.sweep problem=experiments/models/mlp_torch.py optimizer.lr=1e-4,1e-3,1e-2 steps=500
"""

import torch
from torch import nn

import adamx
from adamx.inputs.datasets import bundled

x, y = bundled("digits")
network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
model = adamx.Model.of(network, torch.nn.functional.cross_entropy, (x / 16, y.astype(int)), batch=64, target=0.1)
