# Posthouse. `make` builds build/posthouse and nothing else. `make run` and `make test` do their own set-up.
include layers.mk

B        ?= build
CC       := gcc
VARIANT  ?= release
V        := $(B)/$(VARIANT)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla -Wundef -Wno-missing-field-initializers -Werror
HARD := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection -ftrivial-auto-var-init=zero -fPIE
CFLAGS_release := -O2 -g $(HARD)
CFLAGS_asan    := -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS_release := -pie -Wl,-z,relro,-z,now
LDFLAGS_asan    := -fsanitize=address,undefined -fuse-ld=gold
CPPFLAGS += -Isrc -I$(V)/gen -D_GNU_SOURCE
CFLAGS   += -std=gnu17 $(CFLAGS_$(VARIANT)) $(WARN)
LDFLAGS  += $(LDFLAGS_$(VARIANT))
LDLIBS   := -lsqlite3 -lssl -lcrypto -lcrypt -lidn2 -ljansson -lseccomp -lunbound -lunistring -lz -lpthread

# sources of a room: everything but tests and fuzz targets
srcs_of  = $(filter-out %_test.c %_fuzz.c,$(wildcard src/$(1)/*.c))
objs_of  = $(patsubst src/%.c,$(V)/%.o,$(call srcs_of,$(1)))
# the libraries a room links: itself, then what it uses, topmost first
reverse  = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
libs_of  = $(patsubst %,$(V)/lib%.a,$(1) $(call reverse,$(USES_$(1))))

UNIT_SRCS := $(foreach l,$(LAYERS),$(wildcard src/$(l)/*_test.c))
UNITS     := $(patsubst src/%.c,$(V)/%,$(UNIT_SRCS))
FUZZ_SRCS := $(foreach l,$(LAYERS),$(wildcard src/$(l)/*_fuzz.c))
FUZZERS   := $(patsubst src/%.c,$(B)/fuzz/%,$(FUZZ_SRCS))

# `make SHOW=1` prints whole commands
ifndef SHOW
say = @echo "  $(1) $(patsubst $(B)/%,%,$@)";
endif

all: $(B)/posthouse $(B)/posthouse-drop

$(B)/posthouse: $(V)/posthouse
	$(call say,LN )ln -f $< $@

$(V)/posthouse: $(call libs_of,admin)
	$(call say,LD )$(CC) $(LDFLAGS) -o $@ $(V)/admin/main.o $^ $(LDLIBS)

# the setgid helper of the sendmail command: one file and the C library
$(B)/posthouse-drop: src/drop/posthouse-drop.c
	@mkdir -p $(@D)
	$(call say,CC )$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -g $(HARD) $(WARN) $(DROP_DEFINES) $(LDFLAGS_release) -o $@ $<

define layer_rules
$(V)/lib$(1).a: $(call objs_of,$(1))
	@rm -f $$@
	$$(call say,AR )ar rcsD $$@ $$(filter-out %/admin/main.o,$$^)
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

$(V)/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,CC )$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# unit tests: one program beside each file, linked with what its room may use
define unit_rules
$(V)/$(1)/%_test: $(V)/$(1)/%_test.o $(call libs_of,$(1))
	$$(call say,LD )$$(CC) $$(LDFLAGS) -o $$@ $$^ -lcmocka $$(LDLIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call unit_rules,$(l))))
# quick to compile: what is under test has all sanitizers, its tests need that of addresses alone
$(B)/asan/%_test.o: CFLAGS_asan := -O0 -g1 -fsanitize=address -fno-omit-frame-pointer
units: $(UNITS)
unit-%: ; @$(MAKE) --no-print-directory $(filter $(V)/$*/%,$(UNITS)) && for t in $(filter $(V)/$*/%,$(UNITS)); do $$t || exit 1; done

# fuzz targets: clang's libFuzzer, the sources of the rooms compiled anew with its instrumentation
FUZZ_CFLAGS := -std=gnu17 -g1 -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
define fuzz_rules
$(B)/fuzz/$(1)/%_fuzz: src/$(1)/%_fuzz.c $(B)/fuzz/lib$(1).a $(foreach u,$(call reverse,$(USES_$(1))),$(B)/fuzz/lib$(u).a)
	@mkdir -p $$(@D)
	$$(call say,LD )clang $(CPPFLAGS) $(FUZZ_CFLAGS) -fuse-ld=gold -o $$@ $$^ $(LDLIBS)
$(B)/fuzz/lib$(1).a: $(patsubst src/%.c,$(B)/fuzz/%.o,$(call srcs_of,$(1)))
	@rm -f $$@
	$$(call say,AR )ar rcsD $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call fuzz_rules,$(l))))
$(B)/fuzz/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,CC )clang $(CPPFLAGS) -std=gnu17 -g1 -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -MMD -MP -c -o $@ $<
fuzzers: $(FUZZERS)

-include $(shell find $(B)/release $(B)/asan $(B)/fuzz -name '*.d' -type f 2>/dev/null)

# `make test`: set-up, everything built with sanitizers and without, every unit test, fuzz target and scenario, and the rules of the tree
SANITIZED := ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
test:
	@tools/setup build run test
	@$(MAKE) --no-print-directory -j2 all fuzzers
	@$(MAKE) --no-print-directory -j2 VARIANT=asan $(B)/asan/posthouse units
	@$(SANITIZED) POSTHOUSE=$(B)/posthouse POSTHOUSE_ASAN=$(B)/asan/posthouse FUZZERS='$(FUZZERS)' UNITS='$(UNIT_SRCS:src/%.c=$(B)/asan/%)' tests/run

lint:
	@tools/lint

include run.mk install.mk soak.mk interop.mk
-include bench.mk

.SECONDARY:
.PHONY: all units fuzzers test lint
