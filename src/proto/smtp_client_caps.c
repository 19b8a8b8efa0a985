/* What a peer says of itself in its answer to EHLO: see smtp_client.h. */
#include "proto/smtp_client_engine.h"

/* Digits only; 0 otherwise, which is "not said". */
static uint64_t number(str s)
{
    uint64_t v = 0;
    return str_u64(s, UINT64_MAX, &v) == 0 ? v : 0;
}

static void take_size(struct smtp_client_caps *caps, str args)
{
    caps->size = true;
    caps->size_max = number(str_word(&args));
}

static void take_auth(struct smtp_client_caps *caps, str args)
{
    for (str m = str_word(&args); m.n > 0; m = str_word(&args)) {
        caps->auth_plain |= str_ieq(m, S("PLAIN"));
        caps->auth_login |= str_ieq(m, S("LOGIN"));
        caps->auth_scram256 |= str_ieq(m, S("SCRAM-SHA-256"));
    }
}

/* RFC 9422 4: limits of 1 to 6 digits; others are ignored. */
static void take_limits(struct smtp_client_caps *caps, str args)
{
    const struct { str name; uint32_t *to; } known[] = {
        { S("MAILMAX"), &caps->mail_max },
        { S("RCPTMAX"), &caps->rcpt_max },
        { S("RCPTDOMAINMAX"), &caps->rcpt_domain_max },
    };
    for (str word = str_word(&args); word.n > 0; word = str_word(&args)) {
        str name = str_cut(&word, '=');
        uint64_t v = number(word);
        for (size_t i = 0; i < ARRAY_LEN(known); ++i)
            if (str_ieq(name, known[i].name) && v >= 1 && v <= 999999)
                *known[i].to = (uint32_t)v;
    }
}

#define TAKE_FLAG(field) static void take_##field(struct smtp_client_caps *caps, str args) \
{                                                                                           \
    (void)args;                                                                             \
    caps->field = true;                                                                     \
}
TAKE_FLAG(pipelining)
TAKE_FLAG(eightbitmime)
TAKE_FLAG(smtputf8)
TAKE_FLAG(chunking)
TAKE_FLAG(dsn)
TAKE_FLAG(starttls)
TAKE_FLAG(enhanced_codes)
TAKE_FLAG(requiretls)

static const struct {
    str keyword;
    void (*take)(struct smtp_client_caps *caps, str args);
} keywords[] = {
    { S("PIPELINING"), take_pipelining }, { S("8BITMIME"), take_eightbitmime }, { S("SMTPUTF8"), take_smtputf8 },
    { S("CHUNKING"), take_chunking }, { S("DSN"), take_dsn }, { S("STARTTLS"), take_starttls },
    { S("ENHANCEDSTATUSCODES"), take_enhanced_codes }, { S("REQUIRETLS"), take_requiretls },
    { S("SIZE"), take_size }, { S("AUTH"), take_auth }, { S("LIMITS"), take_limits },
};

void smtp_client_caps_line(struct smtp_client_caps *caps, str line)
{
    str keyword = str_word(&line);
    if (str_istarts(keyword, S("AUTH="))) { /* the form before RFC 2554, which old servers give beside the right one */
        take_auth(caps, str_from(keyword, 5));
        keyword = S("AUTH");
    }
    for (size_t i = 0; i < ARRAY_LEN(keywords); ++i)
        if (str_ieq(keyword, keywords[i].keyword))
            keywords[i].take(caps, line);
}
