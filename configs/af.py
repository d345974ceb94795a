"""Atrial fibrillation on one lead: lrhnet_wide on the four rhythms of the Challenge 2017 (normal, AF, other, noise).

    python -m data_builders.build physionet2017 --raw_dir=RAW --data_dir=DATA
    python -m lrhnet_jax.main --config=configs/af.py --config.data_dir=DATA --workdir=runs/af
    python -m lrhnet_jax.main --config=configs/af.py:seeds=5 --workdir=runs/af_proof

Keys of its own: `methods`, alone and taught (both), by an ensemble of the wider sister on the same lead; `seeds`
of every student (1); `teachers`, how many are averaged (2); `teacher_epochs` and `student_epochs` (30 each).

Students train on windows of 13.7 s at 300 Hz, and answer for 30 s at a time, which is most recordings whole: ectopic
beats occur now and then. Longer recordings are scored by the mean over the windows that cover them.
"""

from configs import common, student


def get_config(arg: str | None = None):
    options = common.parse(
        arg,
        leads="1",
        dataset="physionet2017",
        words={"methods": student.METHODS},
        seeds=1,
        teachers=2,
        teacher_epochs=int,
        student_epochs=int,
    )
    networks = student.ensemble(options, options.leads, epochs=30) if "taught" in options.words["methods"] else {}
    # Rhythms exclude one another: the softmax is learned, not each class on its own.
    recipe = student.RECIPE | {"logit_kl": "softmax"}
    networks |= student.students(options, options.leads, list(networks), recipe, epochs=30)
    config = common.experiment("af", options, networks)
    student.set_training(config, window=4096, gain=0.2, noise=0.1, wander=0.2)
    if options.preset != "demo":
        config.evaluation.window = 9000
    return config
