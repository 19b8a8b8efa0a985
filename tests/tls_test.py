#!/usr/bin/env python3
"""TLS as a client sees it: renewal without restart, tickets by service, application protocols, nothing renegotiated or compressed."""
import os
import shutil
import socket
import ssl
import subprocess

import harness
from harness import equal, eventually, match


def handshake(house, service, context=None, session=None, name="localhost"):
    context = context or house.tls()
    raw = socket.create_connection(("127.0.0.1", house.port(service)), timeout=5)
    return context.wrap_socket(raw, server_hostname=name, session=session)


def greeting_and_session(wire):
    match(wire.recv(200).decode(), r"^(220 |\+OK)", "greeting")
    session = wire.session
    wire.close()
    return session


def test_tickets_are_good_for_their_service_alone():
    with harness.Instance() as house:
        context = house.tls()
        first = handshake(house, "pop3s", context)
        session = greeting_and_session(first)
        for service, reused in (("pop3s", True), ("submissions", False)):
            wire = handshake(house, service, context, session)
            wire.recv(200)
            equal(wire.session_reused, reused, f"a ticket of pop3s is taken by {service}")
            wire.close()


def test_application_protocol():
    with harness.Instance() as house:
        for service, good, bad in (("pop3s", "pop3", "imap"), ("submissions", "smtp", "http/1.1")):
            context = house.tls()
            context.set_alpn_protocols(["h2", good])
            wire = handshake(house, service, context)
            equal(wire.selected_alpn_protocol(), good, "protocol chosen")
            greeting_and_session(wire)
            context = house.tls()
            context.set_alpn_protocols([bad])
            try:
                handshake(house, service, context)
                raise AssertionError(f"{service} speaks {bad}")
            except ssl.SSLError as e:
                match(str(e), "(?i)no.application.protocol|alert")


def serial(house, service):
    wire = handshake(house, service)
    found = wire.getpeercert()["serialNumber"]
    wire.close()
    return found


def test_renewed_certificate_needs_no_restart():
    with harness.Instance() as house, harness.Instance(start=False) as other:
        pids = house.pids()
        context = ssl.create_default_context(cafile=other.path("tls/ca.pem"))
        old = serial(house, "pop3s")
        session = house.lines("submission")
        session.reply()
        for name in ("server.pem", "server.key"):
            fresh = house.path("tls/" + name + ".new")
            shutil.copy(other.path("tls/" + name), fresh)
            st = os.stat(house.path("tls/" + name))
            os.chown(fresh, st.st_uid, st.st_gid)
            os.chmod(fresh, st.st_mode & 0o777)
            os.rename(fresh, house.path("tls/" + name))

        def renewed(service):
            try:
                handshake(house, service, context).close()
                return True
            except ssl.SSLCertVerificationError:
                return False

        for service in ("pop3s", "submissions"):
            eventually(lambda: renewed(service), 5, f"{service} shows the new certificate")
        session.expect("NOOP", 250)  # a connection from before is undisturbed
        session.close()
        equal(house.pids(), pids, "processes")
        assert old


def test_a_pair_that_does_not_fit_keeps_the_old_one():
    with harness.Instance() as house:
        before = serial(house, "pop3s")
        house.write("tls/server.key", "-----BEGIN PRIVATE KEY-----\nbroken\n-----END PRIVATE KEY-----\n")
        eventually(lambda: "tls_refused" in house.log(), 5, "the role says that it keeps the old pair")
        equal(serial(house, "pop3s"), before, "certificate")


def test_nothing_is_renegotiated_or_compressed():
    harness.need("openssl")
    with harness.Instance() as house:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{house.port('submissions')}", "-CAfile", house.path("tls/ca.pem")]
        out = subprocess.run(command + ["-tls1_2"], input=b"R\n", capture_output=True, timeout=20).stdout.decode("utf-8", "replace")
        match(out, "Compression: NONE")
        for version in ("-tls1", "-tls1_1"):
            out = subprocess.run(command + [version], input=b"", capture_output=True, timeout=20).stdout.decode("utf-8", "replace")
            match(out, r"Cipher is \(NONE\)", "an old version of TLS is refused")
        context = house.tls()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        wire = handshake(house, "submissions", context)
        wire.recv(200)
        wire.send(b"NOOP\r\n")
        match(wire.recv(200).decode(), "^250 ")
        wire.close()


if __name__ == "__main__":
    harness.main()
