"""Prunes a network in rounds, each a training of its own, as `search` plans them; stops and resumes anywhere.

NAME/rounds.json      the search so far: all that the rounds gave
NAME/rounds/RRR/      a round; once it has run: masks.npz, training.json, and network.json (written last)
NAME/rounds/RRR/variables   kept for the last good round and the one that is pruned next, and removed of all others
NAME/rounds/rewind/   the dense network's training at the step that rounds rewind to, if that is not the first

Weights (unstructured): every round starts from the same point of the dense training with the surviving weights, and
all rounds run the same compiled step, since masks are a part of its state. Channels (structured): a round goes on from
the trained weights of the one before it, in a smaller network.
"""

import dataclasses
import logging
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lrhnet_jax import models
from lrhnet_jax.compress import channels, search, weight_masks
from lrhnet_jax.data.batch import LeadNetwork
from lrhnet_jax.errors import DataError
from lrhnet_jax.runtime.files import read_json, write_json
from lrhnet_jax.training import checkpoint, loop
from lrhnet_jax.training.run import Run, first_state, median_speed

logger = logging.getLogger(__name__)

CONTROL_KEY_TAG = 1  # folded into the network's key it draws a control's masks, or its other initialisation


@dataclasses.dataclass(frozen=True)
class Lottery:
    """What is pruned, and how.

    Attributes:
      dense: the dense network's training.
      settings: the network's `prune`.
      name, options: the model, as of `models.create`.
      create: options -> module.
      init: key -> fresh variables of the dense network.
      score: (lead_network, variables) -> validation score, by which rounds are judged and epochs chosen.
      describe: (variables, options) -> network.json.
      key: drives the controls.
      ticket: the folder of the network whose masks are trained instead of a search; None: search.
    """

    dense: Run
    settings: search.Settings
    name: str
    options: dict[str, Any]
    create: Callable[[dict[str, Any]], Any]
    init: Callable[[jax.Array], dict[str, Any]]
    score: Callable[[LeadNetwork, Any], float]
    describe: Callable[[Any, dict[str, Any]], dict[str, Any]]
    key: jax.Array
    ticket: pathlib.Path | None = None

    def run(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Runs the search, or what is left of it.

        Returns:
          The chosen network's variables, its options (with `inner` where channels are gone), and the log of its
          training with what pruning gave under "pruning".

        Raises:
          DataError: if the dense network has no score, as without a positive record to validate on.
          CheckpointError: if the ticket's masks are of another network.
        """
        so_far = self._resume()
        while (planned := so_far.next()) is not None:
            score = self._round(planned, so_far)
            try:
                so_far = so_far.record(score)
            except ValueError as error:
                raise DataError(f"{self.dense.name}: {error}, so that nothing can be pruned by it") from error
            write_json(self._record, so_far.to_json())
            done = so_far.rounds[-1]
            logger.info(
                "%s: round %d keeps %d of %d %ss, score %.4g: %s",
                *(self.dense.name, done.index, done.kept, so_far.total, self.settings.unit, score, done.decision),
            )
            self._tidy(so_far)
        logger.info("%s: pruning ends: %s", self.dense.name, so_far.ending)
        return self._outcome(so_far)

    @property
    def _record(self) -> pathlib.Path:
        return self.dense.folder / "rounds.json"

    def _folder(self, index: int) -> pathlib.Path:
        return self.dense.folder / "rounds" / f"{index:03d}"

    @property
    def _channels(self) -> bool:
        return self.settings.unit == "channel"

    @property
    def _dense_masks(self) -> Any:
        params = self.dense.variables["params"]
        if self._channels:
            return channels.dense_masks(self.name, params)
        return weight_masks.dense_masks(params, models.head(self.name))

    def _resume(self) -> search.Search:
        if self._record.exists():
            return search.Search.from_json(read_json(self._record))
        masks = self._dense_masks
        if self.ticket is None:
            return search.Search(self.settings, weight_masks.total(masks), len(masks) if self._channels else 1)
        # One round: the ticket is trained and scored, and then there is nothing more to drop.
        count = weight_masks.kept(weight_masks.load(self.ticket / "masks.npz", masks))
        return search.Search(self.settings, count, least=count)

    def _round(self, planned: search.Round, so_far: search.Search) -> float:
        folder = self._folder(planned.index)
        if not checkpoint.is_finished(folder):
            folder.mkdir(parents=True, exist_ok=True)
            masks, parent = self._masks(planned)
            weight_masks.save(folder / "masks.npz", masks)
            run, options = self._run(masks, parent, folder)
            result = loop.train(run)
            score = float(self.score(run.spec.student, result.variables))
            log = {"score": score, "epochs": run.epochs, "best_epoch": result.best_epoch, "history": result.history}
            write_json(folder / "training.json", log)
            checkpoint.save_model(folder, result.variables, self.describe(result.variables, options))
        return read_json(folder / "training.json")["score"]

    def _masks(self, planned: search.Round) -> tuple[Any, Any]:
        """Returns a round's masks; and of its parent the masks and the trained variables, None for the first round."""
        dense, random = self._dense_masks, self.settings.control == "random_mask"
        key = jax.random.fold_in(jax.random.fold_in(self.key, CONTROL_KEY_TAG), planned.index)
        if planned.parent is None:
            if self.ticket is None:
                return dense, None
            masks = weight_masks.load(self.ticket / "masks.npz", dense)
            return (weight_masks.keep_random(key, dense, planned.kept) if random else masks), None
        folder = self._folder(planned.parent)
        parent = weight_masks.load(folder / "masks.npz", dense)
        _, variables = checkpoint.load_model(folder)
        if random:
            return weight_masks.keep_random(key, parent, planned.kept), (parent, variables)
        params = variables["params"]
        values = channels.importance(self.name, params, parent) if self._channels else params
        return weight_masks.keep_largest(values, parent, planned.kept), (parent, variables)

    def _run(self, masks: Any, parent: Any, folder: pathlib.Path) -> tuple[Run, dict[str, Any]]:
        """Returns a round's training, ready to run, and the options of its network."""
        if self._channels:
            run, options = self._smaller(masks, parent), self._options(masks)
        else:
            run, options = self._rewound(masks, folder), self.options
        kept_best = self.dense.score is not None
        score = (lambda variables: self.score(run.spec.student, variables)) if kept_best else None
        return dataclasses.replace(run, score=score, folder=folder, name=f"{self.dense.name} {folder.name}"), options

    def _options(self, masks: Any) -> dict[str, Any]:
        dense = all(mask.all() for mask in jax.tree.leaves(masks))
        return self.options if dense else {**self.options, "inner": channels.widths(masks)}

    def _smaller(self, masks: Any, parent: Any) -> Run:
        if parent is None:
            return self.dense
        parent_masks, variables = parent
        keep = {block: masks[block][parent_masks[block]] for block in masks}
        spec = self.dense.spec
        student = dataclasses.replace(spec.student, model=self.create(self._options(masks)))
        return dataclasses.replace(
            self.dense,
            spec=dataclasses.replace(spec, student=student),
            variables=channels.shrink(self.name, variables, keep),
            compiled_steps=None,
        )

    def _rewound(self, masks: Any, folder: pathlib.Path) -> Run:
        """The training of surviving weights; where it starts in mid-training, `folder` then holds that state."""
        pruned = weight_masks.kept(masks) < weight_masks.total(masks)
        again = self.settings.control == "random_init" and pruned
        variables = self.init(jax.random.fold_in(self.key, CONTROL_KEY_TAG)) if again else self.dense.variables
        start = {**variables, "params": weight_masks.apply(masks, variables["params"])}
        run = dataclasses.replace(self._masked(masks), variables=start)
        at = round(self.settings.rewind * run.epochs * run.steps_per_epoch)
        if at and not again:
            self._start_at(at, run, masks, folder)
        return run

    def _masked(self, masks: Any) -> Run:
        """The dense training, of which pruned weights stay at zero."""
        spec = self.dense.spec
        return dataclasses.replace(
            self.dense, spec=dataclasses.replace(spec, optimizer=weight_masks.masked(spec.optimizer, masks))
        )

    def _start_at(self, at: int, run: Run, masks: Any, folder: pathlib.Path) -> None:
        """Saves the dense training after `at` steps, with the pruned weights at zero, as `folder`'s own progress."""
        begun = checkpoint.Progress(folder)
        first = first_state(run)
        if begun.restore(first) is None:
            name, rewind = f"{self.dense.name} to step {at}", self._folder(0).with_name("rewind")
            plain = dataclasses.replace(self._masked(self._dense_masks), stop=at, score=None, folder=rewind, name=name)
            reached = loop.train(plain).state
            params = weight_masks.apply(masks, reached.params)
            opt_state = weight_masks.MaskedState(first.opt_state.masks, reached.opt_state.inner)
            begun.save(reached.replace(params=params, best_params=params, opt_state=opt_state), [])
        begun.close()

    def _tidy(self, so_far: search.Search) -> None:
        """Removes the variables of rounds that nothing needs any more; their masks stay."""
        following = so_far.next()
        needed = {so_far.best.index} | ({following.parent} if following else set())
        for done in so_far.rounds:
            if done.index not in needed:
                shutil.rmtree(self._folder(done.index) / "variables", ignore_errors=True)

    def _outcome(self, so_far: search.Search) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        folder = self._folder(so_far.best.index)
        meta, variables = checkpoint.load_model(folder)
        masks = weight_masks.load(folder / "masks.npz", self._dense_masks)
        weight_masks.save(self.dense.folder / "masks.npz", masks)
        log = read_json(folder / "training.json")
        facts = {
            "unit": self.settings.unit,
            "control": self.settings.control,
            "ticket": self.settings.ticket,
            "rewind": self.settings.rewind,
            "tolerance": self.settings.tolerance,
            "units": weight_masks.total(masks),
            "ending": "the ticket is trained" if self.ticket else so_far.ending,
            "round": so_far.best.index,
            **self._sizes(variables, masks),
            "rounds": [dataclasses.asdict(done) for done in so_far.rounds],
        }
        return (
            variables,
            meta["options"],
            {
                "epochs": log["epochs"],
                "best_epoch": log["best_epoch"],
                "samples_per_second": median_speed(log["history"]),
                "history": log["history"],
                "pruning": facts,
            },
        )

    def _sizes(self, variables: dict[str, Any], masks: Any) -> dict[str, Any]:
        """What the network takes to store and to run: dense, with zeros left out, and without channels of no use."""
        smaller, options = variables, self.options
        if self._channels:
            options = self._options(masks)
            sizes, left = (self._weight_sizes(v) for v in (self.dense.variables, variables))
            sizes |= {"kept": left["weights"], "parameters_kept": left["parameters"]}
            sizes |= {"sparse_bytes": None, "sparse_code": None}
        else:
            sizes = self._weight_sizes(variables, masks)
            if self.name in models.prunable():
                keep = channels.unread(self.name, variables["params"])
                smaller, options = channels.shrink(self.name, variables, keep), self._options(keep)
        inputs = (len(self.dense.spec.student.columns), self.dense.spec.window)
        return sizes | {
            "compression": sizes["weights"] / sizes["kept"],
            "parameter_compression": sizes["parameters"] / sizes["parameters_kept"],
            "structured_bytes": 4 * sum(np.size(leaf) for leaf in jax.tree.leaves(smaller)),
            "macs": models.multiply_accumulates(self.name, *inputs, **self.options),
            "macs_structured": models.multiply_accumulates(self.name, *inputs, **options),
            "inner": list(options.get("inner", ())),
        }

    def _weight_sizes(self, variables: dict[str, Any], masks: Any = None) -> dict[str, Any]:
        if masks is None:
            masks = weight_masks.dense_masks(variables["params"], models.head(self.name))
        return weight_masks.sizes(variables, masks)
