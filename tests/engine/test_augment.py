"""Images that are shifted and flipped at random while they train: values, bits, ways in."""

import numpy as np
import pytest

import fastfa as fa
from fastfa.backends import reference
from fastfa.backends.reference.images import augmented

IMAGE = (6, 5, 2)
CASES = (
    fa.Augment(flip=True),
    fa.Augment(crop=1),
    fa.Augment(flip=True, crop=2),
    fa.Augment(flip=True, crop=4),  # an image may leave almost as a whole
)


def network(dtype="float32", rule="backprop", **changes):
    layers = [fa.Conv2D(4, 3, "tanh"), fa.Dropout(0.1), fa.Flatten(), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=IMAGE, dtype=dtype, rule=rule, rng=3, **changes)


def data(dtype="float32", m=21):
    rng = np.random.default_rng(1)
    if dtype == "uint8":
        return rng.integers(0, 256, (m, *IMAGE), np.uint8), rng.integers(0, 3, m)
    return rng.normal(size=(m, *IMAGE)).astype(dtype), rng.integers(0, 3, m)


def changed(net, x, augment):
    """The batch that the next step of a network sees, by the oracle."""
    rows = x.reshape(len(x), -1)
    pair = augment.flip, augment.crop
    return augmented(rows, IMAGE, pair, net.seed, net.steps).reshape(x.shape)


def assert_equal(net, other):
    for key, values in net.parameters.items():
        assert np.array_equal(values, other.parameters[key]), key


@pytest.mark.parametrize("augment", CASES, ids=repr)
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8"])
def test_steps_are_those_on_the_changed_images(augment, kind):
    """Bit for bit, since only copies are made."""
    (x, y), dtype = data(kind), "float64" if kind == "float64" else "float32"
    net, other = network(dtype), network(dtype)
    for _ in range(2):
        net.fit(x, y, epochs=1, batch_size=8, shuffle=False, augment=augment)
        for start in range(0, 21, 8):
            part = x[start : start + 8]
            other.train_batch(changed(other, part, augment), y[start : start + 8])
    assert_equal(net, other)


def test_the_oracle_trains_on_them_too():
    net, (x, y) = network("float64", rule="dfa"), data("float64")
    oracle = reference.Network(net._engine.description)
    pair = (True, 2)
    rows, order = x.reshape(21, -1), np.random.default_rng(2).permutation(21)
    for engine in (oracle, net._engine):
        engine.train_steps(rows, y, None, None, order, 8, 0, 3, augment=pair)
    for key, values in net.parameters.items():
        np.testing.assert_allclose(values, oracle.parameters[key], rtol=1e-9, atol=1e-12)


def test_every_shift_and_both_sides_occur():
    image = np.arange(1.0, 1 + 60).reshape(1, 60)
    many = augmented(np.repeat(image, 2000, axis=0), IMAGE, (True, 1), 5, 7)
    _, counts = np.unique(many, axis=0, return_counts=True)
    assert len(counts) == 18  # 3 x 3 shifts, flipped or not
    assert counts.min() > 2000 / 18 / 1.5
    assert counts.max() < 2000 / 18 * 1.5


def test_results_do_not_depend_on_threads_or_on_how_x_is_given():
    x, y = data(m=150)
    nets = []
    for n, given in ((1, x), (2, x), (3, x.reshape(150, -1)), (1, x.astype("f8"))):
        net = network(rule="dfa", n_threads=n)
        net.fit(given, y, epochs=2, batch_size=70, augment=CASES[2])
        nets.append(net)
    planes = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    first = fa.Sequential(
        nets[0].layers, input_shape=(2, 6, 5), rule="dfa", rng=3, data_format="channels_first"
    )
    first.fit(planes, y, epochs=2, batch_size=70, augment=CASES[2])
    for net in (*nets[1:], first):
        assert_equal(nets[0], net)


def test_other_ways_to_train_take_it_too(tmp_path):
    x, y = data()
    whole, resumed, parts = network(), network(), network()
    whole.fit(x, y, epochs=2, batch_size=8, shuffle=False, augment=CASES[2])
    resumed.fit(x, y, epochs=1, batch_size=8, shuffle=False, augment=CASES[2])
    resumed.save(tmp_path / "net.fa")
    resumed = fa.load(tmp_path / "net.fa")
    resumed.fit(x, y, epochs=1, batch_size=8, shuffle=False, augment=CASES[2])
    assert_equal(whole, resumed)
    batches = [(x[start : start + 8], y[start : start + 8]) for start in (0, 8, 16)]
    parts.fit(batches=batches, epochs=2, augment=CASES[2])
    assert_equal(whole, parts)


def test_replicas_take_it_and_their_file_knows_it(tmp_path):
    x, y = data()
    alone = network()
    alone.fit(x, y, epochs=2, batch_size=8, augment=CASES[2])
    how = {"epochs": 2, "batch_size": 8, "augment": CASES[2], "path": tmp_path / "runs.jsonl"}
    one = fa.fit_replicas(network, [{}], x, y, **how)
    assert_equal(alone, one[0].net)
    assert fa.fit_replicas(network, [{}], x, y, **how)[0].net is None  # it was in the file
    again = fa.fit_replicas(network, [{}], x, y, **(how | {"augment": CASES[0]}))
    assert again[0].net is not None


def test_samples_that_validate_stay_as_they_are():
    x, y = data()
    net = network(optimizer=fa.SGD(0.0))
    before = net.evaluate(x, y)["loss"]
    seen = []

    class Batches(fa.Callback):  # each step by itself
        def on_batch_end(self, net, step, logs):
            seen.append(logs["loss"])

    history = net.fit(
        x, y, epochs=1, validation_data=(x, y), augment=CASES[2], callbacks=[Batches()]
    )
    assert history.history["val_loss"] == [before]
    assert history.history["loss"] == seen
    assert history.history["loss"] != [before]
    net.fit(x, y, epochs=1, validation_split=0.3, augment=CASES[2])


def test_a_single_sample_is_changed_too():
    """Batches of 1 of a dense network under plain SGD, whose updates wait for the next sample."""
    layers = [fa.Flatten(), fa.Dense(5, "tanh"), fa.Dense(3)]
    nets = [
        fa.Sequential(layers, input_shape=IMAGE, rng=3, optimizer=fa.SGD(0.1)) for _ in range(2)
    ]
    x, y = data(m=7)
    nets[0].fit(x, y, epochs=1, batch_size=1, shuffle=False, augment=CASES[2])
    for i in range(7):
        nets[1].train_batch(changed(nets[1], x[i : i + 1], CASES[2]), y[i : i + 1])
    assert_equal(*nets)


def rows():
    return fa.Sequential([fa.Dense(3)], input_shape=60)


def sequences():
    layers = [fa.Conv2D(2, 3), fa.Flatten(), fa.Recurrent(3), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=IMAGE)


@pytest.mark.parametrize(
    ("make", "augment", "words"),
    [
        (network, True, r"augment: expected an Augment, such as .*, got True"),
        (rows, CASES[0], "augment: expected None for samples that are not images"),
        (sequences, CASES[0], "augment: expected None for sequences"),
        (network, fa.Augment(crop=5), r"augment: expected a crop below 5 for images of 6 x 5, got"),
    ],
)
def test_what_has_no_images_is_refused(make, augment, words):
    net = make()
    x, y = data()
    with pytest.raises((TypeError, ValueError), match=words):
        net.fit(x.reshape(21, -1), y, augment=augment)
    assert net.steps == 0


def test_sparse_images_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    net, (x, y) = network(), data()
    with pytest.raises(ValueError, match="crop, flip: expected samples that are images"):
        net.fit(sparse.csr_matrix(x.reshape(21, -1)), y, augment=CASES[0])
    assert net.steps == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "flip, crop: expected flip=True or a crop above 0"),
        ({"crop": -1}, "crop: expected an integer"),
        ({"flip": 1}, "flip: expected True or False"),
        ({"crop": 1.5}, "crop: expected an integer"),
        ({"flips": True}, 'did you mean "flip"'),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        fa.Augment(**arguments)
