"""The notebook of the tour runs from its first cell to its last."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
TOUR = Path(__file__).parents[2] / "experiments" / "tour.ipynb"


def test_the_tour_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    kept = [len(pictures(cell)) for cell in notebook.cells]
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert [len(pictures(cell)) for cell in notebook.cells] == kept and sum(kept) == 4
    words = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))
    assert "It spiked" in words and "would have saved it" in words


def pictures(cell: dict) -> list[dict]:
    """The outputs of a cell that are pictures."""
    return [out for out in cell.get("outputs", ()) if "image/png" in out.get("data", {})]
