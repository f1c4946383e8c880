//! Documents: apart, together, compared, and what of them counts at once.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

const CORE: &str = "\
role = \"core\"
name = \"core1\"
domain = \"corp.example.com\"

[log]
level = \"info\"

[traversal]

[[traversal.peer]]
name = \"edge1\"
password = \"hunter2hunter2\"

[service.sip]
listen = [\"10.0.0.20:5060\"]

[[domains]]
name = \"example.com\"
sign_in = { by = \"ldap\", bind_password = \"s3cret\", servers = [\"ldaps://dc1\"] }

[[domains]]
name = \"example.org\"

[[allow_list]]
host = \"photos.example.com\"
path = \"/a/\"

[[allow_list]]
host = \"photos.example.com\"
path = \"/a/\"
methods = [\"POST\"]
";

fn paths(document: &Document) -> Vec<&str> {
    document.items().iter().map(|i| i.path.as_str()).collect()
}

fn table(text: &str) -> Table {
    toml::from_str(text).unwrap()
}

#[test]
fn a_document_is_taken_apart_and_written_down_as_the_same() {
    let document = Document::parse(CORE).unwrap();
    assert_eq!(
        paths(&document),
        [
            "node",
            "log",
            "service.sip",
            "traversal.peer/edge1",
            "domains/example.com",
            "domains/example.org",
            "allow_list/https://photos.example.com/a/",
            "allow_list/https://photos.example.com/a/~2",
        ]
    );
    let written = document.text();
    assert_eq!(Document::parse(&written).unwrap(), document, "{written}");
    assert_eq!(Document::of_table(&document.table()), document);
    assert_eq!(
        Document::of_items(document.items().iter().rev().cloned().collect::<Vec<_>>())
            .items()
            .len(),
        8
    );
    // Keys stay in the order in which they were written.
    assert!(
        written.starts_with("role = \"core\"\nname = \"core1\"\n"),
        "{written}"
    );
    assert!(
        written.contains("[[domains]]\nname = \"example.com\"\n"),
        "{written}"
    );
}

#[test]
fn a_section_without_keys_stays_a_section() {
    let document = Document::parse("[service.xmpp]\n[business]\n").unwrap();
    assert_eq!(paths(&document), ["service.xmpp", "business"]);
    assert_eq!(Document::parse(&document.text()).unwrap(), document);
}

#[test]
fn an_item_is_put_where_it_stood_and_named_by_what_it_says() {
    let mut document = Document::parse(CORE).unwrap();
    document
        .put("domains/example.com", table("name = \"example.net\""))
        .unwrap();
    document
        .put("domains/z.example", table("name = \"z.example\""))
        .unwrap();
    let domains: Vec<&str> = paths(&document)
        .into_iter()
        .filter(|p| p.starts_with("domains/"))
        .collect();
    assert_eq!(
        domains,
        [
            "domains/example.net",
            "domains/example.org",
            "domains/z.example"
        ]
    );
    let misfit = document
        .put("domains/a", table("name = \"b\""))
        .unwrap_err();
    assert_eq!(
        misfit.to_string(),
        "the entry is named domains/b, not domains/a"
    );
    assert!(matches!(
        document.put("domains", Table::new()),
        Err(Misfit::NoPath(_))
    ));
    assert!(matches!(
        document.put("domains/", Table::new()),
        Err(Misfit::NoPath(_))
    ));
    assert!(matches!(
        document.put("log/x", table("name = \"x\"")),
        Err(Misfit::NoPath(_))
    ));
    document.remove("domains/example.org").unwrap();
    let absent = document.remove("domains/example.org");
    assert_eq!(absent, Err(Misfit::Absent("domains/example.org".into())));
}

#[test]
fn secrets_are_left_out_and_put_back_where_they_were() {
    let document = Document::parse(CORE).unwrap();
    let shown = document.without_secrets();
    for secret in ["hunter2", "s3cret"] {
        assert!(!shown.text().contains(secret), "{}", shown.text());
        assert!(!format!("{document:?}").contains(secret));
    }
    let secrets = document.secrets();
    let held: Vec<&str> = secrets.iter().map(|i| i.path.as_str()).collect();
    assert_eq!(held, ["traversal.peer/edge1", "domains/example.com"]);
    let sent = Document::parse(&shown.text()).unwrap();
    assert_eq!(sent.with_secrets(&secrets), document);
    // A file in a secret's place, and another secret, are what was wanted.
    let text = shown.text().replace(
        "name = \"edge1\"",
        "name = \"edge1\"\npassword_file = \"zone.password\"",
    );
    let text = text.replace("by = \"ldap\"", "by = \"ldap\"\nbind_password = \"new\"");
    let filled = Document::parse(&text).unwrap().with_secrets(&secrets);
    assert!(!filled.text().contains("hunter2"), "{}", filled.text());
    assert!(filled.text().contains("bind_password = \"new\""));
}

#[test]
fn a_difference_names_items_and_keys_but_no_secret() {
    let before = Document::parse(CORE).unwrap();
    let text = CORE
        .replace("level = \"info\"", "level = \"debug\"\nformat = \"json\"")
        .replace("s3cret", "another")
        .replace("[[domains]]\nname = \"example.org\"\n", "");
    let after = Document::parse(&format!("{text}[[zones]]\nname = \"trunk\"\n")).unwrap();
    let changes = before.diff(&after);
    let told: Vec<String> = changes
        .iter()
        .map(|c| {
            let keys: Vec<String> = c
                .keys
                .iter()
                .map(|k| format!("{} {:?} {:?}", k.key, k.before, k.after))
                .collect();
            format!("{:?} {} {}", c.kind, c.path, keys.join(", "))
        })
        .collect();
    assert_eq!(
        told,
        [
            "Removed domains/example.org name Some(\"\\\"example.org\\\"\") None",
            "Changed log level Some(\"\\\"info\\\"\") Some(\"\\\"debug\\\"\"), format None \
             Some(\"\\\"json\\\"\")",
            "Changed domains/example.com sign_in.bind_password Some(\"(secret)\") \
             Some(\"(secret)\")",
            "Added zones/trunk name None Some(\"\\\"trunk\\\"\")",
        ]
    );
    assert_eq!(before.diff(&before), []);
    let turned = "[[zones]]\nname = \"a\"\n[[zones]]\nname = \"b\"\n";
    let [one, two] = [
        turned,
        &turned
            .replace("\"a\"", "\"c\"")
            .replace("\"b\"", "\"a\"")
            .replace("\"c\"", "\"b\""),
    ]
    .map(|t| Document::parse(t).unwrap());
    let moved = one.diff(&two);
    assert_eq!(moved.len(), 1);
    assert_eq!(
        (moved[0].kind, moved[0].path.as_str()),
        (Kind::Moved, "zones/a")
    );
}

#[test]
fn paths_of_a_file_are_taken_from_its_folder_and_data_is_none() {
    let text = "data = \"d\"\nname = \"n\"\n[certificate]\nchain = \"c.pem\"\nkey = \"/k.key\"\n\
                trusted = \"ca.pem\"\n[[domains]]\nname = \"a\"\n[domains.sign_in]\nfile = \"u\"\n\
                [domains.tokens]\nkeys = \"https://x/keys\"\nclient_secret_file = \"s\"\n";
    let text = Document::parse(text)
        .unwrap()
        .anchored(Path::new("/etc/c"))
        .text();
    for there in [
        "chain = \"/etc/c/c.pem\"",
        "key = \"/k.key\"",
        "trusted = \"/etc/c/ca.pem\"",
        "file = \"/etc/c/u\"",
        "keys = \"https://x/keys\"",
        "client_secret_file = \"/etc/c/s\"",
    ] {
        assert!(text.contains(there), "{there}: {text}");
    }
    assert!(!text.contains("data"), "{text}");
}

#[test]
fn text_that_is_no_document_is_refused_with_its_place() {
    let fault = Document::parse("a = 1\n[log\n").unwrap_err();
    assert_eq!(fault.line, 2, "{fault}");
    let long = format!("a = \"{}\"", "x".repeat(BYTES_MAX));
    assert!(Document::parse(&long).unwrap_err().cause.contains("bytes"));
    let many = "[[zones]]\n".repeat(ITEMS_MAX + 1);
    assert!(Document::parse(&many).unwrap_err().cause.contains("items"));
}

#[test]
fn a_running_node_takes_up_what_it_can_and_the_rest_is_named() {
    let started = Document::parse(CORE).unwrap();
    let text = CORE
        .replace("level = \"info\"", "level = \"debug\"\nformat = \"json\"")
        .replace(":5060", ":5070")
        .replace("name = \"core1\"", "name = \"core2\"")
        .replace("s3cret", "another")
        .replace("example.org", "example.net");
    let wanted = Document::parse(&format!("{text}[dns]\nservers = [\"10.0.0.9\"]\n")).unwrap();
    let (taken, waiting) = started.taken_up(&wanted);
    assert_eq!(
        waiting,
        [
            "name",
            "dns.servers",
            "log.format",
            "service.sip.listen",
            "domains/example.com"
        ]
    );
    let text = taken.text();
    for there in [
        "level = \"debug\"",
        ":5060",
        "\"core1\"",
        "s3cret",
        "example.net",
    ] {
        assert!(text.contains(there), "{there}: {text}");
    }
    for absent in ["format", "another", "example.org", "10.0.0.9"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    assert_eq!(started.taken_up(&started), (started.clone(), Vec::new()));
    // What waits and is taken back waits no more; what a start has lost comes back at the next.
    let (taken, waiting) = started.taken_up(&Document::parse("[log]\n").unwrap());
    assert!(
        waiting.contains(&"traversal.peer/edge1".to_owned()),
        "{waiting:?}"
    );
    assert!(
        waiting.contains(&"domains/example.com".to_owned()),
        "{waiting:?}"
    );
    assert!(taken.get("domains/example.org").is_none());
}
