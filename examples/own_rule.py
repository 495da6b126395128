"""Direct feedback alignment in ten lines, as a rule of one's own, against the built-in.

Run it: ``python examples/own_rule.py``. Both networks end with the same bits, because
``ctx.product`` is the product that the built-in rules use.
"""

import numpy as np

import fastfa as fa


class MyDFA(fa.Rule):
    """S_l = e B_l, with a stored matrix B_l that ``net.feedback`` shows."""

    feedback = fa.Feedback()

    def signal(self, ctx):
        """The teaching signal of one hidden layer, (m, n_l)."""
        return ctx.product(ctx.error, ctx.feedback)


def train(rule):
    """Accuracy on held-out digits and the weights of the first layer."""
    x, y, x_test, y_test = fa.datasets.load("digits")
    layers = [fa.Dense(64, "tanh"), fa.Dense(32, "tanh"), fa.Dense(10)]
    net = fa.Sequential(layers, input_shape=64, rule=rule, optimizer=fa.SGD(0.1), rng=0)
    net.fit(x, y, epochs=10, batch_size=32, verbose=False)
    return net.evaluate(x_test, y_test)["accuracy"], net.parameters["0.weight"].copy()


if __name__ == "__main__":
    (mine, my_weights), (built_in, weights) = train(MyDFA()), train("dfa")
    print(f"accuracy: mine {mine:.4f}, built-in {built_in:.4f}")
    print("the same weights to the bit:", bool(np.array_equal(my_weights, weights)))
