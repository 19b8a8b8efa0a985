# `make run`: set-up, build, a local instance, one letter from alice to bob, then the server until Ctrl-C.
#   BASE_PORT=N          listen at N plus the usual port (an instance of its own for each N; default 20000)
#   ONCE=1               stop after the letter
#   POSTHOUSE_LOCAL=DIR  the instance's folder
run:
	@tools/setup build run
	@$(MAKE) --no-print-directory all
	@POSTHOUSE='$(B)/posthouse' tools/run

# what the build made
clean:
	rm -rf build

# what `make run` made outside of the clone
uninstall:
	@tools/uninstall

.PHONY: run clean uninstall
