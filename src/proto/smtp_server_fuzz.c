/* Any bytes, fed whole and byte by byte, give the same events and the same replies. The first byte chooses the
 * configuration. */
#include "proto/smtp_test_driver.h"

static void run(struct play *p, const struct smtp_server_config *config, str bytes, size_t step)
{
    play_init_xclient(p, config, config->chunking);
    p->odd = true;
    p->tls_at_once = true;
    if (config->auth && !config->starttls)
        smtp_server_tls_started(p->s);
    play_feed(p, STR_NONE);
    for (size_t i = 0; i < bytes.n; i += step)
        play_feed(p, str_first(str_from(bytes, i), step));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct smtp_server_config config = play_config;
    uint8_t choice = data[0];
    config.msa = choice & 1;
    config.auth = choice & 2;
    config.starttls = choice & 4;
    config.smtputf8 = choice & 8;
    config.chunking = choice & 16;
    config.normalize_newlines = choice & 32;
    config.limits.size_max = choice & 64 ? 40 : 1 << 20;
    config.limits.errors_max = choice & 128 ? 0 : 20;
    config.limits.line_max = 128;
    config.lmtp = config.msa && !config.auth;
    str bytes = str_of(data + 1, size - 1);
    struct play whole, thirds, bytewise;
    run(&whole, &config, bytes, bytes.n + 1);
    run(&thirds, &config, bytes, 3);
    run(&bytewise, &config, bytes, 1);
    if (!str_eq(buf_str(&whole.log), buf_str(&bytewise.log)) || !str_eq(buf_str(&whole.out), buf_str(&bytewise.out)))
        abort();
    if (!str_eq(buf_str(&whole.log), buf_str(&thirds.log)) || !str_eq(buf_str(&whole.out), buf_str(&thirds.out)))
        abort();
    play_done(&whole);
    play_done(&thirds);
    play_done(&bytewise);
    return 0;
}
