"""What our writers write is what others read: a mistake that writer and reader share would show here."""

import numpy as np
import pytest
from ecgdatakit.parsing.parser import FileParser

from lrhnet_jax.ecg.leads import LEADS
from tests.helpers import ecg_files, ecg_texts
from tests.helpers.ecg_files import counts, millivolts

VALUES = counts()
BEAT = np.round(VALUES[100:200] * 0.5).astype(np.int64)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.scp", ecg_files.write_scp),
        ("default.scp", lambda path, values: ecg_files.write_scp(path, values, differences=2, tables="default")),
        ("own.scp", lambda path, values: ecg_files.write_scp(path, values, differences=1, tables="own")),
        ("beats.scp", lambda path, values: ecg_files.write_scp(path, values, beat=BEAT, centres=(150, 550))),
        ("a.ecg", lambda path, values: ecg_files.write_ishne(path, values, text=b"comment")),
        ("aecg.xml", ecg_texts.write_aecg),
        ("muse.xml", ecg_texts.write_muse),
        ("xli.xml", ecg_texts.write_philips),
        ("plain.xml", lambda path, values: ecg_texts.write_philips(path, values, xli=False)),
        ("kardia.json", ecg_texts.write_kardia_json),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_ecgdatakit_reads_it_too(tmp_path, name, write):
    write(tmp_path / name, VALUES)
    leads = FileParser.parse(tmp_path / name).leads
    assert [lead.label for lead in leads] == list(LEADS[: len(leads)])
    assert {lead.sampling_rate for lead in leads} == {500}
    signal = np.stack([lead.samples for lead in leads], 1)
    np.testing.assert_allclose(signal, millivolts(VALUES)[:, : len(leads)], atol=1e-6)
