/* Any words as arguments of the sendmail command, one a line. */
#include <stdlib.h>
#include "admin/sendmail_args.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[64];
    int argc = 0;
    str in = str_of(data, size);
    struct sendmail_args a;
    while (in.n && argc < 63) {
        argv[argc] = str_dupz(str_cut(&in, '\n'));
        if (argv[argc])
            argc++;
    }
    argv[argc] = NULL;
    int r = sendmail_args_parse(argc, argv, &a);
    bool rest = r < 0 || (a.n_recipients >= 0 && a.recipients + a.n_recipients == argv + argc);
    if ((r < 0) != (a.why[0] != '\0') || !rest)
        abort();
    while (argc)
        free(argv[--argc]);
    return 0;
}
