"""What results.json says of a run's data."""

from lrhnet_jax.experiment import provenance
from lrhnet_jax.tasks import physionet2020
from tests.helpers import fakes


def test_description_counts_labels_by_source_and_together():
    records = fakes.records(20)
    described = provenance.describe_data(records)
    assert described["records"] == 20 and described["per_source"] == {"a": 10, "b": 10}
    code = physionet2020.CLASSES[3]
    assert described["per_class"][code] == records.labels[:, 3].sum()
    assert described["per_source_class"]["b"][code] == records.labels[1::2, 3].sum()
    assert described["co_occurrence"][3][5] == (records.labels[:, 3] & records.labels[:, 5]).sum()
