/* Who the client of an SMTP session is: counted for its address, trusted or not, named by a proxy (PROXY header) or by
 * itself (XCLIENT). Everything that depends on the client goes by s->conn.address; who really connected is s->peer, and
 * stands in the trace. */
#include "message/address.h"
#include "session/proxy_in.h"
#include "session/smtp_session.h"

void smtp_client_release(struct smtp_session *s)
{
    struct map *clients = &s->in->clients;
    struct smtp_client *client = s->counted ? map_get(clients, str_z(s->conn.address)) : NULL;
    if (client && --client->connections == 0)
        free(map_take(clients, str_z(s->conn.address)));
    s->counted = false;
}

/* Counts the connection for its client; false when over a limit. */
static bool admit(struct smtp_session *s)
{
    struct smtp_in *in = s->in;
    const struct conf *c = in->policy->config->conf;
    str address = str_z(s->conn.address);
    struct smtp_client *client = map_get(&in->clients, address);
    if (in->n_sessions > c->default_process_limit)
        return false;
    if (client && !s->trusted && client->connections >= c->smtpd_client_connection_count_limit)
        return false;
    if (!client) {
        client = calloc(1, sizeof(*client));
        if (!client || map_set(&in->clients, address, client, NULL) < 0) {
            free(client);
            return false;
        }
    }
    client->connections++;
    s->counted = true;
    return true;
}

/* The address is settled: what follows from it. A mail system in front (LMTP) is not measured as a stranger is. */
static void enter(struct smtp_session *s)
{
    s->trusted = s->conn.local || s->listener->service == CONF_LMTP ||
                 policy_nets_match(&s->policy->nets.trusted, str_z(s->conn.address));
    s->auth.trusted = s->trusted;
    smtp_server_set_trusted(s->engine, s->trusted);
    if (admit(s))
        return;
    smtp_server_shutdown(s->engine, S("4.7.0"), S("Too many connections; try again later"));
    s->in->count.refused_connections++;
}

static void add_peer(struct buf *event, const struct smtp_session *s)
{
    if (!str_eq(str_z(s->peer), str_z(s->conn.address))) {
        event_str(event, "peer", str_z(s->peer));
        event_u64(event, "peer_port", s->peer_port);
    }
}

void smtp_client_begin(struct smtp_session *s)
{
    const struct smtp_nets *nets = &s->policy->nets;
    str address = str_z(s->conn.address);
    struct buf *e = smtp_session_event(s, EVENT_INFO, "connect");
    event_str(e, "client", address);
    event_u64(e, "port", s->conn.port);
    event_str(e, "listener", str_z(conf_service_name[s->listener->service]));
    add_peer(e, s);
    smtp_session_event_end(s);
    s->stranger = s->listener->service == CONF_LMTP && !s->conn.local && !policy_nets_match(&nets->lmtp, address);
    smtp_server_set_xclient(s->engine, !s->stranger && policy_nets_match(&nets->xclient, address));
    enter(s);
}

void smtp_client_open(struct smtp_session *s)
{
    memcpy(s->peer, s->conn.address, sizeof(s->peer));
    s->peer_port = s->conn.port;
    if (policy_nets_match(&s->policy->nets.proxies, str_z(s->peer)))
        proxy_in_begin(&s->conn);
}

bool smtp_client_header(struct smtp_session *s)
{
    struct proxy_header header;
    const char *why;
    struct buf *e;
    switch (proxy_in_read(&s->conn, &header, &why)) {
    case PROXY_IN_WAIT:
        return false;
    case PROXY_IN_DONE:
        return true;
    default:
        break;
    }
    e = smtp_session_event(s, EVENT_WARN, "proxy");
    event_str(e, "peer", str_z(s->peer));
    event_str(e, "why", str_z(why));
    smtp_session_event_end(s);
    smtp_session_close(s, why);
    return false;
}

/* XCLIENT. Everything is looked at before anything changes. */

static void take_address(struct smtp_session *s, const struct smtp_xclient *x)
{
    str address = x->value[SMTP_XCLIENT_ADDR];
    smtp_client_release(s);
    if (address.n) {
        conn_set_client(&s->conn, address, x->port);
    } else {
        memcpy(s->conn.address, "unknown", sizeof("unknown"));
        s->conn.port = x->port;
        s->conn.local = false;
    }
    enter(s);
}

/* What was not said again stays: the sender of XCLIENT may use several, as one line holds little. But another address
 * is another client: its name goes with it. */
static void take(struct smtp_session *s, const struct smtp_xclient *x)
{
    smtp_session_room(s);
    if (x->given[SMTP_XCLIENT_ADDR])
        take_address(s, x);
    else if (x->given[SMTP_XCLIENT_PORT])
        s->conn.port = x->port;
    if (x->given[SMTP_XCLIENT_ADDR] || x->given[SMTP_XCLIENT_NAME])
        s->client_name = arena_dup(&s->arena, x->value[SMTP_XCLIENT_NAME]);
    s->helo = arena_dup(&s->arena, x->value[SMTP_XCLIENT_HELO]);
    s->esmtp = x->value[SMTP_XCLIENT_PROTO].n && !str_ieq(x->value[SMTP_XCLIENT_PROTO], S("SMTP"));
    s->account = STR_NONE;
    s->early = false;
}

void smtp_client_xclient(struct smtp_session *s, const struct smtp_event *ev)
{
    const struct smtp_xclient *x = &ev->xclient;
    struct conn probe = { 0 };
    str address = x->value[SMTP_XCLIENT_ADDR], name = x->value[SMTP_XCLIENT_NAME];
    if (address.n && conn_set_client(&probe, address, 0) < 0) {
        smtp_server_reply(s->engine, 501, S("5.5.4"), S("ADDR is not a numeric address"));
        return;
    }
    if (name.n && !domain_valid(name, 1)) {
        smtp_server_reply(s->engine, 501, S("5.5.4"), S("NAME is not a host name"));
        return;
    }
    take(s, x);
    struct buf *e = smtp_session_event(s, EVENT_INFO, "xclient");
    event_str(e, "client", str_z(s->conn.address));
    event_u64(e, "port", s->conn.port);
    event_str(e, "name", s->client_name);
    event_str(e, "helo", s->helo);
    event_str(e, "peer", str_z(s->peer));
    event_u64(e, "peer_port", s->peer_port);
    smtp_session_event_end(s);
    smtp_server_reply(s->engine, 220, STR_NONE, STR_NONE);
}
