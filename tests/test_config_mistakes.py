"""What people mistype, and that the message cures it in one read."""

from pathlib import Path

import pytest
from catalogue_stand_in import CATALOGUE

from distillcli.config import load, parse_set
from distillcli.errors import ConfigErrors

RESPONSE = "strategy: response\nteacher: t.npy\nstudent: s.npy\n"  # three lines
LABELLED = RESPONSE + "labels: l.npy\n"  # four lines
PROGRESSIVE = "strategy: progressive\nteacher_hidden: t.h5\nstudent_hidden: s.h5\n"
LAYERS = PROGRESSIVE + "progressive:\n  layer_mapping: [[0, 1], [1, 3]]\n"  # five lines
ENSEMBLE = "strategy: ensemble\nteachers: [a.npy, b.npy]\nstudent: s.npy\n"
PAIRS = "write pairs [student layer, teacher layer], like [[0, 1], [1, 3]]"
SOURCE = "must be a path, a list of paths or {path: ..., dataset: ...}"
WEIGHTS = "keep one of alpha, preset, or the label weights"

MISTAKES = {
    # the strategy, and what goes with it
    "no strategy": (
        "teacher: t.npy\n",
        ["1:1: strategy: is missing; one of: response, progressive, ensemble"],
    ),
    "misspelt strategy": (
        "strategy: respnse\n",
        [
            "1:1: strategy: must be response, progressive or ensemble, "
            'not "respnse"; did you mean response?'
        ],
    ),
    "nothing but a strategy": (
        "# a comment\nstrategy: response\n",
        [
            "2:1: teacher: is missing: strategy response needs it",
            "2:1: student: is missing: strategy response needs it",
        ],
    ),
    "blank teacher": (
        "strategy: response\nteacher:\nstudent: s.npy\n",
        ["2:1: teacher: is missing: strategy response needs it"],
    ),
    "section of another strategy": (
        RESPONSE + "ensemble: {alpha: 1}\n",
        [
            "4:1: ensemble: belongs to strategy ensemble, and the strategy is response; "
            "take it out, or change the strategy"
        ],
    ),
    "teachers of response": (
        RESPONSE + "teachers: [t.npy]\n",
        [
            "4:1: teachers: belongs to strategy ensemble, and the strategy is response; "
            "this strategy has teacher"
        ],
    ),
    "teacher of an ensemble": (
        ENSEMBLE + "teacher: t.npy\n",
        [
            "4:1: teacher: belongs to strategy response or progressive, "
            "and the strategy is ensemble; this strategy has teachers"
        ],
    ),
    "progressive without its parts": (
        "strategy: progressive\n",
        [
            "1:1: teacher_hidden: is missing: strategy progressive needs it",
            "1:1: student_hidden: is missing: strategy progressive needs it",
            f"1:1: progressive.layer_mapping: is missing; {PAIRS}",
        ],
    ),
    "response term without logits": (
        LAYERS + "response: {alpha: 1}\n",
        [
            "1:1: teacher: is missing: strategy progressive needs it",
            "1:1: student: is missing: strategy progressive needs it",
        ],
    ),
    "ensemble of one text": (
        "strategy: ensemble\nteachers: t.npy\nstudent: s.npy\n",
        [
            '2:1: teachers: must be a list, not "t.npy"; write a list, like [a.npy, b.npy]',
        ],
    ),
    "ensemble of none": (
        "strategy: ensemble\nteachers: []\nstudent: s.npy\n",
        ["2:1: teachers: must not be empty; write a list, like [a.npy, b.npy]"],
    ),
    # keys
    "misspelt key": (
        "strategy: response\nteecher: t.npy\nteacher: t.npy\nstudent: s.npy\n",
        ["2:1: teecher: unknown key; did you mean teacher?"],
    ),
    "capital": (
        RESPONSE + "Labels: l.npy\n",
        ["4:1: Labels: unknown key; did you mean labels?"],
    ),
    "dash": (
        RESPONSE + "batch-size: 5\n",
        ["4:1: batch-size: unknown key; did you mean batch_size?"],
    ),
    "unknown key with no value": (
        RESPONSE + "labls:\n",
        ["4:1: labls: unknown key; did you mean labels?"],
    ),
    "key out of its section": (
        RESPONSE + "alpha: 1\n",
        ["4:1: alpha: unknown key; alpha belongs under response"],
    ),
    "key out of its section in an ensemble": (
        ENSEMBLE + "alpha: 1\n",
        ["4:1: alpha: unknown key; alpha belongs under ensemble"],
    ),
    "temperature one level too high": (
        RESPONSE + "response:\n  temperature: 2\n",
        ["5:3: response.temperature: unknown key; temperature belongs under response.soft_loss"],
    ),
    "indented by accident": (
        RESPONSE + "response:\n  alpha: 1\n  labels: l.npy\n",
        ["6:3: response.labels: unknown key; labels stands at the top level, without indentation"],
    ),
    "preset of an ensemble": (
        ENSEMBLE + "ensemble: {preset: hinton}\n",
        [
            "4:12: ensemble.preset: unknown key; "
            "the keys here are combine, weights, fit_rows, temperature, alpha"
        ],
    ),
    "key that looks like a tag of ours": (
        RESPONSE + "labels: {<list>: 1, path: l.npy}\n",
        [
            "4:10: labels.<list>: unknown key; "
            "the keys here are path, dataset, dtype, scale, zero_point, kind, temperature, "
            "classes, values, indices, log_z"
        ],
    ),
    "twice": (
        RESPONSE + "threads: 0\nstudent: x.npy\n",
        [
            "4:1: threads: must be auto or a whole number of at least 1, not 0",
            "5:1: student: is given twice, first on line 3; keep one of them",
        ],
    ),
    # plain values
    "quoted number": (
        RESPONSE + 'batch_size: "64"\n',
        [
            "4:1: batch_size: must be auto or a whole number of at least 1, "
            'not "64"; write 64 without quotes'
        ],
    ),
    "batch size zero": (
        RESPONSE + "batch_size: 0\n",
        ["4:1: batch_size: must be auto or a whole number of at least 1, not 0"],
    ),
    "fractional threads": (
        RESPONSE + "threads: 1.5\n",
        ["4:1: threads: must be auto or a whole number of at least 1, not 1.5"],
    ),
    "too many threads": (
        RESPONSE + "threads: 100000\n",
        ["4:1: threads: must be at most 1024, not 100000"],
    ),
    "gpu": (
        RESPONSE + "device: gpu\n",
        ['4:1: device: must be auto, cpu, cuda or cuda:N, not "gpu"; did you mean cuda?'],
    ),
    "cuda:-1": (
        RESPONSE + "device: cuda:-1\n",
        ['4:1: device: must be auto, cpu, cuda or cuda:N, not "cuda:-1"'],
    ),
    "half precision": (
        RESPONSE + "precision: float16\n",
        ['4:1: precision: must be auto, float32 or float64, not "float16"; did you mean float64?'],
    ),
    "bad rows": (
        RESPONSE + "on_bad_rows: true\n",
        ["4:1: on_bad_rows: must be error or skip, not true"],
    ),
    "metrics": (
        RESPONSE + "metrics: [kl_mean, kl_maen, 3, kl_mean]\n",
        ["4:29: metrics[2]: must be the name of a metric, not 3"],
    ),
    "names of metrics": (
        RESPONSE + "metrics:\n  - kl_mean\n  - kl_maen\n  - kl_mean\n",
        [
            '6:5: metrics[1]: "kl_maen" is not a metric; did you mean kl_mean?',
            '7:5: metrics[2]: "kl_mean" is named twice',
        ],
    ),
    "one metric": (
        RESPONSE + "metrics: kl_mean\n",
        ['4:1: metrics: must be all, none or a list of names, not "kl_mean"'],
    ),
    # sources
    "source of the wrong type": (RESPONSE + "labels: 5\n", [f"4:1: labels: {SOURCE}, not 5"]),
    "empty source": (RESPONSE + "labels: ''\n", [f"4:1: labels: {SOURCE}, not an empty text"]),
    "empty list": (RESPONSE + "labels: []\n", ["4:1: labels: must not be empty"]),
    "list in a list": (
        RESPONSE + "labels: [[l.npy]]\n",
        ["4:10: labels[0]: must be a path or {path: ..., dataset: ...}, not a list"],
    ),
    "URL": (
        RESPONSE + "labels: https://example.org/l.npy\n",
        ["4:1: labels: is a URL; only local files are read: download it first"],
    ),
    "no dataset": (
        RESPONSE + 'labels: "l.h5::"\n',
        ["4:1: labels: has no dataset after ::; write path::dataset, or path alone"],
    ),
    "no path": (
        RESPONSE + "labels: ::labels\n",
        ["4:1: labels: has no path before ::; write path::dataset"],
    ),
    "long form without a path": (
        RESPONSE + "labels: {dataset: x}\n",
        ["4:1: labels.path: is missing"],
    ),
    "dataset named twice": (
        RESPONSE + "labels: {path: l.h5::a, dataset: b}\n",
        [
            "4:10: labels.path: names dataset a after ::, and the key dataset names b; "
            "name the dataset once"
        ],
    ),
    "kind of labels": (
        RESPONSE + "labels: {path: l.npy, kind: logits}\n",
        ["4:23: labels.kind: is for class scores only; leave it out"],
    ),
    "dtype": (
        "strategy: response\nteacher: {path: t.npy, dtype: bf16}\nstudent: s.npy\n",
        [
            "2:24: teacher.dtype: must be float16, bfloat16, float32, float64, float8_e4m3fn, "
            "float8_e5m2, int8, int16, int32, int64, uint8, uint16, uint32 or uint64, "
            'not "bf16"; did you mean bfloat16?'
        ],
    ),
    "scale of 0": (
        "strategy: response\nteacher: {path: t.npy, scale: 0}\nstudent: s.npy\n",
        ["2:24: teacher.scale: must be a number from 1e-09 to 1000000, not 0"],
    ),
    "scale that is a text of a number": (
        "strategy: response\nteacher: {path: t.npy, scale: '0.1'}\nstudent: s.npy\n",
        [
            '2:24: teacher.scale: must be a number from 1e-09 to 1000000, not "0.1"; '
            "write 0.1 without quotes"
        ],
    ),
    "zero point that is not whole": (
        "strategy: response\nteacher: {path: t.npy, scale: 1, zero_point: 0.5}\nstudent: s.npy\n",
        [
            "2:34: teacher.zero_point: must be a whole number, not 0.5",
        ],
    ),
    "zero point alone": (
        "strategy: response\nteacher: {path: t.npy, zero_point: 0}\nstudent: s.npy\n",
        [
            "2:24: teacher.zero_point: means nothing without a scale; "
            "add scale: ..., or leave it out",
        ],
    ),
    "temperature of logits": (
        "strategy: response\nteacher: {path: t.npy, temperature: 2}\nstudent: s.npy\n",
        [
            "2:24: teacher.temperature: says at which temperature probabilities were taken, "
            "and kind is logits; set kind to probabilities or log_probabilities, "
            "or leave temperature out"
        ],
    ),
    "shards of two kinds": (
        "strategy: response\nteacher:\n  - {path: a.npy, kind: probabilities}\n  - b.npy\n"
        "student: s.npy\n",
        [
            "4:5: teacher[1]: holds logits while the first part holds probabilities; "
            "the parts of one source must be of one kind"
        ],
    ),
    # weights of the response term
    "alpha": (
        RESPONSE + "response: {alpha: 1.5}\n",
        ["4:12: response.alpha: must be a number from 0 to 1, not 1.5"],
    ),
    "decimal comma": (
        LABELLED + "response:\n  alpha: 0,7\n",
        ['6:3: response.alpha: must be a number from 0 to 1, not "0,7"; write 0.7, with a point'],
    ),
    "alpha true": (
        RESPONSE + "response: {alpha: yes}\n",
        ['4:12: response.alpha: must be a number from 0 to 1, not "yes"'],
    ),
    "alpha nan": (
        RESPONSE + "response: {alpha: .nan}\n",
        ["4:12: response.alpha: must be a number from 0 to 1, not nan"],
    ),
    "infinite weight": (
        RESPONSE + "response: {soft_label_weight: .inf}\n",
        [
            "4:12: response.soft_label_weight: must be a finite number of at least 0, not inf",
        ],
    ),
    "endless weight": (
        RESPONSE + f"response: {{soft_label_weight: 1{'0' * 350}}}\n",
        [
            "4:12: response.soft_label_weight: must be a finite number of at least 0, "
            "not a number of 351 digits"
        ],
    ),
    "negative weight": (
        RESPONSE + "response: {soft_label_weight: -1}\n",
        ["4:12: response.soft_label_weight: must be a finite number of at least 0, not -1"],
    ),
    "no weight": (
        LABELLED + "response: {soft_label_weight: 0}\n",
        ["5:12: response.soft_label_weight: both label weights are 0; one must be above 0"],
    ),
    "three forms": (
        LABELLED + "response:\n  alpha: 0.7\n  preset: hinton\n  hard_label_weight: 0.3\n",
        [
            f"7:3: response.preset: is given beside alpha (FILE:6:3: response.alpha); {WEIGHTS}",
            "8:3: response.hard_label_weight: is given beside alpha "
            f"(FILE:6:3: response.alpha); {WEIGHTS}",
        ],
    ),
    "alpha without labels": (
        RESPONSE + "response: {alpha: 0.7}\n",
        [
            "4:12: response.alpha: needs labels, for alpha 0.7 gives hard labels a weight; "
            "add labels: FILE, or set alpha to 1"
        ],
    ),
    "preset without labels": (
        RESPONSE + "response: {preset: hinton}\n",
        [
            "4:12: response.preset: needs labels, for preset hinton gives hard labels a weight; "
            "add labels: FILE, or take preset: pure_kl"
        ],
    ),
    "weight without labels": (
        RESPONSE + "response: {soft_label_weight: 1, hard_label_weight: 0.5}\n",
        [
            "4:34: response.hard_label_weight: needs labels, for hard_label_weight 0.5 gives "
            "hard labels a weight; add labels: FILE, or leave it out"
        ],
    ),
    "broken labels are no missing labels": (
        RESPONSE + "labels: 3\nresponse: {alpha: 0.7}\n",
        [f"4:1: labels: {SOURCE}, not 3"],
    ),
    "preset": (
        RESPONSE + "response: {preset: hintno}\n",
        [
            "4:12: response.preset: must be pure_kl, balanced or hinton, "
            'not "hintno"; did you mean hinton?'
        ],
    ),
    "temperature of a preset": (
        LABELLED + "response:\n  preset: hinton\n  soft_loss: {temperature: 2}\n",
        [
            "7:15: response.soft_loss.temperature: is 2, and preset hinton is at temperature 4; "
            "leave the temperature out, or write alpha: 0.7 in place of the preset"
        ],
    ),
    # the soft loss
    "bare name": (
        RESPONSE + "response: {soft_loss: kl}\n",
        [
            '4:12: response.soft_loss: must be a mapping of keys to values, not "kl"; '
            "write soft_loss: {name: kl, temperature: 4.0}"
        ],
    ),
    "unknown loss": (
        RESPONSE + "response: {soft_loss: {name: kll}}\n",
        [
            "4:24: response.soft_loss.name: must be kl, jsd, mse or combined_kl_mse, "
            'not "kll"; did you mean kl?'
        ],
    ),
    "loss by number": (
        RESPONSE + "response: {soft_loss: {name: 3}}\n",
        ["4:24: response.soft_loss.name: must be the name of a loss, not 3"],
    ),
    "parameter of another loss": (
        RESPONSE + "response: {soft_loss: {name: kl, beta: 0.5}}\n",
        ["4:34: response.soft_loss.beta: unknown key: kl has temperature, temperature_squared"],
    ),
    "misspelt parameter": (
        RESPONSE + "response: {soft_loss: {name: jsd, temprature: 2, beta: 2}}\n",
        [
            "4:35: response.soft_loss.temprature: unknown key: "
            "jsd has temperature, temperature_squared, beta; did you mean temperature?",
            "4:50: response.soft_loss.beta: must be a number from 0 to 1, not 2",
        ],
    ),
    "loss without parameters": (
        RESPONSE + "response: {soft_loss: {name: mse, temperature: 2}}\n",
        ["4:35: response.soft_loss.temperature: unknown key: mse has no parameters"],
    ),
    "temperature too low": (
        RESPONSE + "response: {soft_loss: {temperature: 1e-5}}\n",
        ["4:24: response.soft_loss.temperature: must be a number from 0.0001 to 10000, not 1e-05"],
    ),
    "temperature in quotes": (
        RESPONSE + 'response: {soft_loss: {temperature: "4"}}\n',
        [
            "4:24: response.soft_loss.temperature: must be a number from 0.0001 to 10000, "
            'not "4"; write 4 without quotes'
        ],
    ),
    "switch": (
        RESPONSE + "response: {soft_loss: {temperature_squared: 1}}\n",
        ["4:24: response.soft_loss.temperature_squared: must be true or false, not 1"],
    ),
    "two inner weights": (
        RESPONSE + "response: {soft_loss: {name: combined_kl_mse, kl_weight: 0, mse_weight: 0}}\n",
        ["4:12: response.soft_loss: kl_weight and mse_weight are both 0; one must be above 0"],
    ),
    "one bad inner weight": (
        RESPONSE + "response: {soft_loss: {name: combined_kl_mse, kl_weight: -1, mse_weight: 0}}\n",
        [
            "4:47: response.soft_loss.kl_weight: must be a finite number of at least 0, not -1",
        ],
    ),
    # progressive
    "mapping as a mapping": (
        PROGRESSIVE + "progressive:\n  layer_mapping: {0: 1}\n",
        [f"5:3: progressive.layer_mapping: must be a list, not a mapping; {PAIRS}"],
    ),
    "flat mapping": (
        PROGRESSIVE + "progressive:\n  layer_mapping: [0]\n",
        [
            "5:19: progressive.layer_mapping[0]: must be a pair [student layer, teacher layer], "
            "not 0; write pairs like [[0, 1], [1, 3]]"
        ],
    ),
    "the last layer": (
        PROGRESSIVE + "progressive:\n  layer_mapping: [[0, 1], [1, -1]]\n",
        [
            "5:27: progressive.layer_mapping[1]: must be a pair [student layer, teacher layer]: "
            "-1 is not a layer, which are counted from 0"
        ],
    ),
    "no pairs": (
        PROGRESSIVE + "progressive: {layer_mapping: []}\n",
        [f"4:15: progressive.layer_mapping: must not be empty; {PAIRS}"],
    ),
    "loss of hidden states": (
        LAYERS + "  loss: kl\n",
        ['6:3: progressive.loss: must be mse, cosine or normalized_mse, not "kl"'],
    ),
    "layer weights": (
        LAYERS + "  layer_weights: [1, 2, 3]\n",
        ["6:3: progressive.layer_weights: holds 3 weights for 2 pairs of layers"],
    ),
    "zero layer weights": (
        LAYERS + "  layer_weights: [0, 0]\n",
        ["6:3: progressive.layer_weights: all weights are 0; give at least one a weight above 0"],
    ),
    "negative layer weight": (
        LAYERS + "  layer_weights: [1, -1]\n",
        [
            "6:22: progressive.layer_weights[1]: must be a finite number of at least 0, not -1",
        ],
    ),
    "no term": (
        LAYERS + "  hidden_weight: 0\n",
        [
            "6:3: progressive.hidden_weight: is 0, and there is no other term; "
            "give one term a weight above 0"
        ],
    ),
    "bare projection": (
        LAYERS + "  projection: xavier_uniform\n",
        [
            "6:3: progressive.projection: must be none or a mapping like "
            '{init: xavier_uniform, seed: 0} or {path: W.npy}, not "xavier_uniform"'
        ],
    ),
    "empty projection": (
        LAYERS + "  projection: {seed: 1}\n",
        [
            "6:3: progressive.projection: has neither init nor path; "
            "write {init: xavier_uniform, seed: 0}, {init: least_squares} or {path: W.npy}"
        ],
    ),
    "mixed projection": (
        LAYERS + "  projection: {init: least_squares, seed: 1}\n",
        [
            "6:37: progressive.projection.seed: does not go with init: least_squares; "
            "its keys are init, ridge"
        ],
    ),
    "seed": (
        LAYERS + "  projection: {init: xavier_uniform, seed: -1}\n",
        ["6:38: progressive.projection.seed: must be a whole number of at least 0, not -1"],
    ),
    # ensemble
    "combine": (
        ENSEMBLE + "ensemble: {combine: probs}\n",
        ['4:12: ensemble.combine: must be logits, probabilities or log_probabilities, not "probs"'],
    ),
    "teacher weights": (
        ENSEMBLE + "ensemble: {weights: [1, 2, 3]}\n",
        ["4:12: ensemble.weights: holds 3 weights for 2 teachers"],
    ),
    "accuracy without labels": (
        ENSEMBLE + "ensemble: {weights: accuracy, alpha: 1}\n",
        ["4:12: ensemble.weights: accuracy weights need labels; add labels: FILE"],
    ),
    "weights that need labels": (
        ENSEMBLE + "ensemble: {weights: best_per_row, alpha: 1}\n",
        ["4:12: ensemble.weights: best_per_row weights need labels; add labels: FILE"],
    ),
    "fit of another mean": (
        ENSEMBLE + "labels: l.npy\nensemble: {weights: fit}\n",
        [
            "5:12: ensemble.weights: fit weights are those of a mean of probabilities, and combine "
            "is logits; set combine: probabilities"
        ],
    ),
    "share of rows that nothing is found on": (
        ENSEMBLE + "ensemble: {weights: confidence, fit_rows: 0.5}\n",
        [
            "4:33: ensemble.fit_rows: is for weights that are found from labels: accuracy and fit; "
            "leave it out"
        ],
    ),
    "share of rows above 1": (
        ENSEMBLE + "labels: l.npy\nensemble: {weights: accuracy, fit_rows: 2}\n",
        ["5:31: ensemble.fit_rows: must be a number from 1e-06 to 1, not 2"],
    ),
    "ensemble alpha without labels": (
        ENSEMBLE + "ensemble: {alpha: 0}\n",
        [
            "4:12: ensemble.alpha: needs labels, for alpha 0 gives hard labels a weight; "
            "add labels: FILE, or set alpha to 1"
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_is_told_with_its_place_and_its_cure(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    """The message of each mistake, word by word, with line and column."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load(file, catalogue=CATALOGUE)
    lines = [line.replace("FILE", str(file)) if "(FILE" in line else line for line in expected]
    assert str(caught.value).splitlines() == [f"{file}:{line}" for line in lines]
    assert caught.value.exit_code == 2


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    """One run is enough to see everything that is wrong."""
    file = tmp_path / "c.yaml"
    file.write_text(
        "strategy: response\n"
        "teecher: t.npy\n"
        "student: {path: s.h5::x, dataset: y, kind: prob, tempreature: 3}\n"
        "alpha: 0.3\n"
        "device: gpu\n"
        "metrics: [kl_maen]\n"
        "ensemble: {alpha: 2}\n"
        "response:\n"
        "  preset: hinton\n"
        "  soft_loss: {name: kll, temperature: 4}\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        load(file, catalogue=CATALOGUE)
    places = [str(error).removeprefix(f"{file}:").split(": ")[:2] for error in caught.value.errors]
    assert places == [
        ["1:1", "teacher"],
        ["2:1", "teecher"],
        ["3:38", "student.kind"],
        ["3:50", "student.tempreature"],
        ["4:1", "alpha"],
        ["5:1", "device"],
        ["6:11", "metrics[0]"],
        ["7:1", "ensemble"],
        ["7:12", "ensemble.alpha"],
        ["9:3", "response.preset"],
        ["10:15", "response.soft_loss.name"],
    ]


def test_a_flood_of_mistakes_is_cut_short(tmp_path: Path) -> None:
    """A file that is no config at all gives a hundred lines and a count."""
    file = tmp_path / "c.yaml"
    file.write_text("strategy: response\n" + "".join(f"key{n}: 1\n" for n in range(300)))
    with pytest.raises(ConfigErrors) as caught:
        load(file, catalogue=CATALOGUE)
    assert len(caught.value.errors) == 101
    assert str(caught.value.errors[-1]) == f"{file}: and 202 more mistakes"


WRONG = {
    "null character": '"\\0"',
    "number": "12",
    "fraction": "-1.5",
    "switch": "true",
    "list": "[[[1]]]",
    "mapping": "{a: {b: 1}}",
    "text": "something",
    "huge": "1" + "0" * 300,
    "nan": ".nan",
}
KEYS = {
    RESPONSE: (
        *("strategy", "teacher", "labels", "batch_size", "threads", "device", "precision"),
        *("metrics", "on_bad_rows", "response", "response.soft_loss", "response.alpha"),
        *("response.preset", "response.soft_label_weight", "response.soft_loss.name"),
        *("response.soft_loss.temperature", "response.soft_loss.temperature_squared"),
    ),
    LAYERS: (
        *("teacher_hidden", "progressive", "progressive.layer_mapping", "progressive.loss"),
        *("progressive.hidden_weight", "progressive.layer_weights", "progressive.projection"),
        *("progressive.projection.init", "progressive.projection.seed"),
        *("progressive.projection.ridge", "progressive.projection.path"),
    ),
    ENSEMBLE: (
        *("teachers", "ensemble", "ensemble.combine", "ensemble.weights", "ensemble.alpha"),
        *("ensemble.temperature",),
    ),
}
FITTING = {  # a value of this shape may well be right there
    ("text", key) for key in ("teacher", "labels", "teacher_hidden", "progressive.projection.path")
}
FITTING |= {("number", key) for key in ("batch_size", "threads", "response.soft_label_weight")}
FITTING |= {("number", "response.soft_loss.temperature"), ("number", "ensemble.temperature")}
FITTING |= {("number", "progressive.hidden_weight"), ("huge", "progressive.hidden_weight")}
FITTING |= {("huge", "response.soft_label_weight"), ("huge", "progressive.projection.ridge")}
FITTING |= {("number", f"progressive.projection.{key}") for key in ("seed", "ridge")}
FITTING |= {("switch", "response.soft_loss.temperature_squared")}
CASES = [
    pytest.param(base, key, value, id=f"{key}-{kind}")
    for base, keys in KEYS.items()
    for key in keys
    for kind, value in WRONG.items()
    if (kind, key) not in FITTING
]


@pytest.mark.parametrize(("base", "key", "value"), CASES)
def test_every_key_refuses_what_it_cannot_take(
    base: str, key: str, value: str, tmp_path: Path
) -> None:
    """Each key with each wrong kind of value: an error of ours that names the setting."""
    file = tmp_path / "c.yaml"
    file.write_text(base)
    setting = parse_set(f"{key}={value}")
    with pytest.raises(ConfigErrors) as caught:
        load(file, catalogue=CATALOGUE, settings=[setting])
    assert "--set" in str(caught.value)
    assert all(error.problem for error in caught.value.errors)
