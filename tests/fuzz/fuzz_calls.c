/* Sequences of calls: bytes become a description, data, and calls on three networks that differ
 * only in their number of threads. This must hold:
 *
 *   - no crash, no report of a sanitizer, nothing allocated at the end;
 *   - a call that fails leaves the network and every output as they were; a call of many steps
 *     keeps the complete steps that its metrics count. This includes calls in which
 *     one allocation fails, or all from then on; the same call then succeeds when it is made again;
 *   - one, two and three threads give the same bits and the same status;
 *   - a network that was saved and loaded, cloned, or given a state goes on with the same bits;
 *     reset gives the values of create; the file written again is the same file;
 *   - calls of many steps, and fa_learn_one, have the bits of their steps one by one;
 *   - fork's children, and the children of those, can use every network.
 *
 * One file, two programs: see tests/fuzz/README.md. */
#include "alike.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_CALLS = 40, MOST_FORKS = 2000, SECONDS = 60 };

/* ---- what more than one network takes part in ---- */

/* Makes a network by `how`, first with allocations that fail; replaces network i by it. */
typedef fa_status making(fa_net **net, const void *from);

static void replace(int i, making *how, const void *from)
{
    fa_net *net = NULL;
    const bool scarce = !take(3);
    if (scarce) {
        const long at = take(40);
        fail_allocation(at, take(2));
    }
    fa_status status = how(&net, from);
    allocate_again();
    MUST((status == FA_OK) == (net != NULL));
    if (status == FA_E_MEMORY && scarce) {
        count.no_memory++;
        status = how(&net, from);
    }
    MUST(status == FA_OK && net);
    MUST(fa_net_set_threads(net, fa_net_threads(nets[i])) == FA_OK);
    fa_net_free(nets[i]);
    nets[i] = net;
    must_agree();
}

static fa_status copy(fa_net **net, const void *from) { return fa_net_clone(net, from); }
static void clone_one(void)
{
    const int from = (int)take(N_NETS);
    replace((int)take(N_NETS), copy, nets[from]);
}

static int give_rule(void *user, fa_rule_desc *rule, int64_t layer, const char *note)
{
    (void)user, (void)layer, (void)note;
    rule->signal = signal_of;
    return 0;
}
static fa_status load_bytes(fa_net **net, const void *from)
{
    const bytes *b = from;
    return fa_load_memory(net, b->data, b->size, give_rule, NULL);
}

static void load_saved(void)
{
    const int i = (int)take(N_NETS);
    bytes first = saved_bytes(nets[i]);
    if (!first.size) return;
    replace(i, load_bytes, &first);
    bytes second = saved_bytes(nets[i]);
    MUST(same_bytes(first, second));
    free(first.data), free(second.data);
}

/* Such a rule has to be given its function, which a file cannot hold. */
static bool has_own_rule(const fa_net *net)
{
    bool own = false;
    for (int64_t b = 0; b < fa_net_n_blocks(net); b++)
        own |= !strcmp(block_of(net, b).rule, "custom");
    return own;
}

static fa_status load_file(fa_net **net, const void *from) { return fa_load(net, from); }

static void load_saved_file(void)
{
    const int i = (int)take(N_NETS);
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/fuzz_calls.%d", folder ? folder : "/tmp", (int)getpid());
    fail_allocation(take(6), take(2));
    fa_status status = fa_save(nets[i], path);
    allocate_again();
    MUST(status == FA_OK || status == FA_E_MEMORY || status == FA_E_NONFINITE);
    if (status == FA_E_MEMORY) status = fa_save(nets[i], path);
    if (status) {
        MUST(status == FA_E_NONFINITE && access(path, F_OK));
        return;
    }
    fa_net *net = NULL;
    if (has_own_rule(nets[i]))
        MUST(fa_load(&net, path) == FA_E_FORMAT && !net);
    else
        replace(i, load_file, path);
    unlink(path);
}

static void pass_state(void)
{
    void *state = state_of(nets[take(N_NETS)]);
    fa_net *to = nets[take(N_NETS)];
    const size_t size = fa_net_state_size(to);
    MUST(fa_net_set_state(to, state, size - 1) == FA_E_VALUE);
    MUST(fa_net_set_state(to, state, size) == FA_OK);
    free(state);
    must_agree();
}

static void change_threads(void)
{
    fa_net *net = nets[take(N_NETS)];
    const int n = (int)take(6) - (once_in(8) ? 2 : 0), before = fa_net_threads(net);
    if (fa_net_set_threads(net, n)) MUST(n < 0 && fa_net_threads(net) == before);
}

static void change_default_threads(void) { MUST(fa_set_num_threads((int)take(5)) == FA_OK); }

static void reset_all(void)
{
    fa_net *fresh = NULL;
    for (int i = 0; i < N_NETS; i++) MUST(fa_net_reset(nets[i]) == FA_OK);
    MUST(fa_net_create(&fresh, fa_net_description(nets[0])) == FA_OK);
    MUST(same_networks(fresh, nets[0]));
    fa_net_free(fresh);
    must_agree();
}

/* In a child, in a child of it, ...: everything works, with the same bits. */
static void use_in_child(int generations)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(SECONDS);
        make_on_all(&kinds[0]);
        if (generations > 1) use_in_child(generations - 1);
        make_on_all(&kinds[take(N_KINDS)]);
        _exit(0);
    }
    int status = -1;
    MUST(child > 0);
    while (waitpid(child, &status, 0) < 0) MUST(errno == EINTR); /* libFuzzer has a timer */
    MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void fork_now(void)
{
    if (!once_in(16) || count.forks >= MOST_FORKS) return;
    count.forks++;
    use_in_child(1 + (int)take(2));
}

static const struct {
    const char *name;
    void (*act)(void);
} acts[] = {{"clone", clone_one},
            {"load", load_saved},
            {"load_file", load_saved_file},
            {"state", pass_state},
            {"threads", change_threads},
            {"default threads", change_default_threads},
            {"reset as created", reset_all},
            {"fork", fork_now}};
enum { N_ACTS = sizeof acts / sizeof *acts };

/* ---- the target ---- */

static void next_call(void)
{
    int weights = 0;
    for (int i = 0; i < N_KINDS; i++) weights += kinds[i].weight;
    int pick = (int)take((uint32_t)(weights + N_ACTS));
    own_rule = once_in(10) ? take(4) : TEACHES;
    if (pick < N_ACTS) {
        doing = acts[pick].name;
        acts[pick].act();
        return;
    }
    const kind *k = kinds;
    for (pick -= N_ACTS; pick >= k->weight; k++) pick -= k->weight;
    doing = k->name;
    make_on_all(k);
}

/* The three of one description; false: it is refused, as a whole and with nothing left. */
static bool create_all(fa_net_desc *desc)
{
    const bool scarce = !take(3);
    const long at = take(60);
    for (int i = 0; i < N_NETS; i++) {
        nets[i] = NULL;
        desc->n_threads = desc->n_threads < 0 ? desc->n_threads : i + 1;
        if (i == 0 && scarce) fail_allocation(at, at % 2);
        fa_status status = fa_net_create(&nets[i], desc);
        allocate_again();
        MUST((status == FA_OK) == (nets[i] != NULL));
        if (status == FA_E_MEMORY && i == 0 && scarce) {
            count.no_memory++;
            status = fa_net_create(&nets[i], desc);
        }
        if (!status) continue;
        MUST(i == 0 && (status == FA_E_VALUE || status == FA_E_MEMORY) && !nets[i]);
        count.refused++;
        return false;
    }
    const fa_net_desc *d = fa_net_description(nets[0]);
    shape.n_in = d->n_in, shape.dtype = d->dtype, shape.esize = size_of(d->dtype);
    for (int i = 0; fa_name(FA_NAMES_LOSS, i); i++) /* the library's, which outlives the network */
        if (!strcmp(fa_name(FA_NAMES_LOSS, i), d->loss)) shape.loss = fa_name(FA_NAMES_LOSS, i);
    shape.n_out = block_of(nets[0], fa_net_n_blocks(nets[0]) - 1).n_out;
    return true;
}

static void report(void)
{
    fprintf(stderr,
            "%ld inputs: %ld descriptions refused; %ld calls on three networks: %ld failed; "
            "%ld allocations failed, %ld calls replayed, %ld forks\n",
            count.inputs, count.refused, count.calls, count.failed, count.no_memory, count.replayed,
            count.forks);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static drawn d;
    start(report);
    count.inputs++;
    input = data, input_left = size;
    generator = 1 + (uint64_t)next_byte() * 7919;
    own_rule = TEACHES;
    doing = "create";
    describe(&d);
    const bool created = create_all(&d.desc);
    free_drawn(&d);
    if (created) {
        must_agree();
        for (int n = 0; input_left && n < MOST_CALLS; n++) next_call();
    }
    for (int i = 0; created && i < N_NETS; i++) fa_net_free(nets[i]);
    nothing_is_left();
    return 0;
}

#ifndef FUZZING
#include "alone.h"

int main(int argc, char **argv)
{
    static const char *const corpora[] = {"tests/fuzz/corpus_calls", "tests/fuzz/crashes_calls",
                                          NULL};
    return run_alone(argc, argv, corpora, change_bytes);
}
#endif
