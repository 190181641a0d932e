"""Make the sample dumps: real classifiers on scikit-learn's handwritten digits.

Three teachers of different make and one small student are trained on one half of the digits;
what is stored is their output for the other half, which none of them has seen.

Usage: python sample_data/make.py [OUTPUT_FOLDER]
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SPLIT_SEED = 0
STUDENT_SEED = 4
STUDENT_EPOCHS = 40
STUDENT_EARLY_EPOCHS = 10
SOURCE = (
    "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998), UCI Machine "
    "Learning Repository, doi:10.24432/C50P49, as bundled with scikit-learn (load_digits)"
)
LICENCE = "data set: CC BY 4.0; copy bundled with scikit-learn: BSD-3-Clause"


@dataclass(frozen=True)
class Split:
    """Images `[rows, 64]` scaled to [0, 1] and labels `[rows]`, in two halves."""

    train_images: Floats
    train_labels: Ints
    test_images: Floats
    test_labels: Ints


@dataclass(frozen=True)
class Dump:
    """What one trained model says about the test half, and how the model was made."""

    name: str
    description: str
    seed: int
    parameters: int
    logits: Floats
    labels: Ints
    hidden: list[Floats] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """The share of test rows whose highest logit, as stored, is at the label."""
        return float(np.mean(self.logits.astype(np.float32).argmax(axis=1) == self.labels))


def load_split() -> Split:
    """Split the digits into two halves with the same share of every digit."""
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images / 16.0, labels, test_size=0.5, stratify=labels, random_state=SPLIT_SEED
    )
    return Split(
        train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64)
    )


def softmax(logits: Floats) -> Floats:
    """Return the probabilities `[rows, classes]` of logits of the same shape."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def forward(model: MLPClassifier, images: Floats) -> list[Floats]:
    """Return every layer's output: the hidden layers after ReLU, then the logits."""
    outputs = [images]
    for weights, biases in zip(model.coefs_, model.intercepts_, strict=True):
        if len(outputs) > 1:
            outputs[-1] = np.maximum(outputs[-1], 0.0)
        outputs.append(outputs[-1] @ weights + biases)
    return outputs[1:]


def check_logits(name: str, logits: Floats, probabilities: Floats) -> None:
    """Raise RuntimeError unless the softmax of the logits is what the model itself predicts."""
    if not np.allclose(softmax(logits), probabilities, rtol=1e-9, atol=1e-12):
        raise RuntimeError(f"{name}: softmax(logits) differs from predict_proba")


def train_mlp(name: str, split: Split, model: MLPClassifier) -> Dump:
    """Train a multilayer perceptron and dump its logits and hidden layers."""
    with warnings.catch_warnings():  # stopping at a fixed epoch is meant
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(split.train_images, split.train_labels)
    *hidden, logits = forward(model, split.test_images)
    check_logits(name, logits, model.predict_proba(split.test_images))
    widths = " x ".join(str(layer.shape[1]) for layer in hidden)
    return Dump(
        name=name,
        description=f"MLPClassifier, ReLU, hidden layers {widths}, {model.n_iter_} epochs",
        seed=model.random_state,
        parameters=sum(part.size for part in [*model.coefs_, *model.intercepts_]),
        logits=logits,
        labels=split.test_labels,
        hidden=hidden,
    )


def train_kernel_regression(name: str, split: Split, features: int, seed: int) -> Dump:
    """Train a multinomial logistic regression on approximate RBF kernel features."""
    model: Pipeline = make_pipeline(
        Nystroem(gamma=0.05, n_components=features, random_state=seed),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit(split.train_images, split.train_labels)
    logits = model.decision_function(split.test_images)
    check_logits(name, logits, model.predict_proba(split.test_images))
    regression = model[-1]
    return Dump(
        name=name,
        description=f"multinomial LogisticRegression on {features} Nystroem RBF kernel features",
        seed=seed,
        parameters=regression.coef_.size + regression.intercept_.size,
        logits=logits,
        labels=split.test_labels,
    )


def student_model(epochs: int) -> MLPClassifier:
    """Return the untrained student; the number of epochs is the only thing that varies."""
    return MLPClassifier(
        hidden_layer_sizes=(16, 24),
        batch_size=64,
        learning_rate_init=2e-3,
        max_iter=epochs,
        random_state=STUDENT_SEED,
    )


def train_all(split: Split) -> list[Dump]:
    """Train the three teachers, the student and the student stopped early."""
    deep = MLPClassifier((48, 40, 32, 24), alpha=1e-2, max_iter=150, random_state=1)
    wide = MLPClassifier((512,), alpha=1e-2, max_iter=150, random_state=2)
    return [
        train_mlp("teacher_a", split, deep),
        train_mlp("teacher_b", split, wide),
        train_kernel_regression("teacher_c", split, features=200, seed=3),
        train_mlp("student", split, student_model(STUDENT_EPOCHS)),
        train_mlp("student_early", split, student_model(STUDENT_EARLY_EPOCHS)),
    ]


def set_attributes(target: h5py.Group, **texts: str) -> None:
    """Attach fixed-length ASCII strings to a file or group."""
    for key, text in texts.items():
        target.attrs.create(key, np.bytes_(text.encode("ascii")))


def write_model(file: h5py.File, dump: Dump) -> None:
    """Write one model's group: `logits`, and `hidden` for the two models that are compared."""
    group = file.create_group(dump.name)
    set_attributes(
        group,
        model=dump.description,
        seed=str(dump.seed),
        parameters=str(dump.parameters),
        test_accuracy=f"{dump.accuracy:.4f}",
    )
    group.create_dataset("logits", data=dump.logits.astype(np.float32))
    if dump.name not in ("teacher_a", "student"):
        return
    hidden = group.create_group("hidden")
    set_attributes(hidden, content="hidden layers after ReLU, first to last, [rows, width]")
    for index, layer in enumerate(dump.hidden):
        hidden.create_dataset(f"layer_{index}", data=layer.astype(np.float32))


def write_hdf5(path: Path, dumps: list[Dump], labels: Ints) -> None:
    """Write everything to one HDF5 file that old libraries can read, too."""
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        set_attributes(
            file,
            source=SOURCE,
            licence=LICENCE,
            content="outputs for the test half of the digits; the models saw the other half only",
            made_by="sample_data/make.py",
            split_seed=str(SPLIT_SEED),
            scikit_learn=sklearn.__version__,
            numpy=np.__version__,
            h5py=h5py.__version__,
            hdf5=h5py.version.hdf5_version,
        )
        file.create_dataset("labels", data=labels)
        for dump in dumps:
            write_model(file, dump)


def write_npy(folder: Path, dumps: list[Dump], labels: Ints) -> None:
    """Write the logits and the labels once more, one `.npy` file each."""
    np.save(folder / "labels.npy", labels)
    for dump in dumps:
        np.save(folder / f"{dump.name}.npy", np.ascontiguousarray(dump.logits, dtype=np.float32))


def table(dumps: list[Dump]) -> str:
    """Return the models as the Markdown table of README.md."""
    lines = ["| model | what it is | parameters | accuracy |", "|---|---|---:|---:|"]
    lines += [
        f"| {dump.name} | {dump.description} | {dump.parameters} | {dump.accuracy:.4f} |"
        for dump in dumps
    ]
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Train everything and write the files to `folder`."""
    with threadpool_limits(limits=1):  # sums in one order, whatever the number of cores
        split = load_split()
        dumps = train_all(split)
    folder.mkdir(parents=True, exist_ok=True)
    write_hdf5(folder / "digits.h5", dumps, split.test_labels)
    write_npy(folder, dumps, split.test_labels)
    print(table(dumps))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
