//! Every fault of a certificate, chain or key has a name, so that it can be looked up, tested and
//! mended. The names are part of the API and never change their meaning.

use serde::{Deserialize, Serialize};

use crate::leg::{self, Leg};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Nothing needs doing.
    Note,
    /// Some peers, or some day, will refuse it.
    Warning,
    /// It cannot be used at all, or not where it is needed.
    Error,
}

impl Grade {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Note => "note",
            Grade::Warning => "warning",
            Grade::Error => "error",
        }
    }
}

/// Something about a certificate, chain or key that an administrator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which fault it is.
    pub flaw: Flaw,
    /// How much it matters here.
    pub grade: Grade,
    /// What is wrong, in a sentence.
    pub cause: String,
    /// What was seen that shows it.
    pub proof: String,
    /// What to do.
    pub fix: String,
    /// Legs that could not use the certificate because of it.
    pub legs: Vec<Leg>,
}

impl Finding {
    /// A finding with the fix of its flaw and no leg that it breaks.
    pub fn new(flaw: Flaw, cause: impl Into<String>, proof: impl Into<String>) -> Self {
        Finding {
            flaw,
            grade: flaw.grade(),
            cause: cause.into(),
            proof: proof.into(),
            fix: flaw.fix().to_owned(),
            legs: Vec::new(),
        }
    }

    /// The same of another grade.
    #[must_use]
    pub fn graded(mut self, grade: Grade) -> Self {
        self.grade = grade;
        self
    }

    /// The same with legs that it breaks.
    #[must_use]
    pub fn breaking(mut self, legs: &[Leg]) -> Self {
        self.legs = legs.to_vec();
        self
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.grade.word(),
            self.flaw.name(),
            self.cause
        )?;
        if !self.proof.is_empty() {
            write!(f, " ({})", self.proof)?;
        }
        if !self.legs.is_empty() {
            write!(f, "; not usable for {}", leg::titles(&self.legs))?;
        }
        if !self.fix.is_empty() {
            write!(f, " | fix: {}", self.fix)?;
        }
        Ok(())
    }
}

macro_rules! flaws {
    ($( $(#[$doc:meta])* $flaw:ident = $name:literal, $grade:ident, $fix:literal; )*) => {
        /// A fault by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Flaw { $( $(#[$doc])* #[serde(rename = $name)] $flaw, )* }

        impl Flaw {
            /// Every one.
            pub const ALL: &'static [Flaw] = &[$(Flaw::$flaw),*];

            /// Its name, as `intermediate-missing`.
            pub fn name(self) -> &'static str {
                match self { $(Flaw::$flaw => $name,)* }
            }

            /// How much it matters unless said otherwise.
            pub fn grade(self) -> Grade {
                match self { $(Flaw::$flaw => Grade::$grade,)* }
            }

            /// What to do.
            pub fn fix(self) -> &'static str {
                match self { $(Flaw::$flaw => $fix,)* }
            }
        }
    };
}

flaws! {
    // What the files hold.
    /// The file holds no certificate.
    NoCertificate = "no-certificate", Error,
        "give a PEM file with the server's certificate first and its intermediates after it";
    /// It is larger, or holds more certificates, than is read.
    TooMuch = "too-much", Error,
        "give a PEM file with this node's chain alone, of at most 4 MiB";
    /// A certificate in DER.
    Der = "der-not-pem", Error,
        "convert it: openssl x509 -inform der -in FILE -out FILE.pem";
    /// PKCS#12: certificate and key in one sealed file.
    Pkcs12 = "pkcs12", Error,
        "take it apart: openssl pkcs12 -in FILE -nokeys -out chain.pem, and openssl pkcs12 -in \
         FILE -nocerts -nodes -out key.pem";
    /// PKCS#7: certificates in another wrapping.
    Pkcs7 = "pkcs7", Error,
        "convert it: openssl pkcs7 -print_certs -in FILE -out chain.pem (with -inform der if it \
         is no text)";
    /// The request instead of the certificate.
    RequestInstead = "request-instead-of-certificate", Error,
        "send this file to the authority, and put what it gives back here";
    /// OpenSSL's own form with trust settings.
    TrustedForm = "openssl-trusted-form", Error,
        "convert it: openssl x509 -in FILE -out FILE.pem";
    /// Text in UTF-16, as some Windows editors save it.
    Utf16 = "utf-16", Error,
        "save the file again as plain text (ANSI or UTF-8 without a mark)";
    /// PEM whose content is no certificate.
    Unreadable = "unreadable-certificate", Error,
        "fetch the file again: it was cut or changed on its way";
    /// A key in the file of the chain.
    KeyInChain = "key-in-chain-file", Warning,
        "take the private key out of the chain's file: that file is often passed on";
    // The key.
    /// The file holds no private key.
    NoKey = "no-key", Error,
        "give a PEM file with one unencrypted private key (PKCS#8, PKCS#1 or SEC1)";
    /// The key is sealed with a password.
    KeyEncrypted = "key-encrypted", Error,
        "take the password off: openssl pkey -in FILE -out key.pem, and chmod 600 key.pem";
    /// The key cannot be read.
    KeyUnreadable = "key-unreadable", Error,
        "give a PEM file with one unencrypted private key (PKCS#8, PKCS#1 or SEC1)";
    /// More than one key.
    SeveralKeys = "several-keys", Warning,
        "leave the key of this certificate alone in the file: only the first one is read";
    /// A key that TLS here cannot use.
    KeyKind = "key-kind-not-usable", Error,
        "make a key on P-256 or P-384, or RSA of 2048 bits or more, and have a certificate issued \
         for it";
    /// The key is another certificate's.
    KeyMismatch = "key-mismatch", Error,
        "give the key the certificate was requested with, or have the certificate issued again";
    // The chain.
    /// The node's own certificate is not the first.
    LeafNotFirst = "own-certificate-not-first", Error,
        "put this node's own certificate first, then who signed it, then who signed that";
    /// Intermediates in another order than they sign one another.
    Order = "order", Warning,
        "put each certificate before the one that signed it: strict clients read no other order";
    /// Who signed a certificate is neither in the file nor trusted.
    IssuerMissing = "intermediate-missing", Error,
        "put the intermediate after it in the chain's file; if it is the authority itself, add \
         that to the trusted authorities";
    /// The chain is whole, and its authority is not trusted here.
    AuthorityUntrusted = "authority-untrusted", Warning,
        "add the authority to certificate.trusted of both nodes, or have the certificate issued \
         by one that is there";
    /// The authority itself is in the file.
    RootIncluded = "authority-in-chain", Note,
        "nothing; it may be left out, for nobody believes it because of this";
    /// A certificate that has nothing to do with the others.
    Unrelated = "unrelated-certificate", Warning,
        "take it out: some clients refuse chains with strangers in them";
    /// The same certificate twice.
    Duplicate = "duplicate-certificate", Warning, "take one of them out";
    /// It is signed by itself.
    SelfSigned = "self-signed", Warning,
        "have it issued by an authority: clients outside refuse it, and peers must each be given \
         this very certificate";
    /// Who should have signed it did not: the authority has another key now.
    SignatureWrong = "signature-wrong", Error,
        "fetch the intermediate that the authority signs with now, or have the certificate issued \
         again";
    /// Signed by a certificate that may sign none.
    IssuerNotAuthority = "issuer-is-no-authority", Error,
        "have it issued by an authority's certificate (basicConstraints CA:TRUE)";
    /// The issuer's keyUsage lacks keyCertSign.
    IssuerMayNotSign = "issuer-lacks-cert-sign", Error,
        "have the intermediate issued with keyUsage keyCertSign";
    /// More intermediates than an authority allows below it.
    PathTooLong = "path-length-exceeded", Error,
        "have the certificate issued by the authority that allows it, without one in between";
    /// An intermediate may sign for other uses only.
    IssuerUse = "issuer-restricted-use", Error,
        "have it issued by an intermediate that is for TLS servers and clients";
    /// A name that the authority may not vouch for.
    NameConstraint = "name-constraint", Error,
        "have it issued by an authority that may sign these names";
    // Dates.
    /// It has run out.
    Expired = "expired", Error, "have it issued again";
    /// It is not valid yet.
    NotYetValid = "not-yet-valid", Error,
        "correct this machine's clock, or have the certificate issued again";
    /// It runs out soon.
    ExpiresSoon = "expires-soon", Warning, "have it issued again before that";
    /// Who signed it has run out.
    IssuerExpired = "issuer-expired", Error,
        "fetch the authority's present intermediate, or have the certificate issued again";
    /// Who signed it is not valid yet.
    IssuerNotYetValid = "issuer-not-yet-valid", Error,
        "correct this machine's clock, or use the authority's present intermediate";
    /// Who signed it runs out first.
    IssuerExpiresFirst = "issuer-expires-first", Warning,
        "have it issued by the authority's newer intermediate: this one ends with its issuer";
    /// It ends before it begins.
    DatesReversed = "dates-reversed", Error, "have it issued again";
    /// It lives longer than clients accept of public authorities.
    LongLife = "long-life", Note,
        "nothing inside; Apple's systems refuse certificates of over 825 days, and of over 398 \
         from public authorities";
    // What it is for.
    /// Not for servers.
    NoServerUse = "no-server-use", Error,
        "have it issued with extendedKeyUsage serverAuth, clientAuth";
    /// Not for clients.
    NoClientUse = "no-client-use", Error,
        "have it issued with extendedKeyUsage serverAuth, clientAuth; a public authority that no \
         longer issues clientAuth is no matter where no leg needs it";
    /// An authority's certificate.
    AuthorityAsLeaf = "authority-as-server", Error,
        "have a certificate issued that is no authority's (basicConstraints CA:FALSE)";
    /// Its keyUsage does not let it sign handshakes.
    KeyUsage = "key-usage", Error,
        "have it issued with keyUsage digitalSignature (and keyEncipherment)";
    /// An extension that must be understood, and is not.
    UnknownCritical = "unknown-critical-extension", Error,
        "have it issued without the extension, or with it not critical";
    // How strong it is.
    /// An RSA key that is too short.
    RsaShort = "rsa-key-short", Error,
        "make a key of 2048 bits or more, or on P-256, and have the certificate issued for it";
    /// A signature by a digest that is broken.
    WeakSignature = "weak-signature", Error,
        "have it issued with SHA-256 or better";
    /// An intermediate's RSA key that is too short.
    IssuerRsaShort = "issuer-rsa-key-short", Error,
        "have it issued by an authority with a key of 2048 bits or more";
    /// An intermediate's signature by a broken digest.
    IssuerWeakSignature = "issuer-weak-signature", Error,
        "fetch the authority's intermediate that is signed with SHA-256 or better";
    /// X.509 before version 3.
    OldVersion = "version-1", Error,
        "have it issued as version 3, with subjectAltName";
    // Names.
    /// No subjectAltName.
    NoAltName = "no-subject-alt-name", Warning,
        "have it issued with its names in subjectAltName";
    /// A name that is needed is missing.
    NameMissing = "name-missing", Warning,
        "have it issued with the name in subjectAltName; causeway ctl certificate request fills \
         in all that are needed";
    /// An address written as a name.
    AddressAsName = "address-as-dns-name", Warning,
        "have the address issued as iPAddress, or better a name";
    /// A wildcard that no client takes.
    Wildcard = "wildcard-not-usable", Warning,
        "use *.example.com only: one star, alone in the first label";
    /// A name with a character that names have not.
    OddName = "odd-name", Warning,
        "have it issued with names of letters, digits and hyphens";
    /// So many names that some servers cannot read them.
    ManyNames = "many-names", Warning,
        "spread them over several certificates: some releases of Unified CM fail on long lists";
    /// TLS refuses it for a reason that none of the above tells.
    RefusedByTls = "refused-by-tls", Error, "have it issued again";
}

impl Flaw {
    /// The one of a name.
    pub fn named(name: &str) -> Option<Flaw> {
        Flaw::ALL.iter().copied().find(|flaw| flaw.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flaw_has_a_name_of_its_own_and_says_what_to_do() {
        for flaw in Flaw::ALL {
            assert_eq!(Flaw::named(flaw.name()), Some(*flaw));
            assert!(!flaw.fix().is_empty(), "{flaw:?}");
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            assert!(flaw.name().bytes().all(plain), "{flaw:?}");
        }
    }
}
