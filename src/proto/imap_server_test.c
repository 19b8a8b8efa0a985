/* imap_server*.c through its header, by conversation: what the client sends, what it reads, what the owner is asked.
 * Every conversation is held whole and byte by byte. */
#include <malloc.h>
#include <stdio.h>
#include <time.h>
#include "proto/imap_play.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define LOGIN "L LOGIN u secret\r\n"

static void assert_str(str got, str want)
{
    if (!str_eq(got, want))
        print_error("got:\n%.*s\nwant:\n%.*s\n", STR_ARG(got), STR_ARG(want));
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p ? got.p : "", want.p ? want.p : "", want.n);
}

static str without_line(str s)
{
    str_cut(&s, '\n');
    return s;
}

/* `setup` changes what the play is made with; the first `lines` lines that the client reads are not compared. */
static void talk(void (*setup)(struct play *p), str send, size_t lines, str want, str log, bool closed)
{
    for (size_t step = 0; step < 3; step++) {
        struct play p;
        play_init(&p);
        if (setup)
            setup(&p);
        play_send(&p, send, step);
        str out = buf_str(&p.out);
        for (size_t i = 0; i < lines; i++)
            out = without_line(out);
        assert_str(out, want);
        if (log.p)
            assert_str(buf_str(&p.log), log);
        assert_int_equal(p.closed, closed);
        assert_true(p.out_max < 2 * IMAP_OUTPUT_HIGH);
        play_done(&p);
    }
}

/* Before log-in, without the greeting. */
static void before(str send, str want, str log)
{
    talk(NULL, send, 1, want, log, false);
}

/* After log-in. */
static void after(str send, str want, str log)
{
    _cleanup_buf_ struct buf all = BUF(1 << 24), whole = BUF(1 << 24);
    buf_add(&all, S(LOGIN));
    buf_add(&all, send);
    buf_add(&whole, S("login \"u\" \"secret\"\n"));
    buf_add(&whole, log);
    talk(NULL, buf_str(&all), 2, want, log.p ? buf_str(&whole) : STR_NONE, false);
}

static void no_plain(struct play *p)
{
    p->config.auth_plain_ok = false;
}

static void minus(struct play *p)
{
    p->config.literal_minus = true;
}

static void few_errors(struct play *p)
{
    p->config.errors_max = 3;
}

static void compress_fails(struct play *p)
{
    p->compress_fails = true;
}

static void test_capabilities(void **state)
{
    (void)state;
    talk(NULL, S("a CAPABILITY\r\n"), 0,
         S("* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS AUTH=PLAIN AUTH=LOGIN] "
           "imap.posthouse.test Posthouse IMAP ready\r\n"
           "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS AUTH=PLAIN AUTH=LOGIN\r\n"
           "a OK CAPABILITY completed\r\n"), S(""), false);
    talk(no_plain, S("a starttls\r\nb CAPABILITY\r\n"), 0,
         S("* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS LOGINDISABLED] "
           "imap.posthouse.test Posthouse IMAP ready\r\n"
           "a OK Begin TLS negotiation\r\n"
           "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=LOGIN\r\n"
           "b OK CAPABILITY completed\r\n"), S("tls\n"), false);
    talk(minus, S(LOGIN), 1,
         S("L OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL- ENABLE ID IDLE NAMESPACE UIDPLUS UNSELECT MOVE CHILDREN "
           "LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE CONDSTORE QRESYNC ESEARCH SEARCHRES SORT "
           "THREAD=REFERENCES THREAD=ORDEREDSUBJECT MULTIAPPEND BINARY STATUS=SIZE UTF8=ACCEPT OBJECTID QUOTA "
           "QUOTA=RES-STORAGE QUOTA=RES-MESSAGE INPROGRESS WITHIN APPENDLIMIT=1000 COMPRESS=DEFLATE] Logged in\r\n"),
         STR_NONE, false);
}

static void test_states(void **state)
{
    (void)state;
    before(S("a SELECT INBOX\r\nb FETCH 1 FLAGS\r\nc NOOP\r\n"),
           S("a BAD Log in first\r\nb BAD Log in first\r\nc OK Yes\r\n"), S("NOOP\n"));
    talk(NULL, S("a LOGOUT\r\nb NOOP\r\n"), 1, S("* BYE Logging out\r\na OK LOGOUT completed\r\n"), S(""), true);
    after(S("a FETCH 1 FLAGS\r\nb SELECT x\r\nc FETCH 1 FLAGS\r\nd CLOSE\r\ne CLOSE\r\nf EXAMINE y\r\ng SELECT No\r\n"
            "h CHECK\r\n"),
          S("a BAD Select a mailbox first\r\nb OK [READ-WRITE] Yes\r\nc OK Yes\r\nd OK Yes\r\n"
            "e BAD Select a mailbox first\r\nf OK Yes\r\ng NO [NONEXISTENT] No such mailbox\r\n"
            "h BAD Select a mailbox first\r\n"),
          S("SELECT \"x\"\nFETCH 1 FLAGS\nCLOSE\nEXAMINE \"y\"\nSELECT \"No\"\n"));
}

static void test_login(void **state)
{
    (void)state;
    before(S("a LOGIN u wrong\r\n"), S("a NO [AUTHENTICATIONFAILED] Wrong user or password\r\n"),
           S("login \"u\" \"wrong\"\n"));
    before(S("a login {3}\r\nu x {4+}\r\np\"\\q\r\nb LOGIN \"u\\\\\" \"p\\\"q\"\r\n"),
           S("+ Ready\r\na NO [AUTHENTICATIONFAILED] Wrong user or password\r\n"
             "b NO [AUTHENTICATIONFAILED] Wrong user or password\r\n"),
           S("login \"u x\" \"p\"\\q\"\nlogin \"u\\\" \"p\"q\"\n"));
    talk(no_plain, S("a LOGIN u secret\r\nb LOGIN {1}\r\nc LOGIN {1+}\r\nu secret\r\nd AUTHENTICATE PLAIN\r\n"), 1,
         S("a NO [PRIVACYREQUIRED] Use STARTTLS first\r\nb NO [PRIVACYREQUIRED] Use STARTTLS first\r\n"
           "c NO [PRIVACYREQUIRED] Use STARTTLS first\r\nd NO [PRIVACYREQUIRED] Use STARTTLS first\r\n"), S(""), false);
    after(S("a LOGIN u secret\r\nb STARTTLS\r\nc AUTHENTICATE PLAIN\r\n"),
          S("a BAD Already logged in\r\nb BAD Already logged in\r\nc BAD Already logged in\r\n"), S(""));
}

static void test_authenticate(void **state)
{
    (void)state;
    /* \0u\0secret */
    before(S("a AUTHENTICATE PLAIN\r\n*\r\nb AUTHENTICATE plain =\r\nc AUTHENTICATE PLAIN !\r\n"
             "d AUTHENTICATE GSSAPI\r\ne AUTHENTICATE PLAIN\r\n?\r\n"),
           S("+ \r\na BAD Authentication cancelled\r\nb NO [AUTHENTICATIONFAILED] Wrong user or password\r\n"
             "c BAD Initial response is not base64\r\nd NO Unsupported authentication mechanism\r\n"
             "+ \r\ne BAD Response is not base64\r\n"),
           S("auth PLAIN 0 \"\"\nresponse 1 \"\"\nauth PLAIN 1 \"\"\nauth PLAIN 0 \"\"\nresponse 1 \"\"\n"));
    before(S("a AUTHENTICATE LOGIN dQ==\r\nc2VjcmV0\r\nb NOOP\r\n"),
           S("+ UGFzc3dvcmQ6\r\na OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ENABLE ID IDLE NAMESPACE UIDPLUS "
             "UNSELECT "
             "MOVE CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE CONDSTORE QRESYNC ESEARCH "
             "SEARCHRES "
             "SORT THREAD=REFERENCES THREAD=ORDEREDSUBJECT MULTIAPPEND BINARY STATUS=SIZE UTF8=ACCEPT OBJECTID QUOTA "
             "QUOTA=RES-STORAGE QUOTA=RES-MESSAGE INPROGRESS WITHIN APPENDLIMIT=1000 COMPRESS=DEFLATE] Logged in\r\n"
             "b OK Yes\r\n"),
           S("auth LOGIN 1 \"u\"\nresponse 0 \"secret\"\nNOOP\n"));
}

static void test_own_commands(void **state)
{
    (void)state;
    before(S("a ID NIL\r\nb ID (\"name\" \"x\" \"os\" NIL)\r\n"),
           S("* ID (\"name\" \"Posthouse\")\r\na OK ID completed\r\n* ID (\"name\" \"Posthouse\")\r\nb OK ID "
             "completed\r\n"),
           S("ID ()\nID (\"name\" \"x\" \"os\" NIL)\n"));
    after(S("a NAMESPACE\r\nb ENABLE condstore X-FOO\r\nc ENABLE CONDSTORE UTF8=ACCEPT\r\nd ENABLE QRESYNC "
            "IMAP4rev2\r\n"
            "e ENABLE CONDSTORE\r\n"),
          S("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\na OK NAMESPACE completed\r\n"
            "* ENABLED CONDSTORE\r\nb OK ENABLE completed\r\n* ENABLED UTF8=ACCEPT\r\nc OK ENABLE completed\r\n"
            "* ENABLED QRESYNC IMAP4rev2\r\nd OK ENABLE completed\r\n* ENABLED\r\ne OK ENABLE completed\r\n"), S(""));
}

static void test_names_follow_enable(void **state)
{
    (void)state;
    after(S("a DELETE &AOQ-\r\nb DELETE \"\xc3\xa4\"\r\nc ENABLE UTF8=ACCEPT\r\nd DELETE &AOQ-\r\ne DELETE "
            "\"\xc3\xa4\"\r\n"
            "f DELETE \"\xff\"\r\ng DELETE {1+}\r\n\xff\r\n"),
          S("a OK Yes\r\nb OK Yes\r\n* ENABLED UTF8=ACCEPT\r\nc OK ENABLE completed\r\nd OK Yes\r\ne OK Yes\r\n"
            "f BAD A quoted string is not UTF-8\r\ng NO [CANNOT] A mailbox name is not UTF-8\r\n"),
          S("DELETE \"\xc3\xa4\"\nDELETE \"\xc3\xa4\"\nDELETE \"&AOQ-\"\nDELETE \"\xc3\xa4\"\n"));
    after(S("a DELETE &AOQ\r\nb DELETE {4}\r\n"),
          S("a NO [CANNOT] A mailbox name is not modified UTF-7\r\n+ Ready\r\n"), S(""));
}

static void test_qresync_needs_enable(void **state)
{
    (void)state;
    after(S("a SELECT x (QRESYNC (1 2))\r\nb ENABLE QRESYNC\r\nc SELECT x (QRESYNC (1 2))\r\n"),
          S("a BAD ENABLE QRESYNC first\r\n* ENABLED QRESYNC\r\nb OK ENABLE completed\r\nc OK [READ-WRITE] Yes\r\n"),
          S("SELECT \"x\" qresync 1 2\n"));
    after(S("a SELECT x\r\nb UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)\r\n"),
          S("a OK [READ-WRITE] Yes\r\nb BAD ENABLE QRESYNC first\r\n"), S("SELECT \"x\"\n"));
}

/* RFC 5182 2.1: NO to SAVE empties the result, which the owner holds; BAD does not. */
static void test_refused_search(void **state)
{
    (void)state;
    after(S("a SELECT x\r\nb SEARCH RETURN (SAVE) CHARSET x ALL\r\nc SEARCH RETURN (SAVE) FROB\r\n"
            "d SEARCH RETURN (ALL) CHARSET x ALL\r\ne UID SEARCH RETURN (SAVE) CHARSET {1+}\r\nx ALL\r\n"),
          S("a OK [READ-WRITE] Yes\r\nb NO [BADCHARSET (US-ASCII UTF-8)] Character set is not supported\r\n"
            "c BAD Unknown search key\r\nd NO [BADCHARSET (US-ASCII UTF-8)] Character set is not supported\r\n"
            "e NO [BADCHARSET (US-ASCII UTF-8)] Character set is not supported\r\n"),
          S("SELECT \"x\"\nsearch refused\nsearch refused\n"));
}

static void test_commands_that_enable_condstore(void **state)
{
    static const struct { const char *command; bool enables; } table[] = {
        { "a SELECT x (CONDSTORE)\r\n", true }, { "a SELECT x\r\n", false },
        { "a STATUS x (HIGHESTMODSEQ)\r\n", true }, { "a STATUS x (UNSEEN)\r\n", false },
        { "a SELECT x\r\na FETCH 1 MODSEQ\r\n", true }, { "a SELECT x\r\na FETCH 1 UID\r\n", false },
        { "a SELECT x\r\na FETCH 1 UID (CHANGEDSINCE 1)\r\n", true },
        { "a SELECT x\r\na STORE 1 (UNCHANGEDSINCE 1) FLAGS ()\r\n", true },
        { "a SELECT x\r\na SEARCH MODSEQ 1\r\n", true }, { "a SELECT x\r\na SEARCH ALL\r\n", false },
        { "a ENABLE QRESYNC\r\n", true }, { "a ENABLE UTF8=ACCEPT\r\n", false },
        { "a LIST \"\" * RETURN (STATUS (HIGHESTMODSEQ))\r\n", true },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct play p;
        play_init(&p);
        play_send(&p, S(LOGIN), 0);
        assert_false(imap_server_condstore(p.s));
        play_send(&p, str_z(table[i].command), 0);
        assert_int_equal(imap_server_condstore(p.s), table[i].enables);
        play_done(&p);
    }
}

static void test_idle(void **state)
{
    (void)state;
    after(S("a IDLE\r\ndone\r\nb IDLE\r\nc NOOP\r\nd NOOP\r\ne IDLE\r\nf x {3+}\r\nabc\r\ng NOOP\r\n"),
          S("+ idling\r\na OK IDLE completed\r\n+ idling\r\nb BAD Expected DONE\r\nd OK Yes\r\n"
            "+ idling\r\ne BAD Expected DONE\r\ng OK Yes\r\n"),
          S("idle\nidle end\nidle\nidle end\nNOOP\nidle\nidle end\nNOOP\n"));
}

static void test_idle_writes(void **state)
{
    (void)state;
    struct play p;
    play_init(&p);
    play_send(&p, S(LOGIN "x IDLE\r\n"), 0);
    assert_true(imap_server_idling(p.s));
    assert_str(imap_server_tag(p.s), S("x"));
    imap_server_rest(p.s);
    assert_true(imap_server_idling(p.s));
    buf_clear(&p.out);
    buf_add(imap_server_output(p.s), S("* 3 EXISTS\r\n"));
    play_send(&p, S("DONE\r\n"), 0);
    assert_str(buf_str(&p.out), S("* 3 EXISTS\r\nx OK IDLE completed\r\n"));
    assert_false(imap_server_idling(p.s));
    assert_int_equal(imap_server_tag(p.s).n, 0);
    play_done(&p);
}

static void test_compress(void **state)
{
    (void)state;
    after(S("a COMPRESS LZ4\r\nb COMPRESS deflate\r\nc COMPRESS DEFLATE\r\n"),
          S("a BAD Only DEFLATE is known\r\nb OK DEFLATE active\r\nc NO [COMPRESSIONACTIVE] Compression is active\r\n"),
          S("compress\n"));
    talk(compress_fails, S(LOGIN "a COMPRESS DEFLATE\r\nb NOOP\r\n"), 2,
         S("a NO [LIMIT] Compression cannot be started\r\nb OK Yes\r\n"), STR_NONE, false);
}

static void test_append(void **state)
{
    (void)state;
    after(S("a APPEND x {5}\r\nhello\r\nb APPEND \"y\" (\\Seen $F) \" 1-Jan-2026 00:00:00 +0100\" {5+}\r\na\r\n\r\n"
            "\r\n"),
          S("+ Ready\r\na OK [APPENDUID 1 2] Appended\r\nb OK [APPENDUID 1 2] Appended\r\n"),
          S("append \"x\" () 5\nmessage \"hello\"\nappend end\n"
            "append \"y\" (\\Seen $F) 1767222000+60 5\nmessage \"a\r\n\r\n\"\nappend end\n"));
    after(S("a APPEND {1}\r\nx {3}\r\nabc {2+}\r\nde (\\Draft) {1+}\r\nf\r\nb NOOP\r\n"),
          S("+ Ready\r\n+ Ready\r\na OK [APPENDUID 1 2] Appended\r\nb OK Yes\r\n"),
          S("append \"x\" () 3\nmessage \"abc\"\nappend \"x\" () 2\nmessage \"de\"\nappend \"x\" (\\Draft) 1\n"
            "message \"f\"\nappend end\nNOOP\n"));
    after(S("a APPEND x ~{3+}\r\na\0b\r\nb APPEND x UTF8 (~{3+}\r\n\xc3\xa4.) UTF8 (~{1+}\r\nx)\r\n"),
          S("a OK [APPENDUID 1 2] Appended\r\nb OK [APPENDUID 1 2] Appended\r\n"),
          S("append \"x\" () ~3\nmessage \"a\0b\"\nappend end\nappend \"x\" () ~utf8 3\nmessage \"\xc3\xa4.\"\n"
            "append \"x\" () ~utf8 1\nmessage \"x\"\nappend end\n"));
}

/* The message of a refused APPEND is swallowed when it comes unasked, and never run. */
static void test_append_refused(void **state)
{
    (void)state;
    after(S("a APPEND No {10+}\r\nz LOGOUT\r\n\r\nb APPEND No {10}\r\nc APPEND No {3+}\r\nabc {4+}\r\nq x\n\r\nd "
            "NOOP\r\n"),
          S("a NO [TRYCREATE] No such mailbox\r\nb NO [TRYCREATE] No such mailbox\r\nc NO [TRYCREATE] No such "
            "mailbox\r\n"
            "d OK Yes\r\n"),
          S("append \"No\" () 10\nappend \"No\" () 10\nappend \"No\" () 3\nNOOP\n"));
    after(S("a APPEND Late {3+}\r\nabc {4+}\r\nq x\n\r\nb NOOP\r\n"),
          S("a NO [TRYCREATE] No such mailbox\r\nb OK Yes\r\n"),
          S("append \"Late\" () 3\nmessage \"abc\"\nappend \"Late\" () 4\nappend cancel\nNOOP\n"));
    after(S("a APPEND x {3+}\r\nabc {0}\r\nb APPEND x {3+}\r\nabc oops\r\nc APPEND x {1+}\r\na)\r\nd APPEND x {1+}\r\na"
            " {1+}x\r\ne NOOP\r\n"),
          S("a NO A message of no octets cancels APPEND\r\nb BAD Expected flags, a date or a literal with the "
            "message\r\n"
            "c BAD Expected a space between arguments\r\nd BAD Unexpected text after the size of a literal\r\ne OK "
            "Yes\r\n"),
          S("append \"x\" () 3\nmessage \"abc\"\nappend cancel\nappend \"x\" () 3\nmessage \"abc\"\nappend cancel\n"
            "append \"x\" () 1\nmessage \"a\"\nappend cancel\nappend \"x\" () 1\nmessage \"a\"\nappend cancel\n"
            "NOOP\n"));
    after(S("a APPEND x {1001}\r\nb APPEND x {3+}\r\nabc {1001}\r\nc APPEND x\r\nd APPEND x foo {3+}\r\nabc\r\n"),
          S("a NO [TOOBIG] The message is larger than a message may be\r\n"
            "b NO [TOOBIG] The message is larger than a message may be\r\nc BAD An argument is missing\r\n"
            "d BAD Expected flags, a date or a literal with the message\r\n"),
          S("append \"x\" () 3\nmessage \"abc\"\nappend cancel\n"));
}

/* RFC 7888 4: asked for only if the command may still succeed; swallowed otherwise. */
static void test_literals(void **state)
{
    (void)state;
    after(S("a CREATE {5}\r\nab cd\r\nb SELEKT {5}\r\nc SELECT x y {5}\r\nd SEARCH SUBJECT {5}\r\n"
            "e NOOP {6+}\r\nf LOGO\r\ng CREATE {2}\r\n{}\r\nh CREATE {999999}\r\ni CREATE {0}\r\n\r\n"
            "j NOOP {99999999999999999999}\r\n"),
          S("+ Ready\r\na OK Yes\r\nb BAD Unknown command\r\nc BAD Expected a list of parameters\r\n"
            "d BAD Select a mailbox first\r\ne BAD Unexpected text after the command\r\n+ Ready\r\ng OK Yes\r\n"
            "h NO [LIMIT] The command is too large\r\n+ Ready\r\ni OK Yes\r\nj BAD Unexpected text after the "
            "command\r\n"),
          S("CREATE \"ab cd\"\nCREATE \"{}\"\nCREATE \"\"\n"));
    after(S("a FOO {3+}\r\na\r\n {4+}\r\nb x\n {1+}\r\n\n\r\nc NOOP\r\n"), S("a BAD Unknown command\r\nc OK Yes\r\n"),
          S("NOOP\n"));
    talk(minus, S(LOGIN "a CREATE {4097+}\r\n"), 2,
         S("a BAD [TOOBIG] A literal of more than 4096 octets must wait for +\r\n"), STR_NONE, false);
    talk(NULL, S(LOGIN "a CREATE {9999999+}\r\nb NOOP\r\n"), 2,
         S("a NO [LIMIT] The command is too large\r\n* BYE [TOOBIG] A literal is too large\r\n"), STR_NONE, true);
    talk(NULL, S("a LOGIN {99999999999999999999+}\r\n"), 1,
         S("a BAD A number is too large\r\n* BYE [TOOBIG] A literal is too large\r\n"), STR_NONE, true);
}

static void test_bad_commands(void **state)
{
    (void)state;
    before(S("\r\n+ NOOP\r\na\r\na+b NOOP\r\na(b NOOP\r\na NO\0OP\r\na NOOP x\r\na]b noop  \r\nx NOOP\n"),
           S("* BAD Empty command\r\n* BAD A command begins with a tag\r\na BAD The command is missing\r\n"
             "* BAD A tag holds an invalid character\r\n* BAD A tag holds an invalid character\r\na BAD Unknown "
             "command\r\n"
             "a BAD Unexpected text after the command\r\na]b OK Yes\r\nx OK Yes\r\n"),
           S("NOOP\nNOOP\n"));
    talk(few_errors, S("a X\r\nb X\r\nc X\r\nd NOOP\r\n"), 1,
         S("a BAD Unknown command\r\nb BAD Unknown command\r\nc BAD Unknown command\r\n* BYE Too many errors\r\n"),
         STR_NONE, true);
    talk(few_errors, S("a LOGIN u x\r\nb LOGIN u x\r\nL LOGIN u secret\r\na X\r\nb X\r\n"), 4,
         S("a BAD Unknown command\r\nb BAD Unknown command\r\n"), STR_NONE, false);
    talk(few_errors, S(LOGIN "a DELETE &\r\nb DELETE &\r\nc DELETE &\r\nd DELETE &\r\ne NOOP\r\n"), 5,
         S("d NO [CANNOT] A mailbox name is not modified UTF-7\r\ne OK Yes\r\n"), STR_NONE, false);
    talk(NULL, S("GET / HTTP/1.1\r\na NOOP\r\n"), 1, S("* BYE This is a mail server\r\n"), STR_NONE, true);
}

static void add_many(struct buf *b, char c, size_t n)
{
    memset(buf_space(b, n), c, n);
}

static void test_long_lines(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1 << 22);
    buf_add(&b, S("a NOOP "));
    add_many(&b, 'x', IMAP_LINE_MAX);
    buf_add(&b, S("{3+}\r\nx\r\nlonger\r\nb NOOP\r\n"));
    after(buf_str(&b), S("a BAD Line is too long\r\nb OK Yes\r\n"), S("NOOP\n"));
    buf_clear(&b);
    add_many(&b, 'x', IMAP_LINE_MAX);
    buf_add(&b, S("\r\nb NOOP\r\n"));
    before(buf_str(&b), S("* BAD Line is too long\r\nb OK Yes\r\n"), S("NOOP\n"));
    buf_clear(&b);
    buf_add(&b, S("a AUTHENTICATE PLAIN\r\n"));
    add_many(&b, 'A', 20000);
    buf_add(&b, S("\r\nb IDLE\r\n"));
    before(buf_str(&b), S("+ \r\na BAD Line is too long\r\nb BAD Log in first\r\n"),
           S("auth PLAIN 0 \"\"\nresponse 1 \"\"\n"));
    buf_clear(&b);
    buf_add(&b, S("a IDLE\r\n"));
    add_many(&b, 'A', 100000);
    buf_add(&b, S("\r\nb NOOP\r\nc APPEND x {1+}\r\na"));
    add_many(&b, ' ', 100000);
    buf_add(&b, S("\r\nd NOOP\r\n"));
    after(buf_str(&b), S("+ idling\r\na BAD Expected DONE\r\nb OK Yes\r\nc BAD Line is too long\r\nd OK Yes\r\n"),
          S("idle\nidle end\nNOOP\nappend \"x\" () 1\nmessage \"a\"\nappend cancel\nNOOP\n"));
    buf_clear(&b);
    add_many(&b, 't', 300);
    buf_add(&b, S(" NOOP\r\nb NOOP\r\n"));
    before(buf_str(&b), S("* BAD The tag is too long\r\nb OK Yes\r\n"), S("NOOP\n"));
}

/* Many literals: all of them fit into a command, and the time stays linear. */
static void test_many_literals(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1 << 22), want = BUF(1 << 22), log = BUF(1 << 22);
    buf_add(&b, S("s SELECT x\r\na SEARCH"));
    buf_add(&want, S("s OK [READ-WRITE] Yes\r\n"));
    buf_add(&log, S("SELECT \"x\"\nSEARCH (and"));
    for (size_t i = 0; i < 2000; i++) {
        buf_add(&b, S(" BCC {1}\r\nx"));
        buf_add(&want, S("+ Ready\r\n"));
        buf_add(&log, S("(bcc \"x\")"));
    }
    buf_add(&b, S("\r\n"));
    buf_add(&want, S("a OK Yes\r\n"));
    buf_add(&log, S(")\n"));
    after(buf_str(&b), buf_str(&want), buf_str(&log));
}

static void test_endless_line_before_login(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1 << 22);
    add_many(&b, 'x', 2 << 20);
    struct play p;
    play_init(&p);
    play_send(&p, buf_str(&b), 4096);
    assert_true(str_ends(buf_str(&p.out), S("* BAD Line is too long\r\n* BYE Line is too long\r\n")));
    assert_true(p.closed);
    play_done(&p);
}

static void test_pipelined_commands_wait(void **state)
{
    (void)state;
    struct imap_server_config config = play_config();
    struct imap_server *s = imap_server_new(&config);
    struct imap_event ev;
    size_t used;
    str in = S("a LOGIN u p\r\nb NOOP\r\nc NOOP\r\n");
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_CONNECT);
    imap_server_greet(s);
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_EV_LOGIN);
    assert_str(ev.data, S("p"));
    in = str_from(in, used);
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_NEED_REPLY);
    assert_int_equal(used, 0);
    imap_server_done(s, IMAP_OK, STR_NONE, S("no answer to a log-in"));
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_NEED_REPLY);
    imap_server_logged_in(s);
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_COMMAND);
    assert_str(ev.command->tag, S("b"));
    assert_str(imap_server_tag(s), S("b"));
    in = str_from(in, used);
    imap_server_done(s, IMAP_NO, S("A]B\r\n"), S("[x]\r\n* BYE"));
    assert_true(str_ends(buf_str(imap_server_output(s)), S("b NO [A?B??] (x]??* BYE\r\n")));
    imap_server_shutdown(s, S("UNAVAILABLE"), S("Going down"));
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_EV_CLOSE);
    assert_true(str_ends(buf_str(imap_server_output(s)), S("* BYE [UNAVAILABLE] Going down\r\n")));
    imap_server_free(s);
}

static void test_drain(void **state)
{
    (void)state;
    struct imap_server_config config = play_config();
    struct imap_server *s = imap_server_new(&config);
    struct imap_event ev;
    size_t used;
    imap_server_next(s, STR_NONE, &used, &ev);
    imap_server_greet(s);
    str in = S("a CAPABILITY\r\n");
    size_t n = 0;
    for (;; n++) {
        imap_server_next(s, in, &used, &ev);
        if (ev.kind == IMAP_NEED_DRAIN)
            break;
        assert_int_equal(ev.kind, IMAP_NEED_INPUT);
        assert_true(n < 10000);
    }
    assert_int_equal(used, in.n);
    assert_true(imap_server_output(s)->n < IMAP_OUTPUT_HIGH + 1024);
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_NEED_DRAIN);
    assert_int_equal(used, 0);
    buf_clear(imap_server_output(s));
    imap_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, IMAP_NEED_INPUT);
    assert_int_equal(used, in.n);
    imap_server_free(s);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : mallinfo2().uordblks;
}

static void test_idle_sessions_are_small(void **state)
{
    (void)state;
    struct imap_server_config config = play_config();
    struct imap_event ev;
    size_t used, before_it = allocated();
    struct imap_server *s = imap_server_new(&config);
    imap_server_next(s, STR_NONE, &used, &ev);
    imap_server_greet(s);
    imap_server_next(s, S(LOGIN), &used, &ev);
    imap_server_logged_in(s);
    imap_server_next(s, S("a STATUS INBOX (UNSEEN)\r\n"), &used, &ev);
    imap_server_done(s, IMAP_OK, STR_NONE, S("x"));
    buf_clear(imap_server_output(s));
    imap_server_rest(s);
    assert_true(allocated() - before_it < 1024);
    imap_server_next(s, S("a IDLE\r\n"), &used, &ev);
    assert_int_equal(ev.kind, IMAP_EV_IDLE);
    buf_clear(imap_server_output(s));
    imap_server_rest(s);
    assert_true(allocated() - before_it < 1024);
    imap_server_free(s);
}

/* Not an exact measure: a bound that a session must stay far below, so that the test does not depend on the machine. */
static void test_commands_are_cheap(void **state)
{
    (void)state;
    struct imap_server_config config = play_config();
    struct imap_server *s = imap_server_new(&config);
    struct imap_event ev;
    size_t used;
    imap_server_next(s, STR_NONE, &used, &ev);
    imap_server_greet(s);
    imap_server_next(s, S(LOGIN), &used, &ev);
    imap_server_logged_in(s);
    imap_server_next(s, S("a SELECT INBOX\r\n"), &used, &ev);
    imap_server_set_selected(s, true);
    imap_server_done(s, IMAP_OK, STR_NONE, S("x"));
    double from = seconds();
    for (size_t i = 0; i < 20000; i++) {
        buf_clear(imap_server_output(s));
        imap_server_next(s, S("a UID FETCH 1:100 (FLAGS BODY.PEEK[HEADER.FIELDS (From To)])\r\n"), &used, &ev);
        assert_int_equal(ev.kind, IMAP_COMMAND);
        imap_server_done(s, IMAP_OK, STR_NONE, S("FETCH completed"));
    }
    double each = (seconds() - from) / 20000;
    print_message("%.2f us a FETCH\n", each * 1e6);
    assert_true(each < 100e-6);
    imap_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_authenticate),
        cmocka_unit_test(test_own_commands),
        cmocka_unit_test(test_names_follow_enable),
        cmocka_unit_test(test_qresync_needs_enable),
        cmocka_unit_test(test_refused_search),
        cmocka_unit_test(test_commands_that_enable_condstore),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_idle_writes),
        cmocka_unit_test(test_compress),
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_append_refused),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_bad_commands),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_many_literals),
        cmocka_unit_test(test_endless_line_before_login),
        cmocka_unit_test(test_pipelined_commands_wait),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_idle_sessions_are_small),
        cmocka_unit_test(test_commands_are_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
