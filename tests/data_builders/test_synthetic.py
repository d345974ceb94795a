import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import wfdb

from data_builders import synthetic
from data_builders.physionet2017 import catalogue
from data_builders.synthetic import archive, dipole, morphology, plan, rhythm, single_lead, statements
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.tasks import physionet2017, physionet2020, ptbxl, ptbxl_table

CODE = {abbreviation: code for code, (abbreviation, _) in physionet2020.DIAGNOSES.items()}
LEAD = {name: i for i, name in enumerate(LEADS)}
SEEDS = range(12)


def clean(classes: str, seed: int, **options) -> np.ndarray:
    return synthetic.generate([CODE[name] for name in classes.split("+")], seed, noisy=False, **options)


def heart(classes: str, seed: int) -> morphology.Heart:
    return morphology.make(set(classes.split("+")), np.random.default_rng(seed), age=60, sex="male")


def beats(classes: str, seed: int, seconds: float = 10.0) -> rhythm.Rhythm:
    rng = np.random.default_rng(seed)
    return rhythm.make(set(classes.split("+")), rng, seconds, age=60, pr=0.16, qrs_width=0.09)


def early_beats(made: rhythm.Rhythm) -> np.ndarray:
    """Indices of extrasystoles within a ten-second record that have a beat after them."""
    early = np.flatnonzero(made.premature & (made.qrs > 0) & (made.qrs < 10))
    return early[early < len(made.qrs) - 1]


def one_beat(classes: str, seed: int, kind: int = rhythm.NORMAL, rate: float = 1000.0) -> tuple[np.ndarray, np.ndarray]:
    """The QRS complex alone and the T wave alone, (time, 12), of a beat that starts at 0.1 s."""
    form = heart(classes, seed)
    at, one = np.array([0.1]), np.ones(1)
    qrs = dipole.Train(at, one * form.widths[kind], one, form.qrs[kind])
    t = dipole.Train(at, one * form.qtc, one, form.t[kind])
    return tuple(dipole.twelve_leads(dipole.render([train], form.leads, 800, rate)) for train in (qrs, t))


def axis(qrs: np.ndarray) -> float:
    net = qrs.max(0) + qrs.min(0)
    return float(np.rad2deg(np.arctan2(net[LEAD["aVF"]] * 2 / np.sqrt(3), net[LEAD["I"]])))


def measured_width(qrs: np.ndarray, rate: float = 1000.0) -> float:
    """From the first to the last sample at which any lead exceeds a twentieth of its largest deflection."""
    active = np.flatnonzero((np.abs(qrs) > 0.05 * np.abs(qrs).max(0)).sum(1) >= 4)
    return float(active[-1] - active[0]) / rate


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    synthetic.write(root, 60, seed=3, incart_seconds=20)
    return root


def digest(root: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


def test_same_seed_same_signal_and_another_seed_another():
    first = synthetic.generate([CODE["AF"]], 5)
    np.testing.assert_array_equal(first, synthetic.generate([CODE["AF"]], 5))
    assert np.abs(first - synthetic.generate([CODE["AF"]], 6)).max() > 0.1
    assert first.shape == (5000, 12)
    assert first.dtype == np.float32


@pytest.mark.parametrize(("seconds", "rate"), [(9.0, 257.0), (30.5, 1000.0)])
def test_length_follows_seconds_and_rate(seconds, rate):
    assert synthetic.generate([], 0, seconds, rate).shape == (round(seconds * rate), 12)


def test_unscored_code_is_refused():
    with pytest.raises(ValueError, match="unscored diagnosis 164865005"):
        synthetic.generate(["164865005"], 0)


def test_equivalent_codes_show_the_same():
    np.testing.assert_array_equal(synthetic.generate(["59118001"], 1), synthetic.generate(["713427006"], 1))


@pytest.mark.parametrize(("seconds", "rate"), [(0.5, 500), (10, 20)])
def test_impossible_length_or_rate_is_refused(seconds, rate):
    with pytest.raises(ValueError, match="at least 1 s at 50 Hz"):
        synthetic.generate([], 0, seconds, rate)


def test_a_larger_set_begins_with_the_same_records_and_workers_change_nothing(written, tmp_path):
    synthetic.write(tmp_path, 24, seed=3, incart_seconds=20, workers=2)
    whole, part = digest(written), digest(tmp_path)
    table = part.pop("ptbxl_database.csv")
    assert len(part) == 48
    assert part.items() <= whole.items()
    assert table != whole["ptbxl_database.csv"]


def test_another_seed_writes_other_signals(written, tmp_path):
    synthetic.write(tmp_path, 2, seed=4)
    mats = {value for name, value in digest(tmp_path).items() if name.endswith(".mat")}
    assert not mats & set(digest(written).values())


def test_records_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="records=0"):
        synthetic.write(tmp_path, 0)


def test_wfdb_reads_every_record_and_its_checksums_and_first_values_hold(written):
    headers = sorted(written.glob("training/*/g1/*.hea"))
    assert len(headers) == 60
    for path in headers:
        source = plan.SOURCES[path.parent.parent.name]
        record = wfdb.rdrecord(str(path.with_suffix("")), physical=False)
        assert record.sig_name == list(LEADS)
        assert record.fs == source.rate
        assert record.sig_len == len(record.d_signal) >= 9 * source.rate
        assert [(a - b) % 65536 for a, b in zip(record.calc_checksum(), record.checksum, strict=True)] == [0] * 12
        assert record.init_value == record.d_signal[0].tolist()
        assert path.name.startswith(source.letters)


def test_written_signal_is_the_generated_one_whatever_the_gain(written):
    gains = set()
    for record in plan.records(60, 3, incart_seconds=20):
        if record.source in ("georgia", "st_petersburg_incart"):
            path = written / "training" / record.source / "g1" / record.name
            wanted = synthetic.generate(
                [CODE[name] for name in record.classes],
                (3, record.number),
                record.seconds,
                record.rate,
                record.age,
                record.sex,
                patient=(3, record.patient),
                mains=plan.SOURCES[record.source].mains,
            )
            stored = wfdb.rdrecord(str(path))
            np.testing.assert_allclose(stored.p_signal, wanted, atol=0.51 / min(stored.adc_gain))
            gains.update(stored.adc_gain)
    assert len(gains) > 1


def test_patients_table_lists_ptbxl_and_some_patients_twice(written):
    with (written / "ptbxl_database.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {path.stem for path in written.glob("training/ptb-xl/g1/*.hea")}
    assert {f"HR{int(row['ecg_id']):05d}" for row in rows} == names
    assert max(Counter(row["patient_id"] for row in rows).values()) > 1


def test_one_source_alone_has_the_classes_that_it_really_has():
    planned = plan.records(200, 0, source="ptb-xl")
    assert {record.source for record in planned} == {"ptb-xl"}
    shown = {name for record in planned for name in record.classes}
    assert shown <= {name for row in plan.label_counts() if row.source == "ptb-xl" for name in row.classes}
    assert {"QAb", "TInv", "LQT", "RAD"} <= shown  # rare, but drawn in turn
    assert plan.records(50, 0, source="ptb-xl") == planned[:50]


def test_statements_of_diagnoses():
    assert set(physionet2020.ABBREVIATIONS) == set(statements.DIAGNOSES) | set(statements.OTHERS)
    assert set(statements.DIAGNOSES.values()) <= set(ptbxl.SUPERCLASS)
    assert not set(statements.OTHERS.values()) & set(ptbxl.SUPERCLASS)

    def superclasses(*classes: str) -> set[str]:
        return {ptbxl.CLASSES[i] for i in np.flatnonzero(ptbxl.encode_labels(statements.of(classes)))}

    assert superclasses("NSR") == superclasses("STach", "SA") == {"NORM"}
    assert superclasses("NSR", "LBBB") == {"CD"}
    assert superclasses("AF", "QAb", "LAD", "TAb") == {"MI", "HYP", "STTC"}
    assert superclasses("AF") == superclasses("PVC", "NSR") == set()
    assert statements.of(["NSR", "LQT"]) == {"LNGQT": 100.0, "SR": 0.0}


def test_patients_table_has_ptbxls_statements_and_folds(written):
    rows = ptbxl_table.read(written / "ptbxl_database.csv")
    planned = {record.number: record for record in plan.records(60, 3, incart_seconds=20)}
    assert set(rows) == {number for number, record in planned.items() if record.source == "ptb-xl"}
    folds: dict[str, int] = {}
    for number, row in rows.items():
        scored = physionet2020.encode_labels(planned[number].codes).any()
        assert row.statements == (tuple(statements.of(planned[number].classes)) if scored else ())
        assert row.sex == planned[number].sex and 1 <= row.strat_fold <= 10
        assert folds.setdefault(row.patient, row.strat_fold) == row.strat_fold
    assert len(set(folds.values())) > 5


def test_single_lead_set_has_the_layout_and_the_classes_of_challenge_2017(tmp_path):
    synthetic.write_single_lead(tmp_path, 40, seed=2)
    found = catalogue.read(tmp_path)
    planned = {record.name: record for record in single_lead.records(40, 2)}
    assert found.rejected == [] and len(found.entries) == 40
    for entry in found.entries:
        record = planned[entry.header.record_id]
        assert physionet2017.CLASSES[entry.labels.index(True)] == record.label
        assert (entry.header.leads, entry.header.rate) == (("ECG",), 300)
        assert entry.header.samples == round(record.seconds * 300) and 9 <= record.seconds <= 61
    assert {record.label for record in planned.values()} == set(physionet2017.CLASSES)
    diagnoses = {label: {r.diagnosis for r in planned.values() if r.label == label} for label in "NAO"}
    assert (diagnoses["N"], diagnoses["A"]) == ({"NSR"}, {"AF"}) and diagnoses["O"] <= set(single_lead.OTHERS)


@pytest.mark.slow
def test_single_lead_records_depend_on_seed_and_number_alone(tmp_path):
    synthetic.write_single_lead(tmp_path / "whole", 40, seed=2, workers=2)
    synthetic.write_single_lead(tmp_path / "part", 3, seed=2)
    whole, part = digest(tmp_path / "whole"), digest(tmp_path / "part")
    part.pop("REFERENCE.csv")
    assert len(part) == 6 and part.items() <= whole.items()
    assert single_lead.records(40, 3) != single_lead.records(40, 2) == single_lead.records(60, 2)[:40]
    with pytest.raises(ValueError, match="count=0"):
        synthetic.write_single_lead(tmp_path, 0)


def test_noise_of_a_noisy_record_is_as_large_as_its_beats():
    lead = clean("NSR", 0, rate=300)[:, 0]
    noise = single_lead.drown(np.random.default_rng(0), lead) - lead
    assert 0.3 < noise.std() / np.ptp(lead) < 1.5
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequencies = np.fft.rfftfreq(len(noise), 1 / 300)
    assert power[(frequencies > 0.5) & (frequencies < 45)].sum() > 0.8 * power.sum()  # in the band of the beats


def test_header_quirks_of_real_archives_occur(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "generate", lambda *_, **__: np.zeros((10, 12), np.float32))
    synthetic.write(tmp_path, 999, seed=1)
    text = "\n".join(path.read_text() for path in tmp_path.rglob("*.hea"))
    for quirk in ("Age: NaN", "Age: 300", "Sex: Unknown", "Sex: F\n", "Sex: M\n", "Sex: female", "# Age:", "#Dx: \n"):
        assert quirk in text, quirk
    for quirk in (" 16x1+24 ", " 4880/mV ", " 200/mV ", "/mv ", "(12)/mv", "59118001", "63593006", "17338001"):
        assert quirk in text, quirk
    unscored = [line for line in text.splitlines() if line.startswith("#Dx: 16") and "," not in line]
    assert any(not physionet2020.encode_labels(line.removeprefix("#Dx: ").split(",")).any() for line in unscored)


def test_one_patients_records_look_alike():
    def beat(seed: int, patient: int) -> np.ndarray:
        signal = clean("NSR", seed, patient=patient)
        peak = 1000 + int(np.abs(signal[1000:2000]).max(1).argmax())
        return signal[peak - 40 : peak + 40]

    def likeness(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    same = np.mean([likeness(beat(i, 100 + i), beat(50 + i, 100 + i)) for i in SEEDS])
    other = np.mean([likeness(beat(i, 100 + i), beat(50 + i, 200 + i)) for i in SEEDS])
    assert same > 0.95 > other


def test_limb_leads_obey_einthoven_and_goldberger():
    for classes in ([], [CODE["AF"]], [CODE["PR"]]):
        signal = synthetic.generate(classes, 2)
        one, two, three, avr, avl, avf = signal[:, :6].T
        np.testing.assert_allclose(three, two - one, atol=1e-5)
        np.testing.assert_allclose(avr + avl + avf, 0, atol=1e-5)
        np.testing.assert_allclose(avl, (one - three) / 2, atol=1e-5)
        np.testing.assert_allclose(avf, (two + three) / 2, atol=1e-5)


def test_chest_leads_are_no_combination_of_the_limb_leads():
    signal = clean("NSR", 1)
    fit = np.linalg.lstsq(signal[:, :2], signal[:, 6:], rcond=None)[0]
    left = (signal[:, 6:] - signal[:, :2] @ fit).var(0) / signal[:, 6:].var(0)
    assert left[:3].min() > 0.1


def test_moment_is_seen_in_its_direction():
    seen = dipole.LEAD_VECTORS @ dipole.moment(0.8, -60, 0.7)
    one, avf = seen[0], seen[1] - seen[0] / 2
    assert one == pytest.approx(0.4)
    assert np.rad2deg(np.arctan2(avf * 2 / np.sqrt(3), one)) == pytest.approx(-60)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("NSR", 52, 101), ("SB", 30, 60), ("Brady", 30, 60), ("STach", 100, 170)]
)
def test_heart_rate(name, low, high):
    rates = [60 / np.diff(beats(name, seed).qrs).mean() for seed in SEEDS]
    assert low < min(rates)
    assert max(rates) < high


def test_fibrillation_is_irregular_without_p_waves_and_sinus_is_not():
    def variation(name: str) -> np.ndarray:
        return np.array([np.std(r) / np.mean(r) for r in (np.diff(beats(name, seed).qrs) for seed in SEEDS)])

    assert variation("AF").min() > 0.1
    assert variation("NSR").max() < 0.08
    assert np.median(variation("SA")) > 1.5 * np.median(variation("NSR"))
    assert all(len(beats("AF", seed).p) == 0 and beats("AF", seed).atria == "fibrillation" for seed in SEEDS)


def test_fibrillation_moves_v1_between_the_beats():
    def quiet(name: str) -> float:
        """Deviation of V1 in the 150 ms before each P wave would begin, beyond a straight line."""
        left = []
        for seed in SEEDS:
            signal = clean(name, seed)[:, LEAD["V1"]]
            onsets = beats_of(seed, name)
            for onset in onsets[(onsets > 1) & (onsets < 9)]:
                end = int((onset - 0.23) * 500)
                window = signal[end - 50 : end]
                left.append(np.std(window - np.linspace(window[0], window[-1], 50)))
        return float(np.median(left))

    def beats_of(seed: int, name: str) -> np.ndarray:
        form = morphology.make({name}, np.random.default_rng([seed, 1]), age=60, sex="female")
        rng = np.random.default_rng([seed, 2])
        return rhythm.make({name}, rng, 10, age=60, pr=form.pr, qrs_width=form.qrs_width).qrs

    assert quiet("AF") > 3 * quiet("NSR")


def test_flutter_is_a_regular_sawtooth_that_the_ventricles_follow_n_to_one():
    for seed in SEEDS:
        made = beats("AFL", seed)
        assert 60 / 0.24 < 60 / made.flutter_cycle < 60 / 0.18
        ratios = np.diff(made.qrs) / made.flutter_cycle
        assert np.abs(ratios - np.rint(ratios)).max() < 0.15
        signal = clean("AFL", seed)[:, LEAD["aVF"]]
        power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) ** 2
        frequencies = np.fft.rfftfreq(len(signal), 1 / 500)
        band = (frequencies > 3.9) & (frequencies < 6)
        cycle = morphology.make({"AFL"}, np.random.default_rng([seed, 1]), age=60, sex="female")
        played = rhythm.make(
            {"AFL"}, np.random.default_rng([seed, 2]), 10, age=60, pr=cycle.pr, qrs_width=cycle.qrs_width
        )
        peak = frequencies[band][power[band].argmax()]
        assert peak == pytest.approx(1 / played.flutter_cycle, abs=0.25)


def test_atrial_extrasystole_is_early_narrow_with_a_p_wave_of_its_own_and_no_full_pause():
    for seed in SEEDS:
        made = beats("PAC", seed)
        early = early_beats(made)
        assert len(early) and (made.kind[early] == rhythm.NORMAL).all()
        assert len(made.odd_p) >= len(early)
        rr = np.diff(made.qrs)
        usual = np.median(rr)
        assert (rr[early - 1] < 0.85 * usual).all()
        assert (rr[early - 1] + rr[early] < 1.95 * usual).all()


def test_ventricular_extrasystole_is_early_wide_and_followed_by_a_compensatory_pause():
    for seed in SEEDS:
        made = beats("PVC", seed)
        early = early_beats(made)
        assert len(early) and (made.kind[early] == rhythm.VENTRICULAR).all()
        rr = np.diff(made.qrs)
        sinus = np.median(np.delete(rr, np.r_[early - 1, early]))
        assert (rr[early - 1] < 0.85 * sinus).all()
        np.testing.assert_allclose(rr[early - 1] + rr[early], 2 * sinus, rtol=0.15)
        assert measured_width(one_beat("PVC", seed, rhythm.VENTRICULAR)[0]) > 0.12


def test_pacemaker_spikes_stand_before_wide_beats():
    wide = 0
    for seed in SEEDS:
        made = beats("PR", seed)
        assert len(made.spikes) >= len(made.qrs)
        paced = made.qrs[made.kind == rhythm.PACED]
        wide += len(paced) > 0
        for onset in paced:
            assert np.abs(made.spikes - onset).min() < 0.01
        signal = clean("PR", seed, rate=1000)
        bends = np.abs(np.diff(signal, 2, axis=0)).max(1)  # nothing in the body bends as sharply
        assert bends.max() > 3 * np.abs(np.diff(clean("NSR", seed, rate=1000), 2, axis=0)).max()
    assert wide > len(SEEDS) / 2


@pytest.mark.parametrize(
    ("classes", "low", "high"), [("LAD", -75, -18), ("LAnFB", -90, -35), ("RAD", 85, 150), ("NSR", -32, 98)]
)
def test_axis_angle(classes, low, high):
    angles = [axis(one_beat(classes, seed)[0]) for seed in SEEDS]
    assert low < min(angles)
    assert max(angles) < high


def test_anterior_hemiblock_has_r_in_iii_before_s():
    for seed in SEEDS:
        three = one_beat("LAnFB", seed)[0][:, LEAD["III"]]
        assert three.max() > 0.02
        assert three.argmax() < three.argmin()


def test_qrs_widths_in_order():
    widths = {
        name: np.median([measured_width(one_beat(name, seed)[0]) for seed in SEEDS])
        for name in ("NSR", "IRBBB", "NSIVCB", "RBBB", "LBBB")
    }
    assert widths["NSR"] < widths["IRBBB"] < widths["RBBB"]
    assert min(widths["RBBB"], widths["LBBB"], widths["NSIVCB"]) > 0.105
    assert widths["NSR"] < 0.1
    for name in ("RBBB", "LBBB"):
        assert min(heart(name, seed).qrs_width for seed in SEEDS) >= 0.12


def test_v1_tells_right_from_left_bundle_branch_block():
    for seed in SEEDS:
        right, left = (one_beat(name, seed)[0] for name in ("RBBB", "LBBB"))
        late = slice(100 + 70, 100 + 160)  # ms after onset
        assert right[late, LEAD["V1"]].max() > 0.1
        assert right[late, LEAD["I"]].min() < -0.03
        assert -left[:, LEAD["V1"]].min() > 2 * left[:, LEAD["V1"]].max()
        assert left[:, LEAD["V6"]].max() > 2 * -left[:, LEAD["V6"]].min()


def test_low_voltage_stays_below_half_a_millivolt_in_the_limb_leads():
    span = {
        name: [np.ptp(one_beat(name, seed)[0][:, :6], axis=0).max() for seed in range(40)] for name in ("LQRSV", "NSR")
    }
    assert np.mean(np.array(span["LQRSV"]) < 0.5) > 0.85
    assert min(span["NSR"]) > 0.55


def test_abnormal_q_wave_leads_the_complex_in_some_lead():
    def deepest_q(name: str, seed: int) -> float:
        qrs = one_beat(name, seed)[0]
        span = np.ptp(qrs, axis=0)
        share = -qrs[100 : 100 + 35].min(0) / span
        told = [i for i in (0, 1, 5, 7, 8, 9, 10, 11) if span[i] > 0.4]  # a q in a tiny complex says nothing
        return float(share[told].max())

    assert np.median([deepest_q("QAb", seed) for seed in range(30)]) > 0.35
    assert np.median([deepest_q("NSR", seed) for seed in range(30)]) < 0.2


def test_t_wave_inverted_where_it_should_be_upright():
    upright = [LEAD[name] for name in ("I", "II", "V3", "V4", "V5", "V6")]

    def lowest(name: str, seed: int) -> float:
        t = one_beat(name, seed)[1][:, upright]
        return float(t.min())

    assert np.mean([lowest("TInv", seed) < -0.1 for seed in range(30)]) > 0.9
    assert np.mean([lowest("NSR", seed) < -0.1 for seed in range(30)]) < 0.1


def test_abnormal_t_wave_is_mostly_small_and_sometimes_tall():
    def size(name: str) -> np.ndarray:
        return np.array([np.abs(one_beat(name, seed)[1][:, [0, 1, 9, 10, 11]]).mean() for seed in range(30)])

    ratio = size("TAb") / size("NSR")
    assert np.mean(ratio < 0.7) > 0.5
    assert ratio.max() > 1.3


@pytest.mark.parametrize("name", ["IAVB", "LPR"])
def test_pr_interval_is_long(name):
    assert min(heart(name, seed).pr for seed in SEEDS) > 0.2
    assert max(heart("NSR", seed).pr for seed in range(60)) < 0.2
    form = heart(name, 0)
    made = rhythm.make({name}, np.random.default_rng(0), 10, age=60, pr=form.pr, qrs_width=form.qrs_width)
    np.testing.assert_allclose(made.qrs - made.p, form.pr, atol=1e-9)


def test_qt_interval_is_long_at_the_end_of_the_t_wave():
    def end(name: str, seed: int) -> float:
        t = np.abs(one_beat(name, seed)[1]).max(1)
        return float(np.flatnonzero(t > 0.1 * t.max())[-1] - 100) / 1000

    assert min(heart("LQT", seed).qtc for seed in SEEDS) > 0.46
    assert np.median([end("LQT", seed) for seed in SEEDS]) > np.median([end("NSR", seed) for seed in SEEDS]) + 0.04


def test_junctional_bradycardia_has_no_sinus_p_wave_before_the_beat():
    made = [beats("Brady", seed) for seed in range(30)]
    silent = [m for m in made if m.atria == "silent"]
    assert 3 < len(silent) < 25
    assert all(len(m.p) == 0 for m in silent)


def test_every_class_shows_several_times_in_a_small_set():
    counts = Counter(name for record in plan.records(600, 0) for name in record.classes if record.codes)
    assert set(counts) == set(physionet2020.ABBREVIATIONS)
    assert min(counts.values()) >= 8
    assert {record.source for record in plan.records(600, 0)} == set(plan.SOURCES)


def test_labels_occur_together_as_in_the_table():
    records = [r for r in plan.records(4000, 2, boost=False) if r.codes and r.source == "ptb-xl"]
    rows = [row for row in plan.label_counts() if row.source == "ptb-xl"]

    def matrix(items, weights) -> np.ndarray:
        y = np.array([[name in item.classes for name in physionet2020.ABBREVIATIONS] for item in items], float)
        weights = np.array(weights, float) / sum(weights)
        return y.T @ (y * weights[:, None])

    drawn = matrix(records, [1] * len(records))
    wanted = matrix(rows, [row.records for row in rows])
    # Four binomial standard deviations, a little more since follow-up records repeat labels.
    assert (np.abs(drawn - wanted) <= 4.5 * np.sqrt(wanted * (1 - wanted) / len(records)) + 1 / len(records)).all()


def test_headers_say_what_the_signal_shows():
    for record in plan.records(300, 5):
        if record.codes and set(record.codes) - set(plan._UNSCORED):
            merged = {
                physionet2020.DIAGNOSES[physionet2020.EQUIVALENT.get(c, c)][0]
                for c in record.codes
                if c not in plan._UNSCORED
            }
            assert merged == set(record.classes)


def test_fibrillation_comes_with_age():
    records = plan.records(3000, 1)
    old = np.mean([r.age for r in records if "AF" in r.classes])
    young = np.mean([r.age for r in records if r.classes == ("NSR",)])
    assert old > young + 8


def test_follow_up_records_keep_sex_and_grow_no_younger():
    records = plan.records(800, 0)
    first = {}
    repeats = 0
    for record in records:
        if record.patient in first:
            repeats += 1
            assert record.source == "ptb-xl"
            assert record.sex == first[record.patient].sex
            assert record.age >= first[record.patient].age
        first.setdefault(record.patient, record)
    assert repeats > 20


def test_near_field_needs_six_values():
    with pytest.raises(ValueError, match="got 2"):
        dipole.chest(1, 2)


def test_every_combination_of_the_table_gives_a_signal_of_plausible_size():
    for row in plan.label_counts():
        signal = clean("+".join(row.classes), 0, seconds=9, rate=257)
        assert np.isfinite(signal).all(), row.classes
        assert 0.4 < np.ptp(signal, axis=0).max() < 12, row.classes
