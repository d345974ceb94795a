"""The China Physiological Signal Challenge 2018 as a TFDS data set: 6,877 ECGs of 12 leads, nine classes.

catalogue.py reads the headers and decides who is in which fold, builder.py makes a TFDS data set of them. The records
are those of Challenge 2020's folder cpsc_2018, which has them in the WFDB format.
"""

from data_builders.cpsc2018.builder import Cpsc2018

__all__ = ["Cpsc2018"]
