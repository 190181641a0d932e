"""distillcli: offline knowledge distillation from saved model outputs."""

__version__ = "0.1.0"
