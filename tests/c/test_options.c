/* Options: what fa_option_info lists, which values are taken, and what becomes of them in networks,
 * clones and files. The last tests have a layer and a loss of their own, because no owner of the
 * library has an option that is a text.
 * Link: -Wl,--wrap=fa_find_layer -Wl,--wrap=fa_find_loss */
#include "bytes.h"
#include "check.h"

#include "api/api.h"
#include "model/options.h"

static const fa_names kinds[] = {FA_NAMES_LAYER, FA_NAMES_LOSS, FA_NAMES_RULE, FA_NAMES_OPTIMIZER};
enum { N_KINDS = sizeof kinds / sizeof *kinds, ROWS = 20 };

static dataset data;

/* ---- a layer and a loss with options ---- */

static const fa_option_row padded_options[] = {
    {.name = "fill", .kind = FA_OPTION_TEXT, .text = "same", .meaning = "where it is dropped"},
    {.name = "stride", .kind = FA_OPTION_INTEGER, .number = 1, FA_AT_LEAST(1), .meaning = "steps"},
    {.name = "rate",
     FA_HALF_OPEN(0, 1),
     .field = offsetof(fa_layer_desc, rate),
     .meaning = "as of dropout"},
    {0}};
enum { SCALE };
static const fa_option_row scaled_options[] = {
    [SCALE] = {.name = "factor", .number = 1, FA_CLOSED(0.5, 2), .meaning = "times the error"},
    {.name = "mode", .kind = FA_OPTION_TEXT, .text = "mean", .meaning = "not used"},
    {0}};

static void scaled_error(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                         double *hit, fa_mat z, const int64_t *labels, fa_mat y)
{
    k->mse(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols);
    for (int64_t i = 0; i < e.rows; i++)
        for (int64_t j = 0; j < e.cols; j++)
            ((float *)(void *)e.p)[i * e.ld + j] *= (float)options[SCALE].number;
}

static fa_layer_ops padded; /* dropout with options */
static fa_loss_ops scaled;  /* mse with a factor on its error */

const fa_layer_ops *__real_fa_find_layer(const char *name);
const fa_layer_ops *__wrap_fa_find_layer(const char *name);
const fa_layer_ops *__wrap_fa_find_layer(const char *name)
{ return name && !strcmp(name, "padded") ? &padded : __real_fa_find_layer(name); }

const fa_loss_ops *__real_fa_find_loss(const char *name);
const fa_loss_ops *__wrap_fa_find_loss(const char *name);
const fa_loss_ops *__wrap_fa_find_loss(const char *name)
{ return name && !strcmp(name, "scaled") ? &scaled : __real_fa_find_loss(name); }

static void make_own_ops(void)
{
    padded = *__real_fa_find_layer("dropout");
    padded.name = "padded", padded.options = padded_options;
    scaled = *__real_fa_find_loss("mse");
    scaled.name = "scaled", scaled.options = scaled_options, scaled.error = scaled_error;
}

/* ---- networks with one list of options ---- */

static bool takes_images(const char *type)
{ return strstr(type, "2d") != NULL && strcmp(type, "conv2d") != 0; }

/* Which layer of a recipe a type can replace: one without weights the dropout, if it takes rows. */
static int place_of(const char *type)
{
    static const char *const bare[] = {"dropout",    "flatten",  "padded",    "activation",
                                       "layer_norm", "rms_norm", "group_norm"};
    for (int i = 0; i < (int)(sizeof bare / sizeof *bare); i++)
        if (!strcmp(type, bare[i])) return DROPOUT;
    return FIRST;
}

/* Gives the list to the owner of this kind and name in a network that has one. */
static void give(recipe *r, fa_names kind, const char *owner, const fa_option *options, int n)
{
    recipe_init(r, kind == FA_NAMES_RULE ? owner : "dfa", FA_F32);
    r->rule.feedback.name = "uniform";
    if (kind == FA_NAMES_RULE) r->rule.options = options, r->rule.n_options = n;
    if (kind == FA_NAMES_OPTIMIZER) {
        r->optimizer = fa_optimizer_of(owner, 0.1);
        r->optimizer.options = options, r->optimizer.n_options = n;
    }
    if (kind == FA_NAMES_LAYER) {
        fa_layer_desc *layer = &r->layers[place_of(owner)];
        if (strstr(owner, "_norm")) *layer = fa_layer_norm();
        if (!strcmp(owner, "activation")) *layer = fa_activation("tanh");
        if (takes_images(owner) || !strcmp(owner, "conv2d")) {
            *layer = takes_images(owner) ? fa_max_pool2d(1) : fa_conv2d(2, 1, "tanh");
            r->layers[DROPOUT] = fa_flatten();
            r->desc.input_h = 1, r->desc.input_w = N_IN, r->desc.input_c = 1;
        }
        layer->type = owner, layer->options = options, layer->n_options = n;
    }
    if (kind == FA_NAMES_LOSS) {
        r->desc.loss = owner, r->desc.loss_options = options, r->desc.n_loss_options = n;
    }
}

static int teach_nothing(void *user, const fa_rule_context *t)
{
    (void)user, (void)t;
    return 0;
}

/* The options of this kind in a network's description. */
static const fa_option *options_in(const fa_net *net, fa_names kind, const char *owner, int *n)
{
    const fa_net_desc *d = fa_net_description(net);
    const fa_layer_desc *layer = &d->layers[place_of(owner)];
    *n = kind == FA_NAMES_RULE        ? d->rule->n_options
         : kind == FA_NAMES_OPTIMIZER ? d->optimizer->n_options
         : kind == FA_NAMES_LAYER     ? layer->n_options
                                      : d->n_loss_options;
    return kind == FA_NAMES_RULE        ? d->rule->options
           : kind == FA_NAMES_OPTIMIZER ? d->optimizer->options
           : kind == FA_NAMES_LAYER     ? layer->options
                                        : d->loss_options;
}

static bool same_option(const fa_option *a, const fa_option *b)
{
    return !strcmp(a->name, b->name) && !memcmp(&a->number, &b->number, sizeof a->number) &&
           !a->text == !b->text && (!a->text || !strcmp(a->text, b->text));
}

static const fa_option *find(const fa_option *options, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(options[i].name, name)) return &options[i];
    return NULL;
}

/* Through a clone and a file: the same options and the same bytes. */
static void check_kept(const fa_net *net, fa_names kind, const char *owner)
{
    fa_net *all[2] = {NULL, NULL};
    bytes first = {0};
    REQUIRE(fa_save_to(net, append, &first) == FA_OK, "%s: save", owner);
    REQUIRE(fa_net_clone(&all[0], net) == FA_OK, "%s: clone", owner);
    fa_load_memory(&all[1], first.data, first.size, NULL, NULL);
    REQUIRE(all[1] != NULL || !strcmp(owner, "custom"), "%s: load", owner);
    for (int i = 0; i < 2; i++) {
        if (!all[i]) continue;
        int n, n_before;
        const fa_option *before = options_in(net, kind, owner, &n_before),
                        *now = options_in(all[i], kind, owner, &n);
        CHECK(n == n_before, "%s: %d options", owner, n);
        for (int k = 0; k < n; k++)
            CHECK(same_option(&before[k], &now[k]), "%s: %s of a %s", owner, before[k].name,
                  i ? "file" : "clone");
        bytes second = {0};
        CHECK(fa_save_to(all[i], append, &second) == FA_OK && same_bytes(first, second),
              "%s: the same file", owner);
        free(second.data);
        fa_net_free(all[i]);
    }
    free(first.data);
}

static fa_option *copy_list(const fa_option *options, int n)
{
    fa_option *copy = calloc((size_t)n + 1, sizeof *copy);
    for (int i = 0; i < n; i++) {
        copy[i] = options[i];
        copy[i].name = strdup(options[i].name);
        if (options[i].text) copy[i].text = strdup(options[i].text);
    }
    return copy;
}

static void free_list(fa_option *options, int n)
{
    for (int i = 0; i < n; i++) free((char *)options[i].name), free((char *)options[i].text);
    free(options);
}

/* Takes the options, which go away after the call, and has their values afterwards. */
static void accept(fa_names kind, const char *owner, const fa_option *options, int n)
{
    recipe r;
    fa_option *passing = copy_list(options, n);
    give(&r, kind, owner, passing, n);
    r.rule.signal = teach_nothing;
    fa_net *net = NULL;
    const fa_status status = fa_net_create(&net, &r.desc);
    free_list(passing, n);
    CHECK(status == FA_OK, "%s: %s = %g", owner, options[0].name, options[0].number);
    if (!net) return;
    int n_kept;
    const fa_option *kept = options_in(net, kind, owner, &n_kept);
    for (int i = 0; i < n; i++) {
        const fa_option *found = find(kept, n_kept, options[i].name);
        CHECK(found && same_option(found, &options[i]), "%s: %s is kept", owner, options[i].name);
    }
    check_kept(net, kind, owner);
    fa_net_free(net);
}

static void refuse(fa_names kind, const char *owner, const fa_option *options, int n,
                   const char *message)
{
    recipe r;
    give(&r, kind, owner, options, n);
    r.rule.signal = teach_nothing;
    fa_net *const untouched = (fa_net *)&data;
    fa_net *net = untouched;
    const int64_t live = live_bytes();
    CHECK(fa_net_create(&net, &r.desc) == FA_E_VALUE && net == untouched, "%s: '%s'", owner,
          message);
    CHECK(strstr(fa_last_error(), message), "%s: expected '%s'", owner, message);
    CHECK(live_bytes() == live, "%s: leak", owner);
}

/* ---- the list ---- */

static const char *owner_of(fa_names kind, int i)
{
    int n = 0;
    while (fa_name(kind, n)) n++;
    if (i < n) return fa_name(kind, i);
    if (i > n) return NULL;
    return kind == FA_NAMES_LAYER ? "padded" : kind == FA_NAMES_LOSS ? "scaled" : NULL;
}

static const fa_table *table_of(fa_names kind)
{
    return kind == FA_NAMES_RULE        ? &fa_rule_fields
           : kind == FA_NAMES_OPTIMIZER ? &fa_optimizer_fields
                                        : &fa_layer_fields;
}

static bool is_field_name(fa_names kind, const char *name)
{
    if (kind == FA_NAMES_LOSS) return false;
    for (const fa_field *f = table_of(kind)->fields; f->name; f++)
        if (!strcmp(f->name, name)) return true;
    return false;
}

static void check_row(fa_names kind, const char *owner, const fa_option_desc *o, const char *seen)
{
    CHECK(o->name && o->meaning && strlen(o->meaning) >= 5, "%s: words", owner);
    CHECK(o->struct_size == sizeof *o, "%s: size", owner);
    char name[80];
    snprintf(name, sizeof name, " %s ", o->name);
    CHECK(!strstr(seen, name), "%s: %s is there twice", owner, o->name);
    CHECK(is_field_name(kind, o->name) == (o->is_field != 0),
          "%s: %s: a file could not tell it from a field", owner, o->name);
    if (o->kind == FA_OPTION_TEXT) {
        CHECK(o->text && o->number == 0, "%s: %s: a default", owner, o->name);
        return;
    }
    CHECK(!o->text && o->number >= o->low && o->number <= o->high, "%s: %s: default within bounds",
          owner, o->name);
    CHECK(!(o->low_excluded && o->number == o->low) && !(o->high_excluded && o->number == o->high),
          "%s: %s: default within bounds", owner, o->name);
    if (o->kind == FA_OPTION_FLAG)
        CHECK(o->low == 0 && o->high == 1, "%s: %s: a flag", owner, o->name);
}

static void test_list(void)
{
    int n_owners = 0, n_options = 0;
    for (int k = 0; k < N_KINDS; k++) {
        const char *owner;
        for (int j = 0; (owner = owner_of(kinds[k], j)); j++, n_owners++) {
            fa_option_desc o = {.struct_size = sizeof o};
            char seen[512] = " ";
            int i = 0;
            fa_status status;
            for (; (status = fa_option_info(&o, kinds[k], owner, i)) == FA_OK; i++, n_options++) {
                check_row(kinds[k], owner, &o, seen);
                strcat(strcat(seen, o.name), " ");
            }
            CHECK(status == FA_E_END && strstr(fa_last_error(), owner), "%s: the end", owner);
            CHECK(fa_option_info(&o, kinds[k], owner, INT32_MAX) == FA_E_END, "%s: far", owner);
            CHECK(fa_option_info(&o, kinds[k], owner, -1) == FA_E_VALUE, "%s: before", owner);
            CHECK(i <= FA_MAX_OPTIONS, "%s: %d options", owner, i);
        }
    }
    CHECK(n_owners > 20 && n_options > 20, "%d options of %d owners", n_options, n_owners);
    CHECK(!strcmp(fa_status_name(FA_E_END), "past the end"), "its name");
}

static void test_questions_without_answer(void)
{
    fa_option_desc o = {.struct_size = sizeof o, .name = "untouched"};
    CHECK(fa_option_info(NULL, FA_NAMES_RULE, "kp", 0) == FA_E_VALUE, "no output");
    CHECK(fa_option_info(&o, FA_NAMES_RULE, NULL, 0) == FA_E_VALUE, "no owner");
    CHECK(fa_option_info(&o, FA_NAMES_RULE, "adam", 0) == FA_E_VALUE &&
              strstr(fa_last_error(), "expected one of backprop, "),
          "an owner of another kind");
    CHECK(fa_option_info(&o, FA_NAMES_ACTIVATION, "relu", 0) == FA_E_VALUE &&
              strstr(fa_last_error(), "FA_NAMES_RULE"),
          "a kind without options");
    CHECK(fa_option_info(&o, (fa_names)77, "relu", 0) == FA_E_VALUE, "no kind");
    o.struct_size = sizeof o + 8;
    CHECK(fa_option_info(&o, FA_NAMES_RULE, "kp", 0) == FA_E_VALUE, "a newer struct");
    o.struct_size = 8;
    CHECK(fa_option_info(&o, FA_NAMES_RULE, "kp", 0) == FA_E_VALUE, "no room for a name");
    CHECK(!strcmp(o.name, "untouched"), "nothing is written");
    o.struct_size = offsetof(fa_option_desc, kind), o.kind = (fa_option_kind)55;
    CHECK(fa_option_info(&o, FA_NAMES_RULE, "kp", 0) == FA_OK && !strcmp(o.name, "decay") &&
              (int)o.kind == 55 && o.struct_size == offsetof(fa_option_desc, kind),
          "a struct of an older header");
}

/* ---- values ---- */

/* One value of one option; with nesterov comes the momentum that it needs. */
static void try_value(fa_names kind, const char *owner, const fa_option_desc *o, double value,
                      bool good)
{
    const fa_option list[2] = {{o->name, value, NULL}, {"momentum", 0.5, NULL}};
    const int n = 1 + !strcmp(o->name, "nesterov");
    char message[80];
    snprintf(message, sizeof message, "%s '%s': %s: expected ",
             kind == FA_NAMES_RULE        ? "rule"
             : kind == FA_NAMES_OPTIMIZER ? "optimizer"
             : kind == FA_NAMES_LAYER     ? "type"
                                          : "loss",
             owner, o->name);
    if (good && !strcmp(o->name, "rank") && value > N_OUT) good = false; /* of this network */
    if (good && !strcmp(o->name, "groups") && fmod(N_HIDDEN_1, value) != 0) good = false;
    if (good)
        accept(kind, owner, list, n);
    else
        refuse(kind, owner, list, n, message);
}

static void try_number(fa_names kind, const char *owner, const fa_option_desc *o)
{
    const bool whole = o->kind != FA_OPTION_NUMBER;
    try_value(kind, owner, o, o->number, true);
    try_value(kind, owner, o, NAN, false);
    try_value(kind, owner, o, INFINITY, false);
    try_value(kind, owner, o, -INFINITY, false);
    try_value(kind, owner, o, isfinite(o->low) ? o->low + 0.5 : 0.5, !whole);
    if (isfinite(o->low)) {
        try_value(kind, owner, o, o->low, !o->low_excluded);
        try_value(kind, owner, o, whole ? o->low - 1 : nextafter(o->low, -INFINITY), false);
        try_value(kind, owner, o, whole ? o->low + 1 : nextafter(o->low, INFINITY), true);
    }
    if (isfinite(o->high)) {
        try_value(kind, owner, o, o->high, !o->high_excluded);
        try_value(kind, owner, o, whole ? o->high + 1 : nextafter(o->high, INFINITY), false);
        try_value(kind, owner, o, whole ? o->high - 1 : nextafter(o->high, -INFINITY), true);
    }
    char message[80];
    snprintf(message, sizeof message, "%s: expected ", o->name);
    refuse(kind, owner, &(fa_option){o->name, o->number, "text"}, 1, message);
}

static void try_text(fa_names kind, const char *owner, const char *name)
{
    char longest[FA_MAX_NAME + 2], message[80];
    memset(longest, 'x', sizeof longest);
    longest[FA_MAX_NAME + 1] = '\0';
    snprintf(message, sizeof message, "'%s': %s: expected ", owner, name);
    refuse(kind, owner, &(fa_option){name, 1, NULL}, 1, message);
    refuse(kind, owner, &(fa_option){name, 0, longest}, 1, message);
    refuse(kind, owner, &(fa_option){name, 0, "\xff"}, 1, name);
    if (!strcmp(name, "time")) { /* of a recurrent layer, which knows some words */
        accept(kind, owner, &(fa_option){name, 0, "kp"}, 1);
        refuse(kind, owner, &(fa_option){name, 0, ""}, 1, "time: expected one of bptt, ");
        return;
    }
    accept(kind, owner, &(fa_option){name, 0, longest + 1}, 1);
    accept(kind, owner, &(fa_option){name, 0, ""}, 1);
}

static void test_every_value(void)
{
    for (int k = 0; k < N_KINDS; k++) {
        const char *owner;
        for (int j = 0; (owner = owner_of(kinds[k], j)); j++) {
            fa_option_desc o = {.struct_size = sizeof o};
            for (int i = 0; fa_option_info(&o, kinds[k], owner, i) == FA_OK; i++)
                if (o.is_field)
                    refuse(kinds[k], owner, &(fa_option){o.name, 0, NULL}, 1,
                           "; it is a field of the description");
                else if (o.kind == FA_OPTION_TEXT)
                    try_text(kinds[k], owner, o.name);
                else
                    try_number(kinds[k], owner, &o);
        }
    }
}

/* The bounds of an option that is a field hold too. */
static void test_fields(void)
{
    const double rates[] = {0, nextafter(1, 0), 1, nextafter(0, -1), NAN, -INFINITY};
    for (int i = 0; i < 6; i++) {
        recipe r;
        recipe_init(&r, "dfa", FA_F32);
        r.layers[DROPOUT].rate = rates[i];
        fa_net *net = NULL;
        const fa_status status = fa_net_create(&net, &r.desc);
        CHECK(status == (i < 2 ? FA_OK : FA_E_VALUE), "rate %g", rates[i]);
        CHECK(!status || strstr(fa_last_error(), "layer 1: type 'dropout': rate: expected a finite "
                                                 "number >= 0 and < 1, got "),
              "rate %g", rates[i]);
        fa_net_free(net);
    }
}

static void test_messages(void)
{
    const fa_option oja = {"oja", 0.1, NULL},
                    twice[] = {{"decay", 0.1, NULL}, {"decay", 0.1, NULL}};
    const fa_names rule = FA_NAMES_RULE, optimizer = FA_NAMES_OPTIMIZER;
    refuse(rule, "dfa", &oja, 1, "rule 'dfa': option: expected none, got 'oja'");
    refuse(rule, "dkp", &oja, 1, "rule 'dkp': option: expected one of decay, lr_scale, got 'oja'");
    refuse(rule, "kp", twice, 2, "rule 'kp': option: expected 'decay' once, got it twice");
    refuse(rule, "kp", &(fa_option){NULL, 0, NULL}, 1, "rule 'kp': option: expected a name");
    refuse(rule, "kp", NULL, 1, "rule 'kp': options: expected a pointer, got NULL");
    refuse(rule, "kp", twice, -1, "rule 'kp': n_options: expected 0 to 32, got -1");
    refuse(rule, "kp", twice, 33, "rule 'kp': n_options: expected 0 to 32, got 33");
    refuse(rule, "kp", &(fa_option){"decay", 1, NULL}, 1,
           "rule 'kp': decay: expected a finite number >= 0 and < 1, got 1");
    refuse(rule, "kp", &(fa_option){"decay", 1, "x"}, 1, ">= 0 and < 1, got 'x'");
    refuse(rule, "dkp", &(fa_option){"lr_scale", 0, NULL}, 1,
           "expected a finite number > 0, got 0");
    refuse(rule, "ldfa", &(fa_option){"rank", 1.5, NULL}, 1,
           "rank: expected an integer from 0 to 2147483647, got 1.5");
    refuse(rule, "ldfa", &(fa_option){"rank", N_HIDDEN_2 + 1, NULL}, 1,
           "layer 0: rule 'ldfa': rank: expected 1 to 33, ");
    refuse(rule, "local", &(fa_option){"train_head", 2, NULL}, 1, "expected 0 or 1, got 2");
    refuse(optimizer, "sgd", &(fa_option){"beta1", 0, NULL}, 1,
           "optimizer 'sgd': option: expected one of momentum, nesterov, got 'beta1'");
    refuse(optimizer, "sgd", &(fa_option){"nesterov", 1, NULL}, 1, "expected momentum > 0");
    refuse(FA_NAMES_LOSS, "mse", &oja, 1, "loss 'mse': option: expected none, got 'oja'");
    refuse(FA_NAMES_LAYER, "dense", &oja, 1,
           "layer 0: type 'dense': option: expected one of slope, alpha, got 'oja'");
    refuse(FA_NAMES_LAYER, "padded", &(fa_option){"stride", 0, NULL}, 1,
           "layer 1: type 'padded': stride: expected an integer >= 1, got 0");
    refuse(rule, "hebb", &oja, 1, "rule: expected one of backprop, ");
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_rule_desc own = fa_rule_of("kp");
    own.options = &oja, own.n_options = 1, r.layers[SECOND].rule = &own;
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &r.desc) == FA_E_VALUE &&
              strstr(fa_last_error(), "layer 2: rule 'kp': option: expected one of decay, got"),
          "of a layer");
}

/* ---- whole lists ---- */

/* All defaults, given in reverse order, make the network of no options at all. */
static void test_defaults(void)
{
    for (int k = 0; k < N_KINDS; k++) {
        const char *owner;
        for (int j = 0; (owner = owner_of(kinds[k], j)); j++) {
            fa_option list[FA_MAX_OPTIONS];
            fa_option_desc o = {.struct_size = sizeof o};
            int n = 0;
            while (fa_option_info(&o, kinds[k], owner, n) == FA_OK && !o.is_field) n++;
            for (int i = 0; i < n; i++) {
                fa_option_info(&o, kinds[k], owner, n - 1 - i);
                list[i] = (fa_option){o.name, o.number, o.text};
            }
            recipe r;
            give(&r, kinds[k], owner, list, n);
            r.rule.signal = teach_nothing;
            fa_net *given = make(&r.desc);
            give(&r, kinds[k], owner, NULL, 0);
            r.rule.signal = teach_nothing;
            fa_net *none = make(&r.desc);
            bytes a = {0}, b = {0};
            CHECK(fa_save_to(given, append, &a) == FA_OK && fa_save_to(none, append, &b) == FA_OK &&
                      same_bytes(a, b),
                  "%s: defaults", owner);
            free(a.data), free(b.data);
            fa_net_free(given), fa_net_free(none);
        }
    }
}

static double trained(const fa_net_desc *desc)
{
    fa_net *net = make(desc);
    const fa_samples s = targeted(&data, 0, ROWS);
    double loss = 0;
    for (int i = 0; i < 5; i++) CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "train");
    fa_net_free(net);
    return loss;
}

/* A loss reads its options, and texts go through files. */
static void test_own_owners(void)
{
    recipe r;
    const fa_option half[] = {{"factor", 0.5, NULL}}, same[] = {{"factor", 1, NULL}};
    give(&r, FA_NAMES_LOSS, "mse", NULL, 0);
    const double mse = trained(&r.desc);
    give(&r, FA_NAMES_LOSS, "scaled", same, 1);
    CHECK(trained(&r.desc) == mse, "factor 1");
    give(&r, FA_NAMES_LOSS, "scaled", half, 1);
    CHECK(trained(&r.desc) > mse, "half of the steps");
    r.optimizer.lr = 0.2;
    CHECK(trained(&r.desc) == mse, "twice as large");
    const fa_option words[] = {{"fill", 0, "valid \"\n"}, {"stride", 3, NULL}},
                    mode[] = {{"mode", 0, ""}, {"factor", 2, NULL}};
    accept(FA_NAMES_LAYER, "padded", words, 2);
    accept(FA_NAMES_LOSS, "scaled", mode, 2);
}

/* ---- files ---- */

static const fa_rule_desc *read_rule(fa_description *d, char *text, const char *rule)
{
    snprintf(text, 400, "{\"loss\":\"mse\",\"rule\":{%s}}", rule);
    CHECK(fa_read_description(d, text) == FA_OK, "%s", rule);
    return d->desc.rule;
}

static void expect_rule(const char *text, int n, const char *name, double number)
{
    fa_description d;
    char room[400];
    const fa_rule_desc *rule = read_rule(&d, room, text);
    const fa_option *found = find(rule->options, rule->n_options, name);
    CHECK(rule->n_options == n && (!n || (found && found->number == number)), "%s", text);
    fa_free(d.layers);
}

/* The rules of files from before options: the fields of all rules, those that are zero left out. */
static void test_former_fields(void)
{
    expect_rule("\"name\":\"dfa\",\"lr_scale\":1,\"threshold\":0.5,\"oja\":-1,\"rank\":3", 0, "",
                0);
    expect_rule("\"decay\":0.5,\"lr_scale\":1,\"name\":\"kp\"", 1, "decay", 0.5);
    expect_rule("\"name\":\"local\",\"fixed_head\":true,\"lr_scale\":2", 2, "train_head", 0);
    expect_rule("\"name\":\"local\",\"fixed_head\":false", 1, "train_head", 1);
    expect_rule("\"name\":\"dkp\",\"lr_scale\":-0", 0, "", 0);
    expect_rule("\"name\":\"dkp\",\"lr_scale\":0.5,\"fixed_head\":true", 1, "lr_scale", 0.5);
    expect_rule("\"name\":\"new\",\"oja\":0.5", 0, "", 0); /* refused when it is planned */
}

int main(void)
{
    data = dataset_new(FA_F32, ROWS);
    make_own_ops();
    RUN(test_list);
    RUN(test_questions_without_answer);
    RUN(test_every_value);
    RUN(test_fields);
    RUN(test_messages);
    RUN(test_defaults);
    RUN(test_own_owners);
    RUN(test_former_fields);
    dataset_free(&data);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}
