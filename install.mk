# `make install` (DESTDIR, PREFIX) and `make deb`: the program, its man pages and completion made from its own tables, the service.
PREFIX  ?= /usr/local
VERSION := $(shell sed -n 's/.*POSTHOUSE_VERSION "\(.*\)"/\1/p' src/admin/main.c)
DEB     := $(B)/posthouse_$(VERSION)_$(shell dpkg --print-architecture 2>/dev/null || echo amd64).deb
unitdir ?= $(if $(filter /usr,$(PREFIX)),/lib/systemd/system,$(PREFIX)/lib/systemd/system)

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions $(DESTDIR)$(unitdir)
	install -m 755 $(B)/posthouse $(DESTDIR)$(PREFIX)/bin/posthouse
	install -D -m 755 $(B)/posthouse-drop $(DESTDIR)$(PREFIX)/lib/posthouse/posthouse-drop
	@# setgid where its group is there and we may: the package does it in postinst
	if [ -z "$(DESTDIR)" ] && getent group posthouse-drop > /dev/null; then \
	  chgrp posthouse-drop $(PREFIX)/lib/posthouse/posthouse-drop && chmod 2755 $(PREFIX)/lib/posthouse/posthouse-drop; fi
	$(B)/posthouse generate man1 | gzip -9n > $(DESTDIR)$(PREFIX)/share/man/man1/posthouse.1.gz
	$(B)/posthouse generate man5 | gzip -9n > $(DESTDIR)$(PREFIX)/share/man/man5/posthouse.conf.5.gz
	$(B)/posthouse generate bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/posthouse
	$(B)/posthouse generate zsh > $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_posthouse
	install -d $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 644 contrib/systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/posthouse.conf
	install -m 644 contrib/systemd/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/posthouse.conf
	install -D -m 644 contrib/systemd/local-delivery.conf $(DESTDIR)$(PREFIX)/share/doc/posthouse/local-delivery.conf
	sed 's|@PREFIX@|$(PREFIX)|g' contrib/systemd/posthouse.service > $(DESTDIR)$(unitdir)/posthouse.service

# The names by which scripts call the program. The package posthouse-sendmail has them, since one MTA alone can.
install-sendmail:
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	ln -sf ../bin/posthouse $(DESTDIR)$(PREFIX)/sbin/sendmail
	ln -sf posthouse $(DESTDIR)$(PREFIX)/bin/mailq
	ln -sf posthouse $(DESTDIR)$(PREFIX)/bin/newaliases

deb: $(DEB)
$(DEB): all $(wildcard contrib/debian/* contrib/systemd/*)
	rm -rf $(B)/deb
	$(MAKE) --no-print-directory install PREFIX=/usr DESTDIR=$(B)/deb
	contrib/debian/build $(B)/deb $(VERSION) $@
	rm -rf $(B)/deb.sendmail
	$(MAKE) --no-print-directory install-sendmail PREFIX=/usr DESTDIR=$(B)/deb.sendmail
	mkdir -p $(B)/deb.sendmail/DEBIAN $(B)/deb.sendmail/usr/lib
	ln -sf ../sbin/sendmail $(B)/deb.sendmail/usr/lib/sendmail
	sed "s/@VERSION@/$(VERSION)/" contrib/debian/sendmail.control > $(B)/deb.sendmail/DEBIAN/control
	dpkg-deb --root-owner-group --build $(B)/deb.sendmail $(B)/posthouse-sendmail_$(VERSION)_all.deb

.PHONY: install install-sendmail deb
