"""What is remembered of a tile of scores goes with it, at once."""

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from distillcli import metrics
from distillcli.losses import LABEL_LOSSES, LOGIT_LOSSES
from distillcli.numerics.scores import Logits


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Only counts of references free anything."""
    gc.disable()
    yield
    gc.enable()


def test_scores_are_freed_when_the_last_name_goes() -> None:
    """After all losses and metrics, in both directions, no circle keeps the arrays alive."""
    random = np.random.default_rng(0)
    teacher, student = (Logits(random.normal(size=(8, 5))) for _ in range(2))
    labels = np.arange(8) % 5
    for loss in LOGIT_LOSSES.values():
        more = {"labels": labels} if "labels" in loss.inputs else {}
        loss.function(teacher=teacher, student=student, **more)
        loss.function(teacher=student, student=teacher, standardize=True, **more)
    LABEL_LOSSES["cross_entropy"].function(student=student, labels=labels)
    metrics.rows(list(metrics.METRICS), teacher=teacher, student=student, labels=labels)
    gone = [weakref.ref(teacher), weakref.ref(student)]
    del teacher, student
    assert [one() for one in gone] == [None, None]
