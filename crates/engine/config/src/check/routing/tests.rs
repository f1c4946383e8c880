//! Zones, transforms and rules, good and bad.

use std::path::Path;

use crate::pattern::Behavior;
use crate::routing::{Ice, MediaEncryption, Mode, Routing, Source};
use crate::{Checked, Finding, Role, Severity, load};

const CORE: &str = r#"
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
[[call_control]]
name = "kamailio"
address = "10.0.0.5"
"#;

const TRUNK: &str = r#"
[[zones]]
name = "trunk"
type = "neighbor"
peers = ["10.0.0.40"]
"#;

const RULE: &str = r#"
[[search_rules]]
name = "all"
mode = "any_alias"
target = "trunk"
"#;

/// Call control that is the core itself.
const CORE_ADDRESS: &str = r#"
[[call_control]]
name = "self"
address = "10.0.0.20:5060"
"#;

fn check(more: &str) -> Result<Checked, Vec<Finding>> {
    load(&format!("{CORE}{more}"), Path::new("/etc/causeway.toml"))
}

fn routing(more: &str) -> Routing {
    let checked = check(more).unwrap_or_else(|e| panic!("{more}: {e:#?}"));
    match checked.config.role {
        Role::Core(core) => core.routing,
        Role::Edge(_) => panic!(),
    }
}

#[test]
fn routing_is_read_with_its_defaults() {
    let read = routing(&format!("{TRUNK}{RULE}"));
    let [zone] = read.neighbors.as_slice() else {
        panic!("{read:?}")
    };
    assert_eq!((zone.port, zone.tls, zone.tls_verify), (5061, true, true));
    assert_eq!((zone.hop_count, zone.hop_count_in), (15, None));
    assert_eq!(zone.media_encryption, MediaEncryption::Off);
    assert_eq!(zone.ice, Ice::Remove);
    assert!(!zone.trusted && zone.accept_incoming && zone.monitor);
    let [rule] = read.rules.as_slice() else {
        panic!("{read:?}")
    };
    assert_eq!((rule.priority, &rule.source), (100, &Source::AllZones));
    assert!(!rule.authenticated && !rule.stop && rule.enabled && !rule.generated);
    let empty = routing("");
    assert_eq!(empty, Routing::default());
}

#[test]
fn every_value_of_a_zone_and_a_rule_is_read() {
    let text = r#"
[[zones]]
name = "trunk"
type = "neighbor"
peers = ["a.example.test", "2001:db8::1"]
transport = "tcp"
port = 5560
hop_count = 3
hop_count_in = 9
authentication_policy = "treat_as_authenticated"
media_encryption = "force"
ice = "inward"
accept_incoming = false
monitor = false
[[transforms]]
name = "t"
pattern = "00"
behavior = "add_suffix"
replace = "@x"
[[search_rules]]
name = "r"
priority = 65534
source = "named"
source_name = "edge1"
authenticated = true
pattern_type = "regex"
pattern = '(\d+)@%localdomains%'
behavior = "replace"
replace = '\1@pbx'
on_match = "stop"
target = "CEtcp-cucm1.example.test"
enabled = false
"#;
    let read = routing(text);
    let zone = &read.neighbors[0];
    assert_eq!((zone.tls, zone.port), (false, 5560));
    assert_eq!((zone.hop_count, zone.hop_count_in), (3, Some(9)));
    assert!(zone.trusted && !zone.accept_incoming && !zone.monitor);
    assert_eq!(zone.media_encryption, MediaEncryption::Force);
    assert_eq!(zone.ice, Ice::Inward);
    assert_eq!(
        read.transforms[0].behavior,
        Behavior::AddSuffix("@x".into())
    );
    let rule = &read.rules[0];
    assert_eq!(rule.source, Source::Named("edge1".into()));
    assert!(rule.authenticated && rule.stop && !rule.enabled);
    let Mode::Pattern(pattern, _) = &rule.mode else {
        panic!()
    };
    assert!(pattern.matches("12@example.test") && !pattern.matches("12@other.test"));
}

/// What is added to a good file, and what is then said: key, line within the addition, cause.
#[test]
fn each_mistake_of_routing_is_named_with_its_line() {
    let zone = |more: &str| format!("{TRUNK}{more}\n");
    let rule = |more: &str| format!("{TRUNK}[[search_rules]]\nname = \"r\"\n{more}\n");
    let transform = |more: &str| format!("[[transforms]]\nname = \"t\"\n{more}\n");
    let named = |name: &str| TRUNK.replace("\"trunk\"", &format!("{name:?}"));
    let any = "mode = \"any_alias\"\ntarget = \"trunk\"\n";
    let to = "target = \"trunk\"\npattern = \"9\"\n";
    let table: Vec<(String, &str, usize, &str)> = vec![
        (named("CEtcp-cucm1"), "zones.name", 3, "discovery makes"),
        (named("CEtls-x"), "zones.name", 3, "discovery makes"),
        (named("DefaultZone"), "zones.name", 3, "always there"),
        (
            named("kamailio"),
            "zones.name",
            3,
            "in call_control already",
        ),
        (named("edge1"), "zones.name", 3, "in traversal.peer already"),
        (zone(TRUNK), "zones.name", 8, "in zones already"),
        (
            zone("[[call_control]]\nname = \"CEtcp-x\"\naddress = \"a\""),
            "call_control.name",
            7,
            "discovery makes",
        ),
        (
            TRUNK.replace("neighbor", "dns"),
            "zones.type",
            4,
            "no foreign domain",
        ),
        (
            TRUNK.replace("neighbor", "enum"),
            "zones.type",
            4,
            "not known",
        ),
        (
            TRUNK.replace("10.0.0.40", "a:5060"),
            "zones.peers",
            5,
            "neither a name",
        ),
        (
            TRUNK.replace("[\"10.0.0.40\"]", "[]"),
            "zones.peers",
            5,
            "no server",
        ),
        (
            TRUNK.replace("\"10.0.0.40\"", "\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\""),
            "zones.peers",
            5,
            "more than six",
        ),
        (
            zone(&named("other")),
            "zones.peers",
            10,
            "a peer of trunk too",
        ),
        (
            zone("transport = \"udp\""),
            "zones.transport",
            6,
            "neither tls nor tcp",
        ),
        (
            zone("transport = \"tcp\"\nverify_name = \"a\""),
            "zones.verify_name",
            7,
            "over TCP",
        ),
        (zone("port = 0"), "zones.port", 6, "port 0"),
        (zone("hop_count = 0"), "zones.hop_count", 6, "out of range"),
        (
            zone("hop_count_in = 256"),
            "zones.hop_count_in",
            6,
            "out of range",
        ),
        (
            zone("authentication_policy = \"check\""),
            "zones.authentication_policy",
            6,
            "407",
        ),
        (
            zone("media_encryption = \"maybe\""),
            "zones.media_encryption",
            6,
            "not known",
        ),
        (zone("ice = \"maybe\""), "zones.ice", 6, "not known"),
        (
            rule(&any.replace("trunk", "nowhere")),
            "search_rules.target",
            9,
            "no zone nowhere",
        ),
        (
            rule(&any.replace("trunk", "CEtls-")),
            "search_rules.target",
            9,
            "no zone CEtls-",
        ),
        (
            rule("target = \"trunk\""),
            "search_rules.mode",
            6,
            "not said",
        ),
        (
            rule(&format!("{any}pattern = \"1\"")),
            "search_rules.pattern",
            10,
            "not used",
        ),
        (
            rule(&format!("{to}priority = 0")),
            "search_rules.priority",
            10,
            "out of range",
        ),
        (
            rule(&format!("{to}priority = 65535")),
            "search_rules.priority",
            10,
            "out of range",
        ),
        (
            rule(&format!("{to}source = \"named\"")),
            "search_rules.source_name",
            6,
            "missing",
        ),
        (
            rule(&format!("{to}source_name = \"trunk\"")),
            "search_rules.source_name",
            10,
            "not used",
        ),
        (
            rule(&format!("{to}source = \"named\"\nsource_name = \"x\"")),
            "search_rules.source_name",
            11,
            "no zone x",
        ),
        (
            rule(&format!("{to}on_match = \"pause\"")),
            "search_rules.on_match",
            10,
            "neither",
        ),
        (
            rule(&format!(
                "{to}pattern_type = \"exact\"\nbehavior = \"strip\""
            )),
            "search_rules.behavior",
            11,
            "nothing of the alias",
        ),
        (
            rule("target = \"trunk\"\npattern_type = \"regex\"\npattern = '('"),
            "search_rules.pattern",
            10,
            "unclosed group",
        ),
        (
            rule("target = \"trunk\"\npattern_type = \"regex\"\npattern = '(\\d)(?=x)'"),
            "search_rules.pattern",
            10,
            "look-around",
        ),
        (
            rule(&format!(
                "{to}pattern_type = \"regex\"\nbehavior = \"replace\"\nreplace = '\\1'"
            )),
            "search_rules.replace",
            12,
            "names group 1, and the pattern has 0",
        ),
        (
            rule(&format!("{to}behavior = \"replace\"\nreplace = \"a b\"")),
            "search_rules.replace",
            11,
            "no address may have",
        ),
        (
            rule(&format!("{to}{}", RULE.replace("\"all\"", "\"r\""))),
            "search_rules.name",
            12,
            "stands twice",
        ),
        (
            rule(to).replace("\"r\"", "\"CEtcp-x\""),
            "search_rules.name",
            7,
            "discovery makes",
        ),
        (
            transform("pattern = \"9\""),
            "transforms.behavior",
            1,
            "changes nothing",
        ),
        (
            transform("pattern = \"9\"\nbehavior = \"add_prefix\""),
            "transforms.replace",
            1,
            "nothing is added",
        ),
        (
            transform("behavior = \"strip\""),
            "transforms.pattern",
            1,
            "empty",
        ),
        (
            CORE_ADDRESS.to_owned(),
            "call_control.address",
            4,
            "listens itself",
        ),
        (
            rule("target = \"trunk\"\npattern = \"sip:33\""),
            "search_rules.pattern",
            9,
            "never matches",
        ),
        (
            rule("target = \"trunk\"\npattern = \"33\"\nbehavior = \"replace\""),
            "search_rules.replace",
            6,
            "missing",
        ),
    ];
    let head = CORE.lines().count();
    for (more, key, line, cause) in table {
        let findings = check(&more).expect_err(&more);
        let found = findings.iter().any(|f| {
            (f.severity, f.line, f.key.as_str()) == (Severity::Error, head + line, key)
                && f.cause.contains(cause)
                && !f.fix.is_empty()
        });
        assert!(found, "{more}\n{key} {line} {cause}: {findings:#?}");
    }
}

#[test]
fn a_check_of_credentials_on_the_link_cannot_be_written_and_it_is_said_why() {
    let on_core = CORE.replace(
        "user = \"traversal\"",
        "user = \"traversal\"\nauthentication_policy = \"check_credentials\"",
    );
    let findings = load(&on_core, Path::new("x.toml")).unwrap_err();
    let [finding] = findings.as_slice() else {
        panic!("{findings:#?}")
    };
    assert_eq!(finding.key, "traversal.peer.authentication_policy");
    assert_eq!(finding.line, 18);
    assert!(finding.cause.contains("407 or 500"), "{finding}");
    assert!(finding.fix.contains("remove the line"), "{finding}");
    let off = on_core.replace("check_credentials", "do_not_check");
    assert!(load(&off, Path::new("x.toml")).is_ok());
}

#[test]
fn a_neighbour_whose_certificate_is_not_checked_is_warned_of() {
    let checked = check(&format!("{TRUNK}tls_verify = false\n")).unwrap();
    let keys: Vec<&str> = checked.warnings.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(keys, ["zones.tls_verify"]);
}

#[test]
fn an_edge_routes_nothing() {
    let text = format!("role = \"edge\"\n{TRUNK}{RULE}");
    let findings = load(&text, Path::new("x.toml")).unwrap_err();
    for section in ["zones", "search_rules"] {
        let found = findings
            .iter()
            .any(|f| f.key == section && f.cause.contains("belongs to the core"));
        assert!(found, "{section}: {findings:#?}");
    }
}

#[test]
fn candidates_passed_towards_clients_are_warned_of_and_inwards_not() {
    for (word, warned) in [("remove", false), ("inward", false), ("pass", true)] {
        let checked = check(&format!("{TRUNK}ice = \"{word}\"\n")).unwrap();
        let keys: Vec<&str> = checked.warnings.iter().map(|w| w.key.as_str()).collect();
        assert_eq!(keys.contains(&"zones.ice"), warned, "{word}: {keys:?}");
    }
}
