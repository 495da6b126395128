"""Saving and loading: the same bits go on, the same network comes back, whatever carries them."""

import ast
import copy
import io
import json
import os
import pickle
import re
import struct
from pathlib import Path

import joblib
import numpy as np
import pytest
from processes import run_python
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small import assert_same, copies, same_state

import fastfa as fa
from fastfa import optimizers
from fastfa.rules import RULES

X, Y, X_TEST, _ = fa.datasets.load("digits")
X, Y = X[:300], Y[:300]
FEEDBACK_VALUES = np.linspace(-1, 1, 10 * 24).reshape(10, 24)

OPTIMIZERS = {name: optimizer(1e-2) for name, optimizer in optimizers.OPTIMIZERS.items()} | {
    "sgd": fa.SGD(0.1),
    "momentum": fa.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-3, clip_norm=1.0),
    "rmsprop": fa.RMSprop(0.01, momentum=0.5),
    "adam": fa.Adam(0.01, decay_bias=False),
    "adamw": fa.AdamW(0.01, weight_decay=0.1),
}


class Half(fa.Rule):
    """S_l = e B_l / 2, in Python."""

    feedback = fa.Feedback("normal")

    def signal(self, ctx):
        return ctx.product(ctx.error, ctx.feedback) / 2


class Third(Half):
    def signal(self, ctx):
        return ctx.product(ctx.error, ctx.feedback) / 3


def falling(step):
    return 0.1 / (1 + step / 10)


def build(rule="dfa", optimizer="momentum", dtype="float32", **changes):
    layers = [fa.Dense(24, "tanh"), fa.Dropout(0.2), fa.Dense(24, "tanh"), fa.Dense(10)]
    settings = {"input_shape": 64, "rule": rule, "dtype": dtype, "rng": 3, **changes}
    return fa.Sequential(layers, optimizer=OPTIMIZERS.get(optimizer, optimizer), **settings)


def train(net, epochs=1):
    net.fit(X, Y, epochs=epochs, batch_size=32, verbose=False)
    return net


def check_same(a, b, more=True):
    """The same network, now and after more training."""
    assert a.summary() == b.summary()
    assert repr(a) == repr(b)
    assert same_state(a, b)
    assert np.array_equal(a.predict(X_TEST), b.predict(X_TEST))
    if more:
        assert same_state(train(a), train(b))


# ------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", RULES)
def test_saved_loaded_and_continued_is_the_uninterrupted_run(tmp_path, rule, optimizer, dtype):
    whole = train(build(rule, optimizer, dtype), epochs=3)
    net = train(build(rule, optimizer, dtype), epochs=2)
    net.save(tmp_path / "net.safetensors")
    loaded = fa.load(tmp_path / "net.safetensors")
    check_same(net, loaded, more=False)
    assert (loaded.steps, loaded.epochs) == (net.steps, net.epochs) == (20, 2)
    train(loaded)
    assert same_state(loaded, whole)
    loaded.reset()
    assert same_state(loaded, build(rule, optimizer, dtype))


NETWORKS = {
    "plain": lambda: build(),
    "one layer": lambda: fa.Sequential([fa.Dense(10)], input_shape=64, rng=0),
    "given values": lambda: fa.Sequential(
        [
            fa.Dense(24, "relu", weight_init=np.linspace(-1, 1, 64 * 24).reshape(64, 24)),
            fa.Dense(24, "relu", bias_init=np.linspace(0, 0.1, 24), weight_init="he_normal"),
            fa.Dense(10, weight_init=fa.Init("normal", 0.01), use_bias=False),
        ],
        input_shape=64,
        rule=fa.DFA(fa.Feedback(FEEDBACK_VALUES, scale=0.5), inject="pre"),
        rng=2**64 - 1,
        input_scale=0.125,
        n_threads=3,
    ),
    "rules of layers": lambda: fa.Sequential(
        [
            fa.Dense(24, "tanh", rule=fa.DKP(fa.Feedback("sign"), decay=0.01, lr_scale=0.3)),
            fa.Dense(24, "gelu", rule=fa.LDFA(rank=3), lr_scale=0.5, bias_lr_scale=2.0),
            fa.Dense(24, "tanh", rule="frozen"),
            fa.Dense(24, "softplus", rule=fa.FA(fa.Feedback("orthogonal")), trainable=False),
            fa.Dense(10),
        ],
        input_shape=(64,),
        rule=fa.DRTP(fa.Feedback("ternary", sparsity=0.3, shared=True)),
        rng=np.random.default_rng(5),
    ),
    "feedback from a function": lambda: build(
        fa.DFA(fa.Feedback(lambda n_source, n_l: np.eye(n_source, n_l)))
    ),
    "explicit defaults": lambda: fa.Sequential(
        [
            fa.Dense(24, "relu", weight_init="he_uniform"),
            fa.Dense(10, weight_init=fa.Init("zeros")),
        ],
        input_shape=64,
        rule=fa.USF(scale=2.0),
        rng=0,
    ),
    "low rank": lambda: build(fa.FA(fa.Feedback("normal", scale=3, rank=4))),
    "pepita": lambda: build(fa.PEPITA()),
    "lr written": lambda: _with_lr(build(), 0.03),
    "regression": lambda: fa.Sequential(
        [fa.Dense(24, "sigmoid"), fa.Dense(10)], input_shape=64, loss="mse", rng=0
    ),
}


def _with_lr(net, lr):
    net.lr = lr
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_network_comes_back(tmp_path, name):
    net = train(NETWORKS[name]())
    net.save(tmp_path / "net")
    loaded = fa.load(tmp_path / "net")
    check_same(net, loaded)
    assert loaded.seed == net.seed
    assert loaded._engine.dumps() == net._engine.dumps()
    net.reset()
    loaded.reset()
    check_same(net, loaded)


@pytest.mark.parametrize("rule", RULES)
def test_rule_prints_as_it_did(rule):
    net = build(rule)
    assert repr(copy.copy(net).rule) == repr(net.rule)


def test_loaded_views_are_live_and_its_own(tmp_path):
    net = build()
    net.save(tmp_path / "net")
    loaded = fa.load(tmp_path / "net")
    loaded.parameters["0.weight"][...] = 0
    loaded.feedback["0.feedback"] = np.zeros_like(net.feedback["0.feedback"])
    assert net.parameters["0.weight"].any()
    assert net.feedback["0.feedback"].any()
    assert not fa.load(tmp_path / "net").parameters["0.bias"].any()
    assert not loaded.parameters["0.weight"].any()
    assert not loaded.feedback["0.feedback"].any()


def test_from_a_callback_in_the_middle_of_an_epoch(tmp_path):
    class Save(fa.Callback):
        def on_batch_end(self, net, step, logs):
            if step == 7:
                net.save(tmp_path / "net")
                self.state = net._engine.state()

    save = Save()
    build().fit(X, Y, epochs=1, callbacks=[save], verbose=False)
    loaded = fa.load(tmp_path / "net")
    assert loaded.steps == 7
    assert loaded._engine.state() == save.state


# ------------------------------------------------------------------------- what a file cannot hold


def test_rule_written_in_python(tmp_path):
    net = train(build(Half()))
    net.save(tmp_path / "net")
    with pytest.raises(
        ValueError,
        match=r"net: rule: expected an object of the class Half, got None; .* a file cannot hold",
    ):
        fa.load(tmp_path / "net")
    with pytest.raises(TypeError, match=r"rule: expected an object of the class Half, got 'dfa'"):
        fa.load(tmp_path / "net", rule="dfa")
    with pytest.raises(ValueError, match=r"an object of the class Half, got .*Third"):
        fa.load(tmp_path / "net", rule=Third())
    check_same(net, fa.load(tmp_path / "net", rule=Half()))


def test_rules_written_in_python_in_layers(tmp_path):
    layers = [fa.Dense(24, "tanh", rule=Third()), fa.Dense(24, "tanh"), fa.Dense(10)]
    net = train(fa.Sequential(layers, input_shape=64, rule=Half(), rng=0))
    net.save(tmp_path / "net")
    rules = {"Half": Half(), "Third": Third()}
    loaded = fa.load(tmp_path / "net", rule=rules)
    assert loaded.layers[0].rule is rules["Third"]
    assert loaded.rule is rules["Half"]
    check_same(net, loaded)
    with pytest.raises(ValueError, match="Third"):
        fa.load(tmp_path / "net", rule={"Half": Half()})


def test_learning_rate_from_a_function(tmp_path):
    net = train(build(optimizer=fa.SGD(falling)))
    net.save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"lr: expected the function falling, got None"):
        fa.load(tmp_path / "net")
    with pytest.raises(TypeError, match=r"lr: expected a function lr\(step\)"):
        fa.load(tmp_path / "net", lr=0.1)
    loaded = fa.load(tmp_path / "net", lr=falling)
    assert loaded.optimizer.lr is falling
    assert loaded.lr == net.lr == falling(10)
    check_same(net, loaded)


def test_function_that_was_replaced_by_a_number_comes_back_with_reset(tmp_path):
    net = train(build(optimizer=fa.SGD(falling)))
    net.lr = 0.5
    net.save(tmp_path / "net")
    loaded = fa.load(tmp_path / "net", lr=falling)
    assert loaded.lr == 0.5
    check_same(net, loaded)
    loaded.reset()
    assert loaded.lr == falling(0)


def test_what_was_not_asked_for_is_refused(tmp_path):
    build().save(tmp_path / "net")
    with pytest.raises(
        ValueError,
        match=r"rule: expected none, got .*no rule of the file is in Python, so give none",
    ):
        fa.load(tmp_path / "net", rule=Half())
    with pytest.raises(ValueError, match=r"lr: expected none, got .*its rate is a number"):
        fa.load(tmp_path / "net", lr=falling)


# ----------------------------------------------------------------------------- pickle, copy, joblib


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    net = train(build())
    check_same(net, pickle.loads(pickle.dumps(net, protocol)))


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copies_go_their_own_way(how):
    net = train(build(Half(), fa.SGD(falling)))
    other = how(net)
    check_same(net, other)
    state = net._engine.state()
    train(other)
    assert net._engine.state() == state
    assert not np.shares_memory(net.parameters["0.weight"], other.parameters["0.weight"])


def test_pickle_holds_rules_and_functions():
    net = train(build(Half(), fa.SGD(falling)))
    check_same(net, pickle.loads(pickle.dumps(net)))


class Share(Half):
    def __init__(self, share):
        vars(self)["share"] = share

    def signal(self, ctx):
        return self.share * ctx.product(ctx.error, ctx.feedback)


def test_pickle_keeps_apart_rules_of_one_class():
    layers = [fa.Dense(24, "tanh", rule=Share(0.25)), fa.Dense(24, "tanh"), fa.Dense(10)]
    net = train(fa.Sequential(layers, input_shape=64, rule=Share(4.0), rng=3))
    other = pickle.loads(pickle.dumps(net))
    assert (other.layers[0].rule.share, other.rule.share) == (0.25, 4.0)
    assert same_state(train(net), train(other))


def test_load_takes_rules_of_one_class_by_layer(tmp_path):
    layers = [fa.Dense(24, "tanh", rule=Share(0.25)), fa.Dense(24, "tanh"), fa.Dense(10)]
    net = train(fa.Sequential(layers, input_shape=64, rule=Share(4.0), rng=3))
    net.save(tmp_path / "net")
    other = fa.load(tmp_path / "net", rule={0: Share(0.25), -1: Share(4.0)})
    assert same_state(train(net), train(other))


class Named(fa.Sequential):
    """A subclass with arguments and attributes of its own."""

    def __init__(self, name):
        self.name = name
        super().__init__([fa.Dense(10)], input_shape=64, rng=0)
        self.tags = ["new"]


def test_subclasses_keep_class_and_attributes():
    net = Named("a")
    net.tags.append("old")
    other = copy.deepcopy(net)
    assert type(other) is Named
    assert (other.name, other.tags) == ("a", ["new", "old"])
    assert other.tags is not net.tags
    assert copy.copy(net).tags is net.tags
    check_same(net, other)
    assert vars(build()).keys() == fa.sequential.OWN


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib(backend):
    nets = [train(build(rng=seed)) for seed in range(2)]
    with joblib.parallel_config(backend=backend, n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(net.predict)(X_TEST) for net in nets)
    for net, output in zip(nets, found, strict=True):
        assert np.array_equal(net.predict(X_TEST), output)


def test_joblib_dump(tmp_path):
    net = train(build())
    joblib.dump(net, tmp_path / "net.joblib")
    check_same(net, joblib.load(tmp_path / "net.joblib"))


# ------------------------------------------------------------------------------- the bytes


def test_safetensors_reads_it(tmp_path):
    net = train(build("dfa", "adam", "float64"))
    net.save(tmp_path / "net")
    tensors = load_file(tmp_path / "net")
    kept = {**net.parameters, **net.feedback}
    for key, slots in net._engine.slots.items():
        kept |= {f"{key}.slot{i}": slot for i, slot in enumerate(slots)}
    assert tensors.keys() == kept.keys()
    assert all(np.array_equal(tensors[key], kept[key]) for key in kept)
    with safe_open(tmp_path / "net", "np") as file:
        metadata = file.metadata()
    assert metadata["fastfa.format"] == "2"
    assert metadata["fastfa.version"] == fa.__version__
    assert json.loads(metadata["fastfa.state"]) == {"steps": 10, "epochs": 1, "lr": 0.01}
    assert json.loads(metadata["fastfa.network"])["layers"][0]["units"] == 24


def test_safetensors_writes_what_loads(tmp_path):
    net = train(build("dfa", "adam"))
    net.save(tmp_path / "net")
    with safe_open(tmp_path / "net", "np") as file:
        metadata = file.metadata()
    save_file(load_file(tmp_path / "net"), tmp_path / "other", metadata)
    check_same(net, fa.load(tmp_path / "other"))


def test_every_field_of_the_header_has_a_row():
    """A field that is added to a description must be told how it is saved."""
    root = Path(__file__).parents[2] / "csrc"
    header = re.sub(r"/\*.*?\*/", "", (root / "fastfa.h").read_text(), flags=re.S)
    table = (root / "model/description.c").read_text()
    for struct_name in (
        "fa_net_desc",
        "fa_layer_desc",
        "fa_rule_desc",
        "fa_optimizer_desc",
        "fa_init",
    ):
        body = re.search(
            rf"typedef struct {struct_name} \{{(.*?)\n\}} {struct_name};", header, re.S
        )[1]
        body = re.sub(r"\(\*(\w+)\)\([^)]*\)", r"\1", body)  # a function
        names = (name for line in body.split(";") for name in line.split(",") if name.strip())
        fields = [re.findall(r"\w+", name)[-1] for name in names]
        rows = re.findall(rf"ROW\({struct_name}, (\w+),", table)
        assert rows == fields, struct_name


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("path", [3, None, ["net"], object()])
def test_path_of_the_wrong_kind(path):
    with pytest.raises(TypeError, match="path: expected a str or a path, got"):
        build().save(path)
    with pytest.raises(TypeError, match="path: expected a str or a path, got"):
        fa.load(path)


def test_path_with_a_zero_byte():
    with pytest.raises(ValueError, match="path: expected a name without a zero byte"):
        build().save("a\0b")


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_paths_of_the_right_kinds(tmp_path, kind):
    build().save(kind(tmp_path / "näme"))
    check_same(build(), fa.load(kind(tmp_path / "näme")), more=False)


def test_errors_of_the_system(tmp_path):
    net = build()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        net.save(tmp_path / "nowhere" / "net")
    with pytest.raises(FileNotFoundError):
        fa.load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        net.save(tmp_path)
    with pytest.raises(IsADirectoryError):
        fa.load(tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\x93NUMPY" * 10, b"\0" * 100, os.urandom(1000)]
)
def test_not_a_network(tmp_path, data):
    (tmp_path / "net").write_bytes(data)
    with pytest.raises(ValueError, match="net: not a fastfa network"):
        fa.load(tmp_path / "net")


def test_tensors_of_somebody_else(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "net")
    with pytest.raises(
        ValueError, match=r"not a fastfa network: its metadata has no fastfa.format"
    ):
        fa.load(tmp_path / "net")


def _edited(data, edit):
    """The bytes of a file with its metadata changed."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    del header["__metadata__"]["fastfa.crc32c"]  # as who changes a file on purpose
    edit(header["__metadata__"])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def test_newer_format(tmp_path):
    def edit(metadata):
        metadata |= {"fastfa.format": "3", "fastfa.version": "7.0"}

    (tmp_path / "net").write_bytes(_edited(build()._engine.dumps(), edit))
    with pytest.raises(ValueError, match=r"expected format 1 or 2, got '3', written by fastfa 7.0"):
        fa.load(tmp_path / "net")


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "softplus", "gelu", "tanh"])
def test_files_of_format_1_keep_the_initialisers_of_their_time(activation):
    """Without a name they mean He's for relu and its like, also for what is drawn later."""

    def build(**init):
        layers = [fa.Dense(7, activation, **init), fa.Dense(5, activation, **init), fa.Dense(3)]
        return fa.Sequential(layers, input_shape=4, rule=fa.FA(fa.Feedback("forward")), rng=3)

    def edit(metadata):
        assert '"weight_init":{"scale":1}' in metadata["fastfa.network"]  # without a name
        metadata["fastfa.format"] = "1"

    named = "glorot_uniform" if activation == "tanh" else "he_uniform"
    data = build()._engine.dumps()
    old, new = fa.load(io.BytesIO(_edited(data, edit))), fa.load(io.BytesIO(data))
    for net, expected in ((old, build(weight_init=named)), (new, build())):
        for again in (net, fa.load(io.BytesIO(net.to_bytes()))):  # saved as a file of today
            again.reset()
            assert_same(copies(again), copies(expected))
            for key in expected.feedback:
                np.testing.assert_array_equal(again.feedback[key], expected.feedback[key])
    assert new.layers == build().layers
    unchanged = activation in ("tanh", "softplus")
    assert old.layers[0].weight_init == (None if unchanged else "he_uniform")


def test_rule_of_a_newer_version(tmp_path):
    def edit(metadata):
        metadata["fastfa.version"] = "0.9"
        metadata["fastfa.network"] = metadata["fastfa.network"].replace('"dfa"', '"xfa"')

    (tmp_path / "net").write_bytes(_edited(build()._engine.dumps(), edit))
    with pytest.raises(
        ValueError, match=r"written by fastfa 0\.9 .*: rule: expected one of .*, got 'xfa'"
    ):
        fa.load(tmp_path / "net")


@pytest.mark.parametrize("prefix", ["", "x"])
def test_a_message_cut_in_the_middle_of_a_character_is_still_one(tmp_path, prefix):
    def edit(metadata):
        network = json.loads(metadata["fastfa.network"])
        text = json.dumps({**network, prefix + "é" * 400: 1}, ensure_ascii=False)
        metadata["fastfa.network"] = text

    (tmp_path / "net").write_bytes(_edited(build()._engine.dumps(), edit))
    with pytest.raises(ValueError, match=f"unknown field '{prefix}éé"):
        fa.load(tmp_path / "net")


def test_note_of_a_c_program_stays(tmp_path):
    def edit(metadata):
        metadata["fastfa.note"] = "written in C"

    (tmp_path / "net").write_bytes(_edited(build()._engine.dumps(), edit))
    net = fa.load(tmp_path / "net")
    assert pickle.loads(pickle.dumps(net))._engine.note == "written in C"


def test_half_a_file(tmp_path):
    data = build()._engine.dumps()
    (tmp_path / "net").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"net: expected .* bytes of tensors"):
        fa.load(tmp_path / "net")


def test_failed_save_leaves_the_old_file(tmp_path):
    """A limit on the size of files stands for a full disk."""
    script = """
import resource, signal, sys
import fastfa as fa
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
net = fa.Sequential([fa.Dense(10)], input_shape=64, rng=0)
net.save(sys.argv[1])
net.parameters["0.weight"] = net.parameters["0.weight"] + 1
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    net.save(sys.argv[1])
except OSError as error:
    print(error.errno, error)
"""
    path = tmp_path / "net"
    assert re.match(r"27 .*cannot write: File too large", run_python(script, path))
    assert os.listdir(tmp_path) == ["net"]
    check_same(fa.Sequential([fa.Dense(10)], input_shape=64, rng=0), fa.load(path), more=False)


def test_description_of_the_engine_is_complete():
    """What a loaded engine says of itself builds the network that was saved."""
    net = NETWORKS["rules of layers"]()
    loaded = copy.copy(net)
    built = type(loaded._engine)(loaded._engine.description)
    assert built.state() == net._engine.state()


@pytest.mark.parametrize(
    "call",
    [
        "net.fit(X, y, epochs=40, verbose=False)",
        "net.fit(X, y, epochs=5, verbose=False, callbacks=[fa.Checkpoint(path)])",
        "net.train_batch(X, y)",
        "net.save(path)",
        "net.predict(X)",
        "fa.load(path)",
        "pickle.loads(pickle.dumps(net))",
        "net.reset()",
    ],
)
def test_saving_from_a_signal_handler(tmp_path, call):
    """At any moment of another call: a whole file, or an error that says why not."""
    script = f"""
import pickle, signal, sys
import numpy as np
import fastfa as fa
path = sys.argv[1]
net = fa.Sequential([fa.Dense(200, "tanh"), fa.Dense(3)], input_shape=300, rng=0, n_threads=2)
X, y = np.ones((500, 300), np.float32), np.arange(500) % 3
said = {{"saved": 0}}
def save(*_):
    try:
        net.save(path)
        key = "saved"
    except RuntimeError as error:
        key = str(error)
    said[key] = said.get(key, 0) + 1
    signal.setitimer(signal.ITIMER_REAL, 0.002)  # the next, but not while this one saves
net.save(path)
signal.signal(signal.SIGALRM, save)
signal.setitimer(signal.ITIMER_REAL, 0.002)
while sum(said.values()) < 30:
    {call}
signal.setitimer(signal.ITIMER_REAL, 0)
fa.load(path)
net.train_batch(X, y)  # nothing is locked
net.save(path)
assert fa.load(path)._engine.state() == net._engine.state()
print(list(said))
"""
    saved, *errors = ast.literal_eval(run_python(script, tmp_path / "net"))
    assert saved == "saved"
    assert all("from inside its own training" in error for error in errors), errors
    assert os.listdir(tmp_path) == ["net"]
