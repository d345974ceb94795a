"""The five diagnostic superclasses of PTB-XL, on which MVKT-ECG is evaluated; a record may carry several, or none.

The cardiologists' statements of a record are SCP-ECG codes. 44 of the 71 codes are diagnoses, and each of these belongs
to one superclass (Wagner et al. 2020, table 6).

Pure NumPy: the data builders import it, and they know no JAX.
"""

from collections.abc import Iterable, Mapping

import numpy as np

NAMES = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "ST/T change",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}
CLASSES = tuple(NAMES)  # the order of every label matrix

# Code of a diagnosis -> its superclass, as in scp_statements.csv of PTB-XL 1.0.3.
SUPERCLASS = {
    code: name
    for name, codes in {
        "NORM": "NORM",
        "MI": "IMI ASMI ILMI AMI ALMI INJAS LMI INJAL IPLMI IPMI INJIN INJLA PMI INJIL",
        "STTC": "NDT NST_ DIG LNGQT ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ISCAN ANEUR EL",
        "CD": "LAFB IRBBB 1AVB IVCD CRBBB CLBBB LPFB WPW ILBBB 3AVB 2AVB",
        "HYP": "LVH LAO/LAE RVH RAO/RAE SEHYP",
    }.items()
    for code in codes.split()
}


def encode_labels(statements: Iterable[str], superclass: Mapping[str, str] = SUPERCLASS) -> np.ndarray:
    """Returns the labels of a record's statements, shape (5,), bool. Codes that are not a diagnosis are ignored.

    A statement counts whatever its likelihood, as in the benchmark of PTB-XL's authors (Strodthoff et al. 2021): 0 does
    not mean "no", but that the report gives none.

    Args:
      statements: SCP-ECG codes, the keys of `scp_codes`.
      superclass: of each code that is a diagnosis.
    """
    present = {superclass.get(code) for code in statements}
    return np.array([name in present for name in CLASSES])
