"""SCP-ECG statements for the generated diagnoses, as PTB-XL's table has them for its recordings.

The generator knows the 24 diagnoses of Challenge 2020, PTB-XL's superclasses come from others. Where there is no
equal, a diagnosis stands in that shows in the same waves: an abnormal Q wave for an infarction, abnormal and inverted T
waves for ST/T changes, a deviated axis for a hypertrophy. The superclasses can be learned, then, and mean no more.
"""

from collections.abc import Collection

# Abbreviation of a diagnosis (ecg.DIAGNOSES) -> code that is a diagnosis in PTB-XL too.
DIAGNOSES = {
    "IAVB": "1AVB",
    "LBBB": "CLBBB",
    "RBBB": "CRBBB",
    "IRBBB": "IRBBB",
    "LAnFB": "LAFB",
    "NSIVCB": "IVCD",
    "LQT": "LNGQT",
    "TAb": "NDT",
    "TInv": "ISC_",  # a stand-in, as the next three
    "QAb": "IMI",
    "LAD": "LVH",
    "RAD": "RVH",
}
# Abbreviation -> code of a rhythm or a form, which has no superclass.
OTHERS = {
    "NSR": "SR",
    "SA": "SARRH",
    "SB": "SBRAD",
    "Brady": "SBRAD",
    "STach": "STACH",
    "AF": "AFIB",
    "AFL": "AFLT",
    "PAC": "PAC",
    "PVC": "PVC",
    "PR": "PACE",
    "LPR": "LPR",
    "LQRSV": "LVOLT",
}
NORMAL = {"NSR", "SA", "SB", "STach"}  # rhythms of the sinus node: with nothing else, the ECG is a normal one


def of(classes: Collection[str]) -> dict[str, float]:
    """Returns the statements of a record's diagnoses: code -> likelihood, in percent; 0 for rhythms and forms."""
    codes = {DIAGNOSES[name]: 100.0 for name in classes if name in DIAGNOSES}
    if NORMAL.issuperset(classes):
        codes["NORM"] = 100.0
    return codes | {OTHERS[name]: 0.0 for name in classes if name in OTHERS}
