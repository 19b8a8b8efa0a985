/* Inside of `posthouse quickstart you@example.org`: what is to be made, and what was found out about this machine. */
#pragma once
#include "admin/dkim.h"
#include "admin/quickstart.h"

#define QUICKSTART_KEYS 2
#define QUICKSTART_LISTENS_MAX 2

struct quickstart_site {
    struct quickstart q;
    const char *addresses[QUICKSTART_ADDRESSES_MAX]; size_t n_addresses; /* of this machine, for the DNS */
    const char *listens[QUICKSTART_LISTENS_MAX]; size_t n_listens;
    bool yes, offline, strict;
    const char *probe;          /* HOST[:PORT] that the way out is tried with */
    unsigned warnings;
    struct { str selector; struct dkim_key *key; } keys[QUICKSTART_KEYS];
};

/* Finds this machine's public addresses (none: n_addresses stays 0), its name ("" if that is no full one). */
void quickstart_find_addresses(struct quickstart_site *s);
str quickstart_find_name(struct quickstart_site *s);
/* Looks whether the world finds this machine as it must, and prints a line for each point; counts warnings. */
void quickstart_check(struct quickstart_site *s);
/* Everything that is to be published, as lines of a zone file with comments. */
int quickstart_zone(const struct quickstart_site *s, struct buf *out);
