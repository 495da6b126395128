"""What the plots show: the numbers behind the lines, not the pixels."""

import numpy as np
import pytest

import fastfa as fa

pytest.importorskip("matplotlib")
# labels here are random: some layers never align
pytestmark = pytest.mark.filterwarnings("ignore::fastfa.callbacks.AlignmentWarning")


def trained(rule="dfa", seed=0, epochs=3, validation=True, hidden=(24, 16)):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    layers = [*(fa.Dense(n, "tanh") for n in hidden), fa.Dense(3)]
    net = fa.Sequential(layers, input_shape=5, rule=rule, rng=seed)
    record = fa.callbacks.Alignment((x, y))
    history = net.fit(
        x,
        y,
        epochs,
        validation_data=(x[:20], y[:20]) if validation else None,
        callbacks=[record],
        verbose=False,
    )
    return net, history, record


def lines(axes):
    return {line.get_label(): line.get_ydata() for line in axes.lines if line.get_label()[0] != "_"}


def test_curves_of_one_history_show_training_and_validation():
    _, history, _ = trained()
    accuracy, loss = fa.plot.curves(history).axes
    assert list(lines(accuracy)) == ["training", "validation"]
    np.testing.assert_allclose(
        lines(accuracy)["training"], 100 * np.array(history.history["accuracy"])
    )
    np.testing.assert_allclose(lines(loss)["validation"], history.history["val_loss"])
    assert (accuracy.get_ylabel(), accuracy.get_xlabel()) == ("accuracy (%)", "epoch")
    later = fa.History()
    for epoch in (3, 4):
        later.add(epoch, {"loss": 1.0, "accuracy": 0.5})
    np.testing.assert_array_equal(fa.plot.curves(later).axes[0].lines[0].get_xdata(), [3, 4])


def test_curves_of_several_histories_show_the_median_and_the_range():
    several = {"dfa": [trained(seed=s)[1] for s in range(3)], "frozen": trained("frozen")[1]}
    _, loss = fa.plot.curves(several).axes
    values = [h.history["val_loss"] for h in several["dfa"]]
    np.testing.assert_allclose(lines(loss)["dfa"], np.median(values, axis=0))
    outline = loss.collections[0].get_paths()[0].vertices[:, 1]
    assert (outline.min(), outline.max()) == pytest.approx((np.min(values), np.max(values)))
    assert loss.get_ylabel() == "validation loss"
    colors = {line.get_label(): line.get_color() for line in loss.lines}
    assert colors["frozen"] != colors["dfa"]


def test_panels_of_one_quantity_share_the_scale_of_the_largest():
    figure, panels = fa.plot.row_of_panels(2)
    for axes, values in zip(panels, ([0.0, 1.0], [-5.0, 0.5]), strict=True):
        axes.plot(values)
        axes.set_ylabel("angle")
    low, high = panels[1].get_ylim()[0], panels[0].get_ylim()[1]
    fa.plot.share_y(panels)
    assert [axes.get_ylim() for axes in panels] == [(low, high)] * 2
    assert [axes.get_ylabel() for axes in panels] == ["angle", ""]
    assert fa.plot.finish(figure) is figure


def test_alignment_has_a_line_for_each_layer_or_a_panel():
    _, _, record = trained()
    (axes,) = fa.plot.alignment(record).axes
    drawn = lines(axes)
    assert [name for name in drawn if "layer" in name] == ["hidden layer 1", "hidden layer 2"]
    np.testing.assert_array_equal(drawn["hidden layer 2"], record.history[1]["delta_angle"])
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0, 1, 2, 3])
    panels = fa.plot.alignment({"dfa": record, "fa": [trained("fa")[2]]}, "descent").axes
    assert [p.get_title() for p in panels] == ["hidden layer 1", "hidden layer 2"]
    np.testing.assert_array_equal(lines(panels[0])["dfa"], record.history[0]["descent"])


@pytest.mark.parametrize(("rule", "sources"), [("dfa", (3, 3)), ("fa", (16, 3)), ("drtp", (3, 3))])
def test_feedback_shows_the_matrices(rule, sources):
    net, _, _ = trained(rule)
    panels = [axes for axes in fa.plot.feedback(net).axes if axes.images and axes.get_title()]
    shown = [axes.images[0].get_array() for axes in panels]
    expected = [net.feedback_matrix(i) for i in (0, 1)]
    assert [b.shape for b in expected] == [(sources[0], 24), (sources[1], 16)]
    for b in expected:  # the columns are sorted
        same = [m for m in shown if m.shape == b.shape and np.isclose(m.sum(), b.sum(), rtol=1e-5)]
        assert any(np.array_equal(np.sort(m, axis=1), np.sort(b, axis=1)) for m in same)
    assert len(shown) == (2 if rule == "drtp" else 4)  # no weights stand for drtp's


def test_files_are_written(tmp_path):
    net, history, record = trained()
    fa.plot.curves(history, path=tmp_path / "a.png")
    fa.plot.alignment(record, path=tmp_path / "b.pdf")
    fa.plot.feedback(net, path=tmp_path / "c.svg")
    starts = [(tmp_path / name).read_bytes()[:4] for name in ("a.png", "b.pdf", "c.svg")]
    assert starts == [b"\x89PNG", b"%PDF", b"<?xm"]


def test_what_cannot_be_drawn_is_refused():
    x = np.zeros((3, 5))
    with pytest.raises(ValueError, match="at least one complete epoch"):
        fa.plot.curves(fa.History())
    with pytest.raises(
        TypeError, match=r"histories\['dfa'\]: expected one History or a list of them"
    ):
        fa.plot.curves({"dfa": 3})
    for wrong in (None, 3, [fa.History()], fa.callbacks.Alignment((x, [0, 1, 2]))):
        with pytest.raises(TypeError, match="histories: expected one History or a mapping"):
            fa.plot.curves(wrong)
    for wrong in (None, trained()[0].alignment(x, [0, 1, 2]), fa.History()):
        with pytest.raises(TypeError, match="recorded: expected one Alignment or a mapping"):
            fa.plot.alignment(wrong)
    with pytest.raises(TypeError, match="net: expected a Sequential, got None"):
        fa.plot.feedback(None)
    with pytest.raises(TypeError, match="path: expected a str or a path, got 3"):
        fa.plot.curves(trained()[1], path=3)
    with pytest.raises(FileNotFoundError, match="no directory '/none', make it first"):
        fa.plot.curves(trained()[1], path="/none/a.png")
    with pytest.raises(ValueError, match="train with the callback first"):
        fa.plot.alignment(fa.callbacks.Alignment((x, [0, 1, 2])))
    with pytest.raises(ValueError, match="field"):
        fa.plot.alignment(trained()[2], "angle")
    with pytest.raises(ValueError, match="same hidden layers"):
        fa.plot.alignment({"a": trained()[2], "b": trained(hidden=(24,))[2]})
    with pytest.raises(ValueError, match="frozen and pepita ones have none"):
        fa.plot.feedback(trained("frozen")[0])
    with pytest.raises(ValueError, match="expected a file name ending in"):
        fa.plot.curves(trained()[1], path="a.txt")


def test_what_cannot_be_drawn_leaves_the_old_figure(tmp_path, monkeypatch):
    _, history, _ = trained()
    path = tmp_path / "curves.png"
    fa.plot.finish(fa.plot.curves(history), path)
    old, figure = path.read_bytes(), fa.plot.curves(history)
    assert old.startswith(b"\x89PNG")

    def half(file, **_):
        file.write(b"half")
        raise MemoryError

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(MemoryError):
        fa.plot.finish(figure, path)
    assert path.read_bytes() == old
