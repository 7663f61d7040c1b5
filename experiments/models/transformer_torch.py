"""A character transformer of two layers that learns to add, in torch: of "07+21=28" it says the last two characters.

python -m adamx.sweep problem=experiments/models/transformer_torch.py optimizer.lr=1e-4,1e-3,1e-2 steps=500
"""

import numpy as np
import torch
from torch import nn

import adamx

WIDTH, HEADS = 32, 2
CHARACTERS = "0123456789+="
text = [f"{a:02}+{b:02}={a + b:02}" for a in range(32) for b in range(32)]
sums = np.array([[CHARACTERS.index(c) for c in line] for line in text])
inputs, answers = sums[:, :-1], sums[:, -2:]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.back = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        rows, length, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(rows, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(later, -torch.inf).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(x.shape))
        return x + self.back(nn.functional.gelu(self.wide(self.after(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.characters, self.places = nn.Embedding(len(CHARACTERS), WIDTH), nn.Embedding(7, WIDTH)
        self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(WIDTH)
        self.scores = nn.Linear(WIDTH, len(CHARACTERS))

    def forward(self, text):
        x = self.characters(text) + self.places(torch.arange(7))
        return self.scores(self.norm(self.blocks(x)))[:, -2:]


def loss(scores, answers):
    return nn.functional.cross_entropy(scores.flatten(0, 1), answers.flatten())


model = adamx.Model.of(Transformer(), loss, (inputs, answers), batch=64, target=0.1)
