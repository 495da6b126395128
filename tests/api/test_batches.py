"""`fit(batches=...)`: batches that come one by one, from a list, a generator, a loader."""

import gc
import io
import signal
import weakref

import numpy as np
import pytest
from small import AtStep, assert_same, copies, network, same_state, samples, shallow

import fastfa as fa
from fastfa._internal import progress

M, SIZE = 50, 16
X, Y = samples(M)
QUIET = {"verbose": False}
WEIGHTS = np.linspace(0.25, 2.0, M)


def cut(*arrays, size=SIZE):
    """The arrays in batches, as tuples."""
    return [tuple(each[start : start + size] for each in arrays) for start in range(0, M, size)]


def forever(batches):
    while True:
        yield from batches


class Loader:
    """Like a DataLoader: a new iterator in each epoch, lists instead of tuples, a length."""

    def __init__(self, batches):
        self.batches, self.started = batches, 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.started += 1
        return (list(batch) for batch in self.batches)


class Endless(Loader):
    """A loader of data without a length."""

    def __len__(self):
        raise TypeError("no length")


def without_time(history):
    return {key: values for key, values in history.history.items() if key != "time"}


# ---- the same training


@pytest.mark.parametrize("kind", ["list", "loader", "no length", "generator", "iterator once"])
def test_batches_train_as_the_arrays_that_they_are_cut_from(kind):
    given = {
        "list": lambda: cut(X, Y),
        "loader": lambda: Loader(cut(X, Y)),
        "no length": lambda: Endless(cut(X, Y)),
        "generator": lambda: forever(cut(X, Y)),
        "iterator once": lambda: iter(cut(X, Y)),
    }[kind]()
    epochs = 1 if kind == "iterator once" else 3
    steps = 4 if kind == "generator" else None
    one, other = network(), network()
    expected = one.fit(X, Y, epochs, SIZE, shuffle=False, **QUIET)
    found = other.fit(batches=given, epochs=epochs, steps_per_epoch=steps, **QUIET)
    assert same_state(one, other)
    assert without_time(found) == without_time(expected)
    assert found.epoch == expected.epoch == list(range(1, epochs + 1))
    assert (other.epochs, other.steps) == (epochs, 4 * epochs)


TARGETS = {
    "labels": ("softmax_cross_entropy", 3, Y),
    "rows": ("softmax_cross_entropy", 3, np.eye(3)[Y]),
    "binary": ("sigmoid_cross_entropy", 1, Y > 1),
    "values": ("mse", 1, X[:, 0]),
    "one-hot": ("mse", 3, Y),
}


@pytest.mark.parametrize("dtype", ["float64", "int16", "uint8", "float32"])
@pytest.mark.parametrize("targets", TARGETS)
def test_any_dtype_targets_and_weights(targets, dtype):
    loss, n_out, y = TARGETS[targets]
    x = (X * 50 + 100).astype(dtype)
    made = {"layers": [fa.Dense(5, "tanh"), fa.Dense(n_out)], "loss": loss, "dtype": "float64"}
    one, other = network(**made), network(**made)
    expected = one.fit(x, y, 2, SIZE, sample_weight=WEIGHTS, shuffle=False, **QUIET)
    found = other.fit(batches=cut(x, y, WEIGHTS), epochs=2, **QUIET)
    assert same_state(one, other)
    assert without_time(found) == without_time(expected)


def test_batches_of_any_size_weigh_by_their_rows():
    batches = [(X[:7], Y[:7]), (X[7:8], Y[7:8]), (X[8:], Y[8:])]
    one, other = shallow(), shallow()
    losses = [one.train_batch(*batch) for batch in batches]
    history = other.fit(batches=batches, **QUIET).history
    assert_same(copies(one), copies(other))
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[7, 1, M - 8]), rel=1e-14)]


def test_a_schedule_goes_by_the_steps():
    made = {"optimizer": fa.SGD(lambda step: 0.5 / (step + 1))}
    one, other = network(**made), network(**made)
    one.fit(X, Y, 2, SIZE, shuffle=False, **QUIET)
    history = other.fit(batches=cut(X, Y), epochs=2, **QUIET).history
    assert same_state(one, other)
    assert history["lr"] == [0.5 / 4, 0.5 / 8]


@pytest.mark.parametrize("name", ["Step", "Plateau"])
def test_schedules_by_the_epoch_and_by_the_logs(name):
    """Plateau goes by the loss of the epochs, which batches have too."""
    schedule = {
        "Step": lambda: fa.schedules.Step(0.1, 0.5, epochs=1),
        "Plateau": lambda: fa.schedules.Plateau(0.1, 0.5, 1, "loss", min_delta=10.0),
    }[name]()
    one, other = (network(optimizer=fa.SGD(schedule)) for _ in range(2))
    expected = one.fit(X, Y, 4, SIZE, shuffle=False, **QUIET).history["lr"]
    assert other.fit(batches=cut(X, Y), epochs=4, **QUIET).history["lr"] == expected
    assert len(set(expected)) > 1
    assert same_state(one, other)


def test_tables_name_their_columns():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=list("abcdef"))
    net = network()
    net.fit(batches=cut(table, Y), **QUIET)
    with pytest.raises(ValueError, match="columns"):
        net.predict(table[list("bacdef")])
    mixed = [*cut(table, Y), (table[list("bacdef")], Y)]
    with pytest.raises(ValueError, match=r"batch 5 of epoch 2: x: expected the columns"):
        net.fit(batches=mixed, **QUIET)


def test_a_data_loader_of_pytorch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=SIZE)
    one, other = network(), network()
    one.fit(X, Y, 2, SIZE, shuffle=False, **QUIET)
    other.fit(batches=loader, epochs=2, **QUIET)
    assert same_state(one, other)


# ---- epochs


def test_an_iterable_begins_again_in_each_epoch():
    loader = Loader(cut(X, Y))
    network().fit(batches=loader, epochs=3, **QUIET)
    assert loader.started == 3


def test_with_steps_per_epoch_the_next_epoch_goes_on():
    batches, seen = cut(X, Y), []
    loader = Loader(batches)
    watch = fa.Callback(on_epoch_end=lambda net, epoch, logs: seen.append(net.steps))
    one, other = network(), network()
    one.fit(batches=loader, epochs=3, steps_per_epoch=3, callbacks=[watch], **QUIET)
    for i in range(9):
        other.train_batch(*batches[i % 4])
    assert_same(copies(one), copies(other))
    assert seen == [3, 6, 9]
    assert loader.started == 3


def test_an_iterator_goes_on_in_the_next_fit():
    stream, one, other = forever(cut(X, Y)), network(), network()
    one.fit(batches=stream, epochs=2, steps_per_epoch=2, **QUIET)
    one.fit(batches=stream, steps_per_epoch=4, **QUIET)
    other.fit(batches=cut(X, Y), epochs=2, **QUIET)
    assert_same(copies(one), copies(other))


def test_no_epochs_take_nothing_from_an_iterator():
    stream = iter(cut(X, Y))
    history = network().fit(batches=stream, epochs=0, **QUIET)
    assert history.epoch == []
    assert len(list(stream)) == 4


def test_it_stops_and_the_iterator_goes_on_behind():
    stream, net = iter(cut(X, Y)), network()
    history = net.fit(batches=stream, callbacks=[AtStep(2, fa.Sequential.stop)], **QUIET)
    assert (net.steps, history.epoch) == (2, [])
    assert len(list(stream)) == 2
    whole = net.fit(
        batches=cut(X, Y), steps_per_epoch=2, callbacks=[AtStep(4, fa.Sequential.stop)], **QUIET
    )
    assert whole.epoch == [2]  # it was the last step of the epoch


@pytest.mark.parametrize("epochs", [1, 3])
def test_no_batch_is_kept(epochs):
    alive = weakref.WeakSet()
    most = [0]

    class Array(np.ndarray):
        """One that can be referred to weakly, as plain arrays cannot be put into sets."""

        __hash__ = object.__hash__

    class Made:
        def __iter__(self):
            for start in range(0, M, 5):
                x = X[start : start + 5].copy().view(Array)
                alive.add(x)
                most[0] = max(most[0], len(alive))
                yield x, Y[start : start + 5]
                del x

    network().fit(batches=Made(), epochs=epochs, **QUIET)
    gc.collect()
    assert most[0] <= 2  # the batch, and the next one while it is made
    assert not alive


# ---- validation, metrics, callbacks


def test_validation_metrics_callbacks_and_checkpoints(tmp_path):
    seen = []
    stop = fa.EarlyStopping("val_f1", patience=50)
    keep = fa.Checkpoint(tmp_path / "net")
    each = fa.Callback(on_batch_end=lambda net, step, logs: seen.append((step, set(logs))))
    given = {"validation_data": (X, Y), "metrics": ["f1"], **QUIET}
    one, other, resumed = network(), network(), network()
    expected = one.fit(X, Y, 4, SIZE, shuffle=False, **given)
    found = other.fit(batches=cut(X, Y), epochs=4, callbacks=[stop, keep, each], **given)
    assert without_time(found) == without_time(expected)
    assert seen == [(i + 1, {"loss", "accuracy"}) for i in range(16)]
    assert stop.best == max(found.history["val_f1"])
    resumed.fit(batches=cut(X, Y), epochs=2, callbacks=[keep], **QUIET)
    resumed = fa.load(tmp_path / "net")
    resumed.fit(batches=cut(X, Y), epochs=4 - resumed.epochs, **QUIET)
    assert same_state(resumed, one)


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_while_a_batch_is_made_leaves_the_steps_before():
    def stream():
        yield from cut(X, Y)[:2]
        signal.raise_signal(signal.SIGINT)

    net, other = network(), network()
    with pytest.raises(KeyboardInterrupt):
        net.fit(batches=stream(), **QUIET)
    for batch in cut(X, Y)[:2]:
        other.train_batch(*batch)
    assert_same(copies(net), copies(other))
    assert net.history.epoch == []
    net.fit(batches=cut(X, Y), **QUIET)


@pytest.mark.parametrize("kind", [Loader, Endless])
def test_the_bar_knows_the_steps_or_learns_them(kind, monkeypatch):
    totals = []

    class Bar(progress.Progress):
        def __exit__(self, *_):
            totals.append((start, self._bar.total, self._bar.n))
            super().__exit__(*_)

        def start(self):
            nonlocal start
            start = self._settings["total"]
            super().start()

    start = -1
    monkeypatch.setattr("fastfa._internal.training.Progress", Bar)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    network().fit(batches=kind(cut(X, Y)), epochs=3, verbose=True)
    assert totals == [(12 if kind is Loader else None, 12, 12)]


# ---- what is wrong


def changed(at, batch):
    batches = cut(X, Y)
    batches[at] = batch
    return batches


def nan_at(row, column):
    x = X[:SIZE].copy()
    x[row, column] = np.nan
    return x


WRONG = {
    "no tuple": (X[:3], TypeError, r"expected \(x, y\) or .*, got ndarray"),
    "one entry": ((X[:3],), TypeError, "got 1 entries"),
    "None": (None, TypeError, "got NoneType"),
    "width": ((X[:3, :2], Y[:3]), ValueError, r"x: expected shape \(m, 6\), got shape \(3, 2\)"),
    "length": ((X[:3], Y[:2]), ValueError, "y: expected one entry for each of the 3 rows of"),
    "no rows": ((X[:0], Y[:0]), ValueError, "x: expected .* with m >= 1"),
    "nan": ((nan_at(3, 4), Y[:SIZE]), ValueError, "x: expected finite .* at row 3, column 4"),
    "label": ((X[:3], Y[:3] + 3), ValueError, "y: expected integer labels from 0 to 2"),
    "weight": ((X[:2], Y[:2], [1, -1]), ValueError, "sample_weight: expected"),
    "text": (([["a"] * 6], [0]), TypeError, "x: expected real numbers"),
}


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_batch_is_named_and_the_steps_before_it_stay(kind, at):
    batch, error, words = WRONG[kind]
    net, other = network(), network()
    with pytest.raises(error, match=rf"batch {at + 1} of epoch 1: ?.*{words}"):
        net.fit(batches=changed(at, batch), **QUIET)
    for good in cut(X, Y)[:at]:
        other.train_batch(*good)
    assert_same(copies(net), copies(other))
    assert net.steps == at
    net.fit(batches=cut(X, Y), **QUIET)


def test_targets_that_change_their_kind_are_named():
    batches = [(X, Y), (X, np.eye(3)[Y])]
    with pytest.raises(ValueError, match=r"batch 2 of epoch 1: y: expected labels.*first batch"):
        network(loss="mse").fit(batches=batches, **QUIET)
    network().fit(batches=batches, **QUIET)  # both have the accuracy of softmax


def test_divergence_names_epoch_and_batch():
    net = network(optimizer=fa.SGD(1e30), loss="mse")
    batches = cut(X, np.eye(3, dtype=np.float32)[Y])
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch [234]\b"):
        net.fit(batches=batches, **QUIET)


def test_an_error_of_the_iterable_says_where():
    def stream():
        yield from cut(X, Y)[:2]
        raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk") as caught:
        network().fit(batches=stream(), **QUIET)
    assert caught.value.__notes__ == ["raised by batches= for batch 3 of epoch 1"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"batches": iter([])}, ValueError, "at least one batch in epoch 1, got none; an iterator"),
        ({"batches": []}, ValueError, "expected at least one batch in epoch 1, got none"),
        ({"batches": iter(cut(X, Y)), "epochs": 2}, ValueError, "give steps_per_epoch=, or"),
        (
            {"batches": iter(cut(X, Y)), "epochs": 2, "steps_per_epoch": 3},
            ValueError,
            "expected 3 batches for epoch 2, .*got 1; an iterator cannot start again",
        ),
        ({"batches": 3}, TypeError, r"batches: expected an iterable of \(x, y\)"),
        ({"batches": forever}, TypeError, "got forever; call it"),
        ({"batches": "ab"}, TypeError, "batches: expected an iterable"),
        ({"batches": (X, Y)}, TypeError, r"batch 1 .*arrays of all samples are for fit\(X, y\)"),
        ({"X": X}, TypeError, "X: expected None with batches="),
        ({"y": Y}, TypeError, "y: expected None with batches="),
        ({"sample_weight": WEIGHTS}, TypeError, "third entry of a batch"),
        ({"class_weight": "balanced"}, TypeError, "class_weight: expected None with batches="),
        ({"validation_split": 0.1}, TypeError, "validation_split: .*give validation_data"),
        ({"batch_size": 8}, TypeError, "batch_size: expected no value with batches="),
        ({"metrics": ["f1"]}, ValueError, "validation_data: expected some for metrics"),
        (
            {"metrics": ["f1"], "train_metrics": True, "validation_data": (X, Y)},
            ValueError,
            "train_metrics: expected None with batches=",
        ),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch: expected an integer >= 1"),
        ({"epochs": -1}, ValueError, "epochs: expected an integer >= 0"),
        ({"validation_data": (X[:, :2], Y)}, ValueError, r"validation_data\[0\]: expected shape"),
    ],
)
def test_what_is_refused(arguments, error, words):
    net = network()
    before = net.to_bytes()
    with pytest.raises(error, match=words):
        net.fit(**{"batches": cut(X, Y), **QUIET} | arguments)
    if "steps_per_epoch" not in arguments or arguments["steps_per_epoch"] == 0:
        assert net.to_bytes() == before
        assert net.history is None


def test_an_iterable_that_does_not_begin_again_says_so():
    class Used:
        def __init__(self):
            self.rest = iter(cut(X, Y))

        def __iter__(self):
            return (batch for batch in self.rest)

    with pytest.raises(ValueError, match=r"in epoch 2, got none; its __iter__ must return a new"):
        network().fit(batches=Used(), epochs=2, **QUIET)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "X: expected real numbers, got None; or give batches="),
        ({"X": X}, "y: expected real numbers, got None"),
        ({"X": X, "y": Y, "steps_per_epoch": 3}, "steps_per_epoch: expected None without batches="),
    ],
)
def test_arrays_or_batches(arguments, words):
    with pytest.raises(TypeError, match=words):
        network().fit(**arguments)
