"""SCP-ECG statements for the generated diagnoses, as PTB-XL's table has them for its recordings.

The generator knows the 24 diagnoses of Challenge 2020; infarction and hypertrophy are not among them. Others stand in
that show in waves of their own: abnormal Q and inverted T waves for an infarction, a deviated axis for a hypertrophy.
So the superclasses can be learned, and mean no more.
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
    "TInv": "ASMI",  # a stand-in, as the next three
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
