//! Chains that are broken, each in one way, and the name that each fault is given. What `rcgen`
//! makes is made here; what it cannot make is in `made/`, by OpenSSL, and its keys are kept
//! nowhere.
#![allow(clippy::unwrap_used)]

use base::UnixTime;
use certificates::{Certificate, Flaw, Grade, Leg, Need, Question, Report, inspect, names, read};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose as Use,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};

/// 2027-01-01.
const NOW: UnixTime = UnixTime::from_millis(1_798_761_600_000);

const NODE: &str = "node.example.test";

/// An authority, or one between.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root_of(params: CertificateParams) -> Authority {
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    Authority { issuer, pem }
}

fn root() -> Authority {
    root_of(authority_params("Root"))
}

impl Authority {
    fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let mut params = authority_params(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    /// Certificate and key of a node.
    fn node(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let params = node_params(change);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        (pem, key.serialize_pem())
    }
}

fn node_params(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec![NODE.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, NODE);
    params.not_before = date_time_ymd(2026, 12, 1);
    params.not_after = date_time_ymd(2027, 12, 1);
    params.extended_key_usages = vec![Use::ServerAuth, Use::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    change(&mut params);
    params
}

/// A file as it was saved, its key, and the authorities that are trusted.
struct Case {
    chain: Vec<u8>,
    key: Option<Vec<u8>>,
    trusted: String,
}

fn case(chain: impl Into<Vec<u8>>, key: &str, trusted: &str) -> Case {
    Case {
        chain: chain.into(),
        key: Some(key.as_bytes().to_vec()),
        trusted: trusted.to_owned(),
    }
}

/// One of the files of OpenSSL's, without its key.
fn made(name: &str) -> Case {
    let read = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/made/");
        std::fs::read(format!("{folder}{name}")).unwrap()
    };
    Case {
        chain: read(name),
        key: None,
        trusted: String::from_utf8(read("ca.pem")).unwrap(),
    }
}

fn look(case: &Case, legs: &[Leg]) -> Report {
    let trusted = read::certificates(case.trusted.as_bytes()).unwrap();
    let needs = [Need {
        name: NODE.to_owned(),
        strength: names::Strength::Required,
        why: "the node's own name".into(),
        legs: legs.to_vec(),
    }];
    inspect(&Question {
        chain: &case.chain,
        key: case.key.as_deref(),
        trusted: &trusted,
        legs,
        needs: &needs,
        now: NOW,
    })
}

const EDGE: [Leg; 4] = [
    Leg::ClientHttps,
    Leg::ClientSip,
    Leg::ClientXmpp,
    Leg::LinkFromCores,
];
const CORE: [Leg; 1] = [Leg::LinkToEdges];

/// Each with the flaw it is to be found by; whatever else is found is no error.
fn table() -> Vec<(Flaw, Case)> {
    let mut table = files();
    table.extend(keys());
    table.extend(chains());
    table.extend(issuers());
    table.extend(leaves());
    table
}

fn files() -> Vec<(Flaw, Case)> {
    let root = root();
    let (chain, key) = root.node(|_| ());
    let der = read::certificates(chain.as_bytes()).unwrap()[0]
        .der()
        .to_vec();
    let wide: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(chain.bytes().flat_map(|b| [b, 0]))
        .collect();
    let request = {
        let key = KeyPair::generate().unwrap();
        node_params(|_| ())
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap()
    };
    let cut = chain.replace("-----END CERTIFICATE-----", "");
    let spoilt = format!(
        "-----BEGIN CERTIFICATE-----\n{}",
        "MDAwMDAwMDAw\n-----END CERTIFICATE-----\n"
    );
    let c = |chain: &[u8]| case(chain, &key, &root.pem);
    vec![
        (Flaw::NoCertificate, c(b"")),
        (Flaw::NoCertificate, c(b"hello\n")),
        (Flaw::NoCertificate, c(key.as_bytes())),
        (Flaw::TooMuch, c(&vec![b'\n'; read::FILE_BYTES_MAX + 1])),
        (Flaw::Der, c(&der)),
        (Flaw::Utf16, c(&wide)),
        (Flaw::RequestInstead, c(request.as_bytes())),
        (Flaw::Unreadable, c(cut.as_bytes())),
        (Flaw::Unreadable, c(spoilt.as_bytes())),
        (Flaw::KeyInChain, c(format!("{chain}{key}").as_bytes())),
        (Flaw::Pkcs12, made("pkcs12.p12")),
        (Flaw::Pkcs7, made("pkcs7.pem")),
        (Flaw::Pkcs7, made("pkcs7.der")),
        (Flaw::TrustedForm, made("trusted-form.pem")),
    ]
}

fn keys() -> Vec<(Flaw, Case)> {
    let root = root();
    let (chain, key) = root.node(|_| ());
    let (_, other) = root.node(|_| ());
    let c = |key: &str| case(chain.clone(), key, &root.pem);
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n\
                  -----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
               DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let spoilt = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    vec![
        (Flaw::NoKey, c("")),
        (Flaw::NoKey, c(&chain)),
        (Flaw::KeyEncrypted, c(sealed)),
        (Flaw::KeyEncrypted, c(old)),
        (Flaw::KeyKind, c(spoilt)),
        (
            Flaw::KeyUnreadable,
            c("-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----\n"),
        ),
        (Flaw::SeveralKeys, c(&format!("{key}{other}"))),
        (Flaw::KeyMismatch, c(&other)),
        (Flaw::KeyKind, made("pss.pem")),
        (Flaw::KeyKind, made("secp256k1.pem")),
        (Flaw::KeyKind, made("ed448.pem")),
    ]
}

fn chains() -> Vec<(Flaw, Case)> {
    let root = root();
    let one = root.below("One", |_| ());
    let two = one.below("Two", |_| ());
    let (node, key) = two.node(|_| ());
    let c = |parts: &[&str]| case(parts.concat(), &key, &root.pem);
    let (one, two) = (one.pem.as_str(), two.pem.as_str());
    let stranger = root_of(authority_params("Stranger"));
    // The same name, another key: an authority that was set up anew.
    let again = root_of(authority_params("Root")).pem;
    let alone = {
        let key = KeyPair::generate().unwrap();
        let made = node_params(|_| ()).self_signed(&key).unwrap();
        case(made.pem(), &key.serialize_pem(), &root.pem)
    };
    let rekeyed = {
        let (node, key) = root.node(|_| ());
        case(node, &key, &again)
    };
    let elsewhere = case([&node, two, one, &root.pem].concat(), &key, &stranger.pem);
    vec![
        (Flaw::LeafNotFirst, c(&[two, &node, one])),
        (Flaw::LeafNotFirst, c(&[one, two, &node])),
        (Flaw::Order, c(&[&node, one, two])),
        (Flaw::IssuerMissing, c(&[&node])),
        (Flaw::IssuerMissing, c(&[&node, one])),
        (Flaw::IssuerMissing, c(&[&node, two])),
        (Flaw::AuthorityUntrusted, elsewhere),
        (Flaw::RootIncluded, c(&[&node, two, one, &root.pem])),
        (Flaw::Unrelated, c(&[&node, two, one, &stranger.pem])),
        (Flaw::Duplicate, c(&[&node, two, one, one])),
        (Flaw::SelfSigned, alone),
        (Flaw::SignatureWrong, rekeyed),
    ]
}

fn issuers() -> Vec<(Flaw, Case)> {
    let root = root();
    let by = |change: &dyn Fn(&mut CertificateParams)| {
        let between = root.below("Between", change);
        let (node, key) = between.node(|_| ());
        case([node, between.pem].concat(), &key, &root.pem)
    };
    let narrow = root_of({
        let mut params = authority_params("Narrow");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
    });
    let too_long = {
        let between = narrow.below("Between", |_| ());
        let (node, key) = between.node(|_| ());
        case(
            [node, between.pem, narrow.pem.clone()].concat(),
            &key,
            &narrow.pem,
        )
    };
    let constrained = by(&|p| {
        let only = GeneralSubtree::DnsName("elsewhere.test".into());
        p.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![only],
            excluded_subtrees: Vec::new(),
        });
    });
    let past = root_of({
        let mut params = authority_params("Past");
        params.not_after = date_time_ymd(2026, 12, 31);
        params
    });
    let past = {
        let (node, key) = past.node(|_| ());
        case(node, &key, &past.pem)
    };
    vec![
        (Flaw::IssuerNotAuthority, by(&|p| p.is_ca = IsCa::NoCa)),
        (
            Flaw::IssuerMayNotSign,
            by(&|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]),
        ),
        (Flaw::PathTooLong, too_long),
        (
            Flaw::IssuerUse,
            by(&|p| p.extended_key_usages = vec![Use::EmailProtection]),
        ),
        (Flaw::NameConstraint, constrained),
        (
            Flaw::IssuerExpired,
            by(&|p| p.not_after = date_time_ymd(2026, 12, 31)),
        ),
        (Flaw::IssuerExpired, past),
        (
            Flaw::IssuerNotYetValid,
            by(&|p| p.not_before = date_time_ymd(2027, 1, 2)),
        ),
        (
            Flaw::IssuerExpiresFirst,
            by(&|p| p.not_after = date_time_ymd(2027, 1, 20)),
        ),
        (Flaw::IssuerRsaShort, made("short-intermediate.pem")),
        (Flaw::IssuerWeakSignature, made("old-intermediate.pem")),
    ]
}

fn leaves() -> Vec<(Flaw, Case)> {
    let root = root();
    let by = |change: &dyn Fn(&mut CertificateParams)| {
        let (node, key) = root.node(change);
        case(node, &key, &root.pem)
    };
    let named = |name: &'static str| {
        by(&move |p: &mut CertificateParams| {
            p.subject_alt_names
                .push(rcgen::SanType::DnsName(name.try_into().unwrap()));
        })
    };
    let many = by(&|p| {
        let name = |n: usize| format!("host{n}.example.test").try_into().unwrap();
        let names = (0..120).map(|n| rcgen::SanType::DnsName(name(n)));
        p.subject_alt_names.extend(names);
    });
    let critical = by(&|p| {
        let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        odd.set_criticality(true);
        p.custom_extensions.push(odd);
    });
    vec![
        (
            Flaw::Expired,
            by(&|p| p.not_after = date_time_ymd(2026, 12, 31)),
        ),
        (
            Flaw::NotYetValid,
            by(&|p| p.not_before = date_time_ymd(2027, 1, 2)),
        ),
        (
            Flaw::ExpiresSoon,
            by(&|p| p.not_after = date_time_ymd(2027, 1, 20)),
        ),
        (
            Flaw::DatesReversed,
            by(&|p| {
                p.not_before = date_time_ymd(2028, 1, 1);
                p.not_after = date_time_ymd(2027, 1, 1);
            }),
        ),
        (
            Flaw::LongLife,
            by(&|p| p.not_after = date_time_ymd(2030, 1, 1)),
        ),
        (
            Flaw::NoServerUse,
            by(&|p| p.extended_key_usages = vec![Use::ClientAuth]),
        ),
        (
            Flaw::NoClientUse,
            by(&|p| p.extended_key_usages = vec![Use::ServerAuth]),
        ),
        (
            Flaw::AuthorityAsLeaf,
            by(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
        (
            Flaw::KeyUsage,
            by(&|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        ),
        (Flaw::UnknownCritical, critical),
        (Flaw::RsaShort, made("rsa1024.pem")),
        (Flaw::WeakSignature, made("sha1.pem")),
        (Flaw::WeakSignature, made("md5.pem")),
        (Flaw::OldVersion, made("version1.pem")),
        (Flaw::NoAltName, by(&|p| p.subject_alt_names.clear())),
        (
            Flaw::NameMissing,
            by(&|p| {
                let other = "other.example.test".try_into().unwrap();
                p.subject_alt_names = vec![rcgen::SanType::DnsName(other)];
            }),
        ),
        (Flaw::AddressAsName, named("192.0.2.1")),
        (Flaw::Wildcard, named("*.*.example.test")),
        (Flaw::Wildcard, named("n*.example.test")),
        (Flaw::OddName, named("under_score.example.test")),
        (Flaw::ManyNames, many),
    ]
}

#[test]
fn every_broken_chain_is_found_by_the_name_of_its_fault() {
    let table = table();
    for (nth, (flaw, case)) in table.iter().enumerate() {
        let report = look(case, &EDGE);
        let shown: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert!(report.has(*flaw), "{nth} {flaw:?}: {shown:#?}");
        // One fault is told once, and nothing else that is as bad is made of it.
        let other = report
            .findings
            .iter()
            .find(|f| f.flaw != *flaw && f.grade == Grade::Error && flaw.grade() == Grade::Error);
        assert!(other.is_none(), "{nth} {flaw:?}: {shown:#?}");
        for finding in &report.findings {
            assert!(!finding.cause.is_empty() && !finding.fix.is_empty());
            let proven = !finding.proof.is_empty() || finding.flaw == Flaw::NoCertificate;
            assert!(proven, "{finding:?}");
        }
    }
    // None is left without a case, but the one that is for what nobody thought of.
    for flaw in Flaw::ALL {
        let known = table.iter().any(|(f, _)| f == flaw);
        assert!(known || *flaw == Flaw::RefusedByTls, "{flaw:?} has no case");
    }
    assert!(table.len() >= 60, "{}", table.len());
}

#[test]
fn a_good_chain_is_not_spoken_of_and_every_leg_can_use_it() {
    let root = root();
    let between = root.below("Between", |_| ());
    let (node, key) = between.node(|_| ());
    let case = case([node, between.pem].concat(), &key, &root.pem);
    for legs in [&EDGE[..], &CORE[..]] {
        let report = look(&case, legs);
        assert_eq!(report.findings, []);
        assert!(report.trusted_here && report.own == Some(0));
        assert!(report.legs.iter().all(|leg| leg.flaws.is_empty()));
    }
}

#[test]
fn a_missing_use_is_refused_nowhere_and_the_legs_that_need_it_are_named() {
    let root = root();
    let (node, key) = root.node(|p| p.extended_key_usages = vec![Use::ServerAuth]);
    let case = case(node, &key, &root.pem);
    let edge = look(&case, &EDGE);
    assert!(edge.legs.iter().all(|leg| leg.flaws.is_empty()), "{edge:?}");
    let found = edge.findings.iter().find(|f| f.flaw == Flaw::NoClientUse);
    assert!(found.is_some_and(|f| f.grade == Grade::Warning && f.proof.contains("no leg")));
    let core = look(&case, &CORE);
    assert_eq!(core.legs[0].flaws, [Flaw::NoClientUse]);
    assert_eq!(core.worst(), Some(Grade::Error));
}

#[test]
fn a_self_signed_certificate_that_is_trusted_is_told_of_and_used() {
    let key = KeyPair::generate().unwrap();
    let made = node_params(|_| ()).self_signed(&key).unwrap();
    let case = case(made.pem(), &key.serialize_pem(), &made.pem());
    let report = look(&case, &EDGE);
    assert!(report.trusted_here && report.has(Flaw::SelfSigned));
    assert!(report.legs.iter().all(|leg| leg.flaws.is_empty()));
}

#[test]
fn two_certificates_of_one_name_are_told_apart_by_fingerprint() {
    let [one, two] = [root(), root()].map(|r| read::certificates(r.pem.as_bytes()).unwrap());
    let (one, two): (&Certificate, &Certificate) = (&one[0], &two[0]);
    assert_eq!(one.subject, two.subject);
    assert_ne!(one.fingerprint, two.fingerprint);
    let (node, key) = root().node(|_| ());
    // Trusting a namesake is not trusting the issuer.
    let both = [one.pem(), two.pem()].concat();
    let report = look(&case(node, &key, &both), &EDGE);
    assert!(report.has(Flaw::SignatureWrong) && !report.trusted_here);
}
