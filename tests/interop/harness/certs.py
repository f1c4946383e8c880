"""A certificate authority made on the spot, with openssl."""

import os
import subprocess


def openssl(*words):
    done = subprocess.run(("openssl",) + words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(words)}: {done.stderr}")
    return done.stdout


class Authority:
    """A private CA in a folder; `issue` gives (chain, key) paths."""

    def __init__(self, folder, name="Interop CA"):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.key = os.path.join(folder, "ca.key")
        self.certificate = os.path.join(folder, "ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", self.key, "-out", self.certificate, "-days", "30", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, others=(), addresses=()):
        """A certificate for server and client use, valid for the names and addresses."""
        base = os.path.join(self.folder, name)
        names = [f"DNS:{item}" for item in (name, *others)] + [f"IP:{item}" for item in addresses]
        with open(f"{base}.ext", "w", encoding="ascii") as file:
            file.write(f"subjectAltName={','.join(names)}\nbasicConstraints=CA:FALSE\n"
                       "keyUsage=critical,digitalSignature\n"
                       "extendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", f"{base}.key", "-out", f"{base}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{base}.csr", "-CA", self.certificate, "-CAkey", self.key,
                "-CAcreateserial", "-days", "30", "-extfile", f"{base}.ext", "-out", f"{base}.pem")
        os.chmod(f"{base}.key", 0o644)  # Servers that drop privileges read it too; it lives for a minute.
        return f"{base}.pem", f"{base}.key"
