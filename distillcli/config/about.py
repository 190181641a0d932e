"""What every key of a config means, in a line: what editors show beside it."""

SOURCE = (
    "path, path::dataset, a glob of shards, a list of shards, or {path, dataset, dtype, scale, "
    "zero_point, kind, temperature}. Relative paths start at this file's folder."
)

ABOUT: dict[str, dict[str, str]] = {
    "": {
        "strategy": "What is compared: logits (response), hidden layers (progressive), or several "
        "teachers with one student (ensemble).",
        "teacher": f"The teacher's logits, [rows, classes]. {SOURCE}",
        "teachers": f"The logits of each teacher of an ensemble, [rows, classes]. {SOURCE}",
        "student": f"The student's logits, [rows, classes]. {SOURCE}",
        "labels": "Integers [rows]. Needed for a hard term (alpha below 1) and for accuracy "
        f"weights; used for metrics when there. {SOURCE}",
        "teacher_tokens": "The token at each row of the teacher's dump, integers like labels; with "
        f"student_tokens both are compared row by row, but where mask is 0. {SOURCE}",
        "student_tokens": f"The token at each row of the student's dump. {SOURCE}",
        "ignore_index": "Rows with this label do not count; default -100; none for no such label.",
        "shift_labels": "true where labels are the tokens themselves, [rows, positions]: the label "
        "of a position is then that of the next one, and the last position does not count.",
        "mask": "Integers or booleans, 1 where a row counts and 0 where it is padding, as in an "
        f"attention mask. {SOURCE}",
        "vocabulary": "What to do where teacher and student differ in their classes: error "
        "(default), common (compare those that both have, the first ones, renormalised) or "
        "{map: SOURCE}.",
        "tail": "What becomes of classes that are not stored, where only the largest are: bucket "
        "(default), one class more on both sides; renormalize, left out of both.",
        "positions": "Which positions of each sequence count.",
        "teacher_hidden": "The teacher's hidden states: an HDF5 group with one dataset per layer, "
        f"a list with one source per layer, or an array [layers, rows, dim]. {SOURCE}",
        "student_hidden": "The student's hidden states: an HDF5 group with one dataset per layer, "
        f"a list with one source per layer, or an array [layers, rows, dim]. {SOURCE}",
        "batch_size": "Rows per line of the report; auto (default) is as many as 32 MB hold. "
        "The figures do not depend on it.",
        "threads": "Threads that compute; auto (default) is one for each processor. "
        "The figures do not depend on it.",
        "device": "auto (default), cpu, cuda or cuda:N.",
        "kernel": "What computes on a CPU: numpy, or fast, which comes with the extra of that "
        "name; auto (default) takes fast where it is installed and the inputs are large.",
        "precision": "The type of the arithmetic; auto (default) is float64 if an input is, else "
        "float32. Sums over rows are always float64.",
        "metrics": "all (default), none, or a list of names; cka and cka_unbiased, of hidden "
        "layers, take time, so that they are asked for by name: [all, cka].",
        "on_bad_rows": "What to do about rows with NaN or +infinity: error (default), or skip them "
        "and say how many.",
        "groups": "labels, or a source with one integer per row or per sequence, for a table of "
        f"the figures by group. {SOURCE}",
        "response": "The response term: alpha * soft loss + (1 - alpha) * cross-entropy. Beside "
        "losses, with no more than soft_loss: {temperature: 2.0}, the temperature of those alone.",
        "progressive": "The hidden-layer term.",
        "ensemble": "The blend of the teachers, and the loss against it.",
        "losses": "Terms of the loss, each {name, weight, as, on, layer_mapping, parameters}, all "
        "computed in one pass. The strategy's own terms are there too where their keys are "
        "written; a term that says no temperature is at theirs, 4.0 by default.",
        "check": "What distill check lets pass.",
    },
    "LongSource": {
        "path": "A file, or a glob of shards, joined in natural order.",
        "dataset": "The array in a file that holds several.",
        "dtype": "The true element type, where the file cannot say it itself (bfloat16 or float8 "
        "in .npy).",
        "scale": "Of quantised integers, which mean (stored - zero_point) * scale: a number, or "
        "the dataset beside them that holds one for each row or class.",
        "zero_point": "Of quantised integers; default 0.",
        "kind": "What the numbers are: logits (default), probabilities or log_probabilities.",
        "temperature": "At which stored probabilities, or log_z, were taken; default 1.0.",
        "classes": "How many classes there are, where only the largest of each row are stored.",
        "values": "Of the largest classes: the array of their scores; default values.",
        "indices": "Of the largest classes: the array of their numbers; default indices.",
        "log_z": "Of the largest classes: log of the sum of exp(score / temperature) over all; "
        "default log_z, where it is there.",
    },
    "ResponseSection": {
        "soft_loss": "The loss between teacher and student, by name, with its parameters.",
        "alpha": "The SOFT weight; the hard weight is 1 - alpha. Default 0.7, without labels 1.",
        "preset": "pure_kl (soft 1), balanced (0.5 each, T = 4) or hinton (soft 0.7, T = 4), "
        "instead of alpha.",
        "soft_label_weight": "A free weight of the soft term, instead of alpha; default 0 beside "
        "hard_label_weight.",
        "hard_label_weight": "A free weight of the hard term, instead of alpha; default 0 beside "
        "soft_label_weight.",
    },
    "ProgressiveSection": {
        "layer_mapping": "Pairs [student layer, teacher layer], counted from 0; may be left out "
        "where every entry of losses that compares layers has its own.",
        "loss": "The loss of a pair of layers, by name or as {name, parameters}; default mse.",
        "hidden_weight": "The weight of the hidden-layer term; default 1.0.",
        "response_weight": "The weight of the response term, if there is one; default 1.0.",
        "layer_weights": "uniform (default), or one weight per pair, normalised to sum 1.",
        "projection": "The matrix for pairs whose widths differ: {init: xavier_uniform, seed}, "
        "{init: least_squares, ridge}, {path: W.npy}, or none (default).",
    },
    "ProjectionSection": {
        "init": "xavier_uniform (random) or least_squares (fitted in a first pass).",
        "seed": "Of xavier_uniform; default 0.",
        "ridge": "Of least_squares; default 1e-3.",
        "path": "A saved matrix, [student width, teacher width].",
        "dataset": "The array in a file that holds several.",
        "dtype": "The true element type, where the file cannot say it itself.",
    },
    "EnsembleSection": {
        "combine": "What is averaged: logits (default), probabilities or log_probabilities.",
        "weights": "uniform (default), accuracy, confidence, fit, a rule for each row "
        "(confidence_per_row, best_per_row), or one weight per teacher, normalised to sum 1.",
        "fit_rows": "The share of the rows, from the first one on, that weights are found on where "
        "they come from labels; default 1.0.",
        "temperature": "Of the blend and of the loss; default 4.0.",
        "alpha": "The SOFT weight; the hard weight is 1 - alpha. Default 0.7, without labels 1.",
    },
    "VocabularySection": {
        "map": "The teacher's class of each class of the student, integers [student classes]; -1 "
        f"for a class that the teacher does not have. {SOURCE}",
    },
    "PositionsSection": {
        "skip_first": "So many positions at the start of each sequence do not count; default 0.",
    },
    "CheckSection": {
        "mode": "drift: any change counts; regression: a change for the worse.",
        "default": "The tolerance of every figure that has none of its own.",
        "metrics": "The tolerance of single figures, by their names.",
        "significant": "Whether a change must also be larger than chance explains.",
    },
    "ToleranceSection": {
        "rel": "Relative to the baseline's figure.",
        "abs": "Absolute.",
    },
}
