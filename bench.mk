# `make bench`: Posthouse beside Postfix, one table (docs/performance.md). Needs root. BENCH_QUICK=1 for a first look.
$(B)/bench/%: bench/%.c
	@mkdir -p $(@D)
	$(call say,CC )$(CC) -std=gnu17 -O2 -g $(WARN) -D_GNU_SOURCE -o $@ $<

bench-build: $(B)/posthouse $(B)/bench/smtp_load

bench:
	@tools/setup build bench
	@$(MAKE) --no-print-directory bench-build
	@bench/run $(B)/posthouse $(B)/bench/smtp_load

.PHONY: bench bench-build
