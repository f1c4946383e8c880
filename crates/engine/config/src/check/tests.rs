//! Files good and bad, and what is said of them.

use std::path::Path;

use super::*;
use crate::single_sign_on::SingleSignOn;
use crate::{ClientCertificates, LdapUser, Rates, SignInBy};

pub(super) const EDGE: &str = r#"
role = "edge"
name = "edge1"
domain = "example.test"
[certificate]
chain = "server.pem"
key = "server.key"
trusted = "ca.pem"
[service.https]
listen = ["192.0.2.10:8443"]
[service.sip]
listen = ["192.0.2.10:5061"]
advertise = "sip.example.test:443"
[service.xmpp]
listen = ["192.0.2.10:5222"]
[service.media]
listen = "192.0.2.10"
advertise = "203.0.113.10"
[traversal]
listen_sip = "192.0.2.11:7001"
listen_ssh = "192.0.2.11:2222"
listen_xmpp = "192.0.2.11:7400"
[[traversal.zone]]
name = "core"
verify_name = ["core1.example.test"]
user = "traversal"
password = "long and random"
"#;

pub(super) const CORE: &str = r#"
role = "core"
name = "core1"
domain = "corp.example.test"
[certificate]
chain = "server.pem"
key = "server.key"
trusted = "ca.pem"
[service.sip]
listen = ["10.0.0.20:5060"]
[service.media]
listen = "10.0.0.20"
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.11"
verify_name = "edge1.example.test"
user = "traversal"
password_file = "zone.password"
[[domains]]
name = "example.test"
[[unified_cm]]
publisher = "cucm1.example.test"
user = "axl"
password = "pw"
"#;

pub(super) fn check(text: &str) -> Result<Checked, Vec<Finding>> {
    load(text, Path::new("/etc/causeway/causeway.toml"))
}

#[test]
fn an_edge_is_read_with_the_guides_defaults() {
    let checked = check(EDGE).unwrap();
    assert!(checked.warnings.is_empty());
    assert_eq!(checked.config.fqdn(), "edge1.example.test");
    assert_eq!(
        checked.config.certificate.key,
        Path::new("/etc/causeway/server.key")
    );
    let Role::Edge(edge) = &checked.config.role else {
        panic!()
    };
    assert_eq!(edge.https.advertise_host, "edge1.example.test");
    assert_eq!(
        (edge.sip.advertise_host.as_str(), edge.sip.advertise_port),
        ("sip.example.test", 443)
    );
    assert_eq!(edge.media.ports, 36002..=59999);
    assert_eq!(edge.traversal.media_ports, (36000, 36001));
    assert_eq!(edge.sip_realm, "example.test");
    assert_eq!(edge.connections_per_source_max, 100);
    assert_eq!(edge.rates, Rates::default());
    assert_eq!(edge.sip_client_certificates, ClientCertificates::Off);
}

#[test]
fn a_core_is_read_with_the_guides_defaults() {
    let Role::Core(core) = check(CORE).unwrap().config.role else {
        panic!()
    };
    assert_eq!(core.media.ports, 36000..=59999);
    assert_eq!(core.credentials.refresh.as_secs(), 480 * 60);
    assert_eq!(core.credentials.cleanup.as_secs(), 720 * 60);
    assert!(core.unified_cm[0].tls_verify);
    assert_eq!(
        (core.peers[0].sip_port, core.peers[0].media_ports),
        (7001, (36000, 36001))
    );
}

#[test]
fn what_is_written_wrong_is_told_of_once_and_in_the_words_of_its_line() {
    let (head, _) = CORE.split_once("[[unified_cm]]").unwrap();
    let call_control = "[[call_control]]\nname = \"pbx\"\naddress = \"10.0.0.5:sip\"\n";
    let found = check(&format!("{head}{call_control}")).unwrap_err();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].key, "call_control.address");
    let found = check(&CORE.replace("\"192.0.2.11\"", "\"192.0.2.11:7001\"")).unwrap_err();
    let said = found
        .iter()
        .any(|f| f.key.ends_with("dial") && f.cause.contains("a port stands"));
    assert!(said, "{found:#?}");
}

#[test]
fn clients_of_a_family_without_media_are_warned_of() {
    let listen = "listen = [\"192.0.2.10:5061\", \"[2001:db8::10]:5061\"]";
    let text = EDGE.replace("listen = [\"192.0.2.10:5061\"]", listen);
    let found = check(&text).unwrap().warnings;
    let said = found
        .iter()
        .find(|f| f.key == "service.sip.listen")
        .unwrap();
    assert!(said.cause.contains("no IPv6 address"), "{said:?}");
}

/// What is changed in a good file, and what is then said, with the line it stands on.
#[test]
fn each_mistake_is_named_with_line_cause_and_fix() {
    let table: [(&str, &str, &str, usize, &str, &str); 27] = [
        (
            CORE,
            "listen = [\"10.0.0.20:5060\"]",
            "listen = [\"10.0.0.20:5060\"]\naccept_from = [\"10.0.0.0/33\"]",
            11,
            "service.sip.accept_from",
            "no range",
        ),
        (
            EDGE,
            "[service.sip]",
            "[service.sip]\nclient_certificates = \"request\"",
            12,
            "service.sip.client_certificates",
            "client_authorities is missing",
        ),
        (
            EDGE,
            "[service.sip]",
            "[service.sip]\nclient_certificates = \"maybe\"",
            12,
            "service.sip.client_certificates",
            "not known",
        ),
        (
            EDGE,
            "[service.sip]",
            "[service.sip]\nclient_authorities = \"ca.pem\"",
            12,
            "service.sip.client_authorities",
            "no client is asked",
        ),
        (
            CORE,
            "[service.sip]",
            "[service.sip]\nclient_certificates = \"require\"",
            10,
            "service.sip.client_certificates",
            "edge",
        ),
        (
            EDGE,
            "[service.https]",
            "[service.https]\nlisten_tls = [\"192.0.2.10:1\"]",
            10,
            "service.https.listen_tls",
            "TLS already",
        ),
        (
            EDGE,
            "[service.sip]",
            "[service.sip]\nrealm = 'ex\"am\\ple'",
            12,
            "service.sip.realm",
            "quote",
        ),
        (
            EDGE,
            "[service.xmpp]",
            "[service.xmpp]\nrealm = \"x\"",
            15,
            "service.xmpp.realm",
            "service.sip",
        ),
        (
            CORE,
            "[service.sip]",
            "[service.sip]\nadvertise = \"x\"",
            10,
            "service.sip.advertise",
            "edge",
        ),
        (
            EDGE,
            "name = \"edge1\"",
            "name = \"edge_1\"",
            3,
            "name",
            "underscore",
        ),
        (
            EDGE,
            "role = \"edge\"",
            "role = \"dmz\"",
            2,
            "role",
            "neither edge nor core",
        ),
        (
            EDGE,
            "key = \"server.key\"",
            "keyy = \"x\"",
            7,
            "certificate.keyy",
            "keyy",
        ),
        (
            EDGE,
            "192.0.2.10:8443",
            "nowhere",
            10,
            "service.https.listen",
            "no address",
        ),
        (
            EDGE,
            "\"203.0.113.10\"",
            "\"0.0.0.0\"",
            18,
            "service.media.advertise",
            "unspecified",
        ),
        (
            EDGE,
            "\"203.0.113.10\"",
            "\"2001:db8::1\"",
            18,
            "service.media.advertise",
            "family",
        ),
        (
            EDGE,
            "192.0.2.11:7400",
            "192.0.2.11:7001",
            22,
            "traversal.listen_xmpp",
            "taken by traversal.listen_sip",
        ),
        (
            EDGE,
            "[\"core1.example.test\"]",
            "[]",
            25,
            "traversal.zone.verify_name",
            "any certificate",
        ),
        (
            EDGE,
            "password = \"long and random\"",
            "",
            23,
            "traversal.zone.password",
            "missing",
        ),
        (
            EDGE,
            "listen = \"192.0.2.10\"",
            "listen = \"192.0.2.11\"\nports = \"36000-50000\"",
            18,
            "service.media.ports",
            "link's media",
        ),
        (
            EDGE,
            "domain = \"example.test\"",
            "domain = \"\"",
            4,
            "domain",
            "empty",
        ),
        (
            CORE,
            "[[traversal.peer]]",
            "[[traversal.zone]]",
            15,
            "traversal.zone.dial",
            "dial",
        ),
        (
            CORE,
            "dial = \"192.0.2.11\"",
            "dial = \"a_b\"",
            15,
            "traversal.peer.dial",
            "underscore",
        ),
        (
            CORE,
            "name = \"example.test\"",
            "name = \"exa mple\"",
            20,
            "domains.name",
            "letters",
        ),
        (
            CORE,
            "user = \"axl\"",
            "user = \"\"",
            23,
            "unified_cm.user",
            "missing",
        ),
        (
            CORE,
            "10.0.0.20:5060",
            "0.0.0.0:5060",
            10,
            "service.sip.listen",
            "Contact",
        ),
        (
            CORE,
            "listen = \"10.0.0.20\"",
            "listen = \"10.0.0.20\"\nports = \"9-5\"",
            13,
            "service.media.ports",
            "range",
        ),
        (
            CORE,
            "password_file = \"zone.password\"",
            "password_file = \"z\"\npassword = \"y\"",
            19,
            "traversal.peer.password",
            "two",
        ),
    ];
    for (good, from, to, line, key, cause) in table {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from} is in the file");
        let findings = match check(&text) {
            Err(findings) => findings,
            Ok(checked) => checked.warnings,
        };
        let found = findings
            .iter()
            .find(|f| f.key.ends_with(key) && f.cause.contains(cause));
        let Some(found) = found else {
            panic!("{from} -> {to}: {findings:#?}")
        };
        assert_eq!(found.line, line, "{from} -> {to}: {found}");
        assert!(!found.fix.is_empty());
    }
}

/// What is added to a good file, and the key that is then refused.
#[test]
fn each_addition_that_cannot_work_is_refused_at_its_key() {
    let peer = "[[traversal.peer]]\nname = \"two\"\nuser = \"traversal\"\n\
                password_file = \"p\"\n";
    let same_name = format!("{peer}dial = \"192.0.2.12\"\nverify_name = \"EDGE1.example.test\"\n");
    let same_dial = format!("{peer}dial = \"192.0.2.11\"\nverify_name = \"e2.example.test\"\n");
    let zone = "[[traversal.zone]]\nname = \"b\"\nverify_name = [\"core1.example.test\"]\n\
                user = \"u\"\npassword_file = \"p\"\n";
    let both = "[[unified_cm]]\npublisher = \"a\"\naddress = \"b\"\nuser = \"u\"\n\
                password = \"p\"\n";
    let administration = |at: &str| format!("[administration]\nlisten = [{at:?}]\n");
    let table: Vec<(&str, String, &str, &str)> = vec![
        (
            EDGE,
            administration("0.0.0.0:7001"),
            "administration.listen",
            "traversal.listen_sip",
        ),
        (
            EDGE,
            administration("192.0.2.10:8443"),
            "administration.listen",
            "service.https.listen",
        ),
        (
            EDGE,
            administration("[::]:5222"),
            "administration.listen",
            "service.xmpp.listen",
        ),
        (
            CORE,
            administration("10.0.0.20:5060"),
            "administration.listen",
            "service.sip.listen",
        ),
        (
            CORE,
            administration("10.0.0.20:0"),
            "administration.listen",
            "port 0",
        ),
        (CORE, same_name, "traversal.peer.verify_name", "peer edge1"),
        (CORE, same_dial, "traversal.peer.dial", "192.0.2.11:7001"),
        (EDGE, zone.into(), "traversal.zone.verify_name", "two zones"),
        (
            EDGE,
            "[log]\nlevel = \"verbose\"\n".into(),
            "log.level",
            "\"verbose\"",
        ),
        (
            EDGE,
            "[log]\nlevel = 5\n".into(),
            "log.level",
            "text in quotes",
        ),
        (
            EDGE,
            "[limits]\nrequests_per_user = 0\n".into(),
            "limits.requests_per_user",
            "nobody would get in",
        ),
        (
            CORE,
            "[limits]\nconnections_max = 5\n".into(),
            "limits",
            "edge",
        ),
        (
            CORE,
            "[traversal]\nlisten_ssh = \"1.2.3.4\"\n".into(),
            "traversal.listen_ssh",
            "edge",
        ),
        (
            CORE,
            "[traversal]\nmedia_ports = [1, 2]\n".into(),
            "traversal.media_ports",
            "edge",
        ),
        (
            EDGE,
            "[credentials]\nfile = \"users\"\n".into(),
            "credentials",
            "core",
        ),
        (EDGE, both.into(), "unified_cm", "core"),
        (CORE, both.into(), "unified_cm.publisher", "both"),
        (
            CORE,
            both.replace("address = \"b\"", "contact = \"keep\""),
            "unified_cm.contact",
            "neither",
        ),
        (
            CORE,
            both.replace("[[unified_cm]]", "[[im_presence]]")
                .replace("address = \"b\"", "contact = \"path\""),
            "im_presence.contact",
            "belongs",
        ),
    ];
    for (good, more, key, cause) in table {
        let findings = check(&format!("{good}{more}")).expect_err(&more);
        let found = findings.iter().any(|f| {
            f.severity == Severity::Error && f.key.ends_with(key) && f.cause.contains(cause)
        });
        assert!(found, "{more}: {findings:#?}");
    }
}

#[test]
fn foreign_calls_are_taken_only_where_that_is_written_and_bounded() {
    let edge = |more: &str| check(&format!("{EDGE}[business]\n{more}\n"));
    let business = |more: &str| match edge(more).unwrap().config.role {
        Role::Edge(edge) => edge.business.map(|b| (b.calls_max, b.calls_per_minute)),
        Role::Core(_) => panic!(),
    };
    assert_eq!(business("accept = true"), Some((20, 10)));
    assert_eq!(
        business("accept = true\ncalls_max = 2\ncalls_per_minute = 600"),
        Some((2, 600))
    );
    assert_eq!(business("accept = false\ncalls_max = 2"), None);
    for (more, key) in [
        ("calls_max = 2", "business.accept"),
        ("call = true", "business.trusted"),
        ("accept = true\nreach = [\"x\"]", "business.reach"),
        ("accept = true\ncalls_max = 0", "business.calls_max"),
        (
            "accept = true\ncalls_per_minute = 0",
            "business.calls_per_minute",
        ),
        (
            "accept = true\ncalls_per_minute = 601",
            "business.calls_per_minute",
        ),
    ] {
        let findings = edge(more).expect_err(more);
        assert_eq!(findings[0].key, key, "{findings:#?}");
    }
    let findings = check(&format!("{CORE}[business]\naccept = true\n")).unwrap_err();
    assert!(
        findings[0].cause.contains("belongs to the edge"),
        "{findings:#?}"
    );
}

#[test]
fn a_core_dials_six_edges_and_no_seventh() {
    let peer = |n: usize| {
        format!(
            "[[traversal.peer]]\nname = \"e{n}\"\ndial = \"192.0.2.{n}\"\n\
             verify_name = \"e{n}.example.test\"\nuser = \"t\"\npassword_file = \"p\"\n"
        )
    };
    let more = |last: usize| (21..=last).map(peer).collect::<String>();
    assert!(check(&format!("{CORE}{}", more(25))).is_ok());
    let findings = check(&format!("{CORE}{}", more(26))).unwrap_err();
    let [finding] = findings.as_slice() else {
        panic!("{findings:#?}")
    };
    assert_eq!(finding.key, "traversal.peer.name");
    assert!(finding.cause.contains("more than six"), "{finding}");
}

#[test]
fn addresses_that_do_not_meet_are_accepted() {
    for at in ["192.0.2.10:443", "192.0.2.12:8443", "[2001:db8::1]:8443"] {
        let more = format!("[administration]\nlisten = [{at:?}]\ntoken_file = \"token\"\n");
        assert!(
            check(&format!("{EDGE}{more}")).unwrap().warnings.is_empty(),
            "{at}"
        );
    }
}

#[test]
fn media_of_an_edge_may_be_in_both_families_and_of_a_core_in_one() {
    let with = |good: &str, from: &str, to: &str| {
        assert!(good.contains(from));
        check(&good.replacen(from, to, 1))
    };
    let one = "listen = \"192.0.2.10\"\nadvertise = \"203.0.113.10\"";
    for (both, told) in [
        (
            "listen = [\"2001:db8::10\", \"192.0.2.10\"]\nadvertise = [\"203.0.113.10\"]",
            "203.0.113.10 2001:db8::10",
        ),
        (
            "listen = [\"192.0.2.10\", \"2001:db8::10\"]",
            "192.0.2.10 2001:db8::10",
        ),
        ("listen = [\"2001:db8::10\"]", "2001:db8::10"),
    ] {
        let config = with(EDGE, one, both).unwrap().config;
        let Role::Edge(edge) = config.role else {
            panic!("an edge's");
        };
        let all: Vec<String> = edge.media.addresses().map(|(_, a)| a.to_string()).collect();
        assert_eq!(all.join(" "), told, "{both}");
        assert!(
            edge.media
                .addresses()
                .all(|(a, b)| a.is_ipv4() == b.is_ipv4())
        );
    }
    let same = "listen = [\"192.0.2.10\", \"192.0.2.12\"]";
    let inside = "listen = [\"10.0.0.20\", \"2001:db8::20\"]";
    for (findings, cause) in [
        (with(EDGE, one, same), "one family"),
        (with(EDGE, one, "listen = []"), "missing"),
        (
            with(EDGE, one, "listen = 5"),
            "not an address in quotes, or one of each",
        ),
        (
            with(CORE, "listen = \"10.0.0.20\"", inside),
            "media on one address",
        ),
    ] {
        let findings = findings.unwrap_err();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].key, "service.media.listen");
        assert!(findings[0].cause.contains(cause), "{findings:#?}");
    }
}

#[test]
fn one_bad_address_is_one_finding() {
    for (good, from) in [(EDGE, "192.0.2.10:8443"), (CORE, "10.0.0.20:5060")] {
        for to in ["nowhere", "192.0.2.10:0"] {
            let findings = check(&good.replacen(from, to, 1)).unwrap_err();
            assert_eq!(findings.len(), 1, "{findings:#?}");
        }
    }
}

#[test]
fn a_password_of_another_type_is_not_told() {
    let text = EDGE.replace("\"long and random\"", "31415926");
    let findings = check(&text).unwrap_err();
    assert_eq!(findings[0].key, "traversal.zone.password");
    assert!(!findings[0].cause.contains("31415926"));
}

#[test]
fn what_can_be_guessed_or_reached_by_nobody_is_warned_of() {
    for (text, key) in [
        (
            EDGE.replace("long and random", "1234567"),
            "traversal.zone.password",
        ),
        (
            CORE.replace(
                "password_file = \"zone.password\"",
                "password = \"1234567\"",
            ),
            "traversal.peer.password",
        ),
        (
            format!("{CORE}[administration]\nlisten = [\"10.0.0.20:443\"]\n"),
            "administration.listen",
        ),
    ] {
        let warnings = check(&text).unwrap().warnings;
        let keys: Vec<&str> = warnings.iter().map(|w| w.key.as_str()).collect();
        assert_eq!(keys, [key]);
    }
}

#[test]
fn unsafe_switches_are_warned_of() {
    let text = CORE.replace("user = \"axl\"", "user = \"axl\"\ntls_verify = false");
    let warnings = check(&text).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].cause.contains("passwords"));
}

/// A core's file whose domain has these lines under `[domains.sign_in]`.
fn signs_in(lines: &str) -> String {
    let more = format!("[domains.sign_in]\n{lines}\n[[unified_cm]]");
    CORE.replacen("[[unified_cm]]", &more, 1)
}

fn core_of(text: &str) -> crate::Core {
    match check(text).unwrap().config.role {
        Role::Core(core) => *core,
        Role::Edge(_) => panic!(),
    }
}

#[test]
fn what_numbers_begin_with_before_their_extension_is_read_in_digits_and_has_to_be_international() {
    let of = |written: &str| {
        let named = "[[domains]]\n";
        check(&CORE.replacen(named, &format!("{named}extensions_of = {written}\n"), 1))
    };
    let Role::Core(core) = of(r#"["+49 (30) 555-", "+1.212"]"#).unwrap().config.role else {
        panic!()
    };
    assert_eq!(core.domains[0].extensions_of, ["4930555", "1212"]);
    for wrong in [r#"["030 555"]"#, r#"["+"]"#, r#"[""]"#, r#"["+49x"]"#] {
        assert_eq!(of(wrong).unwrap_err()[0].key, "domains.extensions_of");
    }
}

#[test]
fn a_domain_says_who_checks_its_passwords() {
    let of = |text: &str| core_of(text).domains.remove(0).sign_in;
    assert!(matches!(of(CORE), SignInBy::Uds));
    let file = of(&signs_in("by = \"file\"\nfile = \"users\""));
    assert!(matches!(file, SignInBy::File(path) if path.ends_with("users")));
    let inline = CORE.replacen(
        "name = \"example.test\"",
        "name = \"example.test\"\nsign_in = { by = \"file\", file = \"u\" }",
        1,
    );
    assert!(matches!(of(&inline), SignInBy::File(_)));
    let servers = "by = \"ldap\"\nservers = [\"ldaps://a\", \"ldap://b:1389\"]\n";
    let SignInBy::Ldap(ldap) = of(&signs_in(&format!(
        "{servers}search_base = \"dc=x\"\nsearch_filter = \"(|(uid={{user}})(mail={{user}}))\"\n\
         bind_dn = \"cn=y\"\nbind_password_file = \"p\""
    ))) else {
        panic!()
    };
    let found: Vec<_> = ldap.servers.iter().map(|s| (s.port, s.start_tls)).collect();
    assert_eq!(found, [(636, false), (1389, true)]);
    assert_eq!((ldap.timeout.as_secs(), ldap.connections_max), (5, 8));
    let LdapUser::Search { filter, bind, .. } = &ldap.user else {
        panic!()
    };
    assert_eq!(filter, "(|(uid={user})(mail={user}))");
    assert!(bind.is_some());
}

#[test]
fn an_identity_provider_names_users_by_addresses_of_certain_domains() {
    let oidc = "by = \"oidc\"\nissuer = \"https://idp.test\"\nclient_id = \"us\"\n";
    let saml = "by = \"saml\"\nmetadata_file = \"m\"\n";
    let of = |text: &str| {
        let found = core_of(&signs_in(text)).domains.remove(0).single_sign_on;
        match found.unwrap() {
            SingleSignOn::Oidc(oidc) => oidc.user.local_part_of,
            SingleSignOn::Saml(saml) => saml.user.local_part_of,
        }
    };
    for provider in [oidc, saml] {
        assert!(of(provider).is_empty());
        let before = format!("{provider}user_part = \"before_at\"\n");
        assert_eq!(of(&before), ["example.test"]);
        let some = format!("{before}mail_domains = [\"a.test\", \"b.test\"]\n");
        assert_eq!(of(&some), ["a.test", "b.test"]);
    }
    for (lines, key, cause) in [
        (
            format!("{oidc}mail_domains = [\"a.test\"]"),
            "mail_domains",
            "before the @",
        ),
        (
            format!("{oidc}user_part = \"before_at\"\nmail_domains = [\"a b\"]"),
            "mail_domains",
            "no domain",
        ),
        (
            "user_part = \"all\"".to_owned(),
            "user_part",
            "by = \"saml\"",
        ),
        (
            format!("{saml}signing_key_file = \"k\""),
            "signing_key_file",
            "alone",
        ),
        (
            format!("{oidc}signing_key_file = \"k\"\nsigning_certificate_file = \"c\""),
            "signing_key_file",
            "belongs to by = \"saml\"",
        ),
    ] {
        let found = check(&signs_in(&lines)).unwrap_err();
        let named = found
            .iter()
            .any(|f| f.key.ends_with(key) && f.cause.contains(cause));
        assert!(named, "{lines}: {found:?}");
    }
}

#[test]
fn each_mistake_of_a_sign_in_is_named_with_its_line() {
    let ldap = "by = \"ldap\"\nservers = [\"ldaps://a\"]\n";
    let with = |more: &str| format!("{ldap}{more}");
    for (lines, key, cause) in [
        ("by = \"radius\"".to_owned(), "by", "not known"),
        ("by = \"file\"".to_owned(), "file", "missing"),
        (
            "file = \"users\"".to_owned(),
            "file",
            "belongs to by = \"file\"",
        ),
        (
            "timeout_s = 3".to_owned(),
            "timeout_s",
            "belongs to by = \"ldap\"",
        ),
        (
            "by = \"ldap\"\nuser_dn = \"uid={user}\"".to_owned(),
            "servers",
            "0 servers",
        ),
        (
            ldap.replace("ldaps://a", "https://a"),
            "servers",
            "no server",
        ),
        (
            ldap.replace("ldaps://a", "ldaps://a:0"),
            "servers",
            "port 0",
        ),
        (with(""), "user_dn", "nothing says"),
        (with("user_dn = \"uid=x\""), "user_dn", "no place"),
        (
            with("user_dn = \"{user}\"\nsearch_base = \"b\""),
            "user_dn",
            "two ways",
        ),
        (
            with("user_dn = \"{user}\"\nbind_dn = \"b\""),
            "bind_dn",
            "to a search",
        ),
        (
            with("search_base = \"b\"\nsearch_filter = \"(a=b)\""),
            "search_filter",
            "no place",
        ),
        (
            with("search_base = \"b\"\nbind_dn = \"b\""),
            "bind_password",
            "missing",
        ),
        (
            with("search_base = \"b\"\nbind_password = \"b\""),
            "bind_dn",
            "missing",
        ),
        (
            with("user_dn = \"{user}\"\nlines_attribute = \"a)(b\""),
            "lines_attribute",
            "no name",
        ),
    ] {
        let findings = check(&signs_in(&lines)).unwrap_err();
        let key = format!("domains.sign_in.{key}");
        let found = findings.iter().find(|f| f.key == key);
        let found = found.unwrap_or_else(|| panic!("{lines}: {findings:?}"));
        assert!(found.cause.contains(cause), "{lines}: {found}");
        assert!(found.line > 20, "{lines}: {found}");
    }
}
