"""Tables of other libraries: numbers, missing values, text, and columns by name."""

import copy
import decimal
import fractions
import importlib.util
import pickle

import numpy as np
import pandas as pd
import pytest
from small import refuses

import fastfa as fa

M, NAMES = 12, ["a", "b", "c"]
X = np.random.default_rng(0).integers(-8, 8, (M, 3)) / 4  # exact in every dtype tried here
Y = np.arange(M) % 2
ARROW = importlib.util.find_spec("pyarrow") is not None


def network(n_out=2, **options):
    return fa.Sequential([fa.Dense(4, "tanh"), fa.Dense(n_out)], input_shape=3, rng=0, **options)


def frame(values=X, dtype=None):
    return pd.DataFrame(values, columns=NAMES, dtype=dtype)


def trained(x, y=Y):
    net = network()
    net.fit(x, y, epochs=2, batch_size=4, verbose=False)
    return {key: value.copy() for key, value in net.parameters.items()}


def assert_trains_as(x, y, plain_x, plain_y):
    expected = trained(plain_x, plain_y)
    for key, value in trained(x, y).items():
        np.testing.assert_array_equal(value, expected[key])


class Columns:
    """A table as PyArrow shows one: names, and columns that speak __array__."""

    def __init__(self, table):
        self.column_names = list(table)
        self.columns = [Column(values) for values in table.values()]


class Column:
    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


class Series(Columns):
    """A table as Polars shows one."""

    def __init__(self, table):
        self.columns = list(table)
        self.parts = [Column(values) for values in table.values()]

    def get_columns(self):
        return self.parts


# ------------------------------------------------------------------------------- numbers and flags


@pytest.mark.parametrize(
    "convert",
    [
        lambda table: table.astype("Float64"),
        lambda table: table.astype("Float32"),
        lambda table: table.astype(object),
        lambda table: table.astype({"a": "Float32", "b": "float16"}),
        lambda table: table.astype(pd.SparseDtype(float)),
        lambda table: table.map(decimal.Decimal),
        lambda table: table.map(fractions.Fraction),
        lambda table: table.astype(object).to_numpy(),
        lambda table: table.to_numpy().tolist(),
        lambda table: table.set_axis(
            pd.MultiIndex.from_tuples([("u", 1), ("u", 2), ("v", 1)]), axis=1
        ),
        lambda table: table.set_axis(["a", "a", "a"], axis=1),
        lambda table: Columns(table.to_dict("list")),
        lambda table: Series(table.to_dict("list")),
        *([lambda table: table.astype("float[pyarrow]")] if ARROW else []),
        *([lambda table: table.astype({"a": "double[pyarrow]", "b": "Float64"})] if ARROW else []),
    ],
)
def test_columns_of_numbers_are_numbers(convert):
    assert_trains_as(convert(frame()), Y, X, Y)


@pytest.mark.parametrize("dtype", ["bool", "boolean", "Int8", "UInt16", "Int64", object])
def test_flags_and_integers_stand_beside_floats(dtype):
    flag = pd.Series(Y, dtype="bool").astype(dtype)
    mixed = frame().assign(b=flag)
    plain = X.copy()
    plain[:, 1] = Y
    assert_trains_as(mixed, Y, plain, Y)


def test_one_hot_columns_beside_numbers():
    colours = pd.get_dummies(pd.DataFrame({"size": X[:, 0], "colour": ["red", "blue"] * (M // 2)}))
    plain = np.column_stack([X[:, 0], Y == 1, Y == 0])
    assert_trains_as(colours, Y, plain, Y)


def test_bytes_beside_other_columns_are_no_pixels():
    whole = pd.DataFrame(
        {"a": Y.astype(np.uint8), "b": Y.astype(bool), "c": (3 * Y).astype(np.uint8)}
    )
    assert_trains_as(whole, Y, np.column_stack([Y, Y, 3 * Y]).astype(float), Y)


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(Y),
        pd.Series(Y, index=range(M, 0, -1)),
        pd.Series(Y, dtype="Int64"),
        pd.Series(Y, dtype="Int8"),
        pd.Series(Y, dtype="category"),
        pd.Series(Y).astype(object),
        pd.Series(Y == 1),
        pd.Series(Y == 1, dtype="boolean"),
        pd.Index(Y),
        pd.Categorical(Y),
        pd.array(Y, "Int64"),
        list(map(decimal.Decimal, Y.tolist())),
        Y.astype(object),
        Y.astype(np.longdouble),
        *([pd.Series(Y).astype("int64[pyarrow]")] if ARROW else []),
    ],
)
def test_labels_of_any_kind(labels):
    assert_trains_as(X, labels, X, Y)


def test_integers_beyond_64_bits_are_floats():
    huge = X.astype(object)
    huge[0, 0] = 10**25
    plain = X.copy()
    plain[0, 0] = 1e25
    np.testing.assert_array_equal(network().predict(huge), network().predict(plain))


def test_arrow_tables():
    if ARROW:
        import pyarrow as pa

        table = pa.table({"a": X[:, 0], "b": Y == 1, "c": Y})
        assert_trains_as(table, pa.array(Y), np.column_stack([X[:, 0], Y, Y]), Y)
        assert_trains_as(table, pa.array(Y == 1), np.column_stack([X[:, 0], Y, Y]), Y)


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["cat", "dog"])[Y],
        np.array([b"cat", b"dog"])[Y],
        np.array(["cat", "dog"], object)[Y],
        ["cat", "dog"] * (M // 2),
        pd.Series(["cat", "dog"])[Y],
        pd.Series(["cat", "dog"], dtype=object)[Y],
        pd.Series(["cat", "dog"], dtype="category")[Y],
        pd.Categorical(["cat", "dog"] * (M // 2)),
        pd.Series(["0", "1"])[Y],
        pd.Index(["cat", "dog"] * (M // 2)),
        Column(["cat", "dog"] * (M // 2)),
    ],
)
def test_text_labels_say_what_to_do(labels):
    fit = network().fit
    refuses(TypeError, lambda: fit(X, labels, verbose=False), "y: expected", "number the classes")
    net, data = network(), (X, labels)
    refuses(
        TypeError, lambda: net.fit(X, Y, validation_data=data, verbose=False), "number the classes"
    )
    assert net.steps == 0


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (["r", "g"] * (M // 2), ["got 'r' at row 0, column \"b\"", "get_dummies"]),
        (["1.5", "2"] * (M // 2), ["got '1.5' at row 0", 'column "b"', "float()"]),
        (pd.Categorical([1, 2] * (M // 2)), ['categories in column "b"', "get_dummies"]),
        (pd.date_range("2026-01-01", periods=M), ["datetime64", 'column "b"', "turn dates"]),
        (pd.to_timedelta(np.arange(M)), ["timedelta64", 'column "b"', "turn time spans"]),
        (X[:, 0] + 1j, ["complex128", "real and imaginary"]),
        ([[1, 2]] * M, ["got [1, 2] at row 0", 'column "b"']),
        ([X] * M, ["got <array 12x3> at row 0"]),
        (pd.period_range("2026", periods=M), ["got Period(", 'column "b"']),
    ],
)
def test_columns_that_are_no_numbers_are_named(column, words):
    table = frame().assign(b=pd.Series(column))
    refuses(TypeError, lambda: network().predict(table), "X: expected real numbers", *words)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("Float64", pd.NA),
        ("Int64", pd.NA),
        ("boolean", pd.NA),
        ("float64", np.nan),
        ("float32", None),
        (object, None),
        (object, pd.NA),
        (object, pd.NaT),
        (object, float("nan")),
        (object, decimal.Decimal("NaN")),
        *([("double[pyarrow]", None), ("bool[pyarrow]", None)] if ARROW else []),
    ],
)
def test_missing_values_are_named_by_row_and_column(dtype, value):
    column = pd.Series(Y).astype(dtype)
    column[3] = value
    table = frame().assign(b=column)
    for call in (lambda: network().predict(table), lambda: network().predict_one(table.iloc[3])):
        refuses(ValueError, call, "row ", 'column "b"', "leave those rows out")
    refuses(ValueError, lambda: network().predict(table), 'row 3, column "b"')
    refuses(ValueError, lambda: network().fit(X, column, verbose=False), "y: expected", "row 3")
    refuses(
        ValueError, lambda: network().fit(X, Y, sample_weight=column), "weight: expected", "row 3"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([[1, None, 2]] * M, object), ["missing values, got None at row 0, column 1"]),
        (np.full((M, 3), "1.5"), ["dtype <U3", "float()"]),
        (np.zeros(M, [("a", "f4"), ("b", "f4")]), ["structured_to_unstructured"]),
        (np.full((M, 3), 10**400, object), ["too large"]),
        (np.full((M, 3), np.timedelta64(1, "s"), object), ["got datetime.timedelta", "spans"]),
        (np.full((M, 3), np.complex64(1), object), ["got (1+0j)", "real and imaginary"]),
        (pd.DataFrame(index=range(M)), ["shape (m, 3), got shape (12, 0)"]),
    ],
)
def test_arrays_that_hold_no_numbers(value, words):
    refuses((TypeError, ValueError), lambda: network().predict(value), "X: expected", *words)


# ------------------------------------------------------------------------------- columns by name


@pytest.fixture
def net():
    net = network()
    net.fit(frame(), Y, epochs=2, batch_size=4, verbose=False)
    return net


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table[["c", "b", "a"]], ["in the order of training", "got ['c', 'b', 'a']",
                                        "X[['a', 'b', 'c']]"]),
        (lambda table: table[["a", "c"]], ["missing: ['b']"]),
        (lambda table: table.assign(d=1.0), ["not known: ['d']"]),
        (lambda table: table.rename(columns={"b": "B"}), ["missing: ['b']", "not known: ['B']"]),
        (lambda table: table[["a", "b", "b"]], ["missing: ['c']"]),
        (lambda table: table[["a", "b", "c", "a"]], ["got ['a', 'b', 'c', 'a']"]),
        (lambda table: Columns(table[["b", "a", "c"]].to_dict("list")), ["got ['b', 'a', 'c']"]),
        (lambda table: Series(table[["b", "a", "c"]].to_dict("list")), ["got ['b', 'a', 'c']"]),
    ],
)  # fmt: skip
def test_other_columns_are_an_error_in_every_call(net, change, words):
    other, before = change(frame()), net._engine.state()
    for call in (
        lambda: net.predict(other),
        lambda: net.evaluate(other, Y),
        lambda: net.fit(other, Y, verbose=False),
        lambda: net.learn_many(other, Y),
        lambda: net.fit(frame(), Y, validation_data=(other, Y), verbose=False),
    ):
        refuses(ValueError, call, *words[:1], "to_numpy()")
    refuses(ValueError, lambda: net.predict(other), "X: expected the columns", *words)
    for call in (net.train_batch, net.gradients, net.alignment):
        refuses(ValueError, lambda call=call: call(other, Y), "x: expected the columns")
    watch = fa.callbacks.Alignment(batch=(other, Y))
    refuses(
        ValueError, lambda: net.fit(X, Y, callbacks=[watch], verbose=False), "expected the columns"
    )
    assert net._engine.state() == before


def test_rows_of_tables_have_names_too(net):
    row = frame().iloc[0]
    np.testing.assert_array_equal(net.predict_one(row), net.predict(X[:1])[0])
    other = row[["b", "a", "c"]]
    refuses(ValueError, lambda: net.predict_one(other), "x: expected the columns", "['b', 'a'")
    refuses(ValueError, lambda: net.learn_one(other, 1), "x: expected the columns")
    net = network()
    net.learn_one(row, 1)
    refuses(ValueError, lambda: net.learn_one(other, 1), "x: expected the columns")
    refuses(ValueError, lambda: net.predict(frame()[["b", "a", "c"]]), "X: expected the columns")


def test_rows_of_targets_have_names_too():
    rows = pd.get_dummies(pd.Series(["cat", "dog"])[Y].tolist())
    net = network()
    net.fit(X, rows, validation_data=(X, rows), verbose=False)
    assert net.evaluate(X, rows)["accuracy"] == net.evaluate(X, Y)["accuracy"]
    refuses(ValueError, lambda: net.evaluate(X, rows[["dog", "cat"]]), "y: expected the columns")
    refuses(ValueError, lambda: net.learn_one(X[0], rows[["dog", "cat"]].iloc[0]), "y: expected")


def test_arrays_go_by_position(net):
    expected = net.predict(frame())
    for same in (X, X.tolist(), frame().to_numpy(), pd.DataFrame(X)):
        np.testing.assert_array_equal(net.predict(same), expected)
    net.fit(X, Y, verbose=False)
    refuses(ValueError, lambda: net.predict(frame()[["c", "b", "a"]]), "expected the columns")


def test_what_was_trained_on_arrays_takes_any_names():
    net = network()
    net.fit(X, Y, verbose=False)
    assert net.predict(frame()[["c", "b", "a"]]).shape == (M, 2)
    net.fit(frame(), Y, verbose=False)
    refuses(ValueError, lambda: net.predict(frame()[["c", "b", "a"]]), "expected the columns")


def test_numbers_of_columns_are_names_where_they_do_not_count():
    net = network()
    net.fit(pd.DataFrame(X), Y, verbose=False)
    refuses(ValueError, lambda: net.predict(pd.DataFrame(X)[[2, 1, 0]]), "got [2, 1, 0]")
    assert net.predict(frame()).shape == (M, 2)


def test_a_name_that_is_missing_is_a_name():
    table = pd.DataFrame(X, columns=["a", "b", np.nan])
    net = network()
    net.fit(table, Y, verbose=False)
    net.predict(pd.DataFrame(X, columns=["a", "b", float("nan")]))
    refuses(ValueError, lambda: net.predict(table.iloc[:, ::-1]), "expected the columns")


def test_a_training_that_was_refused_leaves_no_names():
    net = network()
    for call in (
        lambda: net.fit(frame(), Y, epochs=-1),
        lambda: net.fit(frame(), Y + 5),
        lambda: net.fit(frame(), Y, callbacks=[3]),
        lambda: net.train_batch(frame(), Y + 5),
    ):
        refuses((TypeError, ValueError), call)
    assert net.predict(frame()[["c", "b", "a"]]).shape == (M, 2)


def test_names_go_where_the_network_goes(net, tmp_path):
    net.save(tmp_path / "net")
    for same in (
        copy.copy(net),
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        fa.load(tmp_path / "net"),
    ):
        np.testing.assert_array_equal(same.predict(frame()), net.predict(X))
        refuses(
            ValueError,
            lambda same=same: same.predict(frame()[["c", "b", "a"]]),
            "expected the columns",
        )
    net.reset()
    assert net.predict(frame()[["c", "b", "a"]]).shape == (M, 2)
    net.save(tmp_path / "net")
    assert fa.load(tmp_path / "net").predict(frame()[["c", "b", "a"]]).shape == (M, 2)


def test_names_that_are_too_long_for_a_file_stay_out_of_it(tmp_path):
    net = network()
    net.fit(pd.DataFrame(X, columns=["a" * 600_000, "b" * 600_000, "c"]), Y, verbose=False)
    net.save(tmp_path / "net")
    assert fa.load(tmp_path / "net").predict(frame()).shape == (M, 2)


def test_the_note_of_somebody_else_stays(net, tmp_path):
    net._engine.note = "from C"
    net.save(tmp_path / "net")
    assert fa.load(tmp_path / "net")._engine.note == "from C"


@pytest.mark.parametrize("note", ["[1]", '{"columns": 3}', '[["a"], [[]]]', '[{"a": 1}, null]'])
def test_a_note_with_odd_names_is_read_without_them(net, note, tmp_path):
    net._engine.note = f'{{"fastfa": {{"columns": {note}}}}}'
    (tmp_path / "net").write_bytes(net._engine.dumps())
    assert fa.load(tmp_path / "net")._validator.columns.y is None


def test_replicas_know_the_names():
    replicas = fa.fit_replicas(
        lambda seed: network(), [{"seed": 0}, {"seed": 1}], frame(), Y, verbose=False
    )
    for replica in replicas:
        net = replica.net
        refuses(
            ValueError,
            lambda net=net: net.predict(frame()[["c", "b", "a"]]),
            "expected the columns",
        )
