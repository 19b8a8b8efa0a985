/* Words of other protocols: see foreign.h. */
#include "proto/foreign.h"
#include "base/cleanup.h"

bool foreign_word(str word)
{
    static const str methods[] = { S("GET"),     S("HEAD"),  S("POST"),  S("PUT"),   S("DELETE"),
                                   S("CONNECT"), S("OPTIONS"), S("TRACE"), S("PATCH"), S("PRI") };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_ieq(word, methods[i]))
            return true;
    return str_istarts(word, S("SSH-"));
}
