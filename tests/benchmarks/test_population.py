import json

import pytest

from benchmarks import population
from lrhnet_jax import models
from lrhnet_jax.models import registry
from tests.helpers.tiny import Tiny


@pytest.mark.slow
def test_smoke(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(registry._MODELS, "tiny", Tiny)  # LRH-Net takes long to compile
    monkeypatch.setattr(models, "NAMES", ("tiny",))
    path = tmp_path / "population.json"
    population.main(["--smoke", "--model=tiny", "--leads=1", f"--output={path}"])
    result = json.loads(path.read_text())
    turn, once = (result["rows"][kind] for kind in population.KINDS)
    assert len(turn["seconds"]) == len(once["seconds"]) == 2
    # Both have trained the same networks for as many steps.
    assert once["loss"] == pytest.approx(turn["loss"], rel=1e-3)
    assert result["networks"] == 2 and result["ratio"] > 0
    assert "at once / in turn" in capsys.readouterr().out
