/* What the two kinds of quickstart share: a folder that appears whole or not at all, its owner, files in it. See the
 * invariants at the top of quickstart.c. */
#pragma once
#include <sys/stat.h>
#include <sys/types.h>
#include "admin/admin.h"

#define QUICKSTART_TEXT_MAX (1u << 20)
#define QUICKSTART_USER "posthouse"
#define QUICKSTART_PASSWORD_GROUPS 4
#define QUICKSTART_PASSWORD_LEN (QUICKSTART_PASSWORD_GROUPS * 6 - 1) /* tovak-mirul-besod-fadin: 16 bits a group */
#define QUICKSTART_HIGHEST_PORT 995
#define QUICKSTART_ACCOUNTS_MAX 3
#define QUICKSTART_ADDRESSES_MAX 16

struct quickstart {
    const char *place, *option; /* DIR as asked, and the option that names it */
    const char *listen, *user;  /* as asked; user NULL: by default */
    str domain, host;
    uint16_t base;              /* added to every port */
    struct arena arena;
    str target, folder;         /* DIR, absolute; where it is being written */
    int dir;                    /* descriptor of `folder` */
    bool root, user_made;
    uid_t uid;                  /* of the roles, when root */
    gid_t gid;
    str accounts[QUICKSTART_ACCOUNTS_MAX]; size_t n_accounts;
    char password[QUICKSTART_ACCOUNTS_MAX][QUICKSTART_PASSWORD_LEN + 1];
};

enum quickstart_owner { QUICKSTART_CALLER, QUICKSTART_ROLES };

/* All: 0, or an exit code after a complaint. */
int quickstart_read_base(struct quickstart *q, const char *text);
/* `what` names where the domain stands, for the complaint. */
int quickstart_read_domain(struct quickstart *q, const char *what, const char *text);
/* A place where the folder may be made, and the user that the roles run as. */
int quickstart_look(struct quickstart *q);
/* Writes everything by `write` into a new folder and gives it its name; nothing stays behind if that fails. */
int quickstart_make(struct quickstart *q, int (*write)(struct quickstart *q));
void quickstart_done(struct quickstart *q);

/* Inside of `write`. */
int quickstart_user(struct quickstart *q); /* makes the system user if it is not there */
int quickstart_file(const struct quickstart *q, const char *name, const struct buf *text, enum quickstart_owner owner,
                    mode_t mode);
int quickstart_folder(const struct quickstart *q, const char *name, enum quickstart_owner owner, mode_t mode);
/* accounts, secrets and accounts.txt with a password for each of q->accounts. */
int quickstart_accounts(struct quickstart *q);
/* tls/: a certificate authority and the server's certificate for q->host, localhost and these addresses. */
int quickstart_tls(struct quickstart *q, const char *const *ip, size_t n);
/* posthouse.conf's lines about user and files. */
void quickstart_common_settings(const struct quickstart *q, struct buf *b);
bool quickstart_is_ip(const char *text);
const char *quickstart_role_user(const struct quickstart *q);

/* `posthouse quickstart you@example.org`: quickstart_domain.c. argv without options is read there. */
int quickstart_domain(int argc, char **argv);
