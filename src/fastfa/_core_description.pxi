# The dictionaries that describe a network, as structs of fastfa.h, and back. Part of _core.pyx.
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy


# What else a dictionary has is an option.
_RULE_FIELDS = frozenset(("name", "inject", "feedback", "custom"))
_LAYER_FIELDS = frozenset((
    "type", "units", "activation", "use_bias", "trainable", "lr_scale", "bias_lr_scale", "weight_init", "bias_init",
    "rule", "rate",
))
_FIELDS_OF = {
    "conv2d": _LAYER_FIELDS | {"filters", "kernel_size", "strides", "padding"},
    "recurrent": _LAYER_FIELDS | {"recurrent_init"},
    "max_pool2d": _LAYER_FIELDS | {"pool_size", "strides", "padding"},
    "avg_pool2d": _LAYER_FIELDS | {"pool_size", "strides", "padding"},
}
_NORMS = ("layer_norm", "rms_norm", "group_norm")
_OPTIMIZER_FIELDS = frozenset(("name", "lr", "weight_decay", "decay_bias", "clip_norm", "l1"))


cdef class _Description:
    """fa_net_desc and everything that it points to."""

    cdef fa_net_desc desc
    cdef fa_rule_desc general
    cdef fa_optimizer_desc update
    cdef fa_layer_desc *layers
    cdef fa_rule_desc *rules
    cdef fa_option *room  # for all options
    cdef int n_options
    cdef list kept, customs
    cdef object dtype

    def __cinit__(self, description):
        n = len(description["layers"])
        self.kept, self.customs = [], []
        self.dtype = np.dtype(description["dtype"])
        self.layers = <fa_layer_desc *>calloc(max(n, 1), sizeof(fa_layer_desc))
        self.rules = <fa_rule_desc *>calloc(max(n, 1), sizeof(fa_rule_desc))
        self.room = <fa_option *>calloc(_most_options(description), sizeof(fa_option))
        if self.layers == NULL or self.rules == NULL or self.room == NULL:
            raise MemoryError("out of memory for a description")
        scale = description["input_scale"]
        self.desc = fa_net_defaults()
        self.desc.dtype = FA_F64 if self.dtype == np.float64 else FA_F32
        self.desc.n_in = description["n_in"]
        if "input_shape" in description:
            self.desc.input_h, self.desc.input_w, self.desc.input_c = description["input_shape"]
        if "compute" in description:
            self.desc.compute = self.text(description["compute"])
        self.desc.seed = description["seed"]
        self.desc.loss = self.text(description["loss"])
        self.desc.n_threads = description["n_threads"]
        self.desc.input_scale = 0 if scale == "auto" else scale
        self.options(&self.desc.loss_options, &self.desc.n_loss_options, description.get("loss_options", {}), ())
        self.optimizer(description["optimizer"])
        self.rule(&self.general, description["rule"])
        self.desc.rule, self.desc.optimizer = &self.general, &self.update
        for i, layer in enumerate(description["layers"]):
            self.layer(i, layer)
        self.desc.layers = self.layers
        self.desc.n_layers = n

    def __dealloc__(self):
        free(self.layers)
        free(self.rules)
        free(self.room)

    cdef const char *text(self, value) except NULL:
        encoded = value.encode()
        self.kept.append(encoded)
        return PyBytes_AS_STRING(encoded)

    cdef int options(self, const fa_option **options, int *n, how, fields) except -1:
        """The entries of a dictionary that are no fields; None stands for the default."""
        cdef fa_option *option
        options[0] = self.room + self.n_options
        for name, value in how.items():
            if name in fields or value is None:
                continue
            option = self.room + self.n_options
            option.name = self.text(name)
            if isinstance(value, str):
                option.text = self.text(value)
            elif isinstance(value, (int, float, np.number, np.bool_)):
                option.number = value
            else:
                raise TypeError(f"{name}: expected a number or a text, got {value!r}")
            self.n_options += 1
            n[0] += 1
        return 0

    cdef int init(self, fa_init *init, how, str name_field) except -1:
        init.scale = how.get("scale", 1.0)
        if how.get("default"):  # C knows it too, and files say so
            init.name = NULL
            return 0
        if "values" not in how:
            init.name = self.text(how[name_field])
            return 0
        with np.errstate(all="ignore"):  # not by the caller's `numpy.seterr`
            values = np.ascontiguousarray(how["values"], self.dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"{name_field}: expected finite values in {self.dtype}, got inf or nan")
        self.kept.append(values)
        init.values = cnp.PyArray_DATA(values)
        values = values.reshape(-1, values.shape[values.ndim - 1])
        init.rows, init.cols = values.shape
        return 0

    cdef int rule(self, fa_rule_desc *rule, how) except -1:
        rule[0] = fa_rule_of(self.text(how["name"]))
        rule.inject = self.text(how.get("inject", "post"))
        self.options(&rule.options, &rule.n_options, how, _RULE_FIELDS)
        if "custom" in how:
            custom = _CustomRule(how["custom"])
            self.customs.append(custom)
            rule.signal, rule.user = _signal, <void *>custom
            rule.feedback.name = NULL  # stored only where the rule asks for it
        if how.get("feedback"):
            rule.sparsity = how["feedback"].get("sparsity", 0.0)
            rule.feedback_rank = how["feedback"].get("rank") or 0
            rule.shared = how["feedback"].get("shared", False)
            return self.init(&rule.feedback, how["feedback"], "distribution")
        return 0

    cdef int layer(self, int i, how) except -1:
        cdef fa_layer_desc *layer = &self.layers[i]
        if how["type"] == "dense":
            layer[0] = fa_dense(how["units"], self.text(how["activation"]))
        elif how["type"] == "conv2d":
            layer[0] = fa_conv2d(how["filters"], 1, self.text(how["activation"]))
            self.windows(layer, how, how["kernel_size"])
        elif how["type"] == "recurrent":
            layer[0] = fa_recurrent(how["units"], self.text(how["activation"]))
            self.init(&layer.recurrent_init, how["recurrent_init"], "name")
        elif how["type"] == "flatten":
            layer[0] = fa_flatten()
        elif how["type"] in ("max_pool2d", "avg_pool2d"):
            layer[0] = fa_max_pool2d(1) if how["type"] == "max_pool2d" else fa_avg_pool2d(1)
            self.windows(layer, how, how["pool_size"])
        elif how["type"] == "global_avg_pool2d":
            layer[0] = fa_global_avg_pool2d()
        elif how["type"] in _NORMS:
            layer[0] = _norm(how["type"])
            layer.trainable, layer.lr_scale = how["trainable"], how["lr_scale"]
        elif how["type"] == "activation":
            layer[0] = fa_activation(self.text(how["activation"]))
        else:
            layer[0] = fa_dropout2d(how["rate"]) if how["type"] == "dropout2d" else fa_dropout(how["rate"])
        self.options(&layer.options, &layer.n_options, how, _FIELDS_OF.get(how["type"], _LAYER_FIELDS))
        if how["type"] not in ("dense", "conv2d", "recurrent"):
            return 0
        layer.use_bias = how["use_bias"]
        layer.trainable = how["trainable"]
        layer.lr_scale = how["lr_scale"]
        layer.bias_lr_scale = how["bias_lr_scale"]
        self.init(&layer.weight_init, how["weight_init"], "name")
        self.init(&layer.bias_init, how["bias_init"], "name")
        if how.get("rule") is not None:
            self.rule(&self.rules[i], how["rule"])
            layer.rule = &self.rules[i]
        return 0

    cdef int windows(self, fa_layer_desc *layer, how, size) except -1:
        layer.kernel_h, layer.kernel_w = size
        layer.stride_h, layer.stride_w = how["strides"]
        if isinstance(how["padding"], str):
            layer.padding = self.text(how["padding"])
        else:
            layer.pad_h, layer.pad_w = how["padding"]
        return 0

    cdef int optimizer(self, how) except -1:
        cdef fa_optimizer_desc *to = &self.update
        to[0] = fa_optimizer_of(self.text(how["name"]), how["lr"])
        self.options(&to.options, &to.n_options, how, _OPTIMIZER_FIELDS)
        to.weight_decay = how["weight_decay"]
        to.decay_bias = how["decay_bias"]
        to.clip_norm = how["clip_norm"] or 0.0
        to.l1 = how.get("l1", 0.0)
        return 0


cdef fa_layer_desc _norm(str kind):
    if kind == "layer_norm":
        return fa_layer_norm()
    return fa_rms_norm() if kind == "rms_norm" else fa_group_norm()


def _most_options(description):
    """At least as many as the entries of all dictionaries that may have options."""
    parts = [description["optimizer"], description["rule"], description.get("loss_options", ()), *description["layers"]]
    parts += [layer["rule"] for layer in description["layers"] if layer.get("rule")]
    return 1 + sum(map(len, parts))


# ---- and back ----------------------------------------------------------------------------------


cdef object _describe(const fa_net_desc *d):
    """The dictionary that describes the same, which `_Description` would turn back."""
    dtype = np.dtype(np.float64 if d.dtype == FA_F64 else np.float32)
    how = {
        "n_in": d.n_in,
        "dtype": dtype.name,
        "seed": d.seed,
        "loss": d.loss.decode(),
        "input_scale": d.input_scale or "auto",
        "n_threads": d.n_threads,
        "optimizer": _describe_optimizer(d.optimizer),
        "rule": _describe_rule(d.rule, dtype),
        "layers": [_describe_layer(&d.layers[i], dtype) for i in range(d.n_layers)],
    }
    if d.input_h:
        how["input_shape"] = (d.input_h, d.input_w, d.input_c)
    if d.compute != NULL:
        how["compute"] = d.compute.decode()
    if d.n_loss_options:
        how["loss_options"] = _describe_options("loss", d.loss, d.loss_options)
    return how


cdef dict _describe_options(str kind, const char *owner, const fa_option *given):
    """By name; a network's own description has them all, in the order of the library's list."""
    rows = [row for row in options(kind, owner.decode()) if not row["is_field"]]
    return {
        row["name"]: given[i].text.decode() if given[i].text != NULL else type(row["default"])(given[i].number)
        for i, row in enumerate(rows)
    }


cdef object _describe_optimizer(const fa_optimizer_desc *o):
    return {
        "name": o.name.decode(),
        "lr": o.lr,
        "weight_decay": o.weight_decay,
        "decay_bias": bool(o.decay_bias),
        "clip_norm": o.clip_norm,
        "l1": o.l1,
    } | _describe_options("optimizer", o.name, o.options)


cdef object _describe_rule(const fa_rule_desc *r, dtype):
    how = {
        "name": r.name.decode(),
        "inject": "post" if r.inject == NULL else r.inject.decode(),
    } | _describe_options("rule", r.name, r.options)
    if r.signal != NULL:
        how["custom"] = (<_CustomRule>r.user).rule
        if r.feedback.name == NULL and r.feedback.values == NULL:
            return how
    feedback = _describe_init(&r.feedback, dtype, b"uniform")
    if "name" in feedback:
        feedback["distribution"] = feedback.pop("name")
    feedback.pop("default", None)
    how["feedback"] = feedback | {
        "scale": r.feedback.scale,
        "sparsity": r.sparsity,
        "rank": r.feedback_rank or None,
        "shared": bool(r.shared),
    }
    return how


cdef object _describe_layer(const fa_layer_desc *layer, dtype):
    if layer.type in (b"flatten", b"global_avg_pool2d"):
        return {"type": layer.type.decode()}
    if layer.type in (b"max_pool2d", b"avg_pool2d"):
        return {"type": layer.type.decode(), "pool_size": (layer.kernel_h, layer.kernel_w)} | _describe_windows(layer)
    if layer.type in (b"dropout", b"dropout2d"):
        rate = {"type": layer.type.decode(), "rate": layer.rate}
        return rate | _describe_options("layer", layer.type, layer.options)
    if layer.type.decode() in _NORMS:
        of = {"type": layer.type.decode(), "trainable": bool(layer.trainable), "lr_scale": layer.lr_scale}
        return of | _describe_options("layer", layer.type, layer.options)
    if layer.type == b"activation":
        of = {"type": "activation", "activation": layer.activation.decode()}
        return of | _describe_options("layer", layer.type, layer.options)
    bias = _describe_init(&layer.bias_init, dtype, b"zeros")
    bias.pop("default", None)
    if "values" in bias:
        bias["values"] = bias["values"][0]
    weight = _describe_init(&layer.weight_init, dtype, fa_default_init(layer.activation))
    how = {"type": layer.type.decode(), "units": layer.units}
    if layer.type == b"recurrent":
        how["recurrent_init"] = _describe_init(&layer.recurrent_init, dtype, b"glorot_uniform")
    elif layer.type == b"conv2d":
        how = {"type": "conv2d", "filters": layer.units, "kernel_size": (layer.kernel_h, layer.kernel_w)}
        how |= _describe_windows(layer)
        if "values" in weight:
            weight["values"] = weight["values"].reshape(layer.kernel_h, layer.kernel_w, -1, layer.units)
    return how | {
        "activation": layer.activation.decode(),
        "use_bias": bool(layer.use_bias),
        "trainable": bool(layer.trainable),
        "lr_scale": layer.lr_scale,
        "bias_lr_scale": layer.bias_lr_scale,
        "weight_init": weight,
        "bias_init": bias,
        "rule": None if layer.rule == NULL else _describe_rule(layer.rule, dtype),
    } | _describe_options("layer", layer.type, layer.options)


cdef dict _describe_windows(const fa_layer_desc *layer):
    padding = (layer.pad_h, layer.pad_w) if layer.padding == NULL else layer.padding.decode()
    pools = layer.type != b"conv2d"
    down, right = (layer.kernel_h if pools else 1), (layer.kernel_w if pools else 1)
    return {"strides": (layer.stride_h or down, layer.stride_w or right), "padding": padding}


cdef object _describe_init(const fa_init *init, dtype, const char *default):
    cdef size_t size
    if init.values != NULL:
        values = np.empty((init.rows, init.cols), dtype)
        size = values.nbytes
        memcpy(cnp.PyArray_DATA(values), init.values, size)
        return {"values": values}
    if init.name == NULL:
        return {"name": default.decode(), "scale": 1.0, "default": True}
    return {"name": init.name.decode(), "scale": init.scale}
