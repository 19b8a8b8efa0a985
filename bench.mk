# `make bench`: Posthouse beside Postfix, OpenSMTPD and Dovecot, tables (docs/performance.md). Needs root. BENCH_QUICK=1 for a first look.
BENCH_TOOLS := $(addprefix $(B)/bench/,smtp_load pop3_load imap_load smtp_sink posthouse_plain)

$(B)/bench/%: bench/%.c bench/net.c bench/net.h
	@mkdir -p $(@D)
	$(call say,CC )$(CC) -std=gnu17 -O2 -g $(WARN) -D_GNU_SOURCE -Ibench -o $@ $(filter %.c,$^) -lssl -lcrypto

$(B)/bench/posthouse_plain: bench/plain_login.c $(B)/posthouse
	@mkdir -p $(@D)
	$(call say,LD )$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -Wl,--wrap=pop3_server_new,--wrap=imap_server_new -o $@ $< $(V)/admin/main.o $(call libs_of,admin) $(LDLIBS)

bench-build: $(B)/posthouse $(BENCH_TOOLS)

bench:
	@tools/setup build bench
	@$(MAKE) --no-print-directory bench-build
	@bench/run $(B)/posthouse $(B)/bench

.PHONY: bench bench-build
