"""Learning rates as plain data: their formulas, PyTorch's, files, and what the logs change."""

import copy
import math
import pickle

import numpy as np
import pytest
from small import assert_same, copies, network, samples

import fastfa as fa
from fastfa.schedules import Cosine, Exponential, OneCycle, Plateau, Step, Warmup

X, Y = samples(100)


def one_cycle(t, top, last):
    """Up and down along halves of a cosine, with the default shares of 0.2."""
    if t > last:
        return 0.2 * 4e-6
    low, share = (0.04, t / top) if t <= top else (4e-6, 1 - (t - top) / (last - top))
    return 0.2 * (low + (1 - low) * (1 - math.cos(math.pi * share)) / 2)


# schedule by steps, its formula written out once more
FORMULAS = {
    "cosine": (
        lambda unit: Cosine(0.2, 0.05, **unit(10)),
        lambda t: 0.05 + 0.075 * (1 + math.cos(math.pi * min(t, 10) / 10)),
    ),
    "step": (lambda unit: Step(0.2, 0.5, **unit(4)), lambda t: 0.2 * 0.5 ** (t // 4)),
    "exponential": (
        lambda unit: Exponential(0.2, 0.5, **unit(3)),
        lambda t: 0.2 * math.exp(math.log(0.5) * t / 3),
    ),
    "warmup": (
        lambda unit: Warmup(0.2, 0.25, **unit(6)),
        lambda t: 0.2 * (0.25 + 0.75 * min(t, 6) / 6),
    ),
    "warmup of cosine": (
        lambda unit: Warmup(Cosine(0.2, **unit(10)), 0.25, **unit(6)),
        lambda t: 0.1 * (1 + math.cos(math.pi * min(t, 10) / 10)) * (0.25 + 0.75 * min(t, 6) / 6),
    ),
    "one cycle": (lambda unit: OneCycle(0.2, **unit(10)), lambda t: one_cycle(t, 2, 9)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_by_step_and_by_epoch(name):
    make, formula = FORMULAS[name]
    expected = [formula(t) for t in range(14)]
    by_step = make(lambda n: {"steps": n})
    np.testing.assert_allclose([by_step(t) for t in range(14)], expected, rtol=1e-12)
    net = network(optimizer=fa.SGD(by_step))
    seen = []
    for _ in range(14):
        seen.append(net.lr)
        net.train_batch(X, Y)
    np.testing.assert_allclose(seen, expected, rtol=1e-12)

    by_epoch = make(lambda n: {"epochs": n})
    net = network(optimizer=fa.SGD(by_epoch))
    history = net.fit(X, Y, epochs=9, batch_size=40, verbose=False)
    history2 = net.fit(X, Y, epochs=5, batch_size=30, verbose=False)
    got = history.history["lr"] + history2.history["lr"]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert net.lr == by_epoch(13)  # outside of fit: that of the epoch begun last


def test_every_step_of_an_epoch_has_its_rate():
    """The bits of the same rates by hand, and steps are counted over calls of fit."""
    for schedule in (Step(0.3, 0.5, epochs=1), Warmup(Step(0.3, 0.5, epochs=2), steps=5)):
        net, by_hand = network(optimizer=fa.SGD(schedule)), network(optimizer=fa.SGD(0.1))
        rates = []

        class Note(fa.Callback):
            def on_batch_end(self, net, step, logs):
                rates.append(net.lr)  # noqa: B023

        net.fit(X, Y, epochs=2, batch_size=25, shuffle=False, verbose=False)
        net.fit(X, Y, epochs=1, batch_size=25, shuffle=False, verbose=False)
        for t in range(12):
            by_hand.lr = schedule.at(t, t // 4)
            start = 25 * (t % 4)
            by_hand.train_batch(X[start : start + 25], Y[start : start + 25])
        assert_same(copies(net), copies(by_hand))


def test_unit_and_bounds_are_checked():
    wrong = [
        (
            lambda: Cosine(0.1),
            TypeError,
            "steps, epochs: expected exactly one of them, got neither",
        ),
        (lambda: Step(0.1, steps=3, epochs=3), TypeError, "got both"),
        (lambda: Cosine(-0.1, steps=3), ValueError, "lr"),
        (lambda: Cosine(0.1, steps=0), ValueError, "steps"),
        (lambda: Cosine(0.1, epochs=2.5), TypeError, "epochs"),
        (lambda: Cosine(0.1, floor=math.nan, epochs=2), ValueError, "floor"),
        (lambda: Step(0.1, 1.5, epochs=2), ValueError, "factor"),
        (lambda: Exponential(0.1, 0.0, epochs=2), ValueError, "factor"),
        (lambda: Warmup(Plateau(0.1), epochs=2), TypeError, "lr"),
        (lambda: Warmup(0.1, 1.5, epochs=2), ValueError, "start"),
        (lambda: OneCycle(0.1, rise=2, epochs=2), ValueError, "rise"),
        (lambda: Plateau(0.1, patience=0), ValueError, "patience"),
        (lambda: Plateau(0.1, mode="least"), ValueError, "mode"),
        (lambda: Plateau(0.1, monitor=3), TypeError, "monitor"),
        (lambda: Plateau("0.1"), TypeError, "lr"),
    ]
    for make, error, message in wrong:
        with pytest.raises(error, match=message):
            make()


# ----------------------------------------------------------------------------------------- files

ALL = {
    "cosine": Cosine(0.1, 0.01, epochs=6),
    "step": Step(0.1, steps=7),
    "exponential": Exponential(0.1, 0.9, epochs=1),
    "warmup": Warmup(Cosine(0.1, epochs=6), steps=9),
    "one cycle": OneCycle(0.2, steps=24),
    "plateau": Plateau(0.5, 0.5, 1, monitor="loss", min_delta=0.02, cooldown=1, floor=0.05),
}


@pytest.mark.parametrize("name", ALL)
def test_a_loaded_network_goes_on_bit_for_bit(name, tmp_path):
    optimizer = fa.SGD(ALL[name], momentum=0.5)
    whole, saved = network(optimizer=optimizer), network(optimizer=optimizer)
    whole.fit(X, Y, epochs=6, verbose=False)
    saved.fit(X, Y, epochs=3, verbose=False)
    saved.save(tmp_path / "net")
    for other in (fa.load(tmp_path / "net"), pickle.loads(pickle.dumps(saved)), copy.copy(saved)):
        assert other.optimizer == optimizer
        assert other.lr == saved.lr
        other.fit(X, Y, epochs=3, verbose=False)
        assert other.to_bytes() == whole.to_bytes()
    saved.freeze(0)
    assert saved.optimizer == optimizer
    other.reset()
    assert other.lr == network(optimizer=optimizer).lr
    other.fit(X, Y, epochs=6, verbose=False)
    assert other.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("name", ["cosine", "plateau"])
def test_a_rate_that_was_set_stays_after_loading(name):
    net = network(optimizer=fa.SGD(ALL[name]))
    net.lr = 0.125
    loaded = fa.load(net.to_bytes())
    assert loaded.lr == 0.125
    history = loaded.fit(X, Y, epochs=4, verbose=False)
    assert history.history["lr"] == [0.125] * 4
    loaded.reset()
    assert loaded.lr == network(optimizer=fa.SGD(ALL[name])).lr != 0.125


def test_loading_replaces_a_schedule_only_by_an_optimizer():
    data = network(optimizer=fa.SGD(ALL["warmup"])).to_bytes()
    with pytest.raises(ValueError, match=r"lr: expected none.*its rate is Warmup"):
        fa.load(data, lr=lambda step: 0.1)
    assert fa.load(data, optimizer=fa.SGD(0.25)).lr == 0.25
    net = fa.load(data, optimizer=fa.SGD(ALL["plateau"]))
    assert net.lr == 0.5
    assert fa.load(net.to_bytes()).optimizer.lr == ALL["plateau"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"name": "cosine"', '"name": "sine"'),
        ('"lr": 0.1', '"lr": -0.1'),
        ('"epochs": 6', '"epochs": null'),
        ('"floor"', '"ground"'),
        ('"in force": true', '"in force": 3'),
    ],
)
def test_a_damaged_note_is_refused(old, new):
    net = network(optimizer=fa.SGD(ALL["cosine"]))
    net.to_bytes()  # writes the note
    note = net._engine.note
    assert old in note
    net._engine.note = note.replace(old, new)
    with pytest.raises(ValueError, match="note: "):
        fa.load(net._engine.dumps())


def test_equality_repr_and_pickle():
    for schedule in ALL.values():
        assert eval(repr(schedule), vars(fa.schedules)) == schedule
        again = pickle.loads(pickle.dumps(schedule))
        assert again == schedule
        assert hash(again) == hash(schedule)
        assert fa.Adam(again) == fa.Adam(schedule) != fa.Adam(0.1)
    assert Cosine(0.1, steps=3) != Cosine(0.1, epochs=3)
    assert Cosine(0.1, steps=3) != Step(0.1, steps=3)


# --------------------------------------------------------------------------------------- plateau


def rates_of(plateau, values):
    """The rate of each epoch, where the logs have these values."""
    net = network(optimizer=fa.SGD(plateau))
    logs = iter(values)

    def entry(y, prediction):
        return next(logs)

    metrics = {"value": entry}
    history = net.fit(X, Y, epochs=len(values), metrics=metrics, train_metrics=True, verbose=False)
    return [*history.history["lr"], net.lr]


VALUES = [5, 4, 4, 4.5, 3, 3, 3, 3, math.nan, 2, 2.5, 1.95, 1.94, 1.93, 1.92, 1.91, 1.9, 1.89, 1]


def test_plateau_by_hand():
    flat = [1.0] * 8
    assert rates_of(Plateau(1.0, 0.5, 2, monitor="value", mode="min"), flat) == [
        1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125,
    ]  # fmt: skip
    assert rates_of(Plateau(1.0, 0.5, 2, monitor="value", mode="min", cooldown=2), flat) == [
        1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25,
    ]  # fmt: skip
    floored = Plateau(1.0, 0.5, 1, monitor="value", mode="min", floor=0.3)
    assert rates_of(floored, flat)[-3:] == [0.3] * 3
    rising = [1.0, 2.0, 3.0, 4.0]
    assert rates_of(Plateau(1.0, 0.5, 1, monitor="value", mode="max"), rising) == [1] * 5
    assert rates_of(Plateau(1.0, 0.5, 1, monitor="value", mode="min"), rising) == [
        1, 1, 0.5, 0.25, 0.125,
    ]  # fmt: skip


def test_plateau_needs_its_entry_and_names_it():
    net = network(optimizer=fa.SGD(Plateau(0.1)))
    before = net.to_bytes()
    with pytest.raises(ValueError, match=r"lr: monitor: .*val_loss.*no validation_data"):
        net.fit(X, Y, verbose=False)
    assert net.to_bytes() == before
    net.fit(X, Y, validation_data=(X, Y), verbose=False)


def test_a_callback_sees_and_saves_the_next_rate(tmp_path):
    """Or else a run that goes on from a checkpoint would have another rate."""
    optimizer = fa.SGD(Plateau(0.5, 0.5, 1, monitor="loss", mode="max"))  # falls in every epoch
    net = network(optimizer=optimizer)
    path = tmp_path / "net"
    seen = []

    class Look(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            seen.append((logs["lr"], net.lr))

    calls = [fa.Checkpoint(path, monitor=None), Look()]
    net.fit(X, Y, epochs=3, callbacks=calls, verbose=False)
    assert seen == [(0.5, 0.5), (0.5, 0.25), (0.25, 0.125)]
    assert fa.load(path).to_bytes() == net.to_bytes()


# --------------------------------------------------------------------------------------- PyTorch


def torch_rates(torch, make, n, values=None):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.2)
    schedule, rates = make(torch.optim.lr_scheduler, optimizer), []
    for t in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([] if values is None else [values[t]]))
    return [*rates, optimizer.param_groups[0]["lr"]]


TORCH = {
    "cosine": (
        lambda s, o: s.CosineAnnealingLR(o, 30, eta_min=0.01),
        Cosine(0.2, 0.01, steps=30),
        30,
    ),
    "step": (lambda s, o: s.StepLR(o, 7, gamma=0.3), Step(0.2, 0.3, steps=7), 40),
    "exponential": (lambda s, o: s.ExponentialLR(o, 0.9), Exponential(0.2, 0.9, epochs=1), 40),
    "warmup": (
        lambda s, o: s.LinearLR(o, start_factor=0.1, total_iters=12),
        Warmup(0.2, steps=12),
        20,
    ),
    "warmup of step": (
        lambda s, o: s.ChainedScheduler(
            [s.LinearLR(o, start_factor=0.25, total_iters=12), s.StepLR(o, 5, gamma=0.5)]
        ),
        Warmup(Step(0.2, 0.5, steps=5), 0.25, steps=12),
        20,
    ),
    "one cycle": (
        lambda s, o: s.OneCycleLR(o, 0.2, total_steps=40, cycle_momentum=False),
        OneCycle(0.2, steps=40),
        39,
    ),
    "one cycle, other shares": (
        lambda s, o: s.OneCycleLR(
            o, 0.2, total_steps=33, pct_start=0.45, div_factor=10, final_div_factor=100,
            cycle_momentum=False,
        ),
        OneCycle(0.2, 0.45, 0.1, 0.001, steps=33),
        32,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_pytorch_has_the_same_rates(name):
    torch = pytest.importorskip("torch")
    make, schedule, n = TORCH[name]
    expected = torch_rates(torch, make, n)
    np.testing.assert_allclose([schedule(t) for t in range(n + 1)], expected, rtol=1e-9)


@pytest.mark.parametrize("how", [(1, 0, 0.0), (2, 0, 0.06), (3, 2, 0.0)])
@pytest.mark.parametrize("min_delta", [0.0, 0.3])
def test_pytorch_reduces_on_the_same_plateaus(how, min_delta):
    patience, cooldown, floor = how
    torch = pytest.importorskip("torch")
    expected = torch_rates(
        torch,
        lambda s, o: s.ReduceLROnPlateau(
            o, factor=0.5, patience=patience - 1, threshold=min_delta, threshold_mode="abs",
            cooldown=cooldown, min_lr=floor,
        ),
        len(VALUES),
        VALUES,
    )  # fmt: skip
    plateau = Plateau(
        0.2,
        0.5,
        patience,
        monitor="value",
        mode="min",
        min_delta=min_delta,
        cooldown=cooldown,
        floor=floor,
    )
    np.testing.assert_allclose(rates_of(plateau, VALUES), expected, rtol=1e-12)
