"""Deltas from the engine, the descent test, effective rank, and the callbacks that record them."""

import warnings

import numpy as np
import pytest
from networks import TAUGHT, assert_close, dense, description, dropout, pair, rule, samples

import fastfa as fa

# ------------------------------------------------------------------------------------------ deltas


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_deltas_are_those_of_the_reference(name, inject, dtype):
    layers = [dense(12, "tanh"), dropout(0.3), dense(9, "sigmoid"), dense(4)]
    desc = description(layers, 6, rule(name, inject), dtype=dtype)
    mine, ref = pair(desc)
    data = samples(desc, 30, weights=True)
    before = mine.state()
    deltas, expected = mine.deltas(*data), ref.deltas(*data)
    assert mine.state() == before
    assert [d is None for d in deltas] == [d is None for d in expected]
    for got, want in zip(deltas, expected, strict=True):
        if want is not None:
            assert got.dtype == dtype
            assert_close(got, want, dtype)


# ---------------------------------------------------------------------- descent and effective rank


def network(rule, layers=None, **changes):
    layers = layers or [fa.Dense(9, "tanh"), fa.Dropout(0.2), fa.Dense(6, "sigmoid"), fa.Dense(4)]
    return fa.Sequential(layers, input_shape=5, rule=rule, dtype="float64", rng=3, **changes)


def batch(m=40):
    rng = np.random.default_rng(1)
    return rng.standard_normal((m, 5)), rng.integers(0, 4, m)


class Backward(fa.Rule):
    """Backprop of one hidden layer, which stores no matrix."""

    def signal(self, ctx):
        return ctx.product(ctx.error, ctx.parameters["1.weight"].T)


class Silent(fa.Rule):
    """Teaches nothing, from no matrix."""

    def signal(self, ctx):
        return np.zeros((len(ctx.error), 6))


def test_a_rule_without_a_matrix_has_angles_but_no_descent():
    net = network(Backward(), [fa.Dense(6, "tanh"), fa.Dense(4)])
    (row,) = net.alignment(*batch())
    assert row.delta_angle == pytest.approx(0, abs=1e-5)
    assert row.weight_angle is None
    assert row.descent is None


def test_a_silent_rule_without_a_matrix_is_warned_of():
    net = network(Silent(), [fa.Dense(6, "tanh"), fa.Dense(4)])
    with pytest.warns(fa.callbacks.AlignmentWarning, match="saturated|gets no signal"):
        net.fit(*batch(), epochs=5, callbacks=[fa.callbacks.Alignment(batch())], verbose=False)


class Fails(Silent):
    """Raises at its second call, which is that for the deltas."""

    def __init__(self):
        vars(self)["calls"] = 0

    def signal(self, ctx):
        vars(self)["calls"] += 1
        if self.calls == 2:
            raise KeyError("mine")
        return super().signal(ctx)


def test_what_a_rule_raises_comes_out_of_alignment():
    net = network(Fails(), [fa.Dense(6, "tanh"), fa.Dense(4)])
    with pytest.raises(KeyError, match="mine"):
        net.alignment(*batch())
    assert net.train_batch(*batch()) > 0


def cosine(a, b):
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


@pytest.mark.parametrize("name", ["fa", "dfa", "sdfa"])
def test_descent_is_the_cosine_of_what_rule_and_weights_carry(name):
    net, (x, y) = network(name), batch()
    d0, d2, e = net._engine.deltas(x, y, None, None)
    assert d0.shape == (40, 9)
    w2, w3 = net.parameters["2.weight"], net.parameters["3.weight"]
    b0, b2 = net.feedback["0.feedback"], net.feedback["2.feedback"]
    first, second = net.alignment(x, y)
    assert second.descent == pytest.approx(cosine(e @ b2, e @ w3.T))
    expected = cosine(d2 @ b0, d2 @ w2.T) if name == "fa" else cosine(e @ b0, e @ (w2 @ w3).T)
    assert first.descent == pytest.approx(expected)
    sign = np.sign(sum(e_i @ w3.T @ (e_i @ b2) for e_i in e))
    assert np.sign(second.descent) == sign


def test_descent_follows_the_feedback():
    net, (x, y) = network("dfa"), batch()
    product = net.parameters["2.weight"] @ net.parameters["3.weight"]
    for sign in (1, -1):
        net.feedback["0.feedback"] = sign * product.T
        assert net.alignment(x, y)[0].descent == pytest.approx(sign)
    net.feedback["0.feedback"] = np.zeros((4, 9))
    assert np.isnan(net.alignment(x, y)[0].descent)


def test_descent_is_1_for_backprop_and_none_without_an_error():
    x, y = batch()
    assert [row.descent for row in network("backprop").alignment(x, y)] == pytest.approx([1, 1])
    assert [row.descent for row in network("drtp").alignment(x, y)] == [None, None]
    assert [row.descent for row in network("frozen").alignment(x, y)] == [None, None]
    mixed = network("dfa", [fa.Dense(9, rule="frozen"), fa.Dense(6, "tanh"), fa.Dense(4)])
    first, second = mixed.alignment(x, y)
    assert first.descent is None
    assert -1 < second.descent < 1
    layers = [fa.Dense(9, "tanh", rule="fa"), fa.Dense(6, "tanh", rule="frozen"), fa.Dense(4)]
    first, second = network("dfa", layers).alignment(x, y)  # the second only hands the error on
    assert -1 < first.descent < 1
    assert second.descent is None
    assert np.isnan([second.effective_rank, second.error_ratio, second.delta_angle]).all()


@pytest.mark.parametrize("m", [3, 40, 9000])  # wide, tall, and taller than one piece
def test_effective_rank_of_the_deltas(m):
    net, (x, y) = network("dfa"), batch(m)
    for row, delta in zip(net.alignment(x, y), net._engine.deltas(x, y, None, None), strict=False):
        singular = np.linalg.svd(delta, compute_uv=False)
        p = singular / singular.sum()
        p = p[p > 1e-12]
        assert row.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
        assert 1 <= row.effective_rank <= min(delta.shape) + 1e-9


def test_error_ratio():
    net, (x, y) = network("fa"), batch()
    d0, d2, e = net._engine.deltas(x, y, None, None)
    first, second = net.alignment(x, y)
    assert first.error_ratio == pytest.approx(np.sqrt((d0**2).mean() / (e**2).mean()))
    assert second.error_ratio == pytest.approx(np.sqrt((d2**2).mean() / (e**2).mean()))
    assert all(np.isnan(row.error_ratio) for row in network("frozen").alignment(x, y))


def test_effective_rank_of_known_matrices():
    rank = fa.alignment.effective_rank
    assert rank(np.eye(7)) == pytest.approx(7)
    assert rank(1e-30 * np.eye(7, 12, dtype=np.float32)) == pytest.approx(7)
    assert rank(np.outer(np.arange(1, 5), np.arange(1, 9))) == pytest.approx(1, abs=1e-5)
    assert np.isnan(rank(np.zeros((3, 4))))
    assert all(np.isnan(row.effective_rank) for row in network("frozen").alignment(*batch()))


# ------------------------------------------------------------------------------ recording alignment

FIELDS = set(fa.Alignment._fields) - {"layer"}


quiet = pytest.mark.filterwarnings("ignore::fastfa.callbacks.AlignmentWarning")


@quiet  # these networks are narrow and their labels random
def test_alignment_callback_records_every_epoch():
    x, y = batch()
    net, record = network("dfa"), fa.callbacks.Alignment(batch=(x, y))
    net.fit(x, y, epochs=3, batch_size=16, callbacks=[record], verbose=False)
    assert (record.step, record.epoch) == ([0, 3, 6, 9], [0, 1, 2, 3])
    assert list(record.history) == [0, 2]
    for row in net.alignment(x, y):
        of_layer = record.history[row.layer]
        assert of_layer.keys() == FIELDS
        assert all(len(values) == 4 for values in of_layer.values())
        assert of_layer["delta_angle"][-1] == row.delta_angle
    net.fit(x, y, epochs=1, batch_size=16, callbacks=[record], verbose=False)
    assert record.step == [0, 3, 6, 9, 12]  # the start was measured already


@quiet
def test_alignment_callback_changes_no_bit_and_counts_steps():
    x, y = batch()
    plain, watched = network("drtp"), network("drtp")
    records = [fa.callbacks.Alignment((x, y), every=2, unit=unit) for unit in ("step", "epoch")]
    plain.fit(x, y, epochs=4, batch_size=16, verbose=False)
    watched.fit(x, y, epochs=4, batch_size=16, callbacks=records, verbose=False)
    assert plain._engine.state() == watched._engine.state()
    assert records[0].step == [0, 2, 4, 6, 8, 10, 12]
    assert records[1].step == [0, 6, 12]
    assert np.isnan(records[0].history[0]["weight_angle"]).all()  # None for drtp


def test_alignment_callback_by_epoch_leaves_the_steps_in_the_engine(monkeypatch):
    x, y = batch()
    net, calls = network("dfa"), []
    monkeypatch.setattr(
        fa._internal.training.Training, "_call", lambda *a: calls.append(a) or (1, 1, 1, 3)
    )
    net.fit(x, y, batch_size=16, callbacks=[fa.callbacks.Alignment((x, y))], verbose=False)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 3}, "batch: expected"),
        ({"batch": (1,)}, "batch: expected"),
        ({"batch": (1, 2), "every": 0}, "every: expected"),
        ({"batch": (1, 2), "unit": "hour"}, "unit"),
    ],
)
def test_alignment_callback_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        fa.callbacks.Alignment(**arguments)


# ------------------------------------------------------------------------------------ early warning


def train(net, epochs=5):
    x, y = batch()
    net.fit(x, y, epochs, callbacks=[fa.callbacks.Alignment((x, y))], verbose=False)


def fixed(b, units=9, activation="tanh", **of_layer):
    """A network of one hidden layer that gets the error through `b`, with nothing else moving."""
    layers = [
        fa.Dense(units, activation, rule=fa.DFA(fa.Feedback(b)), **of_layer),
        fa.Dense(4, weight_init=fa.Init("normal", 0.5), trainable=False),
    ]
    return network("dfa", layers, optimizer=fa.SGD(1e-4))


def warned(caught):
    return [str(one.message) for one in caught if one.category is fa.callbacks.AlignmentWarning]


def test_healthy_layers_are_silent():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(network("dfa", [fa.Dense(60, "tanh"), fa.Dense(4)]))
        train(network("backprop"))
        train(network("frozen"))
    assert [str(one.message) for one in caught] == []


def test_zero_feedback_warns_once():
    with pytest.warns(fa.callbacks.AlignmentWarning) as caught:
        train(fixed(np.zeros((4, 9))))
    (message,) = warned(caught)
    assert message.startswith("layer 0, Dense(9")
    assert "stay zero" in message
    assert "all zeros" in message


def test_backprop_from_zero_weights_names_the_weights_above():
    zeros = fa.Init("zeros")
    layers = [
        fa.Dense(6, "tanh", weight_init=zeros),
        fa.Dense(6, "tanh", weight_init=zeros),
        fa.Dense(4, weight_init=zeros),
    ]
    with pytest.warns(fa.callbacks.AlignmentWarning) as caught:
        train(network("backprop", layers))
    (message,) = warned(caught)
    assert message.startswith("layer 0")
    assert "all zeros" in message
    assert message.endswith("The same in 1 more: layer 1")


@pytest.mark.parametrize(("activation", "cause"), [("relu", "dead"), ("tanh", "saturated")])
def test_dead_and_saturated_units_are_named(activation, cause):
    rng = np.random.default_rng(0)
    net = fixed(rng.standard_normal((4, 9)), activation=activation)
    net.parameters["0.weight"] = np.zeros((5, 9))
    net.parameters["0.bias"] = np.full(9, -1e3)
    with pytest.warns(fa.callbacks.AlignmentWarning, match=cause):
        train(net)


def test_anti_aligned_layer_warns_once():
    net = fixed(np.ones((4, 9)))
    net.feedback["0.feedback"] = -net.parameters["1.weight"].T
    with pytest.warns(fa.callbacks.AlignmentWarning) as caught:
        train(net, epochs=6)
    (message,) = warned(caught)
    assert "180 degrees" in message


def test_exploding_layer_warns_once():
    net = fixed(np.ones((4, 9)))
    net.lr = 0.0
    net.feedback["0.feedback"] = 1e5 * net.parameters["1.weight"].T
    with pytest.warns(fa.callbacks.AlignmentWarning, match="times the error") as caught:
        train(net)
    assert len(warned(caught)) == 1


# ------------------------------------------------------------------------------------ some fields


@pytest.mark.parametrize("asked", [["delta_angle"], ["descent", "error_ratio"], []])
def test_alignment_measures_the_fields_that_are_asked_for(asked):
    x, y = batch()
    net = network("dfa")
    everything, some = net.alignment(x, y), net.alignment(x, y, fields=asked)
    for full, part in zip(everything, some, strict=True):
        assert part.layer == full.layer
        for name in fa.Alignment._fields[1:]:
            value = getattr(part, name)
            assert value == getattr(full, name) if name in asked else np.isnan(value)


def test_eigenvalues_are_computed_only_if_they_are_asked_for(monkeypatch):
    x, y = batch()
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda _: 1 / 0)
    network("dfa").alignment(x, y, fields=["delta_angle", "descent", "error_ratio"])
    with pytest.raises(ZeroDivisionError):
        network("dfa").alignment(x, y)


def test_records_have_the_fields_that_are_asked_for():
    x, y = batch()
    record = fa.callbacks.Alignment((x, y), fields=["delta_angle"])
    network("dfa").fit(x, y, 2, callbacks=[record], verbose=False)
    assert {name for layer in record.history.values() for name in layer} == {"delta_angle"}
    assert len(record.history[0]["delta_angle"]) == 3


def test_wrong_fields_are_refused():
    x, y = batch()
    for call in (
        lambda fields: network("dfa").alignment(x, y, fields=fields),
        lambda fields: fa.callbacks.Alignment((x, y), fields=fields),
    ):
        with pytest.raises(
            ValueError, match=r'fields\[0\]: .*got "delta"; did you mean "delta_ang'
        ):
            call(["delta"])
        with pytest.raises(TypeError, match=r"got 'descent'; did you mean \['descent'\]\?"):
            call("descent")


# ----------------------------------------------------------------- warnings when a network is made


def made(rule, activation="relu", loss="softmax_cross_entropy", optimizer="adam", **changes):
    layers = [fa.Dense(6, activation), fa.Dense(3)]
    changes = {"layers": layers, "input_shape": 4, "rng": 0} | changes
    return fa.Sequential(rule=rule, loss=loss, optimizer=optimizer, **changes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "drtp"}, r'"drtp" sends the targets.*units of "relu" grow.*such as "tanh"'),
        ({"rule": "drtp", "optimizer": fa.SGD(1e-3)}, 'units of "relu" grow without bound'),
        ({"rule": "drtp", "activation": "tanh", "loss": "mse"}, 'with loss="mse" it diverges'),
        (
            {"rule": "sdfa"},
            r'"sdfa" sends signs.*units of "relu" grow without bound.*as under Adam',
        ),
        (
            {"rule": "sdfa", "activation": "tanh", "loss": "mse", "optimizer": fa.SGD(1e-3)},
            "under SGD",
        ),
    ],
)
def test_rules_that_do_harm_with_these_settings_warn(settings, words):
    with pytest.warns(fa.rules.RuleWarning, match=words) as caught:
        net = made(**settings)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = fa.load(net.to_bytes())  # it was said when it was made
        assert again.rule.name == settings["rule"]


@pytest.mark.parametrize(
    "settings",
    [
        {"rule": "drtp", "activation": "tanh"},
        {"rule": "sdfa", "activation": "tanh"},
        {"rule": "sdfa", "optimizer": fa.SGD(1e-3)},
        {"rule": "sdfa", "loss": "mse"},
        {"rule": "dfa", "loss": "mse", "optimizer": fa.SGD(1e-3)},
        {"rule": "ternary"},
        {"rule": "drtp", "layers": [fa.Dense(3)], "loss": "mse"},
        {"rule": "drtp", "layers": [fa.Dense(6, "relu", trainable=False), fa.Dense(3)]},
        {"rule": "drtp", "layers": [fa.Dense(6, "relu", rule="fa"), fa.Dense(3)]},
    ],
)
def test_rules_that_do_no_harm_do_not_warn(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(**settings)


def test_drtp_is_worse_than_frozen_where_it_warns():
    """What the warning says, on a small regression."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 5))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2]
    r2 = {}
    for name in ("drtp", "frozen", "dfa"):
        layers = [fa.Dense(50, "relu"), fa.Dense(50, "relu"), fa.Dense(1)]
        net = fa.Sequential(layers, input_shape=5, rule=name, loss="mse", rng=0)
        net.fit(x, y, 200, verbose=False)
        r2[name] = net.evaluate(x, y, metrics=["r2"])["r2"]
    assert r2["drtp"] < 0 < r2["frozen"] < r2["dfa"]


# --------------------------------------------------------------------------------------- CSV logger


def test_csv_logger_writes_what_the_history_has(tmp_path):
    x, y = batch()
    net, log = network("dfa"), fa.callbacks.CSVLogger(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("of before\n")
    fit = {"validation_data": (x, y), "callbacks": [log], "verbose": False}
    history = net.fit(x, y, 2, **fit).history
    more = net.fit(x, y, 1, **fit).history
    header, *lines = (tmp_path / "log.csv").read_text().splitlines()
    assert header == "epoch,loss,accuracy,val_loss,val_accuracy,lr,time"
    assert [line.split(",")[0] for line in lines] == ["1", "2", "3"]
    losses = [float(line.split(",")[1]) for line in lines]
    assert losses == history["loss"] + more["loss"]


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ("", ""),
        ("epo", ""),
        ("epoch,loss,accuracy,lr,time", ""),
        ("epoch,loss,accuracy,lr,time\n", ""),
        ("epoch,loss,accuracy,lr,time\n1,0.5,0.7,0.1,1\n2,0.", "1,0.5,0.7,0.1,1\n"),
    ],
)
def test_csv_logger_goes_on_where_a_line_was_cut(tmp_path, cut, kept):
    """By a kill, or by a disk that was full."""
    (x, y), path = batch(), tmp_path / "log.csv"
    path.write_text(cut)
    network("fa").fit(x, y, 2, callbacks=[fa.CSVLogger(path, append=True)], verbose=False)
    *before, first, second = path.read_text().splitlines(keepends=True)
    assert "".join(before) == "epoch,loss,accuracy,lr,time\n" + kept
    assert first.startswith("1,")
    assert second.startswith("2,")
    assert second.endswith("\n")


def test_csv_logger_appends_or_says_why_not(tmp_path):
    (x, y), path = batch(), tmp_path / "log.csv"
    network("fa").fit(x, y, callbacks=[fa.CSVLogger(path)], verbose=False)
    network("fa").fit(x, y, callbacks=[fa.CSVLogger(path, append=True)], verbose=False)
    assert len(path.read_text().splitlines()) == 3
    with pytest.raises(ValueError, match="expected the columns epoch, loss, accuracy, val_loss"):
        network("fa").fit(
            x,
            y,
            validation_data=(x, y),
            callbacks=[fa.CSVLogger(path, append=True)],
            verbose=False,
        )
    lost = fa.CSVLogger(tmp_path / "no" / "log.csv")
    with pytest.raises(FileNotFoundError):
        network("fa").fit(x, y, callbacks=[lost], verbose=False)
