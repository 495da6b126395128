"""What a notebook shows of results, without a magic line and without pyplot."""

import json
import re

import pytest
from processes import run_python

import fastfa as fa

pytest.importorskip("matplotlib")
pytest.importorskip("IPython")

# IPython's own shell, which its kernels derive from: what is formatted here is what they send
SHELL = """
import json, os, sys
os.environ["IPYTHONDIR"] = os.environ["TMPDIR"] = {folder!r}
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
config.IPKernelApp.transport = "tcp"  # by which a kernel is known
shell = InteractiveShell.instance(config=config)
sys.displayhook = lambda value: None
result = shell.run_cell({cell!r}, store_history=False)
result.raise_error()
data, _ = shell.display_formatter.format(result.result)
texts = {{kind: each if isinstance(each, str) else each.hex() for kind, each in data.items()}}
start = {{kind: text[:2000] for kind, text in texts.items()}}
print("\\n" + json.dumps([start, "matplotlib.pyplot" in sys.modules]))
"""
TRAINED = """
import numpy as np, fastfa as fa
X, y = np.ones((20, 4)), np.arange(20) % 3
net = fa.Sequential([fa.Dense(6, "tanh"), fa.Dense(3)], input_shape=4, rule="dfa", rng=0)
angles = fa.callbacks.Alignment((X, y))
history = net.fit(X, y, 2, callbacks=[angles], verbose=False)
"""


def shown(cell, folder):
    """By MIME type, the beginning of what a notebook gets for the last expression of a cell."""
    out = run_python(SHELL.format(folder=str(folder), cell=TRAINED + cell))
    data, pyplot = json.loads(out.splitlines()[-1])
    assert not pyplot  # which would open windows and keep figures alive
    return data


@pytest.mark.parametrize(
    "cell", ["fa.plot.curves(history)", "fa.plot.alignment(angles)", "fa.plot.feedback(net)"]
)
def test_a_notebook_shows_plots_as_pictures(cell, tmp_path):
    data = shown(cell, tmp_path)
    assert bytes.fromhex(data["image/png"]).startswith(b"\x89PNG\r\n\x1a\n")
    assert "<svg" in data["image/svg+xml"]


def test_a_notebook_shows_networks_as_tables(tmp_path):
    text = shown("net", tmp_path)["text/html"]
    assert text.count("<table>") == 2
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text)
    assert cells[:7] == [
        "0", "Dense(6, activation=&#x27;tanh&#x27;)", "6", "30", "yes", "dfa", "uniform 3x6",
    ]  # fmt: skip


def test_a_notebook_shows_sweeps_as_tables(tmp_path):
    cell = """
build = lambda lr, **_: fa.Sequential([fa.Dense(3)], input_shape=4, rng=0, optimizer=fa.SGD(lr))
settings = [{"lr": 0.1}, {"lr": -1, "note": "<b>"}]
fa.fit_replicas(build, settings, X, y, epochs=2, on_error="record", verbose=False)
"""
    text = shown(cell, tmp_path)["text/html"]
    head = re.findall(r"<th[^>]*>(.*?)</th>", text)
    assert head == ["#", "lr", "note", "epochs", "loss", "accuracy", "time", "error"]
    good, bad = (re.findall(r"<td[^>]*>(.*?)</td>", row) for row in text.split("<tr>")[2:])
    assert (good[:4], good[-1]) == (["0", "0.1", "", "2"], "")
    assert float(good[4]) > 0
    assert bad[:7] == ["1", "-1", "&#x27;&lt;b&gt;&#x27;", "0", "", "", ""]
    assert "lr: expected a finite number" in bad[-1]


def test_long_sweeps_are_cut():
    replicas = fa.Replicas(fa.Replica({"seed": i}, None, fa.History()) for i in range(60))
    text = replicas._repr_html_()
    assert text.count("<tr>") == 51
    assert text.endswith("<p>10 more</p>")
    assert fa.Replicas()._repr_html_().count("<tr>") == 1
    odd = fa.fit_replicas(int, [3], [[1.0]], [0], on_error="record", verbose=False)
    assert "settings[0]: expected a mapping" in odd._repr_html_()


def test_bars_in_a_notebook_are_those_of_tqdm_for_notebooks(tmp_path):
    """Without ipywidgets it is text, which tqdm.auto decides."""
    cell = """
import tqdm.auto
from fastfa._internal import progress
net.fit(X, y, 3)
"yes" if issubclass(progress._bar_class(), tqdm.auto.tqdm) else "no"
"""
    assert shown(cell, tmp_path)["text/plain"] == "'yes'"


def test_bars_elsewhere_are_those_of_a_terminal():
    code = (
        "import sys, numpy as np, fastfa as fa\n"
        "net = fa.Sequential([fa.Dense(3)], input_shape=2, rng=0)\n"
        "net.fit(np.ones((4, 2)), np.arange(4) % 3)\n"
        "print('tqdm' in sys.modules, 'tqdm.auto' in sys.modules)"
    )
    assert run_python(code) == "True False"
