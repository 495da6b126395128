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


def test_accuracy_can_be_drawn_as_error_on_a_logarithmic_axis():
    _, history, _ = trained()
    accuracy, loss = fa.plot.curves(history, error=True).axes
    expected = 100 * (1 - np.array(history.history["val_accuracy"]))
    np.testing.assert_allclose(lines(accuracy)["validation"], expected)
    assert (accuracy.get_ylabel(), accuracy.get_yscale()) == ("error (%)", "log")
    assert (loss.get_ylabel(), loss.get_yscale()) == ("loss", "linear")
    np.testing.assert_array_equal(lines(loss)["training"], history.history["loss"])


def test_curves_draw_the_metrics_that_are_named():
    _, history, _ = trained()
    loss, seconds = fa.plot.curves(history, metrics=["loss", "time"]).axes
    assert (loss.get_ylabel(), seconds.get_ylabel()) == ("loss", "time")
    np.testing.assert_array_equal(lines(seconds)["training"], history.history["time"])


def test_plots_draw_into_panels_of_the_caller():
    from matplotlib.figure import Figure

    net, history, record = trained()
    mine = Figure()
    panels = mine.subplots(2, 2)
    assert fa.plot.curves(history, ax=panels[0]) is mine
    assert fa.plot.alignment(record, ax=panels[1, 0]) is mine
    labels = [axes.get_ylabel() for axes in (*panels[0], panels[1, 0])]
    assert labels == ["accuracy (%)", "loss", "delta: angle to backprop (°)"]
    assert list(lines(panels[0, 1])) == ["training", "validation"]
    assert [text.get_text() for text in panels[0, 0].get_legend().get_texts()] == list(
        lines(panels[0, 0])
    )
    part = Figure()
    matrices = part.subfigures(1, 2)[1].subplots(2, 2)
    assert fa.plot.feedback(net, ax=matrices) is part
    for i in (0, 1):
        shown, expected = matrices[0, i].images[0].get_array(), net.feedback_matrix(i)
        assert np.array_equal(np.sort(shown, axis=1), np.sort(expected, axis=1))


def test_figures_have_the_size_and_title_that_were_asked_for():
    net, history, record = trained()
    how = {"figsize": (7, 3.5), "title": "digits"}
    for figure in (
        fa.plot.curves(history, **how),
        fa.plot.alignment(record, **how),
        fa.plot.feedback(net, **how),
    ):
        assert tuple(figure.get_size_inches()) == (7, 3.5)
        assert figure.get_suptitle() == "digits"
        assert not figure.axes[0].get_legend() or len(figure.axes) == 1


def test_a_single_panel_has_its_legend_inside():
    _, history, record = trained()
    alone = fa.plot.alignment(record)
    assert (alone.legends, alone.get_figwidth()) == ([], 3.5)
    assert alone.axes[0].get_legend() is not None
    several = fa.plot.curves(history)
    assert (len(several.legends), several.get_figwidth()) == (1, 2 * 3.5 + 1)


def test_every_line_has_its_own_dashes_and_bands_say_what_they_are():
    from matplotlib.figure import Figure

    names = ["backprop", "frozen", "dfa", "fa", "kp", "usf", "ifa", "local", "pepita"]
    axes = Figure().subplots()
    fa.plot.bands(axes, {name: np.ones((5, 3)) for name in names})
    fa.plot.bands(axes, {"sdfa": np.ones((1, 3))})
    looks = {line.get_label(): str(line._unscaled_dash_pattern) for line in axes.lines}
    assert len({looks[name] for name in names}) == len(names)
    labels = axes.get_legend_handles_labels()[1]
    assert labels == [*names, "range of 5 seeds", "sdfa"]
    one = Figure().subplots()
    fa.plot.bands(one, {"dfa": np.ones((1, 3))})
    assert one.get_legend_handles_labels()[1] == ["dfa"]


def test_figures_survive_pickle():
    import pickle

    figure = pickle.loads(pickle.dumps(fa.plot.curves(trained()[1])))
    assert figure._repr_png_().startswith(b"\x89PNG")


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
    net, _, _ = trained()
    x = np.zeros((3, 5))
    record = fa.callbacks.Alignment((x, [0, 1, 2]), fields=["descent"])
    net.fit(x, [0, 1, 2], callbacks=[record], verbose=False)
    with pytest.raises(ValueError, match='recorded, got "delta_angle"; that record left it out'):
        fa.plot.alignment({"a": [record]})
    assert fa.plot.alignment(record, "descent").axes
    with pytest.raises(ValueError, match="same hidden layers"):
        fa.plot.alignment({"a": trained()[2], "b": trained(hidden=(24,))[2]})
    with pytest.raises(ValueError, match="frozen and pepita ones have none"):
        fa.plot.feedback(trained("frozen")[0])
    with pytest.raises(ValueError, match="expected a file name ending in"):
        fa.plot.curves(trained()[1], path="a.txt")


def test_panels_sizes_and_metrics_that_do_not_fit_are_refused():
    from matplotlib.figure import Figure

    _, history, _ = trained()
    panels = Figure().subplots(1, 3)
    with pytest.raises(ValueError, match="expected 2 Axes, one for each of accuracy, loss, got 3"):
        fa.plot.curves(history, ax=panels)
    with pytest.raises(TypeError, match="ax: expected 2 Axes, one for each of accuracy, loss, got"):
        fa.plot.curves(history, ax=Figure())
    with pytest.raises(TypeError, match=r"ax\[1\]: expected an Axes of matplotlib, got 3"):
        fa.plot.curves(history, ax=[panels[0], 3])
    with pytest.raises(ValueError, match="figsize: expected None together with ax, got"):
        fa.plot.curves(history, ax=panels[:2], figsize=(3, 3))
    with pytest.raises(ValueError, match="title: expected None together with ax, got 'a'"):
        fa.plot.curves(history, ax=panels[:2], title="a")
    assert [len(axes.lines) for axes in panels] == [0, 0, 0]
    with pytest.raises(TypeError, match=r"figsize: expected a pair \(width, height\) in inches"):
        fa.plot.curves(history, figsize=3)
    with pytest.raises(ValueError, match=r"figsize\[1\]: expected a finite number > 0, got 0"):
        fa.plot.curves(history, figsize=(3, 0))
    with pytest.raises(TypeError, match="title: expected a str, got 3"):
        fa.plot.curves(history, title=3)
    with pytest.raises(TypeError, match="error: expected True or False"):
        fa.plot.curves(history, error="log")
    with pytest.raises(TypeError, match=r"metrics: .* got 'loss'; did you mean \['loss'\]"):
        fa.plot.curves(history, metrics="loss")
    with pytest.raises(ValueError, match=r'metrics\[0\]: .* got "los"; did you mean "loss"'):
        fa.plot.curves(history, metrics=["los"])


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
