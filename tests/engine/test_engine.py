"""The C engine against the NumPy oracle: every rule, loss, activation and option, edge sizes."""

import itertools

import numpy as np
import pytest
from networks import (
    ACTIVATIONS,
    ADAM,
    ADAMW,
    BROADCAST,
    DIFFERENTIABLE,
    DTYPES,
    LOSSES,
    PER_LAYER,
    RMSPROP,
    RULES,
    SGD,
    SMOOTH,
    TAUGHT,
    assert_all_close,
    assert_close,
    dense,
    description,
    digest,
    dropout,
    optimizer,
    pair,
    rule,
    samples,
)

import fastfa.rules
from fastfa import _core

# Around the kernels' tiles: 8 rows, 48 columns, vectors of 4, 8 and 16
EDGES = (1, 2, 7, 8, 9, 15, 16, 17, 47, 48, 49, 97)
# Losses that take any target in one column; a softmax over one output is always 1
ONE_COLUMN = [loss for loss in LOSSES if loss != "softmax_cross_entropy"]


def assert_agrees(desc, data, steps=3, loose=1.0):
    """Gradients, some steps, predictions and metrics are those of the oracle."""
    mine, ref = pair(desc)
    dtype = desc["dtype"]
    (loss, gradients), (ref_loss, ref_gradients) = mine.gradients(*data), ref.gradients(*data)
    assert_close(loss, ref_loss, dtype, loose, "loss of gradients")
    assert_all_close(gradients, ref_gradients, dtype, loose)
    for _ in range(steps):
        assert_close(mine.train_batch(*data), ref.train_batch(*data), dtype, 5 * loose, "loss")
    assert_all_close(mine.parameters, ref.parameters, dtype, 5 * loose)
    assert_all_close(mine.feedback, ref.feedback, dtype, 5 * loose)
    assert mine.slots.keys() == ref.slots.keys()
    for key, slots in mine.slots.items():
        for slot, expected in zip(slots, ref.slots[key], strict=True):
            assert_close(slot, expected, dtype, 5 * loose, f"slot of {key}")
    assert_close(mine.predict(data[0]), ref.predict(data[0]), dtype, 10 * loose, "predict")
    assert_close(mine.predict(data[0], True), ref.predict(data[0], True), dtype, 20 * loose)
    assert_close(mine.evaluate(*data)[0], ref.evaluate(*data)[0], dtype, 10 * loose, "evaluate")
    assert (mine.steps, mine.counts, mine.layers) == (ref.steps, ref.counts, ref.layers)
    return mine, ref


# ------------------------------------------------------------------------------------- edge sizes


@pytest.mark.parametrize("width", EDGES)
@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_edge_sizes(name, inject, width, dtype):
    """Every width against every batch; losses, activations and kinds of target take turns.

    The sign of an error next to zero is a matter of rounding, so sdfa gets labels and no mse here.
    """
    losses = ONE_COLUMN if width == 1 else LOSSES
    losses = [loss for loss in losses if name != "sdfa" or loss != "mse"]
    for i, m in enumerate(EDGES):
        other = EDGES[(i * 5 + width) % len(EDGES)]
        lower, upper = (SMOOTH[(i + shift) % len(SMOOTH)] for shift in (0, 2))
        layers = [dense(width, lower), dense(other, upper), dense(width)]
        loss = losses[i % len(losses)]
        desc = description(layers, other, rule(name, inject), dtype=dtype, loss=loss)
        data = samples(desc, m, rows=name != "sdfa" and i % 2 == 1, weights=i % 4 > 1)
        assert_agrees(desc, data, steps=2)


@pytest.mark.parametrize("m", [1, 63, 64, 65, 129, 200])
@pytest.mark.parametrize("name", RULES)
def test_batches_of_several_chunks(name, m, dtype):
    """Rows go to threads in chunks of at most 64."""
    layers = [dense(20, "tanh"), dropout(0.2), dense(13, "sigmoid"), dense(5)]
    desc = description(layers, 31, name, dtype=dtype, n_threads=2)
    assert_agrees(desc, samples(desc, m, weights=True))


@pytest.mark.parametrize("n_in", [1, 3, 1000])
@pytest.mark.parametrize("units", [1, 481, 1025])
def test_wide_layers_of_several_tiles(n_in, units, dtype):
    layers = [dense(units, "tanh"), dense(3)]
    desc = description(layers, n_in, dtype=dtype, optimizer=SGD | {"momentum": 0.9})
    assert_agrees(desc, samples(desc, 33), loose=3.0)


def test_no_hidden_layer_and_a_single_unit_everywhere(dtype):
    for loss, rows in itertools.product(ONE_COLUMN, (False, True)):
        alone = description([dense(1)], 1, loss=loss, dtype=dtype)
        assert_agrees(alone, samples(alone, 5, rows=rows))
        for name in RULES:
            thin = description([dense(1, "tanh"), dense(1)], 1, name, loss=loss, dtype=dtype)
            assert_agrees(thin, samples(thin, 5, rows=rows and name != "sdfa"))


def test_deep_network(dtype):
    layers = [dense(9 + i % 3, SMOOTH[i % len(SMOOTH)]) for i in range(20)]
    for name in RULES:
        desc = description([*layers, dense(4)], 6, name, dtype=dtype)
        assert_agrees(desc, samples(desc, 12), loose=5.0)


# ------------------------------------------------------------------- losses, activations, targets


# Every activation with a loss, and every loss with two activations or more
HIDDEN = [(name, LOSSES[i % len(LOSSES)]) for i, name in enumerate(ACTIVATIONS)]


@pytest.mark.parametrize(("activation", "loss"), HIDDEN)
def test_hidden_activations(activation, loss, dtype):
    for name, inject in TAUGHT:
        if activation not in DIFFERENTIABLE and (inject == "post" and name != "frozen"):
            continue
        layers = [dense(17, activation), dense(9, "tanh", rule=rule("frozen")), dense(4)]
        desc = description(layers, 6, rule(name, inject), loss=loss, dtype=dtype)
        assert_agrees(desc, samples(desc, 19), steps=1)


@pytest.mark.parametrize(("activation", "option"), [("leaky_relu", "slope"), ("elu", "alpha")])
def test_options_of_activations(activation, option, dtype):
    for value in (0.0, 0.3, 2.5):
        options = {option: value}
        layers = [
            dense(9, activation, **options),
            dense(5, activation),
            dense(2, activation, **options),
        ]
        desc = description(layers, 6, "dfa", loss="mse", dtype=dtype)
        assert_agrees(desc, samples(desc, 19, rows=True))


@pytest.mark.parametrize("activation", DIFFERENTIABLE)
@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_output_activations_of_mse(name, inject, activation):
    """The error is dloss/dA at the output, whatever stands there."""
    layers = [dense(8, "tanh"), dense(3, activation)]
    desc = description(layers, 5, rule(name, inject), loss="mse")
    assert_agrees(desc, samples(desc, 11, rows=True))


@pytest.mark.parametrize(
    ("loss", "n_out"), [*itertools.product(LOSSES, (2, 10)), *((loss, 1) for loss in ONE_COLUMN)]
)
@pytest.mark.parametrize("rows", [False, True], ids=("labels", "rows"))
def test_metrics(loss, n_out, rows, dtype):
    """Loss weighted, accuracy plain; nan where the table of targets defines none."""
    desc = description([dense(6, "tanh"), dense(n_out)], 4, loss=loss, dtype=dtype)
    data = samples(desc, 150, rows=rows, weights=True)
    mine, ref = pair(desc)
    assert_close(mine.evaluate(*data), ref.evaluate(*data), dtype)
    unweighted = mine.evaluate(*data[:3], None)
    np.testing.assert_equal(mine.evaluate(*data)[1], unweighted[1])
    values = loss in ("mse", "huber", "mae", "pinball", "poisson")
    assert np.isnan(unweighted[1]) == (values and (rows or n_out == 1))


@pytest.mark.parametrize("loss", LOSSES)
def test_large_logits(loss, dtype):
    """Losses and links neither overflow nor lose the small side."""
    desc = description([dense(4)], 1, loss=loss, dtype=dtype)
    mine, ref = pair(desc)
    for net in (mine, ref):
        net.parameters["0.weight"][...] = [[1.0, -1.0, 2.0, 0.0]]
        net.parameters["0.bias"][...] = 0
    sizes = (30.0, -30.0) if loss == "poisson" else (30.0, -30.0, 90.0, -700.0)  # e^90 overflows
    for z in sizes:
        x, labels = np.full((1, 1), z, dtype), np.array([0])
        assert_close(mine.predict(x), ref.predict(x), dtype)
        losses = [n.evaluate(x, labels, None, None)[0] for n in (mine, ref)]
        assert_close(*losses, dtype)
        assert_all_close(*(n.gradients(x, labels, None, None)[1] for n in (mine, ref)), dtype)


def test_bytes_are_scaled(dtype, rng):
    x, labels = rng.integers(0, 256, (40, 7), np.uint8), rng.integers(0, 3, 40)
    for scale in ("auto", 0.01, -2.0):
        desc = description([dense(9, "tanh"), dense(3)], 7, "fa", input_scale=scale, dtype=dtype)
        assert_agrees(desc, (x, labels, None, None), loose=5.0)
        assert_agrees(desc, samples(desc, 40), loose=5.0)


# ----------------------------------------------------------------------------------- layer options


OPTIONS = {
    "no bias": lambda index: {"use_bias": False},
    "bias in turn": lambda index: {"use_bias": index % 2 == 0},
    "lr scales": lambda index: {"lr_scale": 0.5 + index, "bias_lr_scale": 0.1 * index},
    "fixed below": lambda index: {"trainable": index > 0},
    "fixed in the middle": lambda index: {"trainable": index != 1},
    "fixed on top": lambda index: {"trainable": index < 2},
    "nothing trains": lambda index: {"trainable": False},
    "no bias, fixed": lambda index: {"use_bias": False, "trainable": index != 1, "lr_scale": 2.0},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_layer_options(name, inject, option, dtype):
    changes = OPTIONS[option]
    layers = [
        dense(9, "tanh", **changes(0)),
        dense(7, "sigmoid", **changes(1)),
        dense(4, **changes(2)),
    ]
    for chosen in (SGD, ADAM | {"eps": 1e-3}):
        desc = description(layers, 6, rule(name, inject), dtype=dtype, optimizer=chosen)
        mine, _ = assert_agrees(desc, samples(desc, 10))
        first = _core.Network(desc)
        trained = first.gradients(*samples(desc, 10))[1].keys()
        for key in first.parameters.keys() - trained:
            np.testing.assert_array_equal(mine.parameters[key], first.parameters[key])


@pytest.mark.parametrize(
    "rates", [(0.0, 0.0, 0.0), (0.2, 0.5, 0.0), (0.0, 0.0, 0.9), (0.5, 0.5, 0.5)]
)
@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_dropout_anywhere(name, inject, rates, dtype):
    """Before the first layer, twice in a row, under the output; each step has masks of its own."""
    lower = [dropout(rates[0]), dense(15, "tanh"), dropout(rates[1]), dropout(0.1)]
    layers = [*lower, dense(17, "gelu"), dropout(rates[2]), dense(4)]
    desc = description(layers, 9, rule(name, inject), dtype=dtype)
    assert_agrees(desc, samples(desc, 21, weights=True), loose=5.0)


@pytest.mark.parametrize("names", list(itertools.product(PER_LAYER, repeat=2)), ids="-".join)
def test_a_rule_per_layer(names):
    """Any rule below any other: each gets the signal it reads."""
    layers = [
        dense(8, "tanh", rule=rule(names[0])),
        dense(7, "sigmoid", rule=rule(names[1], "pre" if names[1] in BROADCAST else "post")),
        dense(6, "softplus"),
        dense(4),
    ]
    desc = description(layers, 5, "fa")
    reads_above = fastfa.rules.RULES[names[0]].source in ("above", "")
    if names[1] == "ifa" and reads_above:  # each would read the other
        with pytest.raises(ValueError, match=r"layer 1: rule: .*layer 0, got 'ifa'"):
            _core.Network(desc)
        return
    assert_agrees(desc, samples(desc, 12, weights=True))


def test_drtp_with_labels_gathers_rows_and_with_rows_projects(dtype):
    desc = description([dense(9, "tanh"), dense(5)], 4, "drtp", dtype=dtype)
    data = samples(desc, 10)
    one_hot = (data[0], None, np.eye(5, dtype=dtype)[data[1]], None)
    labels, rows = _core.Network(desc), _core.Network(desc)
    assert_all_close(labels.gradients(*data)[1], rows.gradients(*one_hot)[1], dtype)
    labels.train_batch(*data)
    rows.train_batch(*one_hot)
    assert (labels.counts["feedback"], rows.counts["feedback"]) == (0, 1)


@pytest.mark.parametrize("name", RULES)
def test_products_that_a_rule_does(name):
    """Broadcast and target rules never go through transposed weights."""
    layers = [dense(8, "tanh"), dense(8, "tanh"), dense(8, "tanh"), dense(4)]
    desc = description(layers, 5, name)
    net = _core.Network(desc)
    net.train_batch(*samples(desc, 200))
    transport = {"backprop": 3, "cdni": 3}.get(name, 0)
    feedback = {
        "backprop": 0, "drtp": 0, "frozen": 0, "pepita": 1, "pfa": 6, "cdni": 6, "ldfa": 9,
        "dtp": 9,
    }.get(name, 3)  # fmt: skip
    forward = {"pepita": 8, "local": 7, "fdfa": 7, "wm": 7, "dtp": 7}.get(name, 4)
    outer = {
        "frozen": 1, "dkp": 7, "local": 7, "fdfa": 7, "wm": 7, "pfa": 7, "dtp": 7, "ldfa": 10,
        "cdni": 10,
    }.get(name, 4)  # fmt: skip
    assert net.counts == {
        "forward": forward, "transport": transport, "feedback": feedback, "outer": outer,
    }  # fmt: skip


# --------------------------------------------------------------------------------------- optimizers


OPTIMIZERS = {name: optimizer(name) for name in _core.NAMES["optimizer"]} | {
    "sgd": SGD,
    "sgd decay": SGD | {"weight_decay": 0.1},
    "sgd momentum": SGD | {"momentum": 0.9, "weight_decay": 0.1, "decay_bias": False},
    "sgd nesterov": SGD | {"momentum": 0.9, "nesterov": True},
    "sgd clip": SGD | {"clip_norm": 0.05, "weight_decay": 0.1},
    "sgd clip never": SGD | {"clip_norm": 1e6},
    "rmsprop": RMSPROP | {"eps": 1e-3},
    "rmsprop momentum": RMSPROP | {"eps": 1e-3, "momentum": 0.9, "weight_decay": 0.1},
    "adam": ADAM | {"eps": 1e-3},
    "adam decay clip": ADAM | {"eps": 1e-3, "weight_decay": 0.1, "clip_norm": 0.05},
    "adamw": ADAMW | {"eps": 1e-3},
    "adamw, weights only": ADAMW | {"eps": 1e-3, "decay_bias": False},
    "adam eps_hat": ADAM | {"eps": 1e-3, "eps_hat": True},
    "rmsprop centered": RMSPROP | {"eps": 1e-3, "centered": True, "momentum": 0.9},
    "adagrad": optimizer("adagrad", eps=1e-3),
    "nadam": optimizer("nadam", eps=1e-3),
    "radam": optimizer("radam", eps=1e-3, beta2=0.9),
    "sgd l1": SGD | {"l1": 0.01, "decay_bias": False},
    "adam l1 clip": ADAM | {"eps": 1e-3, "l1": 0.01, "clip_norm": 0.05},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", RULES)
def test_optimizers(name, optimizer, dtype):
    layers = [dense(50, "tanh", lr_scale=0.5), dense(17, "sigmoid", bias_lr_scale=3.0), dense(9)]
    taught = rule(name)
    if (name, optimizer) == ("ldfa", "lion"):  # the gradient of P is rounding, its sign is noise
        taught["oja"] = 0.0
    desc = description(layers, 20, taught, dtype=dtype, optimizer=OPTIMIZERS[optimizer])
    assert_agrees(desc, samples(desc, 33, weights=True), steps=6, loose=3.0)


# ----------------------------------------------------------------------------------- initial values


INITIALIZERS = _core.NAMES["initializer"]


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_values_are_the_same_draws(name, dtype):
    init = {"name": name, "scale": 1.7}
    layers = [dense(n, "tanh", weight_init=init, bias_init=init) for n in (1, 7, 48, 3)]
    for distribution in ("uniform", "normal"):
        how = rule("dfa", distribution=distribution, scale=2.5)
        mine, ref = pair(description([*layers, dense(5)], 9, how, dtype=dtype))
        assert_all_close(mine.parameters, ref.parameters, dtype, loose=0.01)
        assert_all_close(mine.feedback, ref.feedback, dtype, loose=0.01)


def test_rules_and_dtypes_share_their_first_weights():
    layers = [dense(12, "tanh"), dense(7, "tanh"), dense(3)]
    first = _core.Network(description(layers, 5)).parameters
    with_dropout = [layers[0], dropout(0.5), *layers[1:]]
    for name, dtype in itertools.product(RULES, DTYPES):
        net = _core.Network(description(layers, 5, name, dtype=dtype))
        assert all((net.parameters[k] == first[k].astype(dtype)).all() for k in first)
        shifted = _core.Network(description(with_dropout, 5, name, dtype=dtype)).parameters
        for a, b in zip(shifted.values(), net.parameters.values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_seeds_differ_and_use_all_64_bits():
    layers = [dense(4, "tanh"), dense(2)]
    seeds = (0, 1, 2**32, 2**63, 2**64 - 1)
    nets = [pair(description(layers, 3, "dfa", seed=seed)) for seed in seeds]
    assert len({digest(mine.parameters, mine.feedback) for mine, _ in nets}) == len(seeds)
    for mine, ref in nets:
        assert_all_close(mine.parameters, ref.parameters, "float64")


def test_given_values(dtype, rng):
    weight, bias = rng.standard_normal((5, 8)), rng.standard_normal(8)
    matrix = rng.standard_normal((3, 8))
    how = rule("dfa", values=matrix, scale=-2.0)
    layers = [
        dense(8, "tanh", weight_init={"values": weight}, bias_init={"values": bias}),
        dense(3),
    ]
    desc = description(layers, 5, how, dtype=dtype)
    mine, _ = assert_agrees(desc, samples(desc, 9))
    mine.reset()
    np.testing.assert_array_equal(mine.parameters["0.weight"], weight.astype(dtype))
    np.testing.assert_array_equal(mine.parameters["0.bias"], bias.astype(dtype))
    assert_close(mine.feedback["0.feedback"], -2.0 * matrix, dtype)


# --------------------------------------------------------------------------------------- many steps


@pytest.mark.parametrize("name", RULES)
def test_an_epoch_of_steps(name, dtype):
    """Shuffled, weighted, a short last batch, a rate for each step."""
    layers = [dense(16, "tanh"), dropout(0.2), dense(3)]
    desc = description(layers, 5, name, dtype=dtype)
    data = samples(desc, 50, weights=True)
    mine, ref = pair(desc)
    lrs = np.linspace(0.2, 0.01, 7)
    for _ in range(2):
        order, expected = mine.shuffle(50), ref.shuffle(50)
        np.testing.assert_array_equal(order, expected)
        got, want = (n.train_steps(*data, order, 8, 0, 7, lrs) for n in (mine, ref))
        assert got[2:] == want[2:] == (50, 7)
        assert_close(got[:2], want[:2], dtype, loose=10.0)
    assert_all_close(mine.parameters, ref.parameters, dtype, loose=10.0)
    assert (mine.steps, mine.epochs) == (ref.steps, ref.epochs) == (14, 2)


@pytest.mark.parametrize("n", [1, 2, 3, 50, 1797])
def test_shuffle_is_the_oracles_permutation(n):
    mine, ref = pair(description([dense(2)], 1))
    for _ in range(3):
        order = mine.shuffle(n)
        np.testing.assert_array_equal(order, ref.shuffle(n))
        np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_a_rate_written_in_between(dtype):
    desc = description([dense(5, "tanh"), dense(3)], 4, dtype=dtype)
    data = samples(desc, 8)
    mine, ref = pair(desc)
    for lr in (0.1, 0.5, 0.0, 0.3):
        mine.lr = ref.lr = lr
        assert_close(mine.train_batch(*data), ref.train_batch(*data), dtype)
    assert mine.lr == 0.3
    assert_all_close(mine.parameters, ref.parameters, dtype)


@pytest.mark.parametrize(
    "optimizer", [SGD, ADAM, RMSPROP | {"momentum": 0.5}], ids=("sgd", "adam", "rmsprop")
)
def test_state_goes_back_and_reset_starts_over(optimizer, dtype):
    desc = description([dense(9, "tanh"), dropout(0.3), dense(3)], 4, "fa", dtype=dtype,
                       optimizer=optimizer)  # fmt: skip
    data = samples(desc, 8)
    net = _core.Network(desc)
    fresh = net.state()
    losses = [net.train_batch(*data) for _ in range(3)]
    kept = net.state()
    later = [net.train_batch(*data) for _ in range(3)]
    net.lr = 0.9
    net.restore(kept)
    assert [net.train_batch(*data) for _ in range(3)] == later
    net.feedback["0.feedback"][...] = 0
    net.reset()
    assert net.state() == fresh
    assert [net.train_batch(*data) for _ in range(3)] == losses
    with pytest.raises(ValueError, match="bytes"):
        net.restore(kept[:-1])


# ---------------------------------------------------------------------------------- looking inside


@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_alignment(name, inject, dtype):
    layers = [dense(12, "tanh"), dropout(0.3), dense(9, "sigmoid"), dense(7, "gelu"), dense(4)]
    desc = description(layers, 6, rule(name, inject), dtype=dtype)
    mine, ref = pair(desc)
    data = samples(desc, 30, weights=True)
    before = mine.state()
    rows, expected = mine.alignment(*data), ref.alignment(*data)
    assert mine.state() == before
    assert [row["layer"] for row in rows] == [0, 2, 3]
    for row, want in zip(rows, expected, strict=True):
        assert (row["weight_angle"] is None) == (want["weight_angle"] is None)
        for key in row.keys() - {"layer", "weight_angle"}:
            np.testing.assert_allclose(row[key], want[key], rtol=1e-3, atol=0.05, err_msg=key)
        if row["weight_angle"] is not None:
            np.testing.assert_allclose(row["weight_angle"], want["weight_angle"], rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_feedback_matrix(name, dtype):
    desc = description([dense(6, "tanh"), dense(5, "tanh"), dense(3)], 4, name, dtype=dtype)
    mine, ref = pair(desc)
    for index in (0, 1, 2, 3, -1):
        assert mine.has_feedback_matrix(index) == ref.has_feedback_matrix(index)
        if name in ("frozen", "pepita", "cdni") or index not in (0, 1):
            with pytest.raises(ValueError, match=r"index|rule"):
                mine.feedback_matrix(index)
        else:
            matrix = mine.feedback_matrix(index)
            assert_close(matrix, ref.feedback_matrix(index), dtype)
            matrix[...] = 0  # a copy: nothing happens to the network
            assert np.abs(mine.feedback_matrix(index)).sum() > 0
