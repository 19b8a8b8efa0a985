/* Any bytes as the messages of a client, for each mechanism. The questions that come out must be ones that auth can
 * answer. */
#include "base/codec.h"
#include "base/event.h"
#include "proto/sasl.h"
#include <stdlib.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_out(enum sasl_step step, const struct sasl_out *out)
{
    if (step == SASL_BINDING)
        check(str_starts(out->text, S("Channel binding failed: ")));
    if (step == SASL_ASK_PASSWORD || step == SASL_ASK_SALT || step == SASL_ASK_PROOF || step == SASL_OK ||
        step == SASL_BINDING) {
        check(out->user.n > 0 && out->user.n <= SASL_MESSAGE_MAX && utf8_valid(out->user));
        check(str_chr(out->user, '\0') < 0 && str_chr(out->user, '\n') < 0);
        check(out->authzid.n == 0 || str_ieq(out->authzid, out->user));
    }
    if (step == SASL_ASK_PASSWORD)
        check(out->password.n > 0 && str_chr(out->password, '\0') < 0);
    if (step == SASL_ASK_PROOF)
        check(out->proof.n == SASL_PROOF_LEN && str_find(out->auth_message, S(",c=")) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const str mechanisms[] = { { "PLAIN", 5 }, { "LOGIN", 5 }, { "SCRAM-SHA-256", 13 },
                                      { "SCRAM-SHA-256-PLUS", 18 } };
    static const struct sasl_bindings bindings = { .exporter = { "0123", 4 }, .end_point = { "4567", 4 },
                                                   .plus_offered = true };
    static const char signature[SASL_PROOF_LEN];
    if (size < 1)
        return 0;
    struct sasl_server *s = sasl_server_new(mechanisms[data[0] % 4], S("0123456789abcdefghij"));
    if (data[0] & 32)
        sasl_server_bind(s, &bindings);
    bool unbound_plus = data[0] % 4 == 3 && !(data[0] & 32);
    bool initial = data[0] & 64, yes = data[0] & 128;
    str rest = str_of(data + 1, size - 1);
    struct sasl_out out;
    enum sasl_step step = sasl_server_start(s, initial, initial ? str_cut(&rest, '\n') : STR_NONE, &out);
    for (size_t turns = 0; step < SASL_OK; turns++) {
        check(turns < 8); /* no mechanism goes round in circles */
        check_out(step, &out);
        check(!unbound_plus || step != SASL_ASK_SALT);
        if (step == SASL_CHALLENGE)
            step = sasl_server_respond(s, str_cut(&rest, '\n'), &out);
        else if (step == SASL_ASK_SALT)
            step = sasl_server_salt(s, S("saltsalt"), 4096, &out);
        else
            step = sasl_server_verdict(s, yes, str_of(signature, SASL_PROOF_LEN), &out);
    }
    check_out(step, &out);
    check(step != SASL_OK || yes);
    check(sasl_server_respond(s, S("x"), &out) == SASL_MALFORMED);
    sasl_server_free(s);
    return 0;
}
