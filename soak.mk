# Longer than `make test`. `make soak` (root; 20 to 30 minutes): 100 power cuts on each file system, 200 kills, and kills while mail
# leaves; CUTS=N ROUNDS=N.
# `make fuzz`: every fuzz target for FUZZ_SECONDS=600, two at a time; FUZZ=proto/ only those whose name begins so.
FUZZ_SECONDS ?= 600
FUZZ         ?=

soak:
	@tools/setup build run test
	@$(MAKE) --no-print-directory -j2 all
	@POSTHOUSE=$(B)/posthouse tests/soak

fuzz:
	@tools/setup build run test
	@$(MAKE) --no-print-directory -j2 fuzzers
	@FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZERS='$(FUZZERS)' tests/run 'fuzz $(FUZZ)'

.PHONY: soak fuzz
