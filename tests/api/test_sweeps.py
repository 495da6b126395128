"""fit_replicas with an executor, a result and a file: the same networks, elsewhere and later."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from compiling import ROOT

import fastfa as fa
from fastfa.replicas import tasks

X = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 60)


def build(seed=0, rule="dfa", lr=0.1, loss="softmax_cross_entropy"):
    layers = [fa.Dense(9, "tanh"), fa.Dense(3)]
    return fa.Sequential(
        layers, input_shape=6, rule=rule, loss=loss, optimizer=fa.SGD(lr), rng=seed
    )


def build_or_die(seed):
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return build(seed)


def final_loss(net, history):
    return {
        "final": history.history["loss"][-1],
        "norm": float(np.abs(net.parameters["0.weight"]).sum()),
    }


def fail_for_seed_1(net, history):
    if net.seed == 1:
        raise ArithmeticError("no result")
    return net.seed


def keep_object(net, history):
    return object()


def odd_for_seed_1(net, history):
    return {1j} if net.seed == 1 else net.seed


def stopping():
    return [fa.EarlyStopping(monitor="loss", patience=1, min_delta=1.0)]


class Odd(Exception):
    """An exception that cannot be made from its arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def build_odd(seed):
    raise Odd("this", seed)


SETTINGS = [{"seed": s, "rule": r} for r in ("backprop", "dfa") for s in range(4)]


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        yield executor


def alone(setting, epochs=2, **options):
    net = build(**setting)
    return net, net.fit(X, Y, epochs, verbose=False, **options)


def check(replicas, settings=SETTINGS):
    """The replicas are the networks of single runs, to the bit."""
    assert [replica.setting for replica in replicas] == settings
    for setting, net, history in replicas:
        expected, its_history = alone(setting)
        assert net._engine.state() == expected._engine.state()
        assert history.history["loss"] == its_history.history["loss"]
        assert net.n_threads == expected.n_threads


def by_threads():
    return ThreadPoolExecutor(2)


def by_forked_server():
    return ProcessPoolExecutor(2, multiprocessing.get_context("forkserver"))


def by_loky():
    from joblib.externals.loky import ProcessPoolExecutor as Loky

    return Loky(2)


@pytest.mark.parametrize("make", [by_threads, by_forked_server, by_loky])
def test_every_executor_trains_the_same_networks(make):
    with make() as executor:
        check(fa.fit_replicas(build, SETTINGS, X, Y, epochs=2, executor=executor, verbose=False))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask and its web server
def test_dask(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.upload_file(__file__)
        executor = client.get_executor()
        check(fa.fit_replicas(build, SETTINGS, X, Y, epochs=2, executor=executor, verbose=False))


@pytest.mark.slow
def test_mpi(tmp_path):
    pytest.importorskip("mpi4py.MPI", exc_type=ImportError)
    program = tmp_path / "sweep.py"
    program.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_sweeps as t, fastfa as fa\n"
        "from mpi4py.futures import MPIPoolExecutor\n"
        "if __name__ == '__main__':\n"
        "    with MPIPoolExecutor(2, path=[sys.argv[1]]) as pool:\n"
        "        r = fa.fit_replicas(t.build, t.SETTINGS, t.X, t.Y, epochs=2, executor=pool,"
        " verbose=False)\n"
        "        t.check(r)\n"
        "        print('checked', len(r))\n"
    )
    command = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "3"]
    command += [sys.executable, "-m", "mpi4py.futures", str(program), str(ROOT / "tests/api")]
    folders = os.pathsep.join([*sys.path, str(ROOT / "tests")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": folders},
    )  # fmt: skip
    assert "checked 8" in done.stdout, done.stdout + done.stderr


def test_settings_share_tasks_and_data_go_to_a_worker_once(pool, monkeypatch):
    sent = []
    submit = pool.submit

    def count(function, key, data, settings):
        sent.append(data is not None)
        return submit(function, key, data, settings)

    monkeypatch.setattr(pool, "submit", count)
    settings = [{"seed": s} for s in range(64)]
    replicas = fa.fit_replicas(build, settings, X, Y, executor=pool, verbose=False)
    assert len(replicas) == 64
    assert 16 <= len(sent) <= 20  # 4 settings a task; a task comes back where a worker has no data
    assert sent[:2] == [True, True]
    assert sum(sent) <= 2 + len(sent) - 16


def test_a_worker_without_data_asks_for_it(monkeypatch):
    """Also after newer calls have taken the place."""
    monkeypatch.setattr(tasks, "_plans", {})
    import pickle

    plan = tasks.Plan(build, tuple, X, Y, {"epochs": 1}, False, None)
    settings, data = pickle.dumps([(0, {"seed": 1})]), pickle.dumps(plan)
    assert tasks.train_task("a", None, settings) is None
    ((number, replica),), error = tasks.train_task("a", data, settings)
    assert (number, error) == (0, None)
    assert replica.net.steps == 2
    assert tasks.train_task("a", None, settings) is not None
    for key in "bc":
        tasks.train_task(key, data, settings)
    assert tasks.train_task("a", None, settings) is None


@pytest.mark.parametrize("on_error", ["raise", "record"])
def test_one_setting_diverges_in_a_worker(pool, on_error):
    settings = [{"seed": 0}, {"seed": 1, "lr": 1e15, "loss": "mse"}, {"seed": 2}]
    call = {"executor": pool, "epochs": 2, "verbose": False, "on_error": on_error}
    if on_error == "raise":
        with pytest.raises(FloatingPointError, match=r"settings\[1\], .*mse") as caught:
            fa.fit_replicas(build, settings, X, Y, **call)
        assert len(caught.value.replicas) == 3
        assert caught.value.replicas[1].error is caught.value
    else:
        replicas = fa.fit_replicas(build, settings, X, Y, **call)
        check([replicas[0], replicas[2]], [settings[0], settings[2]])
        assert isinstance(replicas[1].error, FloatingPointError)
        assert "settings[1]" in str(replicas[1].error)
        frame = replicas.to_frame()
        assert list(frame["seed"]) == [0, 1, 2]
        assert frame["error"].isna().tolist() == [True, False, True]


def test_an_error_that_cannot_travel_comes_as_text(pool):
    replicas = fa.fit_replicas(
        build_odd, [{"seed": 5}], X, Y, executor=pool, verbose=False, on_error="record"
    )
    assert isinstance(replicas[0].error, RuntimeError)
    assert str(replicas[0].error).endswith("this and 5")


def test_a_worker_that_dies_ends_the_sweep_and_the_file_has_the_rest(tmp_path):
    path, settings = tmp_path / "sweep.jsonl", [{"seed": s} for s in range(20)]
    call = {"epochs": 2, "path": path, "result": final_loss, "verbose": False}
    one = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with one as executor, pytest.raises(BrokenProcessPool):
        fa.fit_replicas(build_or_die, settings, X, Y, executor=executor, **call)
    kept = len(path.read_text().splitlines())
    assert kept < 20
    replicas = fa.fit_replicas(build, settings, X, Y, **call)
    assert len(path.read_text().splitlines()) == 20
    for replica in replicas:
        assert replica.result == final_loss(*alone(replica.setting))


def test_callbacks_run_in_the_workers(pool):
    replicas = fa.fit_replicas(
        build, SETTINGS[:2], X, Y, executor=pool, callbacks=stopping, epochs=9, verbose=False
    )
    assert [len(replica.history.epoch) for replica in replicas] == [2, 2]


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_a_result_replaces_the_network(pool, where):
    executor = pool if where == "processes" else None
    call = {"executor": executor, "epochs": 2, "verbose": False, "result": final_loss}
    replicas = fa.fit_replicas(build, SETTINGS, X, Y, **call)
    assert [replica.net for replica in replicas] == [None] * 8
    for replica in replicas:
        assert replica.result == final_loss(*alone(replica.setting))
    frame = replicas.to_frame()
    assert list(frame.columns[:3]) == ["seed", "rule", "epochs"]
    assert list(frame["final"]) == [replica.result["final"] for replica in replicas]


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_a_result_that_fails_is_the_error_of_its_setting(pool, where):
    executor = pool if where == "processes" else None
    call = {"executor": executor, "verbose": False, "result": fail_for_seed_1}
    replicas = fa.fit_replicas(
        build, [{"seed": s} for s in range(3)], X, Y, on_error="record", **call
    )
    assert [replica.result for replica in replicas] == [0, None, 2]
    assert "no result" in str(replicas[1].error)
    with pytest.raises(ArithmeticError, match=r"settings\[1\]"):
        fa.fit_replicas(build, [{"seed": s} for s in range(3)], X, Y, **call)


def test_few_networks_exist_at_a_time_where_only_results_are_kept():
    alive, most, lock = [], [], threading.Lock()

    class Counted(fa.Sequential):
        def __del__(self):
            with lock:
                alive.pop()

    def make(seed):
        net = Counted([fa.Dense(3)], input_shape=6, rng=seed)
        with lock:
            alive.append(1)
            most.append(len(alive))
        return net

    settings = [{"seed": s} for s in range(50)]
    fa.fit_replicas(
        make, settings, X, Y, n_workers=2, result=lambda net, history: net.seed, verbose=False
    )
    assert len(most) == 50
    assert max(most) <= 2 * 3 + 1


def test_build_must_make_new_networks_also_where_they_are_not_kept():
    net = build()
    with pytest.raises(ValueError, match=r"build\(\): expected a new network each time"):
        fa.fit_replicas(
            lambda seed: net, SETTINGS_OF_ONE, X, Y, result=lambda *_: 1, n_workers=1, verbose=False
        )


SETTINGS_OF_ONE = [{"seed": s} for s in range(9)]


# ---------------------------------------------------------------------------------------- the file


def test_a_sweep_goes_on_where_it_stopped(tmp_path):
    path, made = tmp_path / "sweep.jsonl", []

    def counting(**setting):
        made.append(setting)
        return build(**setting)

    call = {"epochs": 2, "path": path, "result": final_loss, "verbose": False}
    first = fa.fit_replicas(counting, SETTINGS[:3], X, Y, **call)
    assert made == SETTINGS[:3]
    made.clear()
    with open(path, "a") as file:
        file.write('{"setting": {"seed"')  # a process was killed here
    second = fa.fit_replicas(counting, SETTINGS, X, Y, **call)
    assert made == SETTINGS[3:]
    assert [r.result for r in second][:3] == [r.result for r in first]
    for replica in second:
        expected, history = alone(replica.setting)
        assert replica.result == final_loss(expected, history)
        assert replica.history.history["loss"] == history.history["loss"]
        assert replica.history.epoch == [1, 2]
    for change in ({"epochs": 3}, {"class_weight": {0: 2.0}}, {"validation_split": 0.25}):
        for expected in (SETTINGS, []):  # another training; and again
            made.clear()
            fa.fit_replicas(counting, SETTINGS, X, Y, **(call | change))
            assert made == expected


def test_equal_settings_are_as_many_networks(tmp_path):
    call = {"path": tmp_path / "a.jsonl", "result": final_loss, "verbose": False}
    settings = [{"seed": 0}] * 3
    fa.fit_replicas(build, settings[:2], X, Y, **call)
    fa.fit_replicas(build, settings, X, Y, **call)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3


def test_failed_networks_train_again(tmp_path):
    call = {"path": tmp_path / "a.jsonl", "verbose": False, "on_error": "record", "epochs": 2}
    settings = [{"seed": 0, "lr": 1e15, "loss": "mse"}, {"seed": 1}]
    for _ in range(2):
        replicas = fa.fit_replicas(build, settings, X, Y, **call)
        assert isinstance(replicas[0].error, FloatingPointError)
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(line)["setting"] == {"seed": 1}


def test_settings_with_objects_are_kept_as_text(tmp_path):
    settings = [
        {"rule": fa.DFA(inject="pre"), "seed": np.int64(1)},
        {"rule": fa.Ternary(threshold=0.5), "lr": np.float32(0.5)},
    ]
    call = {"path": tmp_path / "a.jsonl", "verbose": False}
    fa.fit_replicas(build, settings, X, Y, **call)
    again = fa.fit_replicas(build, settings, X, Y, **call)
    assert [replica.net for replica in again] == [None, None]
    assert again[0].setting is settings[0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"executor": 3}, TypeError, "executor: expected a concurrent.futures.Executor, got 3"),
        ({"n_workers": 2, "executor": ThreadPoolExecutor(1)}, ValueError,
         "n_workers: expected None with executor=, got 2"),
        ({"result": 3}, TypeError, "result: expected a function"),
        ({"path": "no/such/folder/a.jsonl"}, FileNotFoundError, "make it first"),
        ({"path": 3}, TypeError, "path: expected a str or a path"),
    ],
)  # fmt: skip
def test_wrong_arguments(change, error, words):
    with pytest.raises(error, match=words):
        fa.fit_replicas(build, SETTINGS, X, Y, **change)


def test_settings_and_results_that_a_file_cannot_hold(tmp_path):
    call = {"path": tmp_path / "a.jsonl", "verbose": False}
    for value in (object(), fa.DFA(feedback=fa.Feedback(np.ones((3, 9))))):
        with pytest.raises(TypeError, match=r"settings\[0\]: expected numbers, texts"):
            fa.fit_replicas(build, [{"rule": value}], X, Y, **call)
    with pytest.raises(TypeError, match="result: expected numbers, texts"):
        fa.fit_replicas(build, [{"seed": 1}], X, Y, result=keep_object, **call)
    (tmp_path / "a.jsonl").write_text("hello\n{}\n")
    with pytest.raises(ValueError, match=r"got line 1 of .*choose another file"):
        fa.fit_replicas(build, [{"seed": 1}], X, Y, **call)


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_a_result_that_a_file_cannot_hold_is_recorded_and_the_sweep_goes_on(tmp_path, where, pool):
    path, settings = tmp_path / "a.jsonl", [{"seed": s} for s in range(4)]
    replicas = fa.fit_replicas(
        build, settings, X, Y, result=odd_for_seed_1, path=path, on_error="record", verbose=False,
        executor=pool if where == "processes" else None,
    )  # fmt: skip
    assert [replica.error is None for replica in replicas] == [True, False, True, True]
    with pytest.raises(TypeError, match=r"settings\[1\], .*result: expected numbers, texts"):
        raise replicas[1].error
    assert replicas[1].result == {1j}
    kept = [json.loads(line)["setting"]["seed"] for line in path.read_text().splitlines()]
    assert sorted(kept) == [0, 2, 3]


@pytest.mark.parametrize("name", ["build", "callbacks", "result", "settings", "validation_data"])
def test_what_cannot_be_sent_is_named_before_anything_starts(pool, monkeypatch, name):
    monkeypatch.setattr(pool, "submit", None)
    arguments = {"build": build, "settings": SETTINGS[:2], "callbacks": tuple, "result": None}
    local = {"settings": [{"seed": 0}, {"seed": lambda: 1}], "validation_data": (X, lambda: Y)}
    arguments[name] = local.get(name, lambda *_, **__: None)
    words = {"settings": r"settings\[1\]", "validation_data": "validation_data"}.get(name, name)
    with pytest.raises(TypeError, match=f"{words}: expected an object that can be sent"):
        fa.fit_replicas(X=X, y=Y, executor=pool, verbose=False, **arguments)


def test_a_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        fa.Replicas().to_frame()


def mean_error(y, prediction):
    return float((prediction.argmax(1) != y).mean())


def test_workers_get_all_arguments_of_fit(pool):
    call = {
        "epochs": 2, "metrics": {"error": mean_error}, "class_weight": "balanced",
        "validation_split": 0.25, "train_metrics": True,
    }  # fmt: skip
    replicas = fa.fit_replicas(build, SETTINGS[:2], X, Y, executor=pool, verbose=False, **call)
    for setting, net, history in replicas:
        expected = build(**setting)
        own = expected.fit(X, Y, verbose=False, **call)
        assert net._engine.state() == expected._engine.state()
        assert history.history["val_error"] == own.history["val_error"]
        assert history.history["error"] == own.history["error"]
