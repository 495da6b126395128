"""The C functions that an exported network is made of; a file gets those that it calls.

`{real}` stands for float or double, `{f}` for the suffix of the functions of math.h.
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "DERIVATIVES", "FUNCTIONS", "LOSSES", "MEANINGS", "NEEDS_SUM"]

_SOFTPLUS = "({x} > 0 ? {x} + log1p{{f}}(exp{{f}}(-{x})) : log1p{{f}}(exp{{f}}({x})))"
_TANH_SOFTPLUS = "tanh{f}" + _SOFTPLUS.format(x="h")

# f(a); a number that follows from the layer is named as its option
ACTIVATIONS = {
    "relu": "a > 0 ? a : 0",
    "leaky_relu": "a > 0 ? a : a * slope",
    "tanh": "tanh{f}(a)",
    "sigmoid": "1 / (1 + exp{f}(-a))",
    "softplus": "a > 0 ? a + log1p{f}(exp{f}(-a)) : log1p{f}(exp{f}(a))",
    "gelu": "a * ({real})0.5 * (1 + erf{f}(a * ({real})0.70710678118654752))",
    "sign": "({real})((a > 0) - (a < 0))",
    "threshold": "a > 0 ? 1 : 0",
    "elu": "a > 0 ? a : alpha * expm1{f}(a)",
    "selu": "({real})1.0507009873554805 *\n"
    "                 (a > 0 ? a : ({real})1.6732632423543773 * expm1{f}(a))",
    "silu": "a / (1 + exp{f}(-a))",
    "mish": "a * tanh{f}" + _SOFTPLUS.format(x="a"),
    "hardtanh": "a > 1 ? 1 : a < -1 ? -1 : a",
    "hard_sigmoid": "a > 3 ? 1 : a < -3 ? 0 : (a + 3) / 6",
    "softsign": "a / (1 + fabs{f}(a))",
}

# f'(a), computed from h = f(a), or from a itself for the names in NEEDS_SUM
DERIVATIVES = {
    "relu": "h > 0 ? 1 : 0",
    "leaky_relu": "h > 0 ? 1 : slope",
    "tanh": "1 - h * h",
    "sigmoid": "h * (1 - h)",
    "softplus": "1 / (1 + exp{f}(-h))",
    "gelu": "({real})0.5 * (1 + erf{f}(h * ({real})0.70710678118654752)) +\n"
    "           h * ({real})0.39894228040143268 * exp{f}(h * h * ({real})-0.5)",
    "sign": "0 * h",
    "threshold": "0 * h",
    "elu": "h > 0 ? 1 : h + alpha",
    "selu": "h > 0 ? ({real})1.0507009873554805 : h + ({real})1.7580993408473768",
    "silu": "1 / (1 + exp{f}(-h)) * (1 + h / (1 + exp{f}(h)))",
    "mish": f"{_TANH_SOFTPLUS} +\n"
    f"           h * (1 - {_TANH_SOFTPLUS} *\n"
    f"                {_TANH_SOFTPLUS}) / (1 + exp{{f}}(-h))",
    "hardtanh": "h > -1 && h < 1 ? 1 : 0",
    "hard_sigmoid": "h > 0 && h < 1 ? 1 / ({real})6 : 0",
    "softsign": "(1 - fabs{f}(h)) * (1 - fabs{f}(h))",
}
NEEDS_SUM = ("softplus", "gelu", "silu", "mish")

# What predict returns, by loss; else values
MEANINGS = {
    "softmax_cross_entropy": "probabilities of the classes",
    "sigmoid_cross_entropy": "probabilities of the outputs",
    "focal": "probabilities of the outputs",
    "poisson": "means",
}

# The functions by name, in the order in which a file has them.
FUNCTIONS = {
    "dense": """\
/* out = x W + b; W is n_in x n_out by rows, b may be NULL */
static void dense(const {real} *x, int n_in, const {real} *w, const {real} *b, {real} *out,
                  int n_out)
{{
    for (int j = 0; j < n_out; j++) out[j] = b ? b[j] : 0;
    for (int i = 0; i < n_in; i++, w += n_out)
        for (int j = 0; j < n_out; j++) out[j] += x[i] * w[j];
}}
""",
    "dense_int8": """\
/* out = x (Q scale) + b; Q is n_in x n_out by rows, a scale for each column, b may be NULL */
static void dense_int8(const {real} *x, int n_in, const signed char *q, const {real} *scale,
                       const {real} *b, {real} *out, int n_out)
{{
    for (int j = 0; j < n_out; j++) out[j] = 0;
    for (int i = 0; i < n_in; i++, q += n_out)
        for (int j = 0; j < n_out; j++) out[j] += x[i] * q[j];
    for (int j = 0; j < n_out; j++) out[j] = out[j] * scale[j] + (b ? b[j] : 0);
}}
""",
    "exponential": """\
static void exponential({real} *z, int n)
{{
    for (int i = 0; i < n; i++) z[i] = exp{f}(z[i]);
}}
""",
    "scaled": """\
static void scaled({real} *out, const {real} *x, {real} factor, int n)
{{
    for (int i = 0; i < n; i++) out[i] = x[i] * factor;
}}
""",
    "softmax": """\
static void softmax({real} *z, int n)
{{
    {real} largest = z[0], sum = 0;
    for (int i = 1; i < n; i++) largest = z[i] > largest ? z[i] : largest;
    for (int i = 0; i < n; i++) sum += z[i] = exp{f}(z[i] - largest);
    for (int i = 0; i < n; i++) z[i] /= sum;
}}
""",
    "through_weights": """\
/* s = d W^T, for W of n x n_above by rows */
static void through_weights({real} *s, int n, const {real} *w, const {real} *d, int n_above)
{{
    for (int i = 0; i < n; i++, w += n_above) {{
        s[i] = 0;
        for (int j = 0; j < n_above; j++) s[i] += d[j] * w[j];
    }}
}}
""",
    "through_feedback": """\
/* s = e B, for B of n_source x n by rows */
static void through_feedback({real} *s, int n, const {real} *b, const {real} *e, int n_source)
{{
    for (int j = 0; j < n; j++) s[j] = 0;
    for (int p = 0; p < n_source; p++, b += n) {{
        if (e[p] == 0) continue;
        for (int j = 0; j < n; j++) s[j] += e[p] * b[j];
    }}
}}
""",
    "sign_of": """\
/* the sign of each error, 0 where it is not above the threshold */
static void sign_of({real} *out, const {real} *e, {real} threshold, int n)
{{
    for (int i = 0; i < n; i++) out[i] = ({real})((e[i] > threshold) - (e[i] < -threshold));
}}
""",
    "update": """\
/* W -= lr (x^T d + decay W), for W of n_in x n_out by rows */
static void update({real} *w, const {real} *x, int n_in, const {real} *d, int n_out, {real} lr,
                   {real} decay)
{{
    for (int i = 0; i < n_in; i++, w += n_out)
        for (int j = 0; j < n_out; j++) w[j] -= lr * (x[i] * d[j] + decay * w[j]);
}}
""",
}


def _by_column(*lines: str) -> str:
    """A loss that is a sum over columns."""
    body = "".join(f"        {line}\n" for line in lines)
    return (
        "static {real} loss_and_error(const {real} *z, const {real} *y, {real} *e, int n)\n{{\n"
        "    {real} loss = 0;\n    for (int i = 0; i < n; i++) {{\n"
        + body + "    }}\n    return loss;\n}}\n"
    )  # fmt: skip


# The loss of z for the targets y, and the error e = dloss/dz. Options stand under their names.
LOSSES = {
    "huber": _by_column(
        "const {real} r = z[i] - y[i], delta = {delta};",
        "e[i] = r > delta ? delta : r < -delta ? -delta : r;",
        "loss += e[i] * (r - e[i] / 2);",
    ),
    "mae": _by_column(
        "const {real} r = z[i] - y[i];",
        "e[i] = ({real})((r > 0) - (r < 0));",
        "loss += e[i] * r;",
    ),
    "pinball": _by_column(
        "const {real} r = z[i] - y[i];",
        "e[i] = r > 0 ? 1 - {quantile} : r < 0 ? -{quantile} : 0;",
        "loss += e[i] * r;",
    ),
    "poisson": _by_column(
        "e[i] = exp{f}(z[i]) - y[i];",
        "loss += e[i] + y[i] - y[i] * z[i];",
    ),
    "focal": _by_column(
        "const {real} t = exp{f}(-fabs{f}(z[i])), big = 1 / (1 + t), small = t / (1 + t);",
        "const {real} p = z[i] > 0 ? big : small, q = z[i] > 0 ? small : big;",
        "const {real} no_p = (z[i] < 0 ? -z[i] : 0) + log1p{f}(t);",
        "const {real} no_q = (z[i] > 0 ? z[i] : 0) + log1p{f}(t);",
        "const {real} yes = {alpha} * y[i] * exp{f}(-{gamma} * no_q);",
        "const {real} no = (1 - {alpha}) * (1 - y[i]) * exp{f}(-{gamma} * no_p);",
        "e[i] = no * ({gamma} * q * no_q + p) - yes * ({gamma} * p * no_p + q);",
        "loss += yes * no_p + no * no_q;",
    ),
    "softmax_cross_entropy": """\
static {real} loss_and_error(const {real} *z, const {real} *y, {real} *e, int n)
{{
    {real} largest = z[0], sum = 0, loss = 0, total = 0;
    for (int i = 1; i < n; i++) largest = z[i] > largest ? z[i] : largest;
    for (int i = 0; i < n; i++) sum += e[i] = exp{f}(z[i] - largest);
    for (int i = 0; i < n; i++) {{
        total += y[i];
        loss -= y[i] * (z[i] - largest);
        e[i] = e[i] / sum - y[i];
    }}
    return loss + log{f}(sum) + (1 - total) * largest;
}}
""",
    "sigmoid_cross_entropy": """\
static {real} loss_and_error(const {real} *z, const {real} *y, {real} *e, int n)
{{
    {real} loss = 0;
    for (int i = 0; i < n; i++) {{
        loss += (z[i] > 0 ? z[i] : 0) + log1p{f}(exp{f}(z[i] > 0 ? -z[i] : z[i])) - y[i] * z[i];
        e[i] = 1 / (1 + exp{f}(-z[i])) - y[i];
    }}
    return loss;
}}
""",
    "mse": """\
static {real} loss_and_error(const {real} *z, const {real} *y, {real} *e, int n)
{{
    {real} loss = 0;
    for (int i = 0; i < n; i++) {{
        e[i] = z[i] - y[i];
        loss += e[i] * e[i] / 2;
    }}
    return loss;
}}
""",
}
_PLAIN = """\
        total += y[i];
        loss -= y[i] * (z[i] - largest);
        e[i] = e[i] / sum - y[i];
"""
_SMOOTHED = """\
        const {real} target = (1 - {smoothing}) * y[i] + {smoothing} / ({real})n;
        total += target;
        loss -= target * (z[i] - largest);
        e[i] = e[i] / sum - target;
"""
LOSSES["softmax_cross_entropy, smoothed"] = LOSSES["softmax_cross_entropy"].replace(
    _PLAIN, _SMOOTHED
)
