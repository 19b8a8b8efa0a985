/* imap_parse_fetch.c through imap_command.h: what FETCH asks for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/imap_parse_play.h"

static void test_fetch(void **state)
{
    (void)state;
    PARSE("FETCH 1 ALL", "FETCH 1 FLAGS INTERNALDATE SIZE ENVELOPE");
    PARSE("FETCH 1 fast", "FETCH 1 FLAGS INTERNALDATE SIZE");
    PARSE("UID FETCH 1:* FULL", "UID FETCH 1:0 UID FLAGS INTERNALDATE SIZE ENVELOPE STRUCTURE_OLD");
    PARSE("UID FETCH 1 (FLAGS UID RFC822.SIZE UID)", "UID FETCH 1 UID FLAGS SIZE");
    PARSE("FETCH 1 (FLAGS UID)", "FETCH 1 FLAGS UID");
    PARSE("FETCH 1 (BODY BODYSTRUCTURE BODY[] body.peek[] BODY[TEXT] BODY[HEADER])",
          "FETCH 1 STRUCTURE_OLD STRUCTURE SECTION[] SECTION?[] SECTION[TEXT] SECTION[HEADER]");
    PARSE("FETCH 1 (BODY[1] BODY[1.2.33] BODY[2.MIME] BODY[1.HEADER] BODY.PEEK[3.2.TEXT]<5.10>)",
          "FETCH 1 SECTION[1.] SECTION[1.2.33.] SECTION[2.MIME] SECTION[1.HEADER] SECTION?[3.2.TEXT]<5.10>");
    PARSE("FETCH 1 BODY.PEEK[HEADER.FIELDS (From \"To\" {2}\r\nCc)]<0.1000>",
          "FETCH 1 SECTION?[FIELDS(\"From\" \"To\" \"Cc\")]<0.1000>");
    PARSE("FETCH 1 BODY[4.HEADER.FIELDS.NOT (a)]", "FETCH 1 SECTION[4.FIELDS_NOT(\"a\")]");
    PARSE("FETCH 1 (RFC822 RFC822.PEEK RFC822.HEADER RFC822.TEXT)",
          "FETCH 1 RFC822 RFC822? RFC822_HEADER? RFC822_TEXT");
    PARSE("FETCH 1 (BINARY[] BINARY.PEEK[1.2]<3.4> BINARY.SIZE[1])",
          "FETCH 1 BINARY BINARY?[1.2.]<3.4> BINARY_SIZE?[1.]");
    PARSE("FETCH 1 (EMAILID THREADID MODSEQ)", "FETCH 1 EMAILID THREADID MODSEQ");
    PARSE("FETCH 1 FLAGS (CHANGEDSINCE 0)", "FETCH 1 FLAGS MODSEQ since 0");
    PARSE("UID FETCH $ (MODSEQ) (CHANGEDSINCE 9223372036854775807 VANISHED)",
          "UID FETCH $ UID MODSEQ since 9223372036854775807 vanished");
    PARSE("FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)", "BAD A number is too large");
    PARSE("FETCH 1 FLAGS (CHANGEDSINCE 5 VANISHED)", "BAD VANISHED needs UID FETCH and CHANGEDSINCE");
    PARSE("UID FETCH 1 FLAGS (VANISHED)", "BAD VANISHED needs UID FETCH and CHANGEDSINCE");
    PARSE("FETCH 1 FLAGS (FOO)", "BAD Unknown modifier of FETCH");
    PARSE("FETCH 1 BODY[]<0.0>", "BAD The length of a partial FETCH cannot be 0");
    PARSE("FETCH 1 BODY[]<5>", "BAD Expected <offset.length>");
    PARSE("FETCH 1 BODY[0]", "BAD 0 is not the number of a part");
    PARSE("FETCH 1 BODY[1.]", "BAD Unknown section");
    PARSE("FETCH 1 BODY[MIME]", "BAD MIME needs the number of a part before it");
    PARSE("FETCH 1 BODY[FOO]", "BAD Unknown section");
    PARSE("FETCH 1 BODY[1", "BAD Expected ] after the section");
    PARSE("FETCH 1 BODY[HEADER.FIELDS ()]", "BAD Expected an atom or a string");
    PARSE("FETCH 1 BODY.PEEK", "BAD Expected [ and a section");
    PARSE("FETCH 1 BINARY[TEXT]", "BAD BINARY takes the number of a part only");
    PARSE("FETCH 1 BINARY.SIZE[1]<0.5>", "BAD Unexpected text after the command");
    PARSE("FETCH 1 ()", "BAD Unknown item of FETCH");
    PARSE("FETCH 1 (FLAGS", "BAD A list is not closed with )");
    PARSE("FETCH 1 FOO", "BAD Unknown item of FETCH");
    PARSE("FETCH 1", "BAD An argument is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
