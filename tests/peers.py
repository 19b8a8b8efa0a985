"""Other mail servers of Debian as peers of a sites.World: each takes mail for a domain of its own at one of the world's addresses, into Maildirs, and sends
all else to a given site. They run as root started them, without DNS.

    with peers.Postfix(world, "peer.test", "s1", to="a.test") as peer:
        peer.send("alice@a.test"); peer.mail("pat")

Postfix is used as it is installed. The others exclude it as packages, so they are unpacked below $PEERS and run in a mount namespace of their own.
"""
import glob
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile

import harness

PEOPLE = ("pat", "sam")


class Peer:
    """The parts that they share. tls: it offers and uses STARTTLS."""
    package = None
    serves_tls = True      # its STARTTLS works
    names_envelope = True  # its notices have ENVID and ORCPT

    def __init__(self, world, domain, place, to, tls=True):
        self.world, self.domain, self.tls = world, domain, tls
        self.address, self.port, self.target = world.addresses[place], world.port, to
        self.process = None

    def __enter__(self):
        if os.geteuid() != 0:
            harness.skip("other mail servers are started by root")
        self.dir = tempfile.mkdtemp(prefix="posthouse-peer-")
        os.chmod(self.dir, 0o755)
        try:
            owner = pwd.getpwnam("nobody")
            for who in PEOPLE:
                for sub in ("", "/new", "/cur", "/tmp"):
                    os.makedirs(f"{self.dir}/mail/{who}{sub}", 0o755)
                    os.chown(f"{self.dir}/mail/{who}{sub}", owner.pw_uid, owner.pw_gid)
            os.chown(f"{self.dir}/mail", owner.pw_uid, owner.pw_gid)
            harness.program("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN=mx.{self.domain}", "-keyout",
                            f"{self.dir}/key.pem", "-out", f"{self.dir}/cert.pem")
            self.start()
            harness.eventually(self.listens, 20, f"{type(self).__name__} listens", step=0.05)
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *why):
        if why and why[0]:
            print(self.log()[-4000:])
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def write(self, name, text):
        with open(os.path.join(self.dir, name), "w") as f:
            f.write(text)

    def log(self):
        texts = []
        for path in glob.glob(f"{self.dir}/log*") + glob.glob(f"{self.dir}/log/*"):
            if os.path.isfile(path):
                with open(path, errors="replace") as f:
                    texts.append(f"{path}:\n{f.read()}")
        return "\n".join(texts)

    def listens(self):
        if self.process and self.process.poll() is not None:
            raise AssertionError(f"{type(self).__name__} has ended: {self.log()[-2000:]}")
        try:
            socket.create_connection((self.address, self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process = None

    def site(self):
        """Where all its mail goes: (address, port)."""
        return self.world.addresses[self.target], self.world.port

    def send(self, to, text="hello", sender="pat", rcpt=(), mail=()):
        """A message of one of its users, who is on this machine."""
        sender = f"{sender}@{self.domain}"
        message = text if isinstance(text, bytes) else harness.message_of(text, "test", sender, to)
        with smtplib.SMTP(self.address, self.port, local_hostname="client.example", timeout=30) as client:
            refused = client.sendmail(sender, [to], message, mail_options=mail, rcpt_options=rcpt)
            assert not refused, refused
        return message

    def mail(self, who="pat"):
        """What that user has got, the oldest first."""
        paths = sorted(glob.glob(f"{self.dir}/mail/{who}/new/*"), key=os.path.getmtime)
        found = []
        for path in paths:
            with open(path, "rb") as f:
                found.append(f.read())
        return found

    def wait_for(self, count, who="pat", seconds=15):
        return harness.eventually(lambda: (lambda box: box if len(box) >= count else None)(self.mail(who)), seconds, f"{count} messages of {who}")

    def unpacked(self, package):
        """The folder with the files of that Debian package."""
        cache = os.environ["PEERS"]
        os.makedirs(cache, exist_ok=True)
        folder = os.path.join(cache, package)
        if not os.path.isdir(folder):
            code, out, err = harness.program("apt-get", "-qq", "download", package, cwd=cache, timeout=300)
            found = glob.glob(os.path.join(cache, f"{package}_*.deb"))
            if code or not found:
                harness.skip(f"{package} cannot be downloaded")
            code, out, err = harness.program("dpkg", "-x", found[-1], folder + ".new")
            assert code == 0, err
            os.rename(folder + ".new", folder)
        return folder

    def run_apart(self, command, mounts, users):
        """Starts a program in a mount namespace where {folder or file of ours: place} stand, with those users (from 64901 on)."""
        for name in ("passwd", "group"):
            shutil.copy(f"/etc/{name}", f"{self.dir}/{name}")
            with open(f"{self.dir}/{name}", "a") as f:
                for number, user in enumerate(users, 64901):
                    f.write(f"{user}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n" if name == "passwd" else f"{user}:x:{number}:\n")
        mounts = {f"{self.dir}/passwd": "/etc/passwd", f"{self.dir}/group": "/etc/group", **mounts}
        steps = ["mount --make-rprivate /", *(f"mount --bind {ours} {place}" for ours, place in mounts.items()), f"exec {command}"]
        with open(f"{self.dir}/log.0", "ab") as log:
            self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", " && ".join(steps)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, preexec_fn=harness.die_with_parent)


POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = @DIR@/spool
data_directory = @DIR@/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = @DIR@/log/maillog
maillog_file_prefixes = /var, /dev/stdout, @DIR@
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = @ADDRESS@
myhostname = mx.@DOMAIN@
myorigin = @DOMAIN@
mydestination =
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:no local mail
biff = no
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_domains = @DOMAIN@
virtual_mailbox_base = @DIR@/mail
virtual_mailbox_maps = inline:{@BOXES@}
virtual_mailbox_limit = 0
virtual_uid_maps = static:@UID@
virtual_gid_maps = static:@GID@
virtual_minimum_uid = 100
default_transport = smtp:[@SITE@]:@PORT@
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_cert_file = @DIR@/cert.pem
smtpd_tls_key_file = @DIR@/key.pem
smtpd_tls_security_level = @OFFERS@
smtpd_tls_received_header = yes
smtp_tls_security_level = @USES@
tls_random_source = dev:/dev/urandom
"""
POSTFIX_MASTER = """
@ADDRESS@:@PORT@ inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Peer):
    def start(self):
        harness.need("postfix", "postconf")
        for sub in ("etc", "spool", "data", "log"):
            os.makedirs(f"{self.dir}/{sub}")
        shutil.chown(f"{self.dir}/data", "postfix")
        owner = pwd.getpwnam("nobody")
        values = {"DIR": self.dir, "ADDRESS": self.address, "PORT": self.port, "DOMAIN": self.domain, "SITE": self.site()[0], "UID": owner.pw_uid,
                  "GID": owner.pw_gid, "BOXES": ", ".join(f"{who}@{self.domain}={who}/" for who in PEOPLE), "OFFERS": "may" if self.tls else "none",
                  "USES": "encrypt" if self.tls else "none"}
        for name, text in (("main.cf", POSTFIX_MAIN), ("master.cf", POSTFIX_MASTER)):
            for key, value in values.items():
                text = text.replace(f"@{key}@", str(value))
            self.write(f"etc/{name}", text)
        for name in ("dynamicmaps.cf", "postfix-files"):
            if os.path.exists(f"/etc/postfix/{name}"):
                shutil.copy(f"/etc/postfix/{name}", f"{self.dir}/etc")
        code, out, err = harness.program("postfix", "-c", f"{self.dir}/etc", "start")
        assert code == 0, f"postfix start: {out}{err}{self.log()}"

    def stop(self):
        if os.path.exists(f"{self.dir}/spool/pid/master.pid"):
            harness.program("postfix", "-c", f"{self.dir}/etc", "stop")


class OpenSMTPD(Peer):
    """Debian 12 links it with OpenSSL 3, with which its process for keys cannot sign: whoever takes its STARTTLS has to go on in clear text."""
    package = "opensmtpd"
    serves_tls = False
    names_envelope = False

    def start(self):
        folder = self.unpacked(self.package)
        for sub in ("spool/smtpd", "run", "lib/opensmtpd/empty"):
            os.makedirs(f"{self.dir}/{sub}")
        for sub in ("spool/smtpd", "lib/opensmtpd/empty"):
            os.chmod(f"{self.dir}/{sub}", 0o711)
        os.chmod(f"{self.dir}/key.pem", 0o600)
        address, port = self.site()
        keys = f'pki here cert "{self.dir}/cert.pem"\npki here key "{self.dir}/key.pem"\n' if self.tls else ""
        boxes = ", ".join(f'"{who}@{self.domain}" = "nobody"' for who in PEOPLE)
        self.write("smtpd.conf", f"""{keys}
table people {{ {boxes} }}
mta limit conn-delay-route 0 conn-delay-relay 0 reconn-delay-route 0
bounce warn-interval 1h
listen on {self.address} port {self.port} {"tls pki here" if self.tls else ""} hostname mx.{self.domain}
action "local" maildir "{self.dir}/mail/%{{rcpt.user}}" virtual <people>
action "relay" relay host {"smtp+tls" if self.tls else "smtp+notls"}://{address}:{port} {"tls no-verify" if self.tls else ""} src {self.address} \
helo mx.{self.domain}
match from any for domain "{self.domain}" action "local"
match from any for any action "relay"
""")
        self.run_apart(f"{folder}/usr/sbin/smtpd -d -f {self.dir}/smtpd.conf",
                       {f"{self.dir}/spool": "/var/spool", f"{self.dir}/run": "/run", f"{self.dir}/lib": "/var/lib", f"{folder}/usr/libexec": "/usr/libexec"},
                       ("opensmtpd", "opensmtpq"))


class Exim(Peer):
    package = "exim4-daemon-light"

    def start(self):
        folder = self.unpacked(self.package)
        for sub in ("lib/exim4", "spool", "log"):
            os.makedirs(f"{self.dir}/{sub}")
        address, port = self.site()
        tls = f"tls_certificate = {self.dir}/cert.pem\ntls_privatekey = {self.dir}/key.pem\ntls_advertise_hosts = *" if self.tls else "tls_advertise_hosts ="
        for name in ("spool", "log", "lib/exim4", "cert.pem", "key.pem"):
            os.chown(f"{self.dir}/{name}", 64901, 64901)
        self.write("lib/exim4/config.autogenerated", f"""
exim_path = {folder}/usr/sbin/exim4
spool_directory = {self.dir}/spool
log_file_path = {self.dir}/log/%s
pid_file_path = {self.dir}/pid
primary_hostname = mx.{self.domain}
qualify_domain = {self.domain}
domainlist here = {self.domain}
local_interfaces = {self.address}
daemon_smtp_ports = {self.port}
hosts_connection_nolog = *
acl_smtp_rcpt = check
dsn_advertise_hosts = *
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
never_users =
keep_environment =
host_lookup =
rfc1413_hosts =
{tls}
begin acl
check:
  require domains = +here : !+here
          verify = recipient
  accept
begin routers
local:
  driver = accept
  domains = +here
  local_parts = {" : ".join(PEOPLE)}
  transport = box
nobody:
  driver = redirect
  domains = +here
  allow_fail
  data = :fail: no such person here
out:
  driver = manualroute
  route_list = * {address} byname
  self = send
  transport = remote
begin transports
box:
  driver = appendfile
  maildir_format
  directory = {self.dir}/mail/$local_part_data
  user = nobody
  group = nogroup
  create_directory = false
  delivery_date_add
  envelope_to_add
  return_path_add
remote:
  driver = smtp
  port = {port}
  interface = {self.address}
  {"hosts_require_tls" if self.tls else "hosts_avoid_tls"} = *
  tls_verify_certificates =
begin retry
* * F,1h,1m
""")
        os.chmod(f"{self.dir}/lib/exim4/config.autogenerated", 0o644)
        os.chown(f"{self.dir}/lib/exim4/config.autogenerated", 0, 0)
        self.run_apart(f"{folder}/usr/sbin/exim4 -bdf -q5s", {f"{self.dir}/lib": "/var/lib"}, ("Debian-exim",))
