"""What a network looked at: how its answer changes where pieces of a recording, or whole leads, are covered.

This is occlusion (Zeiler and Fergus, 2014), and not a gradient method, because it asks of a model only that it answers:
exported ones are explained as checkpoints are, and what is shown is what anyone can check, "covered, it answers so".
It costs an answer for each tenth of a second. Sanity checks as of Adebayo et al. (2018) are in the tests.
"""

import dataclasses

import numpy as np

from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy.model import Answer, Model
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.leads import demographics_vector
from lrhnet_jax.ecg.recording import Recording

STEP = 0.1  # s, from a piece to the next
PIECE = 4 * STEP  # s; its ends are tapered, so that about half of it is covered: a QRS complex, or a P or T wave
CONTEXT = 60.0  # s, of a longer recording: what is answered for, and covered, is its begin
WEAK = 0.05  # of log-odds; where no piece matters more, none is shaded
MISSED = 3  # leads that are told of, those that are missed most
_FINEST = 1e-6  # of a probability, which log-odds are taken of


@dataclasses.dataclass(frozen=True)
class Saliency:
    """How the answer for one class depends on the parts of a recording.

    Attributes:
      index: of the class, in the answer's `classes`.
      name: what the class means.
      probability: of the class, for the recording as it is.
      times: (pieces,) seconds from the recording's begin to the middle of each piece.
      covered: (pieces,) the probability where a piece is covered in all leads.
      silent: {lead: the probability where that lead is flat}; empty for a model of one lead.
    """

    index: int
    name: str
    probability: float
    times: np.ndarray
    covered: np.ndarray
    silent: dict[str, float]

    @property
    def relevance(self) -> np.ndarray:
        """By how much covering each piece lowers the log-odds, (pieces,); negative: the piece speaks against the class.

        Log-odds and not probabilities, in which a network that is sure of itself would look at nothing.
        """
        return _log_odds(np.array(self.probability)) - _log_odds(self.covered)

    @property
    def shade(self) -> np.ndarray:
        """What speaks for the class, (pieces,) from 0 to 1; all zeros where no piece matters."""
        relevance = np.maximum(self.relevance, 0.0)
        return relevance / relevance.max() if relevance.max(initial=0) > WEAK else np.zeros_like(relevance)

    def __str__(self) -> str:
        """The finding in words, for a page."""
        if not self.shade.any():
            return f"No single piece of the signal speaks for {self.name}: covering any leaves the answer as it is."
        told = (
            f"Shaded: what spoke for {self.name}. Covering the darkest piece lowers its probability from "
            f"{self.probability:.3f} to {self.covered.min():.3f}."
        )
        missed = sorted(self.silent, key=lambda lead: self.silent[lead])[:MISSED]
        leads = ", ".join(f"{self.silent[lead]:.3f} without lead {lead}" for lead in missed)
        rest = ", and more without any other" if len(self.silent) > MISSED else ""
        return f"{told} It is {leads}{rest}." if leads else told


def chosen(answer: Answer) -> int:
    """Returns the class to explain: of those decided for, or else of all, the most probable one."""
    positive = np.flatnonzero(answer.decisions)
    among = positive if len(positive) else np.arange(len(answer.classes))
    return int(among[answer.probabilities[among].argmax()])


def explain(model: Model, recording: Recording, index: int, seconds: float = CONTEXT) -> Saliency:
    """Covers each piece of a recording in turn, and asks the model again.

    A piece is multiplied by a dip to zero, which is the mean of a prepared lead, that leaves no step at its ends.

    Args:
      model: any that `deploy.model.load` returns.
      recording: with the model's leads; of a longer one than `CONTEXT` the begin.
      index: of the class.
      seconds: of the recording to cover, from its begin.

    Raises:
      RecordError: as `Model.predict_recording`.
    """
    head = dataclasses.replace(recording, signal=recording.signal[: round(CONTEXT * recording.rate)])
    own = readers.select(head, model.leads)
    rate, window = model.options.rate, model.meta["window"]
    signal = preprocessing.preprocess(own.signal, own.rate, model.options)
    person = demographics_vector(own.age, own.sex)
    starts, as_it_is = _ask(model, [signal], person, index)
    padded = np.pad(signal, ((window, window), (0, 0)))
    windows = [padded[window + start : 2 * window + start] for start in starts.tolist()]

    centres = np.arange(STEP / 2, min(seconds, len(signal) / rate), STEP)
    variants, owners = [], []  # each is one window; all are answered in one call
    for which, (cut, start) in enumerate(zip(windows, starts, strict=True)):
        place = start + np.arange(window)  # of its samples in the recording
        for piece in np.flatnonzero((centres * rate >= place[0]) & (centres * rate <= place[-1])):
            variants.append(cut * _dip(place / rate - centres[piece])[:, None])
            owners.append((piece, which))
    silenced = range(len(model.leads) if len(model.leads) > 1 else 0)
    variants += [cut * (np.arange(len(model.leads)) != column) for column in silenced for cut in windows]
    _, answers = _ask(model, variants, person, index)

    changed, silent = answers[: len(owners)], answers[len(owners) :].reshape(-1, len(windows))
    covered = np.full(len(centres), as_it_is.mean())
    for (piece, which), answer in zip(owners, changed, strict=True):
        covered[piece] += (answer - as_it_is[which]) / len(windows)
    return Saliency(
        index=index,
        name=model.task.description(model.task.classes[index]),
        probability=float(as_it_is.mean()),
        times=centres,
        covered=np.clip(covered, 0, 1),
        silent=dict(zip(model.leads, silent.mean(1).tolist(), strict=False)),
    )


def _dip(seconds: np.ndarray) -> np.ndarray:
    """What a piece whose middle is at 0 is covered with: a Hann window, upside down."""
    inside = np.abs(seconds) < PIECE / 2
    return 1 - np.where(inside, np.cos(np.pi * seconds / PIECE) ** 2, 0)


def _ask(model: Model, signals: list[np.ndarray], person: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the windows of prepared signals, each (time, leads), begin, and a class's probability in each."""
    people = np.broadcast_to(person, (len(signals), len(person)))
    records = Dataset.from_arrays(signals, demographics=people, leads=model.leads, classes=model.task.classes)
    _, starts, answers = model.windows(records)
    return starts, answers[:, index].astype(np.float64)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    bounded = np.clip(probability, _FINEST, 1 - _FINEST)
    return np.log(bounded / (1 - bounded))
