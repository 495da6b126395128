/* Random numbers, dropout and losses of every instruction set this machine has, and v3 and v4
 * giving the same bits. */
#include "isas.h"

/* ---- random numbers ---- */

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1, c[3] = (uint32_t)p0;
    }
}

static void test_philox(void)
{
    static const struct {
        uint32_t counter, key, want[4];
    } known[] = {
        {0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0u, ~0u, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    };
    for (int i = 0; i < 2; i++) {
        uint32_t c[4] = {known[i].counter, known[i].counter, known[i].counter, known[i].counter};
        philox(c, known[i].key, known[i].key);
        check(!memcmp(c, known[i].want, sizeof c), "-", FLOAT, "known answers of Philox4x32-10",
              c[0]);
    }
}

/* Element i of a stream within +-limit, as kernels.def says it */
static double uniform_at(uint64_t i, double limit, const uint32_t key[2], const uint32_t c23[2])
{
    uint32_t c[4] = {(uint32_t)(i / 2), (uint32_t)(i / 2 >> 32), c23[0], c23[1]};
    philox(c, key[0], key[1]);
    const uint32_t *w = c + 2 * (i % 2);
    return (2 * (((w[0] >> 5) * 67108864.0 + (w[1] >> 6)) / 9007199254740992.0) - 1) * limit;
}

/* Counts that end before, at and after a batch, from elements and blocks odd, even and beyond 32
 * bits */
static void test_random(isa set_, int type)
{
    enum { MOST = 300 };
    static const uint64_t begins[] = {
        0, 1, 62, 1001, 0x1fffffffeu, 0x1ffffffffu, 0x123456789abcdefu};
    const fa_kernels *kernels = &set_.rows[type];
    static double numbers[MOST + 8];
    static uint32_t words[4 * MOST + 8];
    int bad_words = 0, bad_numbers = 0;
    for (size_t b = 0; b < sizeof begins / sizeof *begins; b++)
        for (int64_t n = 0; n <= MOST; n += n < 70 ? 1 : 23) {
            const uint64_t first = begins[b], bits = random_bits(), more = random_bits();
            const uint32_t key[2] = {(uint32_t)bits, (uint32_t)(bits >> 32)},
                           c23[2] = {(uint32_t)more, (uint32_t)(more >> 32)};
            memset(words, GUARD, sizeof words);
            kernels->random(words, first, n, key[0], key[1], c23[0], c23[1]);
            for (int64_t i = 0; i < n; i++) {
                const uint64_t block = first + (uint64_t)i;
                uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), c23[0], c23[1]};
                philox(c, key[0], key[1]);
                bad_words += memcmp(c, words + 4 * i, sizeof c) != 0;
            }
            bad_words += !untouched((unsigned char *)(words + 4 * n), 32);

            memset(numbers, GUARD, sizeof numbers);
            kernels->uniform(numbers, (int64_t)first, n, 0.1, key[0], key[1], c23[0], c23[1]);
            for (int64_t i = 0; i < n; i++) {
                const double want = uniform_at(first + (uint64_t)i, 0.1, key, c23);
                bad_numbers += get(type, numbers, i) != (type == FLOAT ? (float)want : want);
            }
            bad_numbers += !untouched((unsigned char *)numbers + (size_t)n * size_of[type], 64);
        }
    check(bad_words == 0, set_.name, type, "words of a stream: bad", bad_words);
    check(bad_numbers == 0, set_.name, type, "uniform numbers of a stream: bad", bad_numbers);
}

/* ---- dropout ---- */

typedef struct {
    int64_t rows, cols, gap, row0;
    uint32_t drop, key0, key1, c2, c3;
} mask_case;

/* keep and y of one call against the scalar generator; guards after each row stay */
static bool mask_agrees(const fa_kernels *kernels, int type, mask_case m)
{
    enum { ROOM = 5 * 80 };
    static double x[ROOM], y[ROOM];
    static uint8_t keep[ROOM];
    const double scale = 1.25;
    int64_t ld = m.cols + m.gap;
    fill(type, x, m.rows * ld, -1, 1);
    memset(y, GUARD, sizeof y);
    memset(keep, GUARD, sizeof keep);
    kernels->dropout(y, ld, keep, ld, x, ld, m.rows, m.cols, m.drop, scale, m.row0, m.key0, m.key1,
                     m.c2, m.c3);
    bool ok = untouched(keep + m.rows * ld, (size_t)(ROOM - m.rows * ld));
    for (int64_t i = 0; i < m.rows; i++) {
        for (int64_t j = 0; j < m.cols; j++) {
            uint32_t c[4] = {(uint32_t)(j / 4), (uint32_t)(m.row0 + i), m.c2, m.c3};
            philox(c, m.key0, m.key1);
            bool kept = c[j % 4] >= m.drop;
            double a = get(type, x, i * ld + j);
            double want = type == FLOAT ? (double)((float)a * (float)scale) : a * scale;
            ok &= keep[i * ld + j] == kept && get(type, y, i * ld + j) == (kept ? want : 0);
        }
        ok &= untouched(keep + i * ld + m.cols, (size_t)m.gap);
        ok &= untouched((unsigned char *)y + (size_t)(i * ld + m.cols) * size_of[type],
                        (size_t)m.gap * size_of[type]);
    }
    kernels->ddropout(x, ld, keep, ld, m.rows, m.cols, scale);
    for (int64_t i = 0; i < m.rows; i++)
        for (int64_t j = 0; j < m.cols; j++)
            ok &= get(type, x, i * ld + j) == get(type, y, i * ld + j);
    return ok;
}

static void test_dropout(isa set_, int type)
{
    const fa_kernels *kernels = &set_.rows[type];
    /* The first known answer through the kernel: a word is kept at its own value, not one above. */
    static const uint32_t word[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    int bad = 0;
    for (int i = 0; i < 8; i++) {
        double x[4] = {0}, y[4];
        uint8_t keep[4];
        kernels->dropout(y, 4, keep, 4, x, 4, 1, 4, word[i / 2] + (uint32_t)(i % 2), 1, 0, 0, 0, 0,
                         0);
        bad += keep[i / 2] != (i % 2 == 0);
    }
    check(bad == 0, set_.name, type, "words of the mask's generator: bad", bad);
    bad = 0;
    for (int64_t cols = 0; cols <= 70; cols++) {
        uint64_t a = random_bits(), b = random_bits(), c = random_bits();
        mask_case m = {3,           cols,
                       cols % 4,    7 * cols,
                       (uint32_t)a, (uint32_t)(a >> 32),
                       (uint32_t)b, (uint32_t)(b >> 32),
                       (uint32_t)c};
        bad += !mask_agrees(kernels, type, m);
    }
    bad += !mask_agrees(kernels, type,
                        (mask_case){2, 33, 0, 0xffffffff, 0x80000000u, ~0u, ~0u, ~0u, ~0u});
    bad += !mask_agrees(kernels, type, (mask_case){2, 33, 0, 0, 0, 1, 2, 3, 4});
    bad += !mask_agrees(kernels, type, (mask_case){2, 33, 0, 0, ~0u, 1, 2, 3, 4});
    check(bad == 0, set_.name, type, "dropout and its derivative in every shape: bad", bad);

    double x[2], y[2];
    uint8_t keep[2];
    set(type, x, 0, NAN), set(type, x, 1, NAN);
    kernels->dropout(y, 2, keep, 2, x, 2, 1, 2, word[0] + 1, 1, 0, 0, 0, 0, 0);
    check(get(type, y, 0) == 0 && isnan(get(type, y, 1)), set_.name, type,
          "dropout lets kept NaN through", 1);
}

/* ---- losses ---- */

typedef enum {
    SOFTMAX_CE,
    SIGMOID_CE,
    MSE,
    SMOOTH,
    HUBER,
    PINBALL,
    POISSON,
    FOCAL,
    N_LOSSES
} loss_kind;
static const char *const loss_name[] = {"softmax_ce", "sigmoid_ce", "mse",     "softmax_ce_smooth",
                                        "huber",      "pinball",    "poisson", "focal"};
/* The options of the losses that have any */
static const double smoothing = 0.2, delta = 0.75, q_below = 0.3, q_above = 0.9, gamma_ = 1.5,
                    alpha = 0.25;

typedef struct {
    int64_t rows, cols, gap;
    bool labels, in_place;
    double spread; /* logits are uniform in +-spread */
} loss_case;

enum { MOST_ROWS = 37 }; /* more than two vectors of the widest kind, and some left over */

static void call_loss(const fa_kernels *kernels, loss_kind kind, void *e, int64_t lde,
                      double *row_loss, double *hit, const void *z, const int64_t *labels,
                      const void *y, int64_t ld, int64_t rows, int64_t cols)
{
    if (kind == SOFTMAX_CE)
        kernels->softmax_ce(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols);
    if (kind == SIGMOID_CE)
        kernels->sigmoid_ce(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols);
    if (kind == MSE) kernels->mse(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols);
    if (kind == SMOOTH)
        kernels->softmax_ce_smooth(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols,
                                   smoothing);
    if (kind == HUBER)
        kernels->huber(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols, delta, 0);
    if (kind == PINBALL)
        kernels->pinball(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols, q_below, q_above);
    if (kind == POISSON)
        kernels->poisson(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols, 0, 0);
    if (kind == FOCAL)
        kernels->focal(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols, gamma_, alpha);
}

static int64_t argmax(const double *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t j = 1; j < n; j++)
        if (x[j] > x[best]) best = j;
    return best;
}

/* One column of a loss that is a sum over columns */
static long double plain_column(loss_kind kind, double *e, long double z, long double y)
{
    const long double r = z - y, p = sigmoidl(z), q = sigmoidl(-z);
    const long double no_p = softplusl(-z), no_q = softplusl(z);
    if (kind == HUBER) {
        *e = (double)(r > delta ? delta : r < -delta ? -delta : r);
        return fabsl(r) <= delta ? r * r / 2 : delta * (fabsl(r) - (long double)delta / 2);
    }
    if (kind == PINBALL) {
        *e = r > 0 ? q_above : r < 0 ? -q_below : 0;
        return r > 0 ? q_above * r : -q_below * r;
    }
    if (kind == POISSON) {
        *e = (double)(expl(z) - y);
        return expl(z) - y * z;
    }
    const long double yes = alpha * y * powl(q, gamma_),
                      no = (1 - alpha) * (1 - y) * powl(p, gamma_);
    *e = (double)(no * (gamma_ * q * no_q + p) - yes * (gamma_ * p * no_p + q));
    return yes * no_p + no * no_q;
}

/* The formulas of kernels.def on one row, nothing clever */
static double plain_loss(loss_kind kind, double *e, const double *z, const double *y, int64_t cols)
{
    long double loss = 0, sum = 0, most = z[argmax(z, cols)];
    for (int64_t j = 0; j < cols; j++) sum += expl(z[j] - most);
    if (kind == SOFTMAX_CE || kind == SMOOTH) loss = logl(sum) + most;
    for (int64_t j = 0; j < cols; j++) {
        long double a = z[j], t = y[j];
        if (kind == SMOOTH) t = (1 - smoothing) * t + smoothing / (long double)cols;
        if (kind >= HUBER) loss += plain_column(kind, e + j, a, t);
        if (kind == SOFTMAX_CE || kind == SMOOTH)
            loss -= t * a, e[j] = (double)(expl(a - most) / sum - t);
        if (kind == SIGMOID_CE) loss += softplusl(a) - t * a, e[j] = (double)(sigmoidl(a) - t);
        if (kind == MSE) loss += (a - t) * (a - t) / 2, e[j] = (double)(a - t);
    }
    return (double)loss;
}

static double plain_hit(loss_kind kind, const double *z, const double *y, int64_t cols, bool labels)
{
    const bool sides = kind == SIGMOID_CE || kind == FOCAL;
    if (!sides && kind != SOFTMAX_CE && kind != SMOOTH && !labels) return 0;
    if (!sides || (labels && cols > 1)) return argmax(z, cols) == argmax(y, cols);
    int64_t right = 0;
    for (int64_t j = 0; j < cols; j++) right += (z[j] > 0) == (y[j] > 0.5);
    return (double)right / (double)cols;
}

/* Targets of one row as numbers: what labels mean, or a row of y (a distribution for softmax_ce) */
static void make_target(int type, loss_kind kind, loss_case c, int64_t i, int64_t *labels, void *y,
                        double *plain)
{
    int64_t ld = c.cols + c.gap;
    labels[i] = (int64_t)(random_bits() % (uint64_t)(c.cols > 1 ? c.cols : 2));
    double sum = 0;
    for (int64_t j = 0; j < c.cols; j++) sum += plain[j] = uniform(0, 1);
    for (int64_t j = 0; j < c.cols; j++) {
        if (kind == SOFTMAX_CE || kind == SMOOTH) plain[j] /= sum;
        set(type, y, i * ld + j, plain[j]);
        plain[j] = get(type, y, i * ld + j);
        if (c.labels) plain[j] = c.cols == 1 ? (double)labels[i] : j == labels[i];
    }
}

/* The largest error of losses (in units of max(1, loss)) and of e; infinite where a hit is wrong or
 * a guard was written */
static double loss_error(const fa_kernels *kernels, int type, loss_kind kind, loss_case c)
{
    enum { ROOM = MOST_ROWS * 80 };
    static double z[ROOM], y[ROOM], e[ROOM], plain_z[ROOM], plain_y[ROOM], plain_e[ROOM];
    double row_loss[MOST_ROWS], hit[MOST_ROWS], worst = 0;
    int64_t labels[MOST_ROWS], ld = c.cols + c.gap;
    memset(e, GUARD, sizeof e);
    fill(type, z, c.rows * ld, -c.spread, c.spread);
    for (int64_t i = 0; i < c.rows * ld; i++) plain_z[i] = get(type, z, i);
    for (int64_t i = 0; i < c.rows; i++) make_target(type, kind, c, i, labels, y, plain_y + i * ld);
    void *out = c.in_place ? z : e;
    call_loss(kernels, kind, out, ld, row_loss, hit, z, c.labels ? labels : NULL, y, ld, c.rows,
              c.cols);
    for (int64_t i = 0; i < c.rows; i++) {
        const double *zi = plain_z + i * ld, *yi = plain_y + i * ld;
        double want = plain_loss(kind, plain_e, zi, yi, c.cols);
        double rounding = 1e-15 * c.spread; /* of 1 - sum y, times the largest logit */
        worst = larger(worst, (fabs(row_loss[i] - want) - rounding) / fmax(1, fabs(want)));
        bool ok = hit[i] == plain_hit(kind, zi, yi, c.cols, c.labels);
        for (int64_t j = 0; j < c.cols; j++)
            worst = larger(worst, fabs(get(type, out, i * ld + j) - plain_e[j]) /
                                      fmax(1, fabs(plain_e[j])));
        if (!c.in_place)
            ok &= untouched((unsigned char *)e + (size_t)(i * ld + c.cols) * size_of[type],
                            (size_t)c.gap * size_of[type]);
        if (!ok) worst = INFINITY;
    }
    return worst;
}

static void test_losses(isa set_, int type)
{
    static const double spreads[] = {0.1, 3, 30, 1000, 1e6};
    static const double bound[] = {4e-7, 2e-15};
    for (int kind = 0; kind < N_LOSSES; kind++) {
        double worst = 0;
        for (int64_t cols = 1; cols <= 70; cols += quick() ? 3 : 1) /* all lengths of tails */
            for (int s = 0; s < 5; s++)
                for (int way = 0; way < 8; way++) {
                    const int64_t rows = s % 2 ? 17 : 4;
                    loss_case c = {rows, cols, way & 1 ? 3 : 0, way & 2, way & 4, spreads[s]};
                    if (kind != SIGMOID_CE && cols == 1 && c.labels)
                        continue;                           /* nothing to classify */
                    if (kind == POISSON && s > 2) continue; /* e^z overflows */
                    worst = larger(worst, loss_error(&set_.rows[type], type, (loss_kind)kind, c));
                }
        check(worst <= bound[type], set_.name, type, loss_name[kind], worst);
    }
}

static bool same_number(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* Rows at once have the bits of one after another, also where some are not finite or have equal
 * logits. */
static void test_rows_at_once(isa set_, int type)
{
    enum { ROOM = MOST_ROWS * 70 };
    static const int64_t widths[] = {2, 3, 10, 16, 17, 63, 64, 65};
    static double z[ROOM], e[ROOM], one[ROOM];
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        const int64_t cols = widths[w], ld = cols + 3;
        double loss[MOST_ROWS], hit[MOST_ROWS];
        int64_t labels[MOST_ROWS];
        fill(type, z, MOST_ROWS * ld, -30, 30);
        for (int64_t i = 0; i < MOST_ROWS; i++) {
            static const double odd[] = {NAN, INFINITY, -INFINITY, 7, 7};
            labels[i] = (int64_t)(random_bits() % (uint64_t)cols);
            for (int64_t j = 0; i % 3 == 0 && j < cols; j += 1 + i % 2)
                set(type, z, i * ld + j, odd[(i / 3 + j / 2) % 5]);
        }
        set_.rows[type].softmax_ce(e, ld, loss, hit, z, ld, labels, NULL, 0, MOST_ROWS, cols);
        bool ok = true;
        for (int64_t i = 0; i < MOST_ROWS; i++) {
            const size_t at = (size_t)(i * ld) * size_of[type];
            double loss_1, hit_1;
            set_.rows[type].softmax_ce(one, ld, &loss_1, &hit_1, (char *)z + at, ld, labels + i,
                                       NULL, 0, 1, cols);
            ok &= same_number(loss[i], loss_1) && hit[i] == hit_1;
            for (int64_t j = 0; j < cols; j++)
                ok &= same_number(get(type, e, i * ld + j), get(type, one, j));
        }
        check(ok, set_.name, type, "softmax_ce: rows at once as one by one", (double)cols);
    }
}

/* Row targets that are one-hot mean what labels mean, also where an excluded logit is -inf. */
static void test_loss_edges(isa set_, int type)
{
    const fa_kernels *kernels = &set_.rows[type];
    static const struct {
        double z[3];
        int64_t label;
        bool finite;
        double want;
    } cases[] = {
        {{1e30, -1e30, 0}, 0, true, 0},
        {{0, -INFINITY, 0}, 0, true, 0.69314718055994531},
        {{0, -INFINITY, 0}, 1, false, INFINITY},
        {{INFINITY, 0, 0}, 0, false, NAN},
        {{INFINITY, 0, 0}, 1, false, NAN},
        {{0, NAN, 0}, 0, false, NAN},
        {{NAN, 0, 0}, 1, false, NAN},
        {{-INFINITY, -INFINITY, -INFINITY}, 1, false, NAN},
        {{5, 5, 5}, 0, true, 1.0986122886681098},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double z[3], y[3], e[3], loss[2], hit;
        for (int j = 0; j < 3; j++)
            set(type, z, j, cases[i].z[j]), set(type, y, j, j == cases[i].label);
        kernels->softmax_ce(e, 3, &loss[0], &hit, z, 3, &cases[i].label, NULL, 0, 1, 3);
        kernels->softmax_ce(e, 3, &loss[1], &hit, z, 3, NULL, y, 3, 1, 3);
        for (int way = 0; way < 2; way++) {
            bool ok =
                cases[i].finite ? fabs(loss[way] - cases[i].want) < 1e-15 : !isfinite(loss[way]);
            if (!ok) check(false, set_.name, type, "softmax_ce at the edge", loss[way]);
        }
        if (!cases[i].finite && cases[i].label != 1) {
            kernels->sigmoid_ce(e, 3, &loss[0], &hit, z, 3, &cases[i].label, NULL, 0, 1, 3);
            kernels->mse(e, 3, &loss[1], &hit, z, 3, &cases[i].label, NULL, 0, 1, 3);
            if (isfinite(loss[0]) || isfinite(loss[1]))
                check(false, set_.name, type, "loss of NaN or Inf", loss[0]);
        }
    }
    double tie[2], e[2], loss, hit;
    int64_t first = 0, second = 1;
    set(type, tie, 0, 5), set(type, tie, 1, 5);
    kernels->softmax_ce(e, 2, &loss, &hit, tie, 2, &first, NULL, 0, 1, 2);
    bool ok = hit == 1;
    kernels->softmax_ce(e, 2, &loss, &hit, tie, 2, &second, NULL, 0, 1, 2);
    check(ok && hit == 0, set_.name, type, "argmax takes the first of equals, edges of the losses",
          hit);
}

static void test_softmax(isa set_, int type)
{
    enum { ROOM = 4 * 80 };
    static double z[ROOM], p[ROOM], want[ROOM], none[ROOM];
    double worst = 0;
    for (int64_t cols = 1; cols <= 70; cols++) {
        fill(type, z, 4 * cols, -50, 50);
        set_.rows[type].softmax(p, cols, z, cols, 4, cols);
        for (int64_t i = 0; i < 4; i++) {
            double row[80];
            for (int64_t j = 0; j < cols; j++) row[j] = get(type, z, i * cols + j);
            plain_loss(SOFTMAX_CE, want, row, none, cols);
            for (int64_t j = 0; j < cols; j++) { /* relative: this is exp from 0 to -100 */
                double error = fabs(get(type, p, i * cols + j) - want[j]);
                double below = row[argmax(row, cols)] - row[j]; /* rounded to T before exp */
                if (want[j] < FLT_MIN && error <= FLT_MIN) continue;
                worst = larger(worst, error / want[j] / fmax(1, below));
            }
        }
        set_.rows[type].softmax(z, cols, z, cols, 4, cols);
        if (memcmp(z, p, (size_t)(4 * cols) * size_of[type])) worst = INFINITY;
    }
    check(worst <= (type == FLOAT ? 4e-7 : 2e-15), set_.name, type, "softmax, relative; in place",
          worst);
}

/* ---- v3 and v4 ---- */

static void test_same_bits(isa a, isa b, int type)
{
    enum { ROWS = 5, COLS = 61, N = ROWS * COLS };
    double x[N], y[2][N], loss[2][ROWS], hit[2][ROWS];
    int bad = 0;
    for (int repeat = 0; repeat < 200; repeat++) {
        fill(type, x, N, -100. / (1 + repeat % 20), 100. / (1 + repeat % 20));
        for (int kind = 0; kind < N_LOSSES; kind++) {
            int64_t labels[ROWS] = {0, 60, 7, 31, 16};
            memset(y, 0, sizeof y);
            for (int s = 0; s < 2; s++)
                call_loss(&(s ? b : a).rows[type], (loss_kind)kind, y[s], COLS, loss[s], hit[s], x,
                          labels, NULL, COLS, ROWS, COLS);
            bad += memcmp(y[0], y[1], sizeof y[0]) || memcmp(loss[0], loss[1], sizeof loss[0]) ||
                   memcmp(hit[0], hit[1], sizeof hit[0]);
        }
    }
    char what[64];
    snprintf(what, sizeof what, "same bits as %s: different", b.name);
    check(bad == 0, a.name, type, what, bad);
}

int main(void)
{
    find_isas();
    test_philox();
    for (int s = 0; s < n_isas; s++)
        for (int type = FLOAT; type <= DOUBLE; type++) {
            test_random(isas[s], type);
            test_dropout(isas[s], type);
            test_losses(isas[s], type);
            test_rows_at_once(isas[s], type);
            test_loss_edges(isas[s], type);
            test_softmax(isas[s], type);
        }
    if (n_isas == 3)
        for (int type = FLOAT; type <= DOUBLE; type++) test_same_bits(isas[1], isas[2], type);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
