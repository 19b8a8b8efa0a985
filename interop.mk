# `make interop`: mail to and from Postfix, OpenSMTPD and Exim, each as Debian has it (root; the packages are downloaded into $(B)/peers).
interop:
	@tools/setup build run test bench
	@$(MAKE) --no-print-directory all
	@PEERS='$(abspath $(B))/peers' POSTHOUSE='$(B)/posthouse' tests/run push_peers
	@RACE_MESSAGES=50 POSTHOUSE='$(B)/posthouse' tests/run delivery_race

.PHONY: interop
