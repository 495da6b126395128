"""Names that Keras, PyTorch and scikit-learn have for things that have another one here."""

from __future__ import annotations

from collections.abc import Sequence

# Of values: losses, activations, initialisers, optimizers, rules, metrics. Without "_", "-", " ".
_VALUES = {
    "bce": ("sigmoid_cross_entropy",),
    "bcewithlogits": ("sigmoid_cross_entropy",),
    "bcewithlogitsloss": ("sigmoid_cross_entropy",),
    "binarycrossentropy": ("sigmoid_cross_entropy",),
    "categoricalcrossentropy": ("softmax_cross_entropy",),
    "crossentropy": ("softmax_cross_entropy",),
    "crossentropyloss": ("softmax_cross_entropy",),
    "logloss": ("softmax_cross_entropy",),
    "nll": ("softmax_cross_entropy",),
    "nllloss": ("softmax_cross_entropy",),
    "sparsecategoricalcrossentropy": ("softmax_cross_entropy",),
    "l1": ("mae",),
    "l1loss": ("mae",),
    "absoluteerror": ("mae",),
    "meanabsoluteerror": ("mae",),
    "l2": ("mse",),
    "mseloss": ("mse",),
    "meansquarederror": ("mse",),
    "squarederror": ("mse",),
    "smoothl1": ("huber",),
    "smoothl1loss": ("huber",),
    "quantile": ("pinball",),
    "rootmeansquarederror": ("rmse",),
    "r2score": ("r2",),
    "f1score": ("f1",),
    "rocauc": ("auc",),
    "rocaucscore": ("auc",),
    "identity": ("linear",),
    "none": ("linear",),
    "logistic": ("sigmoid",),
    "expit": ("sigmoid",),
    "lrelu": ("leaky_relu",),
    "heaviside": ("threshold",),
    "step": ("threshold",),
    "swish": ("silu",),
    "momentum": ("sgd",),
    "nesterov": ("sgd",),
    "gradientdescent": ("sgd",),
    "bp": ("backprop",),
    "backpropagation": ("backprop",),
    "feedbackalignment": ("fa",),
    "directfeedbackalignment": ("dfa",),
    "directrandomtargetprojection": ("drtp",),
    "kolenpollack": ("kp",),
    "weightmirror": ("wm", "kp"),
    "signsymmetry": ("usf",),
    "uniformsign": ("usf",),
    "ones": ("uniform",),
    "zero": ("zeros",),
}
_PARTS = {"xavier": "glorot", "kaiming": "he", "gaussian": "normal"}  # of longer names

_ARGUMENTS = {  # of functions and constructors
    "activity_regularizer": ("weight_decay",),
    "alpha": ("weight_decay", "scale"),
    "batchsize": ("batch_size",),
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "betas": ("beta1",),
    "bias": ("use_bias",),
    "bias_initializer": ("bias_init",),
    "clipnorm": ("clip_norm",),
    "decay_rate": ("decay",),
    "epsilon": ("eps",),
    "filepath": ("path",),
    "global_clipnorm": ("clip_norm",),
    "input_dim": ("input_shape",),
    "in_features": ("input_shape",),
    "kernel_initializer": ("weight_init",),
    "kernel_regularizer": ("weight_decay",),
    "learning_rate": ("lr",),
    "learning_rate_init": ("lr",),
    "loss_fn": ("loss",),
    "max_iter": ("epochs",),
    "n_epochs": ("epochs",),
    "n_iter_no_change": ("patience",),
    "n_jobs": ("n_threads", "n_workers"),
    "nb_epoch": ("epochs",),
    "nesterovs_momentum": ("nesterov",),
    "num_epochs": ("epochs",),
    "num_threads": ("n_threads",),
    "out_features": ("units",),
    "p": ("rate",),
    "random_state": ("rng",),
    "restore_best_weights": ("restore_best",),
    "rho": ("alpha",),
    "sample_weights": ("sample_weight",),
    "seed": ("rng",),
    "solver": ("optimizer",),
    "tol": ("min_delta",),
    "validation_fraction": ("validation_split",),
    "weights": ("parameters", "sample_weight"),
}


def of_value(name: str, known: Sequence[str]) -> str:
    """The name here of a value that another library calls `name`, if it is `known`, or ""."""
    plain = name.lower().replace("_", "").replace("-", "").replace(" ", "")
    return next((here for here in _VALUES.get(plain, ()) if here in known), "")


def of_argument(name: str, known: Sequence[str]) -> str:
    """The name here of an argument that another library calls `name`, if it is `known`, or ""."""
    return next((here for here in _ARGUMENTS.get(name, ()) if here in known), "")


def with_our_words(name: str) -> str:
    """`name` with the words of other libraries replaced, to be compared with the names here."""
    for elsewhere, here in _PARTS.items():
        name = name.replace(elsewhere, here)
    return name
