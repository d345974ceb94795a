"""A page tells what the model's card tells."""

import dataclasses
import pathlib

import numpy as np

import lrhnet_jax
from lrhnet_jax.deploy import answer_page
from lrhnet_jax.ecg import readers
from tests.helpers import fakes

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def test_the_card_is_on_the_page_as_text():
    shipped = lrhnet_jax.load("dx24-1")
    model = dataclasses.replace(shipped, meta={key: value for key, value in shipped.meta.items() if key != "card"})
    recording = readers.read(EXAMPLES / "A00002.csv")
    answer = model.predict(np.zeros((600, 1)), 300)
    plain = answer_page.document(model, recording, answer, b"")
    model = dataclasses.replace(model, meta={**model.meta, "card": fakes.CARD})
    page = answer_page.document(model, recording, answer, b"")
    told = (
        "A collection (2,000 records, CC BY 4.0)",
        "macro AUROC 0.900 (0.850 to ?); 408 records: patients that it has not learned from",
        "diagnosing anyone\nchildren",
        "A. Somebody: A &lt;large&gt; collection, 2020.",
    )
    assert all(text in page and text not in plain for text in told)
    assert all(
        text in answer_page.document(shipped, recording, answer, b"") for text in shipped.meta["card"]["not_for"][:1]
    )
