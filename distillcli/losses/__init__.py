"""The losses: pure functions, a file for each family. LOSSES is the only list of them.

Arrays in, one float64 number per row out. No array library is imported: the functions use the one
their inputs belong to. A loss enters its table where it is defined, so that a new one in one of
these files is known everywhere.
"""

from distillcli.losses import divergences, labelled, outputs, probabilities, ranking
from distillcli.losses.features import FEATURE_LOSSES
from distillcli.losses.pairs import LABEL_LOSSES, LOGIT_LOSSES
from distillcli.losses.relations import RELATION_LOSSES
from distillcli.losses.sequences import SEQUENCE_LOSSES
from distillcli.losses.table import Loss, Parameter

# What may stand between class scores, and what between hidden layers.
SCORE_LOSSES: dict[str, Loss] = {**LOGIT_LOSSES, **RELATION_LOSSES}
LAYER_LOSSES: dict[str, Loss] = {**FEATURE_LOSSES, **RELATION_LOSSES, **SEQUENCE_LOSSES}

LOSSES: tuple[Loss, ...] = (
    *LABEL_LOSSES.values(),
    *LOGIT_LOSSES.values(),
    *FEATURE_LOSSES.values(),
    *RELATION_LOSSES.values(),
    *SEQUENCE_LOSSES.values(),
)

__all__ = [
    "FEATURE_LOSSES",
    "LABEL_LOSSES",
    "LAYER_LOSSES",
    "LOGIT_LOSSES",
    "LOSSES",
    "RELATION_LOSSES",
    "SCORE_LOSSES",
    "SEQUENCE_LOSSES",
    "Loss",
    "Parameter",
    "divergences",
    "labelled",
    "outputs",
    "probabilities",
    "ranking",
]
