/* Random words, right sides and networks: a verdict or an error with a text and a place, never a crash. */
#include <errno.h>
#include <stdlib.h>
#include "policy/policy.h"

static void oracle(bool good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct policy_word words[128];
    struct policy_list list = { NULL, SIZE_MAX };
    struct policy_error error = { 0 };
    struct net net;
    const char *why = NULL;
    if (!size || size > 4096)
        return 0;
    enum policy_stage stage = data[0] % POLICY_STAGES;
    str text = str_of(data + 1, size - 1), rest = text;
    size_t n = 0;
    for (str word = str_word(&rest); word.n && n < 128; word = str_word(&rest), n++)
        words[n] = (struct policy_word){ word, S("fuzz"), (uint32_t)n + 1 };
    int r = policy_compile(&a, stage, words, n, &list, &error);
    oracle(r == 0 || r == -EINVAL);
    if (r == 0)
        oracle(list.n <= n);
    else
        oracle(list.n == SIZE_MAX && error.text.n && error.line >= 1 && error.line <= n);
    for (size_t i = 0; r == 0 && i < list.n; i++) {
        struct policy_word_info info;
        oracle(policy_word_info(list.rules[i].word, &info) && str_ieq(list.rules[i].name, str_z(info.name)));
        oracle(info.takes_table == (list.rules[i].arg.n > 0));
    }
    r = policy_check_action(text, &why);
    oracle(r == 0 || (r == -EINVAL && why));
    if (net_parse(text, &net) == 0)
        oracle(net.bits <= 128);
    return 0;
}
