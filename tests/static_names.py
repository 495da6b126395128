"""Not run: mypy finds each name that does not exist, and no other.

`mypy` fails where an ignored line has no such error (warn_unused_ignores), or another line has one.
"""

import numpy as np

import fastfa as fa

fa.Sequental  # type: ignore[attr-defined]
fa.dense  # type: ignore[attr-defined]
fa.callbacks.EarlyStoping  # type: ignore[attr-defined]
fa.datasets.lod  # type: ignore[attr-defined]
fa.plot.curve  # type: ignore[attr-defined]
fa.layers.Densee  # type: ignore[attr-defined]
fa.plots  # type: ignore[attr-defined]

net = fa.Sequential([fa.Dense(8, "tanh"), fa.Dense(3)], input_shape=4, rule=fa.DFA())
net.fitt  # type: ignore[attr-defined]
net.learning_rate = 0.1  # type: ignore[attr-defined]
net.layers[0].unit  # type: ignore[attr-defined]
net.optimizer.lr = 0.1  # type: ignore[misc]
fa.EarlyStopping().patince = 3  # type: ignore[attr-defined]
fa.Dense(8).units = 3  # type: ignore[misc]
fa.Feedback(distributon="normal")  # type: ignore[call-arg]
fa.SGD(momentun=0.9)  # type: ignore[call-arg]
net.parameters.x = np.ones(3)  # type: ignore[attr-defined]

X, y, X_test, y_test = fa.datasets.load("digits")
net.fit(X, y, callbacks=[fa.callbacks.EarlyStopping("loss"), fa.callbacks.Alignment((X, y))])
net.lr = 0.1
fa.plot.curves({"a": [net.fit(X, y)]})
