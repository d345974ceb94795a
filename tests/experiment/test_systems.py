"""Every system's own config, made small: trained on generated ECGs, cut and resumed, reported, and used on records."""

import importlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from data_builders import synthetic
from lrhnet_jax import evaluate, models
from lrhnet_jax.experiment import assess
from lrhnet_jax.experiment.run import run
from lrhnet_jax.report import schema
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.state import variable_shapes
from tests.helpers import fakes
from tests.helpers.typed import mismatches

SETS = {"physionet2020": "synthetic", "ptbxl": "synthetic_ptbxl", "physionet2017": "synthetic_physionet2017"}
# The config, its data set, and how small its networks are made. LRH-Nets stand in for SE-ResNets and ResNet-34s, which
# other tests train: they take long to compile.
SYSTEMS = {
    "fitnet": ("physionet2020", {}),
    "semckd": ("physionet2020", {}),
    "pskd": ("physionet2020", {}),
    "mvkt": ("ptbxl", {"width": 8}),
    "lth": ("physionet2017", {}),
    "lth_lrhnet": ("physionet2020", {}),
}


def small(system: str, data_dir) -> ConfigDict:
    task, options = SYSTEMS[system]
    config = importlib.import_module(f"configs.{system}").get_config(f"preset=demo,data={SETS[task]}")
    config.data_dir, config.synthetic_records, config.compilation_cache = str(data_dir), fakes.RECORDS, ""
    config.window, config.train.batch_size, config.windows_per_record = 256, 16, 1
    config.evaluation.resamples, config.evaluation.validation_parts = 10, 4
    for fields in config.networks.values():
        if fields.model in ("seresnet", "resnet34"):
            fields.model, fields.options = "lrhnet", ConfigDict()
        fields.options = ConfigDict({**fields.options.to_dict(), **options})
        fields.train.epochs = 2
        if "prune" in fields:
            fields.prune.update(max_rounds=1, rate=0.5)
        if fields.train.get("method"):
            known = {"expansion": 0.25, "dim": 8, "negatives": 16}
            fields.train.method.update({key: value for key, value in known.items() if key in fields.train.method})
    return config


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_trains_is_cut_resumes_and_reports(system, data_dir, tmp_path, monkeypatch):
    config = small(system, data_dir)
    last = list(config.networks)[-1]
    scored = assess.Assessor.network

    def dies(self, name, *rest):
        if name == last:
            raise KeyboardInterrupt
        return scored(self, name, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(assess.Assessor, "network", dies)
        run(config, tmp_path / "run")
    trained = {name: tmp_path / "run/networks" / name / "network.json" for name in config.networks}
    before = {name: path.stat().st_mtime_ns for name, path in trained.items() if path.exists()}
    assert last in before
    output = run(config, tmp_path / "run")
    for name, time in before.items():  # nothing was trained again
        assert trained[name].stat().st_mtime_ns == time

    results = read_json(tmp_path / "run/results.json")
    assert mismatches(results, schema.Results) == []
    rows = results["folds"]["0"]["networks"]
    text = (tmp_path / "run/report.md").read_text()
    assert set(rows) == set(config.networks) and "SYNTHETIC" in text and "SYNTHETIC" in output
    for name, row in rows.items():
        assert name in text and len(row["history"]) == 2
        assert np.isfinite([epoch["loss"] for epoch in row["history"]]).all()
        method = config.networks[name].train.get("method", {"name": "none"})["name"]
        assert results["networks"][name].get("method", "none") == method
        if "prune" in config.networks[name]:
            facts = row["pruning"]
            assert facts["rounds"][facts["round"]]["kept"] < facts["units"] or facts["round"] == 0
    # What a method trains beside the network is no part of it.
    meta, variables = checkpoint.load_model(tmp_path / "run/networks" / last)
    model = models.create(meta["model"], meta["leads"], num_classes=len(meta["classes"]), **meta["options"])
    plain = variable_shapes(model, len(meta["leads"]), meta["window"])
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, plain)

    if system == "lth":
        synthetic.write_single_lead(tmp_path / "raw", 8, seed=5)
        metrics = evaluate.evaluate(tmp_path / "run/networks/channels", tmp_path / "raw", tmp_path / "out")
        assert metrics["records"]["scored"] == 8 and metrics["network"]["task"] == "physionet2017"
