"""The five superclasses of PTB-XL's diagnoses; a record may carry several."""

from collections.abc import Iterable

import numpy as np

NAMES = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "ST/T change",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}
CLASSES = tuple(NAMES)  # the order of every label matrix

# SCP-ECG statements that are diagnoses, by superclass.
STATEMENTS = {
    "NORM": ("NORM",),
    "MI": (
        "IMI",
        "ASMI",
        "ILMI",
        "AMI",
        "ALMI",
        "INJAS",
        "LMI",
        "INJAL",
        "IPLMI",
        "IPMI",
        "INJIN",
        "INJLA",
        "PMI",
        "INJIL",
    ),
    "STTC": (
        "NDT",
        "NST_",
        "DIG",
        "LNGQT",
        "ISC_",
        "ISCAL",
        "ISCIN",
        "ISCIL",
        "ISCAS",
        "ISCLA",
        "ISCAN",
        "ANEUR",
        "EL",
    ),
    "CD": (
        "LAFB",
        "IRBBB",
        "1AVB",
        "IVCD",
        "CRBBB",
        "CLBBB",
        "LPFB",
        "WPW",
        "ILBBB",
        "3AVB",
        "2AVB",
    ),
    "HYP": (
        "LVH",
        "LAO/LAE",
        "RVH",
        "RAO/RAE",
        "SEHYP",
    ),
}


def encode_labels(statements: Iterable[str]) -> np.ndarray:
    """Returns the labels of a record's SCP-ECG statements, shape (5,), bool. Those of no diagnosis are ignored."""
    present = set(statements)
    return np.array([not present.isdisjoint(STATEMENTS[name]) for name in CLASSES])
