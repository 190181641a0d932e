"""The losses: pure functions, one file per family. LOSSES is the only list of them.

Arrays in, one float64 number per row out. No array library is imported: the functions use the one
their inputs belong to.
"""

from distillcli.losses.features import FEATURE_LOSSES
from distillcli.losses.logits import LABEL_LOSSES, LOGIT_LOSSES
from distillcli.losses.table import Loss, Parameter

LOSSES: tuple[Loss, ...] = (
    *LABEL_LOSSES.values(),
    *LOGIT_LOSSES.values(),
    *FEATURE_LOSSES.values(),
)

__all__ = ["FEATURE_LOSSES", "LABEL_LOSSES", "LOGIT_LOSSES", "LOSSES", "Loss", "Parameter"]
