"""Train on what `distill ensemble` wrote, in PyTorch: whole rows, or those of --top-k."""

import h5py
import torch


class SoftTargets(torch.utils.data.Dataset):
    """Row i belongs to row i of the data that the teachers saw; labels are there if copied."""

    def __init__(self, path):
        self.path, self.file = path, None
        with h5py.File(path) as file:
            words = {key: value.decode() for key, value in file.attrs.items()}
        self.rows, self.kind = int(words["rows"]), words["kind"]
        self.temperature = float(words["temperature"])

    def __len__(self):
        return self.rows

    def __getitem__(self, row):
        if self.file is None:  # every worker of a loader opens the file for itself
            self.file = h5py.File(self.path)
        return {name: torch.as_tensor(self.file[name][row]) for name in self.file}

    def loss(self, batch, logits):
        """T^2 KL(teacher || student) at the temperature of the file, one number a row."""
        t = self.temperature
        stored = batch["targets" if "targets" in batch else "values"].float()
        scores = stored.log() if self.kind == "probabilities" else stored
        scores = scores / t if self.kind == "logits" else scores
        student = torch.log_softmax(logits / t, dim=-1)
        if "targets" in batch:
            teacher = torch.log_softmax(scores, dim=-1)
        else:  # the classes that are not stored are one more class, on both sides
            teacher = scores - batch["log_z"][:, None].float()
            rest = (1 - teacher.exp().sum(-1, keepdim=True)).clamp(min=1e-7)
            others = student.scatter(-1, batch["indices"].long(), -torch.inf)
            student = student.gather(-1, batch["indices"].long())
            student = torch.cat([student, others.logsumexp(-1, keepdim=True)], dim=-1)
            teacher = torch.cat([teacher, rest.log()], dim=-1)
        gap = torch.where(teacher > -torch.inf, teacher - student, 0)
        return t * t * (teacher.exp() * gap).sum(-1)
