//! Names that edges and cores need.

use super::*;

fn load(text: &str) -> Config {
    let path = std::path::Path::new("/nowhere/causeway.toml");
    config::load(text, path).unwrap().config
}

const HEAD: &str = r#"name = "node"
domain = "dmz.example.test"
[certificate]
chain = "c"
key = "k"
trusted = "t"
"#;

const EDGE: &str = r#"[service.https]
listen = ["127.0.0.1:8443"]
advertise = "phones.example.test"
[service.sip]
listen = ["127.0.0.1:5061"]
[service.xmpp]
listen = ["127.0.0.1:5222"]
advertise = "192.0.2.5"
[service.media]
listen = "127.0.0.1"
[traversal]
listen_sip = "127.0.0.1:7001"
listen_ssh = "127.0.0.1:2222"
listen_xmpp = "127.0.0.1:7400"
[[traversal.zone]]
name = "core"
verify_name = ["core1.example.test"]
user = "traversal"
password = "a long password"
"#;

const CORE: &str = r#"[service.sip]
listen = ["127.0.0.1:5060"]
listen_tls = ["127.0.0.1:5061"]
[service.media]
listen = "127.0.0.1"
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.11"
verify_name = "edge1.example.test"
user = "traversal"
password = "a long password"
[[domains]]
name = "own.example.test"
federation = true
[[unified_cm]]
address = "cucm1.example.test"
user = "axl"
password = "a long password"
"#;

fn named(needs: &Needs) -> Vec<(&str, Strength)> {
    needs
        .names
        .iter()
        .map(|n| (n.name.as_str(), n.strength))
        .collect()
}

fn domain(name: &str, sip: bool, im_presence: bool, federation: bool) -> Domain {
    Domain {
        name: name.into(),
        sip,
        im_presence,
        federation,
    }
}

#[test]
fn an_edge_needs_its_own_names_its_domains_and_those_of_federation() {
    let config = load(&format!("role = \"edge\"\n{HEAD}{EDGE}"));
    let known = Known {
        domains: vec![
            domain("One.test", true, true, true),
            domain("two.test", true, false, false),
            domain("unused.test", false, false, false),
        ],
        chat_node_aliases: vec!["chat.one.test".into(), "chat.one.test".into()],
        ..Known::default()
    };
    let needs = needed(&config, &known);
    use Strength::{Advised, Required};
    assert_eq!(
        named(&needs),
        [
            ("node.dmz.example.test", Required),
            ("phones.example.test", Required),
            ("collab-edge.one.test", Required),
            ("collab-edge.two.test", Required),
            // As a domain of SIP it is advised; that it federates makes it required.
            ("one.test", Required),
            ("two.test", Advised),
            ("chat.one.test", Required),
        ]
    );
    assert_eq!(needs.notes, Vec::<String>::new());
    let own = &needs.names[0];
    assert_eq!(own.legs, [Leg::ClientSip, Leg::LinkFromCores]);
    assert!(needs.names.iter().all(|need| !need.why.is_empty()));
}

#[test]
fn an_edge_that_was_told_no_domain_says_so() {
    let config = load(&format!("role = \"edge\"\n{HEAD}{EDGE}"));
    let needs = needed(&config, &Known::default());
    assert_eq!(needs.names.len(), 2);
    assert!(needs.notes[0].contains("--domain"), "{:?}", needs.notes);
}

#[test]
fn a_core_needs_its_name_profiles_that_are_names_and_chat_node_aliases() {
    let head = HEAD.replace(
        "trusted = \"t\"",
        "trusted = \"t\"\nchat_node_aliases = [\"conference-2.own.test\"]",
    );
    let config = load(&format!("role = \"core\"\n{head}{CORE}"));
    let known = Known {
        profiles: vec![
            "secure.example.test".into(),
            "Cisco 8845 - secure".into(),
            "bare".into(),
        ],
        ..Known::default()
    };
    let needs = needed(&config, &known);
    let names: Vec<&str> = needs.names.iter().map(|n| n.name.as_str()).collect();
    // No domain of registrations, and none of federation: those are an edge's (F209, F210).
    assert_eq!(
        names,
        [
            "node.dmz.example.test",
            "secure.example.test",
            "conference-2.own.test"
        ]
    );
    let note = needs.notes.join("\n");
    assert!(
        note.contains("2 secure profiles") && note.contains("Cisco 8845"),
        "{note}"
    );
    let profile = &needs.names[1];
    assert_eq!(profile.legs, [Leg::CallControlIn, Leg::CallControlOut]);
}

#[test]
fn what_is_not_known_is_said_where_it_matters() {
    let config = load(&format!("role = \"core\"\n{HEAD}{CORE}"));
    let notes = needed(&config, &Known::default()).notes.join("\n");
    assert!(notes.contains("--profile"), "{notes}");
    assert!(notes.contains("chat node alias"), "{notes}");
}
