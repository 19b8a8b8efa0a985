/* Any rdata of any type: what is accepted is a valid record, survives the way between processes, and a name that came
 * out goes back into the same bytes. Any bytes as an answer of another process: what is accepted packs to itself. */
#include "base/dns_rdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

/* The wire form of a host name, to compare with what it was read from. */
static void encode_name(struct buf *out, str name)
{
    while (name.n && !str_eq(name, S("."))) {
        str label = str_cut(&name, '.');
        buf_addc(out, (char)label.n);
        buf_add(out, label);
    }
    buf_addc(out, '\0');
}

static void one_record(enum dns_type type, str rdata)
{
    _cleanup_buf_ struct buf data = BUF(1 << 20), wire = BUF(1024), packed = BUF(1 << 20);
    struct dns_record records[DNS_RECORDS_MAX];
    struct dns_answer got;
    uint16_t number = 0;
    if (dns_rdata_decode(type, rdata, &number, &data) < 0) {
        check(data.n == 0);
        return;
    }
    struct dns_record r = { number, buf_str(&data) };
    check(dns_record_valid(type, &r) || data.n > UINT16_MAX || rdata.n > UINT16_MAX);
    if (rdata.n > UINT16_MAX)
        return;
    if (type == DNS_TYPE_MX || type == DNS_TYPE_PTR) {
        encode_name(&wire, r.data);
        check(str_ieq(buf_str(&wire), str_from(rdata, type == DNS_TYPE_MX ? 2 : 0)));
    }
    struct dns_answer a = { .state = DNS_OK, .n = 1, .records = &r };
    dns_answer_pack(&packed, &a);
    struct unpack u = UNPACK(buf_str(&packed));
    check(dns_answer_unpack(&u, type, records, &got) == 0 && got.n == 1);
    check(got.records[0].number == number && str_eq(got.records[0].data, r.data));
}

static void any_answer(enum dns_type type, str in)
{
    struct dns_record records[DNS_RECORDS_MAX];
    struct dns_answer a;
    _cleanup_buf_ struct buf again = BUF(1 << 20);
    struct unpack u = UNPACK(in);
    if (dns_answer_unpack(&u, type, records, &a) < 0)
        return;
    dns_answer_pack(&again, &a);
    check(str_eq(buf_str(&again), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = { DNS_TYPE_A,  DNS_TYPE_NS,  DNS_TYPE_CNAME, DNS_TYPE_PTR,
                                           DNS_TYPE_MX, DNS_TYPE_TXT, DNS_TYPE_AAAA,  DNS_TYPE_TLSA };
    str in = str_of(data, size);
    if (!in.n)
        return 0;
    enum dns_type type = types[data[0] % ARRAY_LEN(types)];
    one_record(type, str_from(in, 1));
    any_answer(type, str_from(in, 1));
    return 0;
}
