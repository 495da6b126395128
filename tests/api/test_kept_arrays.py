"""Arrays that outlive what they came from: those shown to rules, and those of networks."""

import copy
import gc
import threading

import numpy as np
import pytest
from processes import run_python
from small import N_IN, network, samples

import fastfa as fa

X, Y = samples(40)
LAYERS = [fa.Dense(8, "tanh"), fa.Dense(5, "relu"), fa.Dense(3)]


class Keeping(fa.Rule):
    """DFA that hands each step to a function and keeps what comes back."""

    feedback = fa.Feedback()

    def __init__(self, take):
        object.__setattr__(self, "take", take)
        object.__setattr__(self, "kept", [])

    def signal(self, ctx):
        self.kept.append(self.take(ctx))
        return ctx.product(ctx.error, ctx.feedback)


def fill_memory():
    """Write into whatever was freed."""
    return [np.full(size, np.nan) for size in (10, 100, 1000, 10_000) for _ in range(200)]


def closure(ctx):
    error = ctx.error
    return lambda: error


def generator(ctx):
    error = ctx.error
    numbers = (error for _ in range(1))
    return lambda: next(numbers)


WAYS = {
    "the array": lambda ctx: ctx.error,
    "a slice": lambda ctx: ctx.error[::2, 1:],
    "a view of another dtype": lambda ctx: ctx.error.view(np.uint32),
    "a memoryview": lambda ctx: memoryview(ctx.error),
    "by the buffer protocol": lambda ctx: np.frombuffer(ctx.error, np.float32),
    "by DLPack": lambda ctx: np.from_dlpack(ctx.error),
    "a closure": closure,
    "a generator": generator,
    "the inputs": lambda ctx: ctx.inputs,
    "an output": lambda ctx: ctx.activations[0],
    "all outputs": lambda ctx: dict(ctx.activations),
    "the labels": lambda ctx: ctx.labels,
    "the feedback": lambda ctx: ctx.feedback,
    "the parameters": lambda ctx: dict(ctx.parameters),
    "a product": lambda ctx: ctx.product(ctx.error, np.ones((3, 2))),
}


def values(kept):
    kept = kept() if callable(kept) else kept
    if isinstance(kept, dict):
        return np.concatenate([np.ravel(value) for value in kept.values()])
    return np.array(kept)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_rule_keeps_stays_as_it_was(way):
    rule, take = Keeping(WAYS[way]), WAYS[way]
    at_once = Keeping(lambda ctx: values(take(ctx)))
    for each in (rule, at_once):
        net = fa.Sequential(LAYERS, input_shape=N_IN, rule=each, optimizer=fa.SGD(0.0), rng=1)
        x = X.copy()  # the engine reads it in place
        net.train_batch(x, Y)
        net.train_batch(np.tile(X, (50, 1)), np.tile(Y, 50))  # a larger workspace takes its place
        x.fill(np.nan)
        del net, x
        gc.collect()
    filled = fill_memory()
    assert len(rule.kept) == len(at_once.kept) == 4
    for kept, then in zip(rule.kept, at_once.kept, strict=True):
        np.testing.assert_array_equal(values(kept), then)
    del filled


def test_targets_are_kept_too():
    rule = Keeping(lambda ctx: (ctx.target, ctx.labels))
    net = fa.Sequential(LAYERS, input_shape=N_IN, rule=rule, loss="mse", rng=1)
    y = np.linspace(0, 1, 120, dtype=np.float32).reshape(40, 3)
    then = y.copy()
    net.train_batch(X, y)
    y.fill(np.nan)
    for target, labels in rule.kept:
        np.testing.assert_array_equal(target, then)
        assert labels is None


def test_an_array_that_is_kept_is_nobody_elses():
    """Two steps, two layers: four errors, of which none is written into again."""
    rule = Keeping(lambda ctx: ctx.error)
    net = fa.Sequential(LAYERS, input_shape=N_IN, rule=rule, rng=1)
    for _ in range(2):
        net.train_batch(X, Y)
    of_first, again, of_second, _ = rule.kept
    np.testing.assert_array_equal(of_first, again)
    assert not np.shares_memory(of_first, again)
    assert (of_first != of_second).any()
    assert not of_first.flags.writeable


def test_one_field_is_one_array():
    rule = Keeping(lambda ctx: (ctx.error is ctx.error, ctx.activations[1] is ctx.activations[1]))
    fa.Sequential(LAYERS, input_shape=N_IN, rule=rule, rng=1).train_batch(X, Y)
    assert rule.kept == [(True, True)] * 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda ctx: ctx.error,
        lambda ctx: ctx.labels,
        lambda ctx: ctx.target,
        lambda ctx: ctx.inputs,
        lambda ctx: ctx.activations[0],
        lambda ctx: list(ctx.activations.values()),
        lambda ctx: copy.copy(ctx).inputs,
    ],
)
def test_what_is_asked_for_after_the_step_is_an_error(ask):
    rule = Keeping(lambda ctx: ctx)
    net = fa.Sequential(LAYERS, input_shape=N_IN, rule=rule, rng=1)
    net.train_batch(X, Y)
    ctx = rule.kept[1]
    vars(ctx).pop("error")  # `signal` has asked for it
    with pytest.raises(RuntimeError, match="ctx: its step is over; take the arrays that you need"):
        ask(ctx)
    assert list(ctx.activations) == [0, 1, 2]
    assert ctx.step == 0


def test_a_field_asked_for_in_time_stays():
    rule = Keeping(lambda ctx: ctx.inputs is None or ctx)
    fa.Sequential(LAYERS, input_shape=N_IN, rule=rule, rng=1).train_batch(X, Y)
    np.testing.assert_array_equal(rule.kept[0].inputs, X)


def test_an_exception_holds_what_its_traceback_shows():
    def fail(ctx):
        error, inputs = ctx.error, ctx.inputs[3:]
        raise ZeroDivisionError(error.shape, inputs.shape)

    net = fa.Sequential(LAYERS, input_shape=N_IN, rule=Keeping(fail), rng=1)
    x = X.copy()
    with pytest.raises(ZeroDivisionError) as caught:
        net.fit(x, Y, verbose=False)
    del net, x
    gc.collect()
    filled = fill_memory()
    shown = caught.value.__traceback__
    while shown.tb_next:
        shown = shown.tb_next
    assert np.isfinite(shown.tb_frame.f_locals["inputs"]).all()
    assert abs(shown.tb_frame.f_locals["error"]).max() <= 1
    with pytest.raises(RuntimeError, match="its step is over"):
        _ = shown.tb_frame.f_locals["ctx"].labels
    del filled


def test_a_thread_may_go_on_with_what_it_was_given():
    """It reads while later steps run, then asks for more than it was given."""
    go_on, seen, errors = threading.Event(), [], []

    def work(ctx, error):
        assert go_on.wait(60)
        seen.append(error.copy())
        try:
            seen.append(ctx.activations[0])
        except RuntimeError as late:
            errors.append(late)

    def start(ctx):
        thread = threading.Thread(target=work, args=(ctx, ctx.error))
        thread.start()
        return thread, ctx.error.copy()

    rule = Keeping(start)
    net = fa.Sequential(LAYERS, input_shape=N_IN, rule=rule, rng=1)
    net.fit(X, Y, 3, 40, verbose=False)
    del net
    go_on.set()
    for thread, _ in rule.kept:
        thread.join()
    assert len(seen) == len(errors) == 6
    expected = sorted(error.tobytes() for _, error in rule.kept)
    assert sorted(error.tobytes() for error in seen) == expected


def test_threads_that_ask_at_any_moment_get_the_array_or_an_error():
    stop, wrong = threading.Event(), []
    rule = Keeping(lambda ctx: ctx)

    def ask():
        while not stop.is_set():
            for ctx in rule.kept[-2:]:
                vars(ctx).pop("inputs", None)
                try:
                    if not np.array_equal(ctx.inputs, X):
                        wrong.append(ctx)
                except RuntimeError:
                    pass

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    net = fa.Sequential(LAYERS, input_shape=N_IN, rule=rule, rng=1)
    net.fit(X, Y, 200, 40, shuffle=False, verbose=False)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_errors_of_rules_reach_the_thread_whose_they_are():
    """Gradients only read, so that two threads are in the rule at once."""
    both, found = threading.Barrier(2, timeout=60), {}

    def fail(ctx):
        both.wait()
        raise ZeroDivisionError(threading.current_thread().name)

    net = fa.Sequential(LAYERS, input_shape=N_IN, rule=Keeping(fail), rng=1)

    def call():
        try:
            net.gradients(X, Y)
        except ZeroDivisionError as error:
            found[threading.current_thread().name] = str(error)

    threads = [threading.Thread(target=call, name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"one": "one", "two": "two"}


def test_the_mapping_of_parameters_is_not_the_rules_to_change():
    def change(ctx):
        with pytest.raises(TypeError):
            ctx.parameters["0.weight"] = np.zeros(3)

    fa.Sequential(LAYERS, input_shape=N_IN, rule=Keeping(change), rng=1).train_batch(X, Y)


# ---- arrays of a network


@pytest.mark.parametrize("rule", ["kp", "local", "ldfa", "backprop"])
def test_arrays_of_a_network_outlive_it(rule):
    net = network(rule=rule)
    net.fit(X, Y, verbose=False)
    parameters, feedback = net.parameters, net.feedback
    taken = {**parameters, **feedback}
    views = [memoryview(array) for array in taken.values()]
    results = [net.predict(X), net.predict_one(X[0]), *net.gradients(X, Y).values()]
    results += [net._engine.state(), net.alignment(X, Y)]
    then = [np.array(array) for array in (*taken.values(), *results[:-2])]
    state = net.__getstate__()
    net.__setstate__(state)  # another engine takes the place of the one that the arrays are of
    net.fit(X, Y, verbose=False)
    del net
    gc.collect()
    filled = fill_memory()
    for array, was in zip((*taken.values(), *results[:-2]), then, strict=True):
        np.testing.assert_array_equal(array, was)
    for view, was in zip(views, then, strict=False):
        np.testing.assert_array_equal(view, was)
    assert {**parameters, **feedback}.keys() == taken.keys()
    del filled


def test_arrays_stay_those_of_the_network_through_reset_and_restore():
    net = network()
    weight, state = net.parameters["0.weight"], net._engine.state()
    start = weight.copy()
    net.fit(X, Y, verbose=False)
    assert (weight != start).any()
    net.reset()
    np.testing.assert_array_equal(weight, start)
    net._engine.restore(state)
    assert net.parameters["0.weight"] is weight


def test_nothing_of_this_reads_freed_memory():
    """In a process whose freed memory is overwritten at once."""
    script = """
import gc, numpy as np, fastfa as fa
class Keep(fa.Rule):
    def signal(self, ctx):
        kept.append((ctx.error, ctx.inputs[1:], memoryview(ctx.activations[0]), ctx.labels))
        return ctx.error @ np.ones((3, ctx.units), np.float32)
kept = []
net = fa.Sequential([fa.Dense(8, "tanh"), fa.Dense(3)], input_shape=6, rule=Keep(), rng=0)
for rows in (30, 3000, 30000):
    net.train_batch(np.ones((rows, 6), np.float32), np.arange(rows) % 3)
weight = net.parameters["0.weight"]
del net
gc.collect()
total = weight.sum() + sum(np.asarray(array).sum() for step in kept for array in step)
print(np.isfinite(total))
"""
    assert run_python(script, MALLOC_PERTURB_="165") == "True"
