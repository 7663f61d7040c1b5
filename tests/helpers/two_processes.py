"""One of two processes that train together, watched, under DDP and with FSDP: `two_processes.py RANK FOLDER`.

Writes what was seen to FOLDER/RANK.json: of each the verdict, curves, and what a copy says of a step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import distributed, nn

import adamx

STEPS = 30


def train(kind: str, rank: int, folder: Path) -> dict:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 33), nn.ReLU(), nn.Linear(33, 1))
    if kind == "fsdp":
        from torch.distributed.fsdp import fully_shard

        model = fully_shard(net, mesh=distributed.init_device_mesh("cpu", (2,)))
    else:
        model = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    mine = [p.to_local() if kind == "fsdp" else p for p in model.parameters()]
    draw = torch.Generator().manual_seed(rank)
    steps, norms = [], []
    with adamx.watch(optimizer, every=5, mlflow=True) as w:
        w.checkpoint(every=10)
        for _ in range(STEPS):
            x = torch.randn(32, 6, generator=draw)
            loss = ((model(x) - x.sum(1, keepdim=True).sin()) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            before = [p.detach().clone() for p in mine]
            grads = [p.grad.to_local() if kind == "fsdp" else p.grad for p in model.parameters()]
            norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))
            optimizer.step()
            w.loss(loss)
            moved = torch.cat([(a - b.detach()).flatten() for a, b in zip(before, mine, strict=True)])
            steps.append(float((moved / 1e-2).square().mean().sqrt()))
    return {
        "verdict": str(w.verdict),
        "page": w.report(folder / f"{rank}.html").read_text()[:4000],
        "run": w.recording.run_id if w.recording else None,
        "rows": w.tape.rows,
        "norm": list(w.tape.norm),
        "norms": norms,
        "step_rms": w.tape.whole["step_rms"],
        "steps": [steps[row - 1] for row in w.tape.rows],
        "checkpoints": [c.step for c in w.checkpoints],
    }


def main() -> None:
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    seen = {kind: train(kind, rank, folder) for kind in ("ddp", "fsdp")}
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
