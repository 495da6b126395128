"""Rules straight from their equations, written out here, and not taken from the oracle."""

import numpy as np
import pytest
from networks import (
    ADAM,
    ENGINES,
    RMSPROP,
    SGD,
    assert_close,
    copies,
    dense,
    description,
    dropout,
    pair,
    rule,
    samples,
    with_options,
)

from fastfa import _core

SIGNS = ("usf", "frsf", "brsf")  # rules whose matrix has the signs of the weights
OPTIMIZERS = {
    "sgd": SGD,
    "nesterov": SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "clip": SGD | {"momentum": 0.9, "clip_norm": 0.05},
    "rmsprop": RMSPROP,
    "adam": ADAM,
}
LAYERS = [dense(9, "tanh"), dense(7, "tanh"), dense(3)]


def forward(net, x):
    """H_1, H_2 and the error against one-hot targets of a network of LAYERS."""
    W = net.parameters
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = np.tanh(H1 @ W["1.weight"] + W["1.bias"])
    z = H2 @ W["2.weight"] + W["2.bias"]
    t = np.exp(z - z.max(axis=1, keepdims=True))
    return H1, H2, t / t.sum(axis=1, keepdims=True)


def chain_gradients(net, data, B1, B2):
    """gW of both hidden layers when d_2 = e B2 and d_1 = d_2 B1, before f'."""
    x, labels = data[:2]
    H1, H2, probabilities = forward(net, x)
    e = probabilities - np.eye(3)[labels]
    d2 = e @ B2 * (1 - H2**2)
    d1 = d2 @ B1 * (1 - H1**2)
    return x.T @ d1 / len(x), H1.T @ d2 / len(x)


def assert_gradients(net, data, expected):
    """The weights of both hidden layers have these gradients."""
    gradients = net.gradients(*data)[1]
    for key, value in zip(("0.weight", "1.weight"), expected, strict=True):
        assert_close(gradients[key], value, "float64", what=key)


# ------------------------------------------------------------------------------------ sign symmetry


def magnitudes(net, name, step=0):
    """What multiplies the signs, entry by entry, of the matrices above layers 0 and 1."""
    if name == "usf":
        return np.sqrt(2 / (9 + 7)), np.sqrt(2 / (7 + 3))
    if name == "frsf":
        return abs(net.feedback["0.feedback"]), abs(net.feedback["1.feedback"])
    return tuple(abs(net.feedback_matrix(i)) for i in (0, 1))


@ENGINES
@pytest.mark.parametrize("name", SIGNS)
def test_sign_symmetry_takes_the_signs_of_the_weights_of_each_step(name, which):
    desc = description(LAYERS, 6, name)
    net, data = pair(desc)[which], samples(desc, 30)
    for _ in range(3):
        net.parameters["1.weight"][2, 3] = 0.0  # the sign of zero is zero
        R1, R2 = magnitudes(net, name)
        B1 = R1 * np.sign(net.parameters["1.weight"].T)
        B2 = R2 * np.sign(net.parameters["2.weight"].T)
        assert_close(net.feedback_matrix(0), B1, "float64")
        assert_gradients(net, data, chain_gradients(net, data, B1, B2))
        net.train_batch(*data)


@ENGINES
def test_batchwise_magnitudes_are_new_in_each_step_and_of_the_step_alone(which):
    desc = description(LAYERS, 6, rule("brsf", scale=2.0))
    net, data = pair(desc)[which], samples(desc, 30)
    seen = []
    for _ in range(3):
        seen.append(abs(net.feedback_matrix(1)))
        net.train_batch(*data)
    assert not (seen[0] == seen[1]).any()
    assert not (seen[1] == seen[2]).any()
    net.reset()
    np.testing.assert_array_equal(abs(net.feedback_matrix(1)), seen[0])
    assert all((a < 2 / np.sqrt(7)).all() for a in seen)
    assert not net.feedback  # nothing is stored


def test_batchwise_magnitudes_are_drawn_as_feedback_is():
    """R_0 is what a stored matrix of the same seed would be; odd widths cut pairs of draws."""
    layers = [dense(331, "tanh"), dense(157, "tanh"), dense(3)]
    for distribution in ("uniform", "normal"):
        drawn = _core.Network(description(layers, 5, rule("brsf", distribution=distribution)))
        stored = _core.Network(description(layers, 5, rule("fa", distribution=distribution)))
        for index in (0, 1):
            np.testing.assert_array_equal(
                abs(drawn.feedback_matrix(index)), abs(stored.feedback[f"{index}.feedback"])
            )


def test_usf_of_weights_that_are_signs_is_backprop():
    """With W = s sign(W) and s the scale, the matrix is W^T itself."""
    desc = description([dense(8, "tanh"), dense(8, "tanh"), dense(8)], 8, "usf")
    usf, exact = _core.Network(desc), _core.Network(desc | {"rule": rule("backprop")})
    for net in (usf, exact):
        for key in ("1.weight", "2.weight"):
            net.parameters[key][...] = np.sqrt(2 / 16) * np.sign(net.parameters[key])
    data = samples(desc, 20)
    want = exact.gradients(*data)[1]
    for key, g in usf.gradients(*data)[1].items():
        assert_close(g, want[key], "float64", what=key)
    assert usf.alignment(*data)[0]["weight_angle"] == pytest.approx(0, abs=1e-5)


def test_signs_take_no_values():
    how = rule("brsf", values=np.ones((3, 7)))
    layers = [LAYERS[0] | {"rule": rule("fa")}, LAYERS[1] | {"rule": how}, LAYERS[2]]
    with pytest.raises(ValueError, match=r"layer 1: feedback.*brsf"):
        _core.Network(description(layers, 6))


# --------------------------------------------------------------------------------- learned feedback


def gap(net):
    return net.parameters["1.weight"] - net.feedback["0.feedback"].T


@ENGINES
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_kolen_pollack_closes_the_gap_by_a_fixed_share(optimizer, which, dtype):
    """W_{l+1} - B_l^T = (1 - decay)^t of its first value, whatever the optimizer."""
    for decay in (0.0, 0.05):
        desc = description(
            LAYERS, 6, rule("kp") | {"decay": decay}, optimizer=OPTIMIZERS[optimizer], dtype=dtype
        )
        net, data = pair(desc)[which], samples(desc, 30)
        first = gap(net).copy()
        for _ in range(20):
            net.train_batch(*data)
        assert_close(gap(net), (1 - decay) ** 20 * first, dtype, loose=5.0)
        assert np.abs(net.feedback["0.feedback"]).max() > 0


@ENGINES
def test_kolen_pollack_is_its_equation(which):
    """Plain SGD: W -= lr gW + decay W and B -= lr gW^T + decay B; the signal is that of fa."""
    desc = description(LAYERS, 6, rule("kp") | {"decay": 0.05})
    net, data = pair(desc)[which], samples(desc, 30)
    W, B = copies(net.parameters), copies(net.feedback)
    g1, g2 = chain_gradients(net, data, B["0.feedback"], B["1.feedback"])
    assert_gradients(net, data, (g1, g2))
    net.train_batch(*data)
    assert_close(net.parameters["1.weight"], 0.95 * W["1.weight"] - 0.1 * g2, "float64")
    assert_close(net.feedback["0.feedback"], 0.95 * B["0.feedback"] - 0.1 * g2.T, "float64")
    assert_close(net.parameters["0.weight"], W["0.weight"] - 0.1 * g1, "float64")  # nobody follows


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_direct_kolen_pollack_of_one_hidden_layer_is_kolen_pollack(optimizer, dtype):
    layers = [dense(50, "tanh"), dropout(0.2), dense(3)]
    # clipping counts B, decay of the optimizer moves kp's B: both differ, by design
    how = OPTIMIZERS[optimizer] | {"clip_norm": 0.0, "weight_decay": 0.0}
    desc = description(layers, 6, "kp", optimizer=how, dtype=dtype)
    data = samples(desc, 33, weights=True)
    rules = [with_options(rule(name), decay=0.0, lr_scale=1.0) for name in ("kp", "dkp")]
    nets = [_core.Network(desc | {"rule": how}) for how in rules]
    for _ in range(10):
        for net in nets:
            net.train_batch(*data)
    loose = 20.0 if optimizer in ("adam", "rmsprop") else 5.0
    assert_close(nets[0].feedback["0.feedback"], nets[1].feedback["0.feedback"], dtype, loose)
    assert_close(nets[0].parameters["0.weight"], nets[1].parameters["0.weight"], dtype, loose)


@ENGINES
def test_direct_kolen_pollack_is_its_equation(which):
    how = rule("dkp") | {"decay": 0.05, "lr_scale": 0.7}
    desc = description(LAYERS, 6, how)
    net, data = pair(desc)[which], samples(desc, 30, weights=True)
    x, labels, _, w = data
    B = copies(net.feedback)
    H1, H2, probabilities = forward(net, x)
    e = probabilities - np.eye(3)[labels]
    net.train_batch(*data)
    for key, H in (("0.feedback", H1), ("1.feedback", H2)):
        want = B[key] - 0.07 * (w[:, None] * e).T @ H / 30 - 0.05 * B[key]
        assert_close(net.feedback[key], want, "float64", what=key)


def test_learned_feedback_aligns():
    """After some training the feedback points where the weights do; fixed feedback less so."""
    layers = [dense(40, "tanh"), dense(30, "tanh"), dense(5)]
    angles = {}
    for name in ("fa", "kp", "dfa", "dkp"):
        how = with_options(rule(name), decay=0.02, lr_scale=1.0)
        desc = description(layers, 20, how)
        net, data = _core.Network(desc), samples(desc, 200)
        for _ in range(300):
            net.train_batch(*data)
        angles[name] = [row["delta_angle"] for row in net.alignment(*data)]
    assert max(angles["kp"]) < min(5, *angles["fa"])
    assert sum(angles["dkp"]) < sum(angles["dfa"]) - 20


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("kp", "decay", 1.0),
        ("dkp", "decay", -0.1),
        ("dkp", "lr_scale", np.inf),
        ("ldfa", "oja", -1.0),
        ("ternary", "threshold", -1.0),
    ],
)
def test_bad_settings_name_the_layer(name, field, value):
    layers = [LAYERS[0], LAYERS[1] | {"rule": rule(name) | {field: value}}, LAYERS[2]]
    with pytest.raises(ValueError, match=rf"layer 1: rule '{name}': {field}"):
        _core.Network(description(layers, 6, "fa"))


def test_a_layer_that_does_not_train_keeps_its_learned_feedback():
    layers = [LAYERS[0] | {"trainable": False}, *LAYERS[1:]]
    desc = description(layers, 6, "dkp")
    for net in pair(desc):
        first = copies(net.feedback)
        net.train_batch(*samples(desc, 20))
        np.testing.assert_array_equal(net.feedback["0.feedback"], first["0.feedback"])
        assert (net.feedback["1.feedback"] != first["1.feedback"]).any()


# ------------------------------------------------------------------------------- broadcast variants


@ENGINES
def test_ternary_sends_three_levels(which):
    desc = description(LAYERS, 6, rule("ternary") | {"threshold": 0.3})
    net, data = pair(desc)[which], samples(desc, 30)
    x, labels = data[:2]
    H1, H2, probabilities = forward(net, x)
    e = probabilities - np.eye(3)[labels]
    T = 1.0 * (e > 0.3) - 1.0 * (e < -0.3)
    assert 0 < (T == 0).sum() < T.size
    d1 = T @ net.feedback["0.feedback"] * (1 - H1**2)
    d2 = T @ net.feedback["1.feedback"] * (1 - H2**2)
    assert_gradients(net, data, (x.T @ d1 / 30, H1.T @ d2 / 30))


def test_ternary_without_a_threshold_is_sdfa(dtype):
    desc = description(LAYERS, 6, rule("ternary") | {"threshold": 0.0}, dtype=dtype)
    data = samples(desc, 30)
    ternary, sdfa = _core.Network(desc), _core.Network(desc | {"rule": rule("sdfa")})
    for _ in range(3):
        ternary.train_batch(*data)
        sdfa.train_batch(*data)
    assert ternary.state() == sdfa.state()


@ENGINES
def test_indirect_feedback_rises_through_the_weights(which):
    desc = description(LAYERS, 6, "ifa")
    net, data = pair(desc)[which], samples(desc, 30)
    x, labels = data[:2]
    H1, H2, probabilities = forward(net, x)
    e = probabilities - np.eye(3)[labels]
    d1 = e @ net.feedback["0.feedback"] * (1 - H1**2)
    d2 = d1 @ net.parameters["1.weight"] * (1 - H2**2)
    assert_gradients(net, data, (x.T @ d1 / 30, H1.T @ d2 / 30))
    assert list(net.feedback) == ["0.feedback"]
    assert [row["source"] for row in net.layers] == ["error", "below", "error"]
    np.testing.assert_array_equal(net.feedback_matrix(1), net.parameters["1.weight"])


@pytest.mark.parametrize("below", ["fa", "frozen", "backprop"])
def test_a_cycle_of_rules_is_refused_by_layer(below):
    layers = [LAYERS[0] | {"rule": rule(below)}, LAYERS[1] | {"rule": rule("ifa")}, LAYERS[2]]
    with pytest.raises(ValueError, match=rf"layer 1: rule: .*layer 0, got 'ifa'; .*'{below}'"):
        _core.Network(description(layers, 6))


@ENGINES
@pytest.mark.parametrize("oja", [0.0, 0.3])
def test_low_dimensional_feedback_is_its_equation(oja, which):
    how = rule("ldfa") | {"rank": 2, "decay": 0.05, "lr_scale": 0.7, "oja": oja}
    desc = description(LAYERS, 6, how)
    net, data = pair(desc)[which], samples(desc, 30, weights=True)
    x, labels, _, w = data
    P1, Q1 = net.feedback["0.feedback.P"].copy(), net.feedback["0.feedback.Q"].copy()
    P2, Q2 = net.feedback["1.feedback.P"].copy(), net.feedback["1.feedback.Q"].copy()
    assert (P1.shape, Q1.shape, P2.shape, Q2.shape) == ((7, 2), (2, 9), (3, 2), (2, 7))
    assert_close(net.feedback_matrix(0), P1 @ Q1, "float64")
    H1, H2, probabilities = forward(net, x)
    e = probabilities - np.eye(3)[labels]
    d2 = e @ P2 @ Q2 * (1 - H2**2)
    d1 = d2 @ P1 @ Q1 * (1 - H1**2)
    D1, D2, E = (w[:, None] * d for d in (d1, d2, e))
    assert_close(net.gradients(*data)[1]["0.weight"], x.T @ D1 / 30, "float64")
    net.train_batch(*data)
    assert_close(net.feedback["0.feedback.Q"], 0.95 * Q1 - 0.07 * (D2 @ P1).T @ H1 / 30, "float64")
    assert_close(net.feedback["1.feedback.Q"], 0.95 * Q2 - 0.07 * (E @ P2).T @ H2 / 30, "float64")
    w = w[:, None]
    for key, P, d in (("0.feedback.P", P1, d2), ("1.feedback.P", P2, e)):
        T = d @ P
        want = P + 0.1 * oja * (d.T @ (w * T) - P @ (T.T @ (w * T))) / 30  # Oja's subspace rule
        assert_close(net.feedback[key], want, "float64", what=key)
    assert np.array_equal(net.feedback["0.feedback.P"], P1) == (oja == 0)


def test_oja_finds_the_principal_directions_of_the_delta_above():
    layers = [dense(20, "tanh"), dense(6)]
    how = rule("ldfa") | {"rank": 2, "oja": 1.0}
    desc = description(layers, 5, how, loss="mse", optimizer=SGD | {"lr": 1e-9})
    net, data = _core.Network(desc), list(samples(desc, 200, rows=True))
    data[2] = data[2] * np.array([9.0, 1, 1, 7, 1, 1]) - np.array([4.5, 0, 0, 3.5, 0, 0])
    net.lr = 0.03
    for _ in range(500):
        for key in net.parameters:
            net.write(key, np.zeros_like(net.parameters[key]))  # e = -Y, always
        net.train_batch(*data)
    P = net.feedback["0.feedback.P"]
    assert_close(P.T @ P, np.eye(2), "float32", loose=5.0)
    leading = np.linalg.svd(data[2])[2][:2].T
    assert_close(P @ P.T, leading @ leading.T, "float32", loose=5.0)


def test_a_rank_above_the_width_names_the_layer():
    for index, most in ((0, 7), (1, 3)):
        layers = [layer.copy() for layer in LAYERS]
        layers[index]["rule"] = rule("ldfa") | {"rank": most + 1}
        refusal = rf"layer {index}: .*rank: expected 1 to {most}.*got {most + 1}"
        with pytest.raises(ValueError, match=refusal):
            _core.Network(description(layers, 6))


def test_the_left_factor_starts_as_a_projection_and_the_right_one_as_feedback():
    layers = [dense(300, "tanh"), dense(200, "tanh"), dense(3)]
    layers[1]["rule"] = rule("dfa")
    net = _core.Network(description(layers, 6, rule("ldfa") | {"rank": 50}))
    P, Q = net.feedback["0.feedback.P"], net.feedback["0.feedback.Q"]
    np.testing.assert_allclose(P.T @ P, np.eye(50), atol=1e-12)
    np.testing.assert_allclose(Q.std(), 1 / np.sqrt(3 * 300), rtol=0.02)


# ------------------------------------------------------------------------------ drawing of feedback

DISTRIBUTIONS = tuple(_core.NAMES["distribution"])


def drawn(teaching, dtype="float64", widths=(30, 20, 10), **options):
    how = rule(teaching)
    how["feedback"] |= options
    layers = [dense(n, "tanh") for n in widths[:-1]]
    return description([*layers, dense(widths[-1])], 12, how, dtype=dtype)


def assert_same_draw(desc):
    mine, ref = pair(desc)
    for key, matrix in ref.feedback.items():
        assert_close(mine.feedback[key], matrix, desc["dtype"], loose=0.05, what=key)
    return mine


@pytest.mark.parametrize("teaching", ["fa", "dfa", "drtp", "kp", "ifa"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_distributions_are_the_oracles(distribution, teaching, dtype):
    widths = (10, 20, 10) if teaching == "ifa" else (30, 20, 10)
    desc = drawn(teaching, dtype, widths, distribution=distribution, scale=1.7)
    if distribution == "copy" and teaching in ("dfa", "drtp", "ifa"):
        with pytest.raises(ValueError, match="layer 0: feedback: 'copy'"):
            _core.Network(desc)
        return
    assert_same_draw(desc)


@pytest.mark.parametrize("options", [
    {"sparsity": 0.5}, {"sparsity": 0.9}, {"rank": 1}, {"rank": 7}, {"rank": 3, "sparsity": 0.3},
    {"shared": True}, {"shared": True, "rank": 2, "sparsity": 0.8},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("distribution", ["uniform", "normal", "sign", "ternary", "he_normal"])
def test_options_are_the_oracles(distribution, options, dtype):
    for teaching in ("dfa", "fa"):
        if teaching == "dfa" or not options.get("shared"):
            assert_same_draw(drawn(teaching, dtype, distribution=distribution, **options))


def test_spread_of_the_distributions():
    """All but copies and those named after an initialiser have the spread of "uniform"."""
    for distribution in ("uniform", "normal", "sign", "ternary", "orthogonal"):
        net = _core.Network(drawn("fa", widths=(300, 200, 10), distribution=distribution))
        for key, n in (("0.feedback", 300), ("1.feedback", 200)):
            np.testing.assert_allclose(net.feedback[key].std(), 1 / np.sqrt(3 * n), rtol=0.04)
    named = _core.Network(drawn("dfa", widths=(300, 200, 10), distribution="he_uniform"))
    assert abs(named.feedback["0.feedback"]).max() == pytest.approx(np.sqrt(6 / 300), rel=0.01)


def test_levels_orthogonality_and_rank():
    levels = _core.Network(drawn("dfa", distribution="ternary")).feedback["0.feedback"]
    np.testing.assert_allclose(np.unique(levels), np.array([-1, 0, 1]) / np.sqrt(60), atol=1e-15)
    for widths in ((30, 20, 10), (10, 20, 30)):
        for matrix in _core.Network(
            drawn("fa", widths=widths, distribution="orthogonal")
        ).feedback.values():
            small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
            gram = small @ small.T
            np.testing.assert_allclose(gram, gram[0, 0] * np.eye(len(gram)), atol=1e-14)
    net = _core.Network(drawn("fa", rank=4))
    assert [np.linalg.matrix_rank(b) for b in net.feedback.values()] == [4, 4]


def test_sparsity_down_to_one_entry_a_unit():
    for sparsity, kept in ((0.9, 1), (0.8, 2), (0.5, 5), (0.04, 10)):
        net = _core.Network(drawn("dfa", sparsity=sparsity))
        whole = _core.Network(drawn("dfa"))
        for key, matrix in net.feedback.items():
            assert ((matrix != 0).sum(axis=0) == kept).all()
            there = matrix != 0
            np.testing.assert_array_equal(matrix[there], whole.feedback[key][there])
    assert len(set(map(tuple, (net.feedback["0.feedback"] != 0).T))) > 0


@pytest.mark.parametrize("name", ["fa", "dfa", "sdfa", "ternary", "ifa"])
@pytest.mark.parametrize("outputs", [2, 10, 17, 33])
def test_one_entry_a_unit_is_gathered_and_gives_the_bits_of_the_product(name, outputs, dtype):
    """The same matrix given as values is multiplied: a chain of multiply-adds with its zeros.

    The oracle multiplies both.
    """
    loss = "sigmoid_cross_entropy"
    layers = [dense(49, "tanh"), dropout(0.2), dense(30, "relu"), dense(outputs)]
    how = rule(name)
    how["feedback"] |= {"sparsity": 1 - 1 / outputs if name != "fa" else 0.97}
    if name == "fa":  # one of 30 above the first layer, none to spare above the second
        layers[2]["rule"] = rule("dfa")
    desc = description(layers, 12, how, dtype=dtype, loss=loss, optimizer=ADAM)
    sparse, ref = pair(desc)
    whole = _core.Network(desc)
    given = [dict(layer) for layer in layers]
    for key, matrix in whole.feedback.items():
        index = int(key.split(".")[0])
        given[index]["rule"] = rule((given[index].get("rule") and "dfa") or name, values=matrix)
    multiplied = _core.Network(desc | {"layers": given})
    data = samples(desc, 70, rows=True, weights=True)
    for net in (sparse, ref, multiplied):
        for _ in range(3):
            net.train_batch(*data)
    for key, value in multiplied.parameters.items():
        np.testing.assert_array_equal(sparse.parameters[key], value, err_msg=key)
    products = 3 if name in ("fa", "ifa") else 0  # those of the upper hidden layer alone
    assert ref.counts == multiplied.counts
    assert multiplied.counts["feedback"] == 6
    assert sparse.counts == ref.counts | {"feedback": products}


def test_few_of_many_sources_are_gathered_too(dtype):
    layers = [dense(20, "tanh"), dense(150, "tanh"), dense(5)]
    how = rule("fa")
    how["feedback"]["sparsity"] = 0.98
    layers[1]["rule"] = rule("dfa")
    desc = description(layers, 6, how, dtype=dtype)
    sparse, ref = pair(desc)
    assert set((sparse.feedback["0.feedback"] != 0).sum(axis=0)) == {3}
    data = samples(desc, 40)
    for net in (sparse, ref):
        for _ in range(3):
            net.train_batch(*data)
    assert_close(sparse.parameters["0.weight"], ref.parameters["0.weight"], dtype)
    assert sparse.counts == {"forward": 9, "transport": 0, "feedback": 3, "outer": 9}
    assert ref.counts == sparse.counts | {"feedback": 6}


@ENGINES
def test_a_sparse_matrix_that_is_written_over_is_what_teaches(which):
    """As many entries in other rows are gathered; more than were drawn are multiplied."""
    desc = drawn("dfa", sparsity=0.9)
    data = samples(desc, 30)
    for fresh, products in ((np.roll(np.eye(10, 30), 3, axis=1), 0), (np.ones((10, 30)), 1)):
        net = pair(desc)[which]
        net.write("0.feedback", fresh)
        want = _core.Network(drawn("dfa"))
        for key, matrix in net.feedback.items():
            want.write(key, matrix)
        assert_close(net.gradients(*data)[1]["0.weight"],
                     want.gradients(*data)[1]["0.weight"], "float64")  # fmt: skip
        np.testing.assert_array_equal(net.feedback_matrix(0), fresh)
        net.train_batch(*data)
        assert net.counts["feedback"] == (products, 2)[which]  # the oracle multiplies both


def test_a_shared_matrix_is_sliced():
    net = _core.Network(drawn("dfa", shared=True))
    wide, narrow = net.feedback["0.feedback"], net.feedback["1.feedback"]
    np.testing.assert_array_equal(wide[:, :20], narrow)
    apart = _core.Network(drawn("dfa"))
    np.testing.assert_array_equal(wide, apart.feedback["0.feedback"])


def test_copies_and_forward_draws():
    net = _core.Network(drawn("fa", distribution="copy", scale=2.0))
    for i in (0, 1):
        twice = 2.0 * net.parameters[f"{i + 1}.weight"].T
        np.testing.assert_array_equal(net.feedback[f"{i}.feedback"], twice)
    forward = _core.Network(drawn("fa", widths=(300, 200, 10), distribution="forward"))
    limit = np.sqrt(6 / 500)  # the layers of these tests draw Glorot uniform
    assert abs(forward.feedback["0.feedback"]).max() == pytest.approx(limit, rel=0.01)


@pytest.mark.parametrize(("teaching", "options", "message"), [
    ("dfa", {"sparsity": 0.96},
     r"layer 0: feedback: sparsity: expected at most 0.9 for 10 rows, got 0.96"),
    ("dfa", {"rank": 11}, r"layer 0: feedback: rank: expected 1 to 10.*got 11"),
    ("fa", {"shared": True}, r"layer 0: feedback: shared"),
    ("drtp", {"distribution": "copy"}, r"layer 0: feedback: 'copy'"),
    ("fa", {"distribution": "copy", "sparsity": 0.5},
     r"layer 0: feedback: 'copy': expected no sparsity"),
    ("brsf", {"sparsity": 0.5}, r"layer 0: feedback: expected .*; rule 'brsf'"),
    ("ldfa", {"distribution": "orthogonal"}, r"layer 0: feedback: expected .*; rule 'ldfa'"),
    ("dfa", {"distribution": "laplace"}, r"layer 0: feedback: .*'laplace'"),
])  # fmt: skip
def test_bad_feedback_names_the_layer(teaching, options, message):
    with pytest.raises(ValueError, match=message):
        _core.Network(drawn(teaching, **options))
