"""A synthetic set of 12-lead ECGs: each of the 24 scored classes, in the layout and with the quirks of real archives.

`generate` makes one signal, `write` a whole set of WFDB records. Rhythm (rhythm.py) says when the heart beats,
morphology (morphology.py) what a beat looks like as a moving dipole, dipole.py how twelve leads see it, plan.py who has
which diagnoses, statements.py how PTB-XL would put these; single_lead.py writes a set like Challenge 2017's. Nobody was
ever recorded for it: it shows that a pipeline works, not how well it would do on patients.
"""

from data_builders.synthetic.archive import write
from data_builders.synthetic.generator import generate
from data_builders.synthetic.single_lead import write as write_single_lead

__all__ = ["generate", "write", "write_single_lead"]
