/* Broadcast and target rules: every hidden layer gets its signal from the output, B_l is n_L x n_l.
 *   dfa      S_l = e B_l              (Nokland 2016)
 *   sdfa     S_l = sign(e) B_l        (the error sign variant in Frenkel et al. 2021)
 *   ternary  S_l = T(e) B_l, T(x) = sign(x) where |x| > threshold, else 0
 *   drtp     S_l = Y B_l              (Frenkel et al. 2021); with labels a gather of rows of B_l
 * They never compute a product with a transposed W. */
#include "rules/rules.h"

static fa_status plan(fa_net *net, int block)
{ return fa_plan_fixed_feedback(net, block, net->n_out); }

static const fa_option_row dfa_options[] = {
    [FA_DFA_DERIVATIVE] = {.name = "derivative",
                           .kind = FA_OPTION_TEXT,
                           .text = "own",
                           .meaning = "the activation whose derivative takes the place of f'; own: "
                                      "f' itself"},
    [FA_DFA_NORMALIZE] = {.name = "normalize",
                          .kind = FA_OPTION_FLAG,
                          FA_CLOSED(0, 1),
                          .meaning = "1: the signal of a sample has the root mean square of its "
                                     "error as its length"},
    {0}};

static fa_status plan_dfa(fa_net *net, int block)
{
    FA_TRY(plan(net, block));
    return fa_plan_shaped(net, block);
}

static fa_status plan_target(fa_net *net, int block)
{ return fa_plan_feedback(net, block, net->n_out); }

static fa_status plan_sign(fa_net *net, int block)
{
    fa_plan_scratch(net, (size_t)FA_CHUNK * (size_t)net->n_out * net->esize);
    return plan(net, block);
}

static fa_mat error(const fa_run *run, fa_rows rows)
{ return fa_get(run, run->net->blocks[run->net->n_blocks - 1].delta, rows); }

void fa_broadcast_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                         int worker)
{
    (void)rule;
    fa_feedback_product(run, block, part, error(run, part.rows), s, worker);
}

static void sdfa_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                        int worker)
{
    (void)rule;
    const fa_mat e = error(run, part.rows);
    const fa_mat sign = {fa_scratch(run, worker), e.cols, e.rows, e.cols};
    run->net->k->act[FA_ACT_sign](sign.p, sign.ld, e.p, e.ld, e.rows, e.cols, 0);
    fa_feedback_product(run, block, part, sign, s, worker);
}

enum { TERNARY_THRESHOLD };
static const fa_option_row ternary_options[] = {
    [TERNARY_THRESHOLD] = {.name = "threshold",
                           .number = 0.25,
                           FA_AT_LEAST(0),
                           .zero_if_absent = true,
                           .meaning = "errors up to this size count as 0"},
    {0}};

static void ternary_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part,
                           fa_mat s, int worker)
{
    const fa_mat e = error(run, part.rows);
    const fa_mat t = {fa_scratch(run, worker), e.cols, e.rows, e.cols};
    run->net->k->ternary(t.p, t.ld, e.p, e.ld, e.rows, e.cols,
                         fa_option_number(rule, TERNARY_THRESHOLD));
    fa_feedback_product(run, block, part, t, s, worker);
}

static void drtp_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                        int worker)
{
    const fa_param *b = rule->feedback;
    if (run->labels && b->rows > 1)
        run->net->k->gather(s.p, s.ld, (char *)b->value + (size_t)part.c0 * run->net->esize,
                            b->cols, run->labels + part.rows.r0, s.rows, s.cols, 1);
    else
        fa_feedback_product(run, block, part, fa_get(run, FA_TARGET, part.rows), s, worker);
}

const fa_rule_ops fa_rule_dfa = {.name = "dfa",
                                 .options = dfa_options,
                                 .sources = FA_FROM_ERROR,
                                 .columns = true,
                                 .plan = plan_dfa,
                                 .product = true,
                                 .signal = fa_broadcast_signal};
const fa_rule_ops fa_rule_sdfa = {.name = "sdfa",
                                  .sources = FA_FROM_ERROR,
                                  .columns = true,
                                  .plan = plan_sign,
                                  .product = true,
                                  .signal = sdfa_signal};
const fa_rule_ops fa_rule_drtp = {.name = "drtp",
                                  .sources = FA_FROM_TARGET,
                                  .no_sequences = true,
                                  .columns = true,
                                  .plan = plan_target,
                                  .signal = drtp_signal};
const fa_rule_ops fa_rule_ternary = {.name = "ternary",
                                     .options = ternary_options,
                                     .sources = FA_FROM_ERROR,
                                     .columns = true,
                                     .plan = plan_sign,
                                     .product = true,
                                     .signal = ternary_signal};
