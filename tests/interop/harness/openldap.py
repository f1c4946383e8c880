"""OpenLDAP's slapd as the directory of users, over LDAPS and StartTLS alone."""

import os
import subprocess

CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/pid
TLSCACertificateFile {trusted}
TLSCertificateFile {chain}
TLSCertificateKeyFile {key}
security tls=1
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 10485760
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by self read by * none
"""

ROOT = """dn: {suffix}
objectClass: dcObject
objectClass: organization
o: Example
dc: {dc}

dn: ou=people,{suffix}
objectClass: organizationalUnit
ou: people

dn: {reader}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {password}
"""

PERSON = """
dn: uid={name},ou=people,{suffix}
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: Test
mail: {mail}
telephoneNumber: {line}
userPassword: {password}
"""


def start(run, host, address, suffix, reader, people, chain, key, trusted):
    """Starts it in a host. `reader` is (name, password) of who searches, `people` are rows of name,
    password, line and mail."""
    from . import process
    folder = os.path.dirname(run.path("openldap", "x"))
    os.makedirs(f"{folder}/data", exist_ok=True)
    path = run.write("openldap/slapd.conf", CONFIGURATION.format(
        folder=folder, suffix=suffix, reader=reader[0], chain=chain, key=key, trusted=trusted))
    text = ROOT.format(suffix=suffix, dc=suffix.split(",")[0].split("=")[1], reader=reader[0],
                       password=reader[1])
    for name, password, line, mail in people:
        text += PERSON.format(name=name, password=password, line=line, mail=mail, suffix=suffix)
    ldif = run.write("openldap/people.ldif", text)
    done = subprocess.run(["/usr/sbin/slapadd", "-f", path, "-l", ldif], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"slapadd: {done.stdout} {done.stderr}")
    started = run.start("slapd", ["/usr/sbin/slapd", "-f", path, "-d", "stats", "-h",
                                  f"ldaps://{address} ldap://{address}"], host=host)
    for port in (636, 389):
        run.wait(f"slapd listens on {port}",
                 lambda port=port: process.port_open(host, address, port))
    return started
