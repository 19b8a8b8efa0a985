/* Dates: see date.h. The calendar is computed here (proleptic Gregorian), so neither locale nor zone data can change
 * what is written; only date_local_offset_min asks the C library. */
#include <time.h>
#include "base/date.h"
#include <errno.h>

#define DAY_S 86400
#define YEAR_1_S (-62135596800LL)
#define YEAR_9999_END_S 253402300799LL

struct civil {
    int year, month, day, hour, minute, second; /* month 1 to 12, day 1 to 31 */
};

static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char day_names[] = "SunMonTueWedThuFriSat";

/* Years are counted from March, so the leap day is the last of its year. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

/* For moments from year 1 on. */
static struct civil civil_from_unix(int64_t unix_s)
{
    int64_t since_year_0 = unix_s + 719468LL * DAY_S;
    int64_t days = since_year_0 / DAY_S, rest = since_year_0 % DAY_S;
    int64_t era = days / 146097, day_of_era = days % 146097;
    int64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    return (struct civil){
        .year = (int)(year + era * 400 + (month >= 10)),
        .month = (int)(month < 10 ? month + 3 : month - 9),
        .day = (int)(day_of_year - (153 * month + 2) / 5 + 1),
        .hour = (int)(rest / 3600),
        .minute = (int)(rest / 60 % 60),
        .second = (int)(rest % 60),
    };
}

static int days_in_month(int year, int month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Second 60 is a leap second and counts as the first of the next minute. */
static int unix_from_civil(const struct civil *c, int64_t *out)
{
    if (c->month < 1 || c->month > 12 || c->day < 1 || c->day > days_in_month(c->year, c->month))
        return -EBADMSG;
    if (c->hour > 23 || c->minute > 59 || c->second > 60)
        return -EBADMSG;
    *out = days_from_civil(c->year, c->month, c->day) * DAY_S + c->hour * 3600 + c->minute * 60 + c->second;
    return 0;
}

static char *put_digits(char *p, int v, int n)
{
    for (int i = n; i-- > 0; v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + n;
}

static char *put_name(char *p, const char *names, int index)
{
    memcpy(p, names + 3 * index, 3);
    p[3] = ' ';
    return p + 4;
}

int date_format_5322(struct buf *out, int64_t unix_s, int offset_min)
{
    if (offset_min < -5999 || offset_min > 5999 || unix_s < YEAR_1_S || unix_s > YEAR_9999_END_S)
        return -ERANGE;
    int64_t local = unix_s + offset_min * 60;
    if (local < YEAR_1_S || local > YEAR_9999_END_S)
        return -ERANGE;
    struct civil c = civil_from_unix(local);
    int64_t days = (local - YEAR_1_S) / DAY_S; /* 1 January of year 1 was a Monday */
    int zone = offset_min < 0 ? -offset_min : offset_min;
    char text[40], *p = put_name(text, day_names, (int)((days + 1) % 7));
    p[-1] = ',';
    *p++ = ' ';
    p = put_digits(p, c.day, c.day < 10 ? 1 : 2);
    *p++ = ' ';
    p = put_name(p, month_names, c.month - 1);
    p = put_digits(p, c.year, 4);
    *p++ = ' ';
    p = put_digits(p, c.hour, 2);
    *p++ = ':';
    p = put_digits(p, c.minute, 2);
    *p++ = ':';
    p = put_digits(p, c.second, 2);
    *p++ = ' ';
    *p++ = offset_min < 0 ? '-' : '+';
    p = put_digits(p, zone / 60, 2);
    p = put_digits(p, zone % 60, 2);
    return buf_add(out, str_of(text, (size_t)(p - text)));
}

/* CFWS of RFC 5322 3.2.2: white space and nested comments with quoted pairs. */
static int skip_cfws(str *s)
{
    size_t depth = 0, i = 0;
    for (; i < s->n; i++) {
        char c = s->p[i];
        if (c == '(')
            depth++;
        else if (c == ')' && depth)
            depth--;
        else if (c == '\\' && depth)
            i++;
        else if (!depth && !ascii_blank(c) && c != '\r' && c != '\n')
            break;
    }
    if (depth)
        return -EBADMSG;
    *s = str_from(*s, i);
    return 0;
}

/* A number of min to max digits; returns how many there were. */
static int take_number(str *s, int min, int max, int *out)
{
    int v = 0, n = 0;
    for (; (size_t)n < s->n && ascii_digit(s->p[n]); n++) {
        if (n == max)
            return -EBADMSG;
        v = v * 10 + (s->p[n] - '0');
    }
    if (n < min)
        return -EBADMSG;
    *s = str_from(*s, (size_t)n);
    *out = v;
    return n;
}

static str take_letters(str *s)
{
    size_t n = 0;
    while (n < s->n && ascii_alpha(s->p[n]))
        n++;
    str word = str_first(*s, n);
    *s = str_from(*s, n);
    return word;
}

static bool take_char(str *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = str_from(*s, 1);
    return true;
}

/* Index of a three-letter name, or -1. */
static int name_index(const char *names, int count, str word)
{
    for (int i = 0; i < count; i++)
        if (str_ieq(word, str_of(names + 3 * i, 3)))
            return i;
    return -1;
}

/* [day-name ","] day month year. A day name that is not the date's own is let pass, as is a missing comma. */
static int take_date(str *s, struct civil *c)
{
    if (skip_cfws(s) < 0)
        return -EBADMSG;
    str day_name = take_letters(s);
    if (day_name.n) {
        if (name_index(day_names, 7, day_name) < 0 || skip_cfws(s) < 0)
            return -EBADMSG;
        take_char(s, ',');
    }
    if (skip_cfws(s) < 0 || take_number(s, 1, 2, &c->day) < 0 || skip_cfws(s) < 0)
        return -EBADMSG;
    c->month = name_index(month_names, 12, take_letters(s)) + 1;
    if (skip_cfws(s) < 0)
        return -EBADMSG;
    int digits = take_number(s, 2, 4, &c->year);
    if (digits < 0 || (digits == 4 && c->year < 1900))
        return -EBADMSG;
    if (digits == 2 && c->year < 50) /* RFC 5322 4.3 */
        c->year += 2000;
    else if (digits < 4)
        c->year += 1900;
    return 0;
}

/* hour ":" minute [":" second]; one digit for the hour is let pass. */
static int take_time(str *s, struct civil *c)
{
    if (skip_cfws(s) < 0 || take_number(s, 1, 2, &c->hour) < 0 || skip_cfws(s) < 0)
        return -EBADMSG;
    if (!take_char(s, ':') || skip_cfws(s) < 0 || take_number(s, 2, 2, &c->minute) < 0 || skip_cfws(s) < 0)
        return -EBADMSG;
    c->second = 0;
    if (take_char(s, ':') && (skip_cfws(s) < 0 || take_number(s, 2, 2, &c->second) < 0))
        return -EBADMSG;
    return skip_cfws(s);
}

/* RFC 5322 4.3: the North American names mean what they say; other letters count as -0000, as does no zone at all. */
static int zone_by_name(str name)
{
    static const struct {
        char name[4];
        int8_t hours;
    } zones[] = {
        { "EDT", -4 }, { "EST", -5 }, { "CDT", -5 }, { "CST", -6 },
        { "MDT", -6 }, { "MST", -7 }, { "PDT", -7 }, { "PST", -8 },
    };
    for (size_t i = 0; i < ARRAY_LEN(zones); i++)
        if (str_ieq(name, str_of(zones[i].name, 3)))
            return zones[i].hours * 60;
    return 0;
}

static int take_zone(str *s, int *out_min)
{
    bool minus = take_char(s, '-');
    if (!minus && !take_char(s, '+')) {
        *out_min = zone_by_name(take_letters(s));
        return 0;
    }
    int hhmm;
    if (take_number(s, 4, 4, &hhmm) < 0 || hhmm % 100 > 59)
        return -EBADMSG;
    int offset = hhmm / 100 * 60 + hhmm % 100;
    *out_min = minus ? -offset : offset;
    return 0;
}

int date_parse_5322(str s, int64_t *out_unix_s, int *out_offset_min)
{
    struct civil c;
    int offset;
    int64_t local;
    if (take_date(&s, &c) < 0 || take_time(&s, &c) < 0 || take_zone(&s, &offset) < 0)
        return -EBADMSG;
    if (skip_cfws(&s) < 0 || s.n || unix_from_civil(&c, &local) < 0)
        return -EBADMSG;
    *out_unix_s = local - offset * 60;
    *out_offset_min = offset;
    return 0;
}

void date_put_3339(char out[DATE_3339_LEN], uint64_t wall_us)
{
    wall_us = MIN(wall_us, (uint64_t)YEAR_9999_END_S * 1000000 + 999999);
    struct civil c = civil_from_unix((int64_t)(wall_us / 1000000));
    memcpy(out, "0000-00-00T00:00:00.000000Z", DATE_3339_LEN);
    put_digits(out, c.year, 4);
    put_digits(out + 5, c.month, 2);
    put_digits(out + 8, c.day, 2);
    put_digits(out + 11, c.hour, 2);
    put_digits(out + 14, c.minute, 2);
    put_digits(out + 17, c.second, 2);
    put_digits(out + 20, (int)(wall_us % 1000000), 6);
}

int date_format_3339(struct buf *out, uint64_t wall_us)
{
    char text[DATE_3339_LEN];
    date_put_3339(text, wall_us);
    return buf_add(out, str_of(text, sizeof(text)));
}

/* RFC 3339 5.6 allows any number of digits after the point; those after the sixth are dropped. */
static int take_fraction(str *s, int *out_us)
{
    int us = 0;
    size_t n = 0;
    for (; n < s->n && ascii_digit(s->p[n]); n++)
        if (n < 6)
            us = us * 10 + (s->p[n] - '0');
    for (size_t i = n; i < 6; i++)
        us *= 10;
    *s = str_from(*s, n);
    *out_us = us;
    return n ? 0 : -EBADMSG;
}

static int take_zone_3339(str *s, int *out_min)
{
    int hours = 0, minutes = 0;
    *out_min = 0;
    if (take_char(s, 'Z') || take_char(s, 'z'))
        return 0;
    bool minus = take_char(s, '-');
    if (!minus && !take_char(s, '+'))
        return -EBADMSG;
    if (take_number(s, 2, 2, &hours) < 0 || !take_char(s, ':') || take_number(s, 2, 2, &minutes) < 0)
        return -EBADMSG;
    if (hours > 23 || minutes > 59)
        return -EBADMSG;
    *out_min = (minus ? -1 : 1) * (hours * 60 + minutes);
    return 0;
}

int date_parse_3339(str s, uint64_t *out_wall_us)
{
    struct civil c;
    int us = 0, offset;
    int64_t local;
    if (take_number(&s, 4, 4, &c.year) < 0 || !take_char(&s, '-') || take_number(&s, 2, 2, &c.month) < 0)
        return -EBADMSG;
    if (!take_char(&s, '-') || take_number(&s, 2, 2, &c.day) < 0 || !(take_char(&s, 'T') || take_char(&s, 't')))
        return -EBADMSG;
    if (take_number(&s, 2, 2, &c.hour) < 0 || !take_char(&s, ':') || take_number(&s, 2, 2, &c.minute) < 0)
        return -EBADMSG;
    if (!take_char(&s, ':') || take_number(&s, 2, 2, &c.second) < 0)
        return -EBADMSG;
    if (take_char(&s, '.') && take_fraction(&s, &us) < 0)
        return -EBADMSG;
    if (take_zone_3339(&s, &offset) < 0 || s.n || unix_from_civil(&c, &local) < 0)
        return -EBADMSG;
    local -= offset * 60;
    if (local < 0)
        return -EBADMSG;
    *out_wall_us = (uint64_t)local * 1000000 + (uint64_t)us;
    return 0;
}

int date_local_offset_min(int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;
    if (!localtime_r(&t, &tm))
        return 0;
    return (int)(tm.tm_gmtoff / 60);
}
