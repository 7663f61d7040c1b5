"""A convolutional network on the 8 x 8 digits, in torch.

python -m adamx.sweep problem=experiments/models/cnn_torch.py optimizer.lr=1e-4,1e-3,1e-2 steps=200
"""

import torch
from torch import nn

import adamx
from adamx.inputs.datasets import bundled

x, y = bundled("digits")
network = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(16 * 4 * 4, 10),
)
images = (x / 16).reshape(-1, 1, 8, 8)
model = adamx.Model.of(network, torch.nn.functional.cross_entropy, (images, y.astype(int)), batch=32, target=0.1)
