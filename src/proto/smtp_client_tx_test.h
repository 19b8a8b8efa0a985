/* Scenarios of transactions of the SMTP client, played with the input whole and byte by byte. Included by tests only,
 * after cmocka, which have config, rcpts and mail of what is played. */
#pragma once
#include "proto/smtp_client_play.h"

#define T(f) cmocka_unit_test_setup(f, setup)
#define SAYS(p, text) client_play_feed(p, str_z(text))

typedef void scenario_fn(struct client_play *p);

static inline int setup(void **state)
{
    (void)state;
    config = (struct smtp_client_config){ .hostname = S("out.test") };
    memset(rcpts, 0, sizeof(rcpts));
    rcpts[0].address = S("a@example.org");
    rcpts[1].address = S("b@example.org");
    rcpts[2].address = S("c@example.com");
    mail = (struct smtp_client_mail){ .sender = S("me@example.net"), .rcpts = rcpts, .n = 1 };
    return 0;
}

static inline void twice(scenario_fn *f)
{
    struct client_play whole, bytewise;
    client_play_init(&whole, &config, 1u << 20);
    f(&whole);
    client_play_init(&bytewise, &config, 1);
    f(&bytewise);
    assert_true(str_eq(buf_str(&whole.log), buf_str(&bytewise.log)));
    assert_true(str_eq(buf_str(&whole.said), buf_str(&bytewise.said)));
    client_play_done(&whole);
    client_play_done(&bytewise);
}

static inline void same(str is, const char *should_be)
{
    if (str_eq(is, str_z(should_be)))
        return;
    print_error("is: %.*s\nshould be: %s\n", STR_ARG(is), should_be);
    fail();
}

static inline void said(struct client_play *p, const char *text)
{
    same(client_said(p), text);
}

/* What was logged since the last call. */
static inline void logged(struct client_play *p, const char *text)
{
    same(buf_str(&p->log), text);
    buf_clear(&p->log);
}

static inline void ready(struct client_play *p, const char *capabilities)
{
    SAYS(p, "220 mx\r\n");
    SAYS(p, "250-mx\r\n");
    SAYS(p, capabilities);
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
    client_said(p);
}

static inline void begin(struct client_play *p)
{
    assert_int_equal(smtp_client_send(p->c, &mail), 0);
    SAYS(p, "");
}

static inline void content(struct client_play *p, const char *text, bool last)
{
    assert_int_equal(p->last.kind, SMTP_CLIENT_NEED_CONTENT);
    smtp_client_content(p->c, str_z(text), last);
    SAYS(p, "");
}
