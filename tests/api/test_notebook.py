"""What a notebook shows of results, without a magic line and without pyplot."""

import json

import pytest
from processes import run_python

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
